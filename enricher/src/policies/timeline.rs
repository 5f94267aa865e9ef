//! The revisions of one object, and what is known of the times between which each was valid.

use smallvec::SmallVec;
use std::sync::Arc;
use weir_flow::Millis;
use weir_schemas::metadata::{Bound, Revision};

/// Where in an uncertain time a change is taken to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Change {
    /// As early as it can have been.
    Early,
    /// As late as it can have been.
    Late,
}

/// A bound: not before, and not after.
type Between = (Millis, Millis);

#[derive(Debug)]
struct Entry<F> {
    revision: u64,
    from: Between,
    to: Option<Between>,
    facts: Arc<F>,
}

/// What revisions of one object say, by their ordinals.
#[derive(Debug)]
pub(crate) struct Timeline<F> {
    /// Most objects have one revision: it stands where the object was found.
    entries: SmallVec<[Entry<F>; 1]>,
}

impl<F> Default for Timeline<F> {
    fn default() -> Self {
        Self { entries: SmallVec::new() }
    }
}

fn between(bound: &Bound) -> Between {
    (bound.earliest, bound.latest.max(bound.earliest))
}

fn time((earliest, latest): Between, change: Change) -> Millis {
    match change {
        Change::Early => earliest,
        Change::Late => latest,
    }
}

impl<F> Entry<F> {
    fn has_begun(&self, at: Millis, change: Change) -> bool {
        time(self.from, change) <= at
    }

    fn holds(&self, at: Millis, change: Change) -> bool {
        self.has_begun(at, change) && self.to.is_none_or(|to| at < time(to, change))
    }
}

impl<F> Timeline<F> {
    /// Takes a revision, in place of one with the same ordinal.
    pub(super) fn put<T, R>(&mut self, revision: &Revision<T, R>, facts: Arc<F>) {
        let (from, to) = (between(&revision.valid_from), revision.valid_to.as_ref().map(between));
        let entry = Entry { revision: revision.revision, from, to, facts };
        match self.entries.binary_search_by_key(&entry.revision, |known| known.revision) {
            Ok(place) => {
                if let Some(known) = self.entries.get_mut(place) {
                    *known = entry;
                }
            }
            Err(place) => {
                if self.entries.len() == self.entries.capacity() {
                    self.entries.reserve_exact(self.entries.len() / 2 + 1);
                }
                self.entries.insert(place, entry);
            }
        }
    }

    /// Forgets a revision; whether nothing is left.
    pub(super) fn remove(&mut self, revision: u64) -> bool {
        self.entries.retain(|known| known.revision != revision);
        self.entries.is_empty()
    }

    /// What a revision says.
    pub(super) fn facts(&self, revision: u64) -> Option<Arc<F>> {
        let place = self.entries.binary_search_by_key(&revision, |known| known.revision).ok()?;
        self.entries.get(place).map(|entry| entry.facts.clone())
    }

    /// What the last revision says.
    pub(crate) fn last(&self) -> Option<&Arc<F>> {
        self.entries.last().map(|entry| &entry.facts)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What held at a time.
    pub(crate) fn held(&self, at: Millis, change: Change) -> Option<&Arc<F>> {
        self.entries.iter().rev().find(|entry| entry.holds(at, change)).map(|entry| &entry.facts)
    }

    /// What held at a time, or did last before: an object that is said to have ended may still be heard of.
    pub(crate) fn held_or_last(&self, at: Millis, change: Change) -> Option<&Arc<F>> {
        let last = || self.entries.iter().rev().find(|entry| entry.has_begun(at, change)).map(|entry| &entry.facts);
        self.held(at, change).or_else(last)
    }

    /// What held throughout a tick wherever its changes lie, and since when; nothing where that takes a closer look.
    pub(crate) fn steady(&self, (begin, end): (Millis, Millis)) -> Option<(&Arc<F>, Millis)>
    where
        F: PartialEq,
    {
        let last = self.entries.last()?;
        let throughout = last.from.1 <= begin && last.to.is_none_or(|(earliest, _)| end < earliest);
        let since = || if self.entries.len() == 1 { Some(last.from.1) } else { self.since(end) };
        throughout.then(since).flatten().map(|since| (&last.facts, since))
    }

    /// From when on and before when [`Timeline::steady`] says the same of every tick, and what it says.
    pub(crate) fn steady_between(&self) -> Option<((Millis, Millis), &Arc<F>, Millis)>
    where
        F: PartialEq,
    {
        let last = self.entries.last()?;
        // By then each has begun, so that none begins later.
        let from = self.entries.iter().map(|entry| entry.from.0).fold(last.from.1, Millis::max);
        let until = last.to.map_or(Millis::MAX, |(earliest, _)| earliest);
        let since = if self.entries.len() == 1 { last.from.1 } else { self.since(from)? };
        Some(((from, until), &last.facts, since))
    }

    /// When the last revision that had begun by then did.
    pub(crate) fn begun_at(&self, at: Millis, change: Change) -> Option<Millis> {
        let begun = self.entries.iter().rev().find(|entry| entry.has_begun(at, change));
        begun.map(|entry| time(entry.from, change))
    }

    /// Since when the facts that may have held last at a time have done so, as late as that can have been.
    pub(crate) fn since(&self, at: Millis) -> Option<Millis>
    where
        F: PartialEq,
    {
        let begun = self.entries.iter().filter(|entry| entry.has_begun(at, Change::Early));
        let mut since: Option<(Millis, &Arc<F>)> = None;
        for entry in begun {
            if since.is_none_or(|(_, facts)| *facts != entry.facts) {
                since = Some((entry.from.1, &entry.facts));
            }
        }
        since.map(|(since, _)| since)
    }

    /// Every time at which it began or ended to hold, as an interval.
    pub(crate) fn changes(&self) -> impl Iterator<Item = Between> {
        self.entries.iter().flat_map(|entry| [Some(entry.from), entry.to]).flatten()
    }
}
