//! Ends and pairs of them that were met, with their text. What is kept only saves work.
//!
//! The records of a window mostly come in the order of those of the window before. So of each pair the one that came next is kept:
//! it is expected, and where its bytes are there, its ends need not be read.

use super::end::{COUNTS, End, block};
use super::pair::Pair;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::sync::Arc;
use weir_schemas::enriched::{EncodedSide, EndBytes, NoSide, ReadSide};

#[cfg(test)]
mod tests;

/// Memory for ends, bytes: some ten thousand.
const ENDS: usize = 16 << 20;
/// Memory for pairs, bytes: some twenty thousand.
const PAIRS: usize = 8 << 20;
/// Room in a list or map that grows by doubling, for each of its members, and a byte beside it.
const fn room(member: usize) -> usize {
    2 * (member + 1)
}
/// What a map takes for an end, and a list and a map for a pair, bytes.
const END: usize = room(size_of::<(Arc<[u8]>, KnownEnd)>());
const PAIR: usize = room(size_of::<KnownPair>()) + room(size_of::<([usize; 2], usize)>());

/// Of how many ends and pairs the text was known, and of how many it had to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// Ends known from an earlier record.
    pub known: u64,
    /// Ends met for the first time, or after they were forgotten.
    pub new: u64,
    /// Pairs that were expected.
    pub pairs_expected: u64,
    /// Pairs known from an earlier record, but not expected.
    pub pairs_known: u64,
    /// Pairs met for the first time, or after they were forgotten.
    pub pairs_new: u64,
}

/// Why bytes have no text.
#[derive(Debug)]
pub(super) enum EndError {
    Side(NoSide),
    Json(serde_json::Error),
}

/// An end with its bytes.
#[derive(Clone, Debug)]
struct KnownEnd {
    end: Arc<End>,
    bytes: Arc<[u8]>,
    /// How many of the bytes stand before the port.
    before: usize,
}

#[derive(Debug)]
struct KnownPair {
    pair: Pair,
    ends: [KnownEnd; 2],
    /// Which came next when it was met last.
    next: Option<usize>,
}

/// What was met.
#[derive(Debug)]
pub(super) struct Known {
    ends: Ends,
    pairs: Vec<KnownPair>,
    /// Pairs by the places of their ends in memory, which they hold.
    places: HashMap<[usize; 2], usize, RandomState>,
    /// Memory of pairs, bytes.
    bytes: usize,
    /// The most that they may take.
    limit: usize,
    /// The pair that was met last.
    last: Option<usize>,
    met: Met,
}

impl Default for Known {
    fn default() -> Self {
        Self::within(ENDS, PAIRS)
    }
}

impl Known {
    /// Nothing yet, with so much memory for ends and for pairs, bytes.
    fn within(ends: usize, pairs: usize) -> Self {
        Self {
            ends: Ends::within(ends),
            pairs: Vec::new(),
            places: HashMap::default(),
            bytes: 0,
            limit: pairs,
            last: None,
            met: Met::default(),
        }
    }

    /// The ends that the next record is expected to have. They hold until [`pair`](Self::pair) is asked.
    pub(super) fn expected(&self) -> [Option<EndBytes<'_>>; 2] {
        let expected = self.next().and_then(|place| self.pairs.get(place));
        [0, 1].map(|which| expected.and_then(|pair| pair.ends[which].bytes.split_at_checked(pair.ends[which].before)))
    }

    fn next(&self) -> Option<usize> {
        self.pairs.get(self.last?)?.next
    }

    /// The ends of a record that was read with what was [`expected`](Self::expected).
    pub(super) fn pair(&mut self, sides: [&ReadSide<'_>; 2]) -> Result<&Pair, EndError> {
        let place = match (self.next(), sides) {
            (Some(place), [ReadSide::Expected(_), ReadSide::Expected(_)]) => {
                self.met.known += 2;
                self.met.pairs_expected += 1;
                place
            }
            _ => self.look_up(sides)?,
        };
        if let Some(last) = self.last.replace(place).and_then(|last| self.pairs.get_mut(last)) {
            last.next = Some(place);
        }
        Ok(&self.pairs[place].pair)
    }

    fn look_up(&mut self, sides: [&ReadSide<'_>; 2]) -> Result<usize, EndError> {
        let expected = self.next().and_then(|place| self.pairs.get(place)).map(|pair| pair.ends.clone());
        let mut end = |which: usize| match (sides[which], &expected) {
            (ReadSide::Other(side), _) => self.ends.of(side, &mut self.met),
            (ReadSide::Expected(_), Some(ends)) => {
                self.met.known += 1;
                Ok(ends[which].clone())
            }
            (ReadSide::Expected(_), None) => unexpected(),
        };
        let ends = [end(0)?, end(1)?];
        // Pairs hold ends, which would else not be forgotten.
        if std::mem::take(&mut self.ends.forgot) {
            self.forget();
        }
        let key = [0, 1].map(|which: usize| Arc::as_ptr(&ends[which].end).addr());
        if let Some(place) = self.places.get(&key) {
            self.met.pairs_known += 1;
            return Ok(*place);
        }
        self.met.pairs_new += 1;
        let pair = Pair::of([0, 1].map(|which: usize| Arc::clone(&ends[which].end)));
        let bytes = pair.memory() + PAIR;
        if self.bytes + bytes > self.limit {
            self.forget();
        }
        self.bytes += bytes;
        let place = self.pairs.len();
        self.pairs.push(KnownPair { pair, ends, next: None });
        self.places.insert(key, place);
        Ok(place)
    }

    /// Forgets all pairs.
    fn forget(&mut self) {
        self.pairs.clear();
        self.places.clear();
        (self.bytes, self.last) = (0, None);
    }

    /// What was met since this was asked last.
    pub(super) fn take_met(&mut self) -> Met {
        std::mem::take(&mut self.met)
    }
}

#[expect(clippy::panic, reason = "a record is read with what this expects, or nothing")]
fn unexpected() -> ! {
    panic!("an end was expected that this does not expect")
}

/// Ends by their bytes, in two generations: when the younger one is full, the older one is forgotten.
#[derive(Debug)]
struct Ends {
    young: HashMap<Arc<[u8]>, KnownEnd, RandomState>,
    old: HashMap<Arc<[u8]>, KnownEnd, RandomState>,
    /// Memory of the younger generation, bytes.
    bytes: usize,
    /// The most that it may take.
    limit: usize,
    /// The end that is looked for.
    key: Vec<u8>,
    /// Whether a generation was forgotten.
    forgot: bool,
}

impl Ends {
    fn within(memory: usize) -> Self {
        let (young, old) = (HashMap::default(), HashMap::default());
        Self { young, old, bytes: 0, limit: memory / 2, key: Vec::new(), forgot: false }
    }

    fn of(&mut self, side: &EncodedSide<'_>, met: &mut Met) -> Result<KnownEnd, EndError> {
        let (before, behind) = side.bytes();
        self.key.clear();
        self.key.extend_from_slice(before);
        self.key.extend_from_slice(behind);
        if let Some(known) = self.young.get(self.key.as_slice()) {
            met.known += 1;
            return Ok(known.clone());
        }
        let known = if let Some(known) = self.old.remove(self.key.as_slice()) {
            met.known += 1;
            known
        } else {
            met.new += 1;
            let end = Arc::new(End::of(&side.read().map_err(EndError::Side)?).map_err(EndError::Json)?);
            KnownEnd { end, bytes: self.key.as_slice().into(), before: before.len() }
        };
        self.keep(&known);
        Ok(known)
    }

    fn keep(&mut self, known: &KnownEnd) {
        let bytes = known.memory();
        if self.bytes + bytes > self.limit {
            self.old = std::mem::take(&mut self.young);
            (self.bytes, self.forgot) = (0, true);
        }
        self.bytes += bytes;
        self.young.insert(Arc::clone(&known.bytes), known.clone());
    }
}

impl KnownEnd {
    /// What it takes in memory, bytes.
    fn memory(&self) -> usize {
        block(COUNTS + self.bytes.len()) + self.end.memory() + END
    }
}
