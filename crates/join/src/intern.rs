//! One copy of each text: names of nodes, namespaces and workloads and sets of labels repeat in almost every pod.

use foldhash::HashSet;
use std::sync::Arc;

/// Below this many entries nothing is ever dropped.
const SMALL: usize = 4096;

/// Texts and sets of labels that are in use.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    texts: HashSet<Arc<str>>,
    sets: HashSet<Arc<[Arc<str>]>>,
    sweep_at: usize,
}

impl Interner {
    pub(crate) fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        self.sweep();
        let new: Arc<str> = Arc::from(text);
        self.texts.insert(new.clone());
        new
    }

    pub(crate) fn set(&mut self, set: &[String]) -> Arc<[Arc<str>]> {
        let texts: Vec<Arc<str>> = set.iter().map(|text| self.text(text)).collect();
        if let Some(known) = self.sets.get(texts.as_slice()) {
            return known.clone();
        }
        let new: Arc<[Arc<str>]> = Arc::from(texts);
        self.sets.insert(new.clone());
        new
    }

    /// Drops what nothing else holds, each time the number has doubled.
    fn sweep(&mut self) {
        let size = self.texts.len() + self.sets.len();
        if size < self.sweep_at.max(SMALL) {
            return;
        }
        self.sets.retain(|set| Arc::strong_count(set) > 1);
        self.texts.retain(|text| Arc::strong_count(text) > 1);
        self.sweep_at = 2 * (self.texts.len() + self.sets.len());
    }
}
