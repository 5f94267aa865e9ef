//! The ends that samples of a partition spoke of, each kept once with what records say of it: nearly every conversation is
//! between two ends that a conversation before was between, and two numbers then say all that decides its records. They are
//! kept from generation to generation, because the next window's ends are the last one's. Nothing depends on what is kept.

use super::record::{labels, side_of};
use crate::merge::Merges;
use crate::observe::{Conversations, EndFound};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher as _;
use std::hint::black_box;
use std::sync::Arc;
use weir_flow::{Address, Level};
use weir_join::Resolution;
use weir_schemas::enriched::SharedSide;
use weir_schemas::partial::Alone;

#[cfg(test)]
mod tests;

/// The most ends that are kept. Beyond, all are forgotten, and those that are still spoken of are kept anew.
const LIMIT: usize = 65_536;

/// The most bytes of what records say that are kept, roughly. Beyond, all is forgotten, too.
const SAID: usize = 64 << 20;

/// Memory of an end without its texts, roughly.
const KEPT: usize = 768;

/// The number of an end; none is given twice.
pub(super) type EndNumber = u64;

/// Ends by what is known of them, but for their ports.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// With their hashes.
    kept: HashTable<(u64, Box<Kept>)>,
    /// The number of the next one.
    next: EndNumber,
    hasher: RandomState,
    /// What records say of them, and what came of merging that.
    pub(super) merges: Merges,
    /// Which labels records carry.
    labels_keep: Vec<String>,
    /// Room for the conversations of a batch.
    pub(super) conversations: Conversations,
}

/// One end.
#[derive(Debug)]
pub(super) struct Kept {
    number: EndNumber,
    address: Address,
    without_address: bool,
    found: Resolution<'static>,
    container: Option<Box<str>>,
    process: Option<Box<str>>,
    said: Option<Arc<Said>>,
}

/// What records say of an end.
#[derive(Debug)]
pub(super) struct Said {
    /// Those of levels 0 and 1.
    of_instance: SaidAt,
    /// Those of levels 2 and 3.
    of_workload: SaidAt,
    /// What stands behind records of levels 2 and 3 if it is all that does.
    pub(super) alone: Alone,
    /// Its address, unless a filter emptied it.
    pub(super) address: Option<Address>,
    /// Its pod, `namespace/name`.
    pub(super) pod: Option<Box<str>>,
}

/// What records of levels of one kind say of an end.
#[derive(Debug)]
pub(super) struct SaidAt {
    /// Without its port.
    pub(super) side: SharedSide,
    pub(super) labels: Box<[Arc<str>]>,
}

impl Said {
    /// Reads from each of its cache lines.
    fn touch(&self) -> usize {
        let Self { of_instance, of_workload, pod, .. } = self;
        of_instance.side.bytes().len() ^ of_workload.side.bytes().len() ^ pod.as_ref().map_or(0, |pod| pod.len())
    }

    /// Reads where its sides count who shares them.
    fn touch_encoded(&self) -> u8 {
        let sides = [&self.of_instance.side, &self.of_workload.side];
        sides.into_iter().filter_map(|side| side.bytes().first()).fold(0, |all, byte| all ^ byte)
    }

    /// The labels of records of levels 2 and 3.
    pub(super) fn labels_of_workload(&self) -> &[Arc<str>] {
        &self.of_workload.labels
    }

    /// What records of a level say.
    pub(super) fn at(&self, level: Level) -> &SaidAt {
        if level.keeps_addresses() { &self.of_instance } else { &self.of_workload }
    }
}

/// An end of an observation, with what records say of it.
#[derive(Clone, Debug)]
pub(super) struct KnownEnd<'k> {
    pub(super) number: EndNumber,
    pub(super) end: &'k EndFound<'k>,
    pub(super) said: Arc<Said>,
}

impl Kept {
    fn new(number: EndNumber, end: &EndFound<'_>) -> Self {
        Self {
            number,
            address: end.ask.address,
            without_address: end.without_address,
            found: end.found.keep(),
            container: end.ask.container.map(Box::from),
            process: end.ask.process.map(Box::from),
            said: None,
        }
    }

    /// Its number.
    pub(super) fn number(&self) -> EndNumber {
        self.number
    }

    fn is(&self, end: &EndFound<'_>) -> bool {
        self.address == end.ask.address
            && self.without_address == end.without_address
            && self.container.as_deref() == end.ask.container
            && self.process.as_deref() == end.ask.process
            && self.found == end.found
    }
}

impl Ends {
    /// Begins with samples of a generation whose records carry these labels.
    pub(super) fn begin(&mut self, labels_keep: &[String]) {
        if self.labels_keep != labels_keep {
            self.forget();
            self.labels_keep = labels_keep.to_vec();
        }
    }

    /// Sees to it that there is place for the next two.
    pub(super) fn make_place(&mut self) {
        if self.kept.len() + 2 > LIMIT || self.merges.memory() > SAID {
            self.forget();
        }
    }

    /// Forgets all.
    pub(super) fn forget(&mut self) {
        self.kept.clear();
        self.merges = Merges::default();
    }

    /// The number of an end.
    pub(super) fn number(&mut self, end: &EndFound<'_>) -> EndNumber {
        self.keep(end).number
    }

    /// An end with what records say of it.
    pub(super) fn known<'k>(&mut self, end: &'k EndFound<'k>) -> KnownEnd<'k> {
        let kept = self.keep(end);
        if let Some(said) = &kept.said {
            return KnownEnd { number: kept.number, end, said: Arc::clone(said) };
        }
        let (of_instance, of_workload) = (self.say(Level::Zero, end), self.say(Level::Three, end));
        let address = (!end.without_address).then_some(end.ask.address);
        let pod = end.pod().map(String::into_boxed_str);
        let mut labels: Vec<&str> = of_workload.labels.iter().map(|label| &**label).collect();
        labels.dedup();
        let alone = Alone::new(address, pod.as_deref(), labels);
        let said = Arc::new(Said { of_instance, of_workload, alone, address, pod });
        let kept = self.keep(end);
        kept.said = Some(Arc::clone(&said));
        KnownEnd { number: kept.number, end, said }
    }

    fn say(&mut self, level: Level, end: &EndFound<'_>) -> SaidAt {
        let labels = labels(level, end, &self.labels_keep);
        let mut side = side_of(level, end, &labels);
        side.port = None;
        SaidAt { side: self.merges.sides.take(&side), labels: labels.into_iter().cloned().collect() }
    }

    fn hash(&self, end: &EndFound<'_>) -> u64 {
        self.hasher.hash_one((end.ask.address, end.ask.process))
    }

    fn keep(&mut self, end: &EndFound<'_>) -> &mut Kept {
        let hash = self.hash(end);
        let Self { kept, next, .. } = self;
        let entry = kept.entry(hash, |(known, kept)| *known == hash && kept.is(end), |(hash, _)| *hash);
        let entry = entry.or_insert_with(|| {
            let number = *next;
            *next = next.saturating_add(1);
            (hash, Box::new(Kept::new(number, end)))
        });
        &mut entry.into_mut().1
    }

    /// The ends that are kept of these. Each step is taken for all of them side by side, so that they wait for memory
    /// together.
    pub(super) fn find_all(&self, ends: &[&EndFound<'_>]) -> Vec<Option<&Kept>> {
        let hashes: Vec<u64> = ends.iter().map(|end| self.hash(end)).collect();
        let first = |hash: &u64| self.kept.find(*hash, |(known, _)| known == hash);
        let kept: Vec<Option<&Kept>> = hashes.iter().map(|hash| first(hash).map(|(_, kept)| &**kept)).collect();
        kept.into_iter().zip(ends).map(|(kept, end)| kept.filter(|kept| kept.is(end))).collect()
    }

    /// Reads what records that are new say of ends, of all of them side by side.
    pub(super) fn touch(ends: &[&Kept]) {
        let said = || ends.iter().filter_map(|kept| kept.said.as_deref());
        black_box(said().fold(0, |all, said| all ^ said.touch()));
        black_box(said().fold(0, |all, said| all ^ said.touch_encoded()));
    }

    /// Bytes held, roughly.
    pub(super) fn memory(&self) -> usize {
        self.kept.len() * KEPT + self.merges.memory()
    }
}
