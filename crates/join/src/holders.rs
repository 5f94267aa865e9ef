//! Who held one thing (an address, a name, a network) over time.

use crate::identities::IdentityNumber;
use crate::span::Span;
use std::sync::Arc;
use weir_flow::Millis;
use weir_flow::time::{FOR_EVER, NEVER};

/// Where an object is in the table.
pub(crate) type ObjectNumber = u32;

/// A revision and no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whose {
    pub(crate) object: ObjectNumber,
    pub(crate) revision: u64,
}

/// A revision with a text: a node's zone, a service's or a network set's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described<T> {
    pub(crate) who: T,
    pub(crate) text: Arc<str>,
}

/// Who has an address, with the node, so that a look-up by address reads nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AtNode {
    pub(crate) identity: IdentityNumber,
    /// Number of the identity's node.
    pub(crate) node: u32,
}

/// A holder with when it held; of an address half a cache line, and never in two.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(32))]
pub(crate) struct Holder<T> {
    pub(crate) span: Span,
    pub(crate) who: T,
}

/// Holders as they are searched: sorted by the earliest time from which they may have held.
#[derive(Debug)]
pub(crate) struct View<'a, T> {
    pub(crate) list: &'a [Holder<T>],
    /// Whether one may have held longer than one that began later: then a search backwards may not stop early.
    pub(crate) nested: bool,
}

impl<T> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for View<'_, T> {}

impl<'a, T> View<'a, T> {
    /// Those that may have held at `at`, latest first.
    #[inline]
    pub(crate) fn possible(self, at: Millis) -> impl Iterator<Item = &'a Holder<T>> {
        let holds = move |holder: &&Holder<T>| holder.span.latest_end() > at;
        self.begun(at).iter().rev().take_while(move |holder| self.nested || holds(holder)).filter(holds)
    }

    /// Those that may have begun by then.
    #[inline]
    fn begun(self, at: Millis) -> &'a [Holder<T>] {
        let end = self.list.partition_point(|holder| holder.span.earliest_start() <= at);
        self.list.get(..end).unwrap_or_default()
    }

    /// The last one, if nobody tells of its end, and when all others have certainly ended.
    pub(crate) fn latest_open(self) -> Option<(&'a Holder<T>, Millis)> {
        let (last, others) = self.list.split_last().filter(|(last, _)| last.span.earliest_end() == FOR_EVER)?;
        let end = |holder: &Holder<T>| holder.span.latest_end();
        let others = if self.nested { others.iter().map(end).max() } else { others.last().map(end) };
        Some((last, others.unwrap_or(NEVER)))
    }

    /// Whether one of them certainly held at `at`.
    #[inline]
    pub(crate) fn any_certain(self, at: Millis) -> bool {
        self.possible(at).any(|holder| holder.span.certain(at))
    }
}

impl View<'_, AtNode> {
    /// Reads from each cache line of up to eight holders.
    pub(crate) fn touch(self) -> Millis {
        let read = |holder: &Holder<AtNode>| holder.span.earliest_start();
        self.list.iter().step_by(2).take(4).chain(self.list.last()).map(read).fold(0, |all, one| all ^ one)
    }
}

/// Where a holder belongs among sorted ones.
pub(crate) fn place_of<T>(list: &[Holder<T>], span: Span) -> usize {
    list.partition_point(|holder| holder.span.earliest_start() <= span.earliest_start())
}

/// Where a revision's holder is among sorted ones.
pub(crate) fn find<T: PartialEq>(list: &[Holder<T>], span: Span, who: &T) -> Option<usize> {
    let start = list.partition_point(|holder| holder.span.earliest_start() < span.earliest_start());
    let rest = list.get(start..).unwrap_or_default();
    rest.iter().position(|holder| holder.span == span && holder.who == *who).map(|offset| start + offset)
}

/// Whether holders are nested after one was inserted at a place: where nothing was, it can only be around the new one.
pub(crate) fn nested_after<T>(list: &[Holder<T>], place: usize, nested: bool) -> bool {
    let around = if nested { 0..list.len() } else { place.saturating_sub(1)..list.len().min(place.saturating_add(2)) };
    is_nested(list.get(around).unwrap_or_default())
}

/// Whether one may have held longer than the next.
pub(crate) fn is_nested<T>(list: &[Holder<T>]) -> bool {
    list.iter().zip(list.iter().skip(1)).any(|(a, b)| a.span.latest_end() > b.span.latest_end())
}

/// Holders of what there are few of.
#[derive(Debug)]
pub(crate) struct Holders<T> {
    list: Vec<Holder<T>>,
    nested: bool,
}

impl<T> Default for Holders<T> {
    fn default() -> Self {
        Self { list: Vec::new(), nested: false }
    }
}

impl<T: PartialEq> Holders<T> {
    pub(crate) fn insert(&mut self, span: Span, who: T) {
        let place = place_of(&self.list, span);
        self.list.reserve_exact(1);
        self.list.insert(place, Holder { span, who });
        self.nested = nested_after(&self.list, place, self.nested);
    }

    /// Takes out what a revision holds.
    pub(crate) fn remove(&mut self, span: Span, who: &T) {
        if let Some(place) = find(&self.list, span, who) {
            self.list.remove(place);
            self.nested = self.nested && is_nested(&self.list);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn view(&self) -> View<'_, T> {
        View { list: &self.list, nested: self.nested }
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
