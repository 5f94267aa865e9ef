//! Who held one thing (an address, a name, a network) over time.

use crate::span::Span;
use weir_flow::Millis;
use weir_flow::time::NEVER;

/// Where a revision is in the table.
pub(crate) type Slot = u32;

#[derive(Clone, Copy, Debug)]
struct Holder {
    span: Span,
    /// The greatest `to_latest` of this holder and all before it, so that a search backwards knows when to stop.
    reach: Millis,
    slot: Slot,
}

/// Holders sorted by the earliest time from which they may have held.
#[derive(Debug, Default)]
pub(crate) struct Holders(Vec<Holder>);

impl Holders {
    pub(crate) fn insert(&mut self, span: Span, slot: Slot) {
        let place = self.0.partition_point(|holder| holder.span.from_earliest <= span.from_earliest);
        self.0.insert(place, Holder { span, reach: NEVER, slot });
        self.reach_from(place);
    }

    pub(crate) fn remove(&mut self, span: Span, slot: Slot) {
        let start = self.0.partition_point(|holder| holder.span.from_earliest < span.from_earliest);
        if let Some(offset) = self.0.iter().skip(start).position(|holder| holder.slot == slot) {
            self.0.remove(start + offset);
            self.reach_from(start + offset);
        }
    }

    /// Enters a holder, or takes it out.
    pub(crate) fn hold(&mut self, span: Span, slot: Slot, enter: bool) {
        if enter { self.insert(span, slot) } else { self.remove(span, slot) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that may have held at `at`, latest first.
    pub(crate) fn possible(&self, at: Millis) -> impl Iterator<Item = (Span, Slot)> + '_ {
        let end = self.0.partition_point(|holder| holder.span.from_earliest <= at);
        let before = self.0.get(..end).unwrap_or_default();
        before
            .iter()
            .rev()
            .take_while(move |holder| holder.reach > at)
            .filter(move |holder| holder.span.to_latest > at)
            .map(|holder| (holder.span, holder.slot))
    }

    fn reach_from(&mut self, place: usize) {
        let mut reach = place.checked_sub(1).and_then(|i| self.0.get(i)).map_or(NEVER, |holder| holder.reach);
        for holder in self.0.iter_mut().skip(place) {
            reach = reach.max(holder.span.to_latest);
            holder.reach = reach;
        }
    }
}
