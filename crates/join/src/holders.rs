//! Who held one thing (an address, a name, a network) over time.

use crate::identity::Identity;
use crate::span::Span;
use std::sync::Arc;
use weir_flow::Millis;

/// Where an object is in the table.
pub(crate) type ObjectNumber = u32;

/// By what a revision's holding is told from others'.
pub(crate) trait Holding {
    fn object(&self) -> ObjectNumber;

    /// Whether it is the same revision's, or one that says the same in every respect, when their spans are equal.
    fn is(&self, other: &Self) -> bool;
}

/// A revision and no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whose {
    pub(crate) object: ObjectNumber,
    pub(crate) revision: u64,
}

/// A revision with a text: a node's zone, a service's or a network set's name.
#[derive(Clone, Debug)]
pub(crate) struct Described<T> {
    pub(crate) who: T,
    pub(crate) text: Arc<str>,
}

impl Holding for Whose {
    fn object(&self) -> ObjectNumber {
        self.object
    }

    fn is(&self, other: &Self) -> bool {
        self == other
    }
}

/// Who somebody is: a look-up by address ends here, without a look at the object.
impl Holding for Arc<Identity> {
    fn object(&self) -> ObjectNumber {
        self.object
    }

    fn is(&self, other: &Self) -> bool {
        Self::ptr_eq(self, other)
    }
}

impl<T: Holding> Holding for Described<T> {
    fn object(&self) -> ObjectNumber {
        self.who.object()
    }

    fn is(&self, other: &Self) -> bool {
        self.who.is(&other.who)
    }
}

/// A holder with when it held.
#[derive(Debug)]
pub(crate) struct Holder<T> {
    pub(crate) span: Span,
    pub(crate) who: T,
}

/// Holders sorted by the earliest time from which they may have held. There are very many short lists: none has more
/// room than it needs.
#[derive(Debug)]
pub(crate) struct Holders<T> {
    list: Box<[Holder<T>]>,
    /// Whether one may have held longer than one that began later: then a search backwards may not stop early.
    nested: bool,
}

impl<T> Default for Holders<T> {
    fn default() -> Self {
        Self { list: Box::default(), nested: false }
    }
}

impl<T: Holding> Holders<T> {
    pub(crate) fn insert(&mut self, span: Span, who: T) {
        let place = self.list.partition_point(|holder| holder.span.earliest_start() <= span.earliest_start());
        let mut list = std::mem::take(&mut self.list).into_vec();
        list.reserve_exact(1);
        list.insert(place, Holder { span, who });
        self.list = list.into_boxed_slice();
        // Where nothing was nested, it can only be around the new one.
        let around = if self.nested { 0..self.list.len() } else { place.saturating_sub(1)..place.saturating_add(2) };
        self.nested = self.is_nested(around);
    }

    /// Takes out what a revision holds.
    pub(crate) fn remove(&mut self, span: Span, who: &T) {
        let start = self.list.partition_point(|holder| holder.span.earliest_start() < span.earliest_start());
        let is = |holder: &Holder<T>| holder.span == span && holder.who.is(who);
        if let Some(offset) = self.list.iter().skip(start).position(is) {
            let mut list = std::mem::take(&mut self.list).into_vec();
            list.remove(start + offset);
            self.list = list.into_boxed_slice();
            self.nested = self.nested && self.is_nested(0..self.list.len());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Those that may have held at `at`, latest first.
    pub(crate) fn possible(&self, at: Millis) -> impl Iterator<Item = &Holder<T>> {
        let end = self.list.partition_point(|holder| holder.span.earliest_start() <= at);
        let before = self.list.get(..end).unwrap_or_default();
        let nested = self.nested;
        let holds = move |holder: &&Holder<T>| holder.span.latest_end() > at;
        before.iter().rev().take_while(move |holder| nested || holds(holder)).filter(holds)
    }

    /// Whether one of them certainly held at `at`.
    pub(crate) fn any_certain(&self, at: Millis) -> bool {
        self.possible(at).any(|holder| holder.span.certain(at))
    }

    fn is_nested(&self, range: std::ops::Range<usize>) -> bool {
        let part = self.list.get(range.start..range.end.min(self.list.len())).unwrap_or_default();
        part.iter().zip(part.iter().skip(1)).any(|(a, b)| a.span.latest_end() > b.span.latest_end())
    }
}

/// Whether one object certainly held throughout: one of its revisions did, or revisions that follow each other without
/// a gap did together. The revisions are those that may have held, sorted.
pub(crate) fn certain(revisions: &[(u64, Span)], at: Millis) -> bool {
    if revisions.iter().any(|(_, span)| span.certain(at)) {
        return true;
    }
    let (Some((_, first)), Some((_, last))) = (revisions.first(), revisions.last()) else { return false };
    first.latest_start() <= at
        && at < last.earliest_end()
        && revisions
            .iter()
            .zip(revisions.iter().skip(1))
            .all(|((a, before), (b, after))| a.checked_add(1) == Some(*b) && before.continues_in(after))
}
