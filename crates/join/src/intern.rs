//! One copy of each text: names of nodes, namespaces and workloads and sets of labels repeat in almost every pod.

use foldhash::HashSet;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

/// Below this many entries nothing is ever dropped.
const SMALL: usize = 4096;

/// Texts and sets of labels that are in use. Whoever asks for the same one twice gets the same place, as long as it is held.
#[derive(Debug, Default)]
pub struct Interner {
    texts: HashSet<Arc<str>>,
    /// By [`hash_of`], so that a set is found with one hash instead of one a label.
    sets: HashTable<Arc<[Arc<str>]>>,
    sweep_at: usize,
}

fn hash_of<T: AsRef<str>>(set: &[T]) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    for text in set {
        text.as_ref().hash(&mut hasher);
    }
    hasher.finish()
}

impl Interner {
    /// The one copy of a text.
    pub fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        self.sweep();
        let new: Arc<str> = Arc::from(text);
        self.texts.insert(new.clone());
        new
    }

    /// The one copy of a list of labels.
    pub fn set<T: AsRef<str>>(&mut self, set: &[T]) -> Arc<[Arc<str>]> {
        let hash = hash_of(set);
        if let Some(known) = self.sets.find(hash, |known| is_same(known, set)) {
            return known.clone();
        }
        let new: Arc<[Arc<str>]> = set.iter().map(|text| self.text(text.as_ref())).collect();
        self.sets.insert_unique(hash, new.clone(), |known| hash_of(known));
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

/// Whether a set of labels is this one.
pub(crate) fn is_same<T: AsRef<str>>(known: &[Arc<str>], set: &[T]) -> bool {
    known.len() == set.len() && known.iter().zip(set).all(|(a, b)| **a == *b.as_ref())
}
