//! A map by numbers of 128 bits that answers what is asked most out of one cache line.
//!
//! Nearly every question is about now, and who holds something now has mostly held it for long. So the entry of a key says
//! who that is and since when, beside the key. Two entries are a cache line, and a key stands in the line that its hash
//! names or, where that is full, in the next one that was not: with at most three in four places taken, three keys in four
//! stand in their own, and half of the others in the next one, which the processor mostly fetches with it. What other
//! questions need stands apart at the same place, so that it takes no room in those lines.

use crate::holders::AtNode;
use crate::since::{Moment, Since};
use foldhash::quality::RandomState;
use std::hash::{BuildHasher, Hasher};

#[cfg(test)]
mod tests;

/// The two halves of what is looked up.
pub(crate) type Key = (u64, u64);

/// Who holds something since a time, for as long as nothing else is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Latest {
    pub(crate) since: Since,
    pub(crate) who: AtNode,
}

impl Latest {
    /// Nothing is said: what there is must be searched.
    pub(crate) const NOBODY: Self = Self { since: Since::NEVER, who: AtNode { identity: 0, node: 0 } };

    /// Who it is at a moment, if that is said.
    pub(crate) fn at(self, moment: Moment) -> Option<AtNode> {
        self.since.holds(moment).then_some(self.who)
    }
}

/// Of an entry that is none.
const VACANT: u32 = u32::MAX;

/// What is known of a key, in half a cache line.
#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Key,
    latest: Latest,
    /// The caller's; [`VACANT`] where no key is.
    number: u32,
}

impl Entry {
    const VACANT: Self = Self { key: (0, 0), latest: Latest::NOBODY, number: VACANT };

    fn is_vacant(&self) -> bool {
        self.number == VACANT
    }

    fn is(&self, key: Key) -> bool {
        (self.key.0 ^ key.0) | (self.key.1 ^ key.1) == 0 && !self.is_vacant()
    }
}

/// A cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line([Entry; 2]);

impl Line {
    const VACANT: Self = Self([Entry::VACANT; 2]);

    fn is_full(&self) -> bool {
        !self.0.iter().any(Entry::is_vacant)
    }
}

/// The line in which a key is looked for first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Home(usize);

/// Where a key stands, for as long as nothing is changed: two to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(usize);

impl Slot {
    fn new(line: usize, second: bool) -> Self {
        Self(2 * line + usize::from(second))
    }
}

/// A key that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) slot: Slot,
    pub(crate) latest: Latest,
    pub(crate) number: u32,
}

/// A map from keys to who holds them, a number below `u32::MAX`, and what else is seldom asked.
#[derive(Debug)]
pub(crate) struct Index<V> {
    lines: Vec<Line>,
    /// By slot.
    rest: Vec<V>,
    length: usize,
    hash: RandomState,
}

impl<V> Default for Index<V> {
    fn default() -> Self {
        Self { lines: Vec::new(), rest: Vec::new(), length: 0, hash: RandomState::default() }
    }
}

impl<V: Copy + Default> Index<V> {
    /// Where to look for a key, which reads nothing.
    #[inline]
    pub(crate) fn home(&self, key: Key) -> Home {
        let mut hasher = self.hash.build_hasher();
        hasher.write_u128(u128::from(key.0) << 64 | u128::from(key.1));
        // The hash as a part of its range, which keeps the lines' order when there are more of them.
        let lines = u128::try_from(self.lines.len()).unwrap_or(0);
        Home(usize::try_from((u128::from(hasher.finish()) * lines) >> 64).unwrap_or(0))
    }

    /// Reads a line, so that it is near when it is asked. Reading the next one, too, gained nothing.
    #[inline]
    pub(crate) fn touch(&self, home: Home) -> u64 {
        self.lines.get(home.0).map_or(0, |line| line.0[0].key.1)
    }

    /// Reads what is seldom asked of both keys of a line, so that it need not be waited for after the line.
    #[inline]
    pub(crate) fn touch_rest<R>(&self, home: Home, read: impl Fn(&V) -> R) -> [Option<R>; 2] {
        [Slot::new(home.0, false), Slot::new(home.0, true)].map(|slot| self.rest(slot).map(&read))
    }

    /// Where a key is whose home is known.
    #[inline]
    pub(crate) fn find(&self, home: Home, key: Key) -> Option<Found> {
        let mut at = home.0;
        loop {
            let line = self.lines.get(at)?;
            let [first, second] = &line.0;
            let is_second = second.is(key);
            if first.is(key) || is_second {
                let entry = if is_second { second } else { first };
                let slot = Slot::new(at, is_second);
                return Some(Found { slot, latest: entry.latest, number: entry.number });
            }
            if !line.is_full() {
                return None;
            }
            at = self.after(at);
        }
    }

    /// What is seldom asked of a key.
    #[inline]
    pub(crate) fn rest(&self, slot: Slot) -> Option<&V> {
        self.rest.get(slot.0)
    }

    /// Changes what is known of a key.
    pub(crate) fn set(&mut self, slot: Slot, latest: Latest, number: u32, rest: V) {
        if let Some(key) = self.entry(slot).map(|entry| entry.key) {
            self.put(slot, Entry { key, latest, number }, rest);
        }
    }

    /// Enters a key that is not there.
    pub(crate) fn insert(&mut self, key: Key, latest: Latest, number: u32, rest: V) {
        if (self.length + 1) * 4 > self.lines.len() * 2 * 3 {
            self.grow();
        }
        self.length += 1;
        self.place(Entry { key, latest, number }, rest);
    }

    /// Takes a key out. What stands farther from its home than the place that is left moves there.
    pub(crate) fn remove(&mut self, slot: Slot) {
        let (mut hole, mut hole_line) = (slot, slot.0 / 2);
        let Some(mut was_full) = self.lines.get(hole_line).map(Line::is_full) else { return };
        self.length = self.length.saturating_sub(1);
        self.put(hole, Entry::VACANT, V::default());
        let mut at = hole_line;
        while was_full {
            at = self.after(at);
            let Some(line) = self.lines.get(at).copied() else { return };
            was_full = line.is_full();
            let may_move = |entry: &Entry| {
                !entry.is_vacant() && self.steps(self.home(entry.key).0, at) >= self.steps(hole_line, at)
            };
            let Some(place) = line.0.iter().position(may_move) else { continue };
            let from = Slot::new(at, place == 1);
            if let (Some(entry), Some(rest)) = (self.entry(from).copied(), self.rest(from).copied()) {
                self.put(hole, entry, rest);
                self.put(from, Entry::VACANT, V::default());
                (hole, hole_line) = (from, at);
            }
        }
    }

    fn entry(&self, slot: Slot) -> Option<&Entry> {
        self.lines.get(slot.0 / 2).and_then(|line| line.0.get(slot.0 % 2))
    }

    fn after(&self, line: usize) -> usize {
        if line + 1 == self.lines.len() { 0 } else { line + 1 }
    }

    /// How many lines lie from one to another one.
    fn steps(&self, from: usize, to: usize) -> usize {
        if from <= to { to - from } else { self.lines.len() - from + to }
    }

    fn put(&mut self, slot: Slot, entry: Entry, rest: V) {
        let place = self.lines.get_mut(slot.0 / 2).and_then(|line| line.0.get_mut(slot.0 % 2));
        if let (Some(place), Some(old)) = (place, self.rest.get_mut(slot.0)) {
            (*place, *old) = (entry, rest);
        }
    }

    /// The first vacant place from an entry's home on.
    fn place(&mut self, entry: Entry, rest: V) {
        let mut at = self.home(entry.key).0;
        while self.lines.get(at).is_some_and(Line::is_full) {
            at = self.after(at);
        }
        let second = self.lines.get(at).is_some_and(|line| !line.0[0].is_vacant());
        self.put(Slot::new(at, second), entry, rest);
    }

    /// An eighth more lines: what they are moved for is read in order, and what stays vacant costs memory for good.
    fn grow(&mut self) {
        let lines = self.lines.len() + self.lines.len() / 8 + 4;
        let old = std::mem::replace(&mut self.lines, vec![Line::VACANT; lines]);
        let old_rest = std::mem::replace(&mut self.rest, vec![V::default(); 2 * lines]);
        for (entry, rest) in old.iter().flat_map(|line| &line.0).zip(old_rest).filter(|(entry, _)| !entry.is_vacant()) {
            self.place(*entry, rest);
        }
    }
}
