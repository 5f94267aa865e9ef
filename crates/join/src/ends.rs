//! Who had an address over time. All holders stand in one long list, those of an address side by side: a look-up reads
//! the entry of the address and its holders, and nothing is allocated for an address.

use crate::addresses::AddressMap;
use crate::holders::{AtNode, Holder, View, find, is_nested, nested_after, place_of};
use crate::span::Span;
use weir_flow::Address;

#[cfg(test)]
mod tests;

/// The bit that says that holders are nested.
const NESTED: u32 = 1 << 31;

/// Where the holders of an address are; in 12 bytes, because there is one for each address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    first: u32,
    /// Number of the holders, with [`NESTED`].
    length: u32,
    /// How many entries of services have this address.
    services: u32,
}

impl Place {
    fn length(self) -> u32 {
        self.length & !NESTED
    }

    fn nested(self) -> bool {
        self.length & NESTED != 0
    }

    fn set(&mut self, length: u32, nested: bool) {
        self.length = length | if nested { NESTED } else { 0 };
    }

    /// Whether a service has this address.
    pub(crate) fn is_service(self) -> bool {
        self.services > 0
    }
}

/// Pods and nodes by address over time, and which addresses are services'.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    places: AddressMap<Place>,
    holders: Vec<Holder<AtNode>>,
    /// Blocks of holders that nobody uses, by [`class`].
    free: Vec<Vec<u32>>,
}

/// The number of a block's size and the size: 1, 2, 3, 4, 6, 8, 12, 16 and so on.
fn class(length: u32) -> (usize, u32) {
    let (mut class, mut size, mut next) = (0, 1u32, 2u32);
    while size < length {
        (size, next) = (next, if class == 0 { 3 } else { size.saturating_mul(2) });
        class += 1;
    }
    (class, size)
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Ends {
    /// Where the holders of an address are.
    pub(crate) fn place(&self, address: Address) -> Option<Place> {
        self.places.get(address).copied()
    }

    /// The holders at a place.
    pub(crate) fn at(&self, place: Place) -> View<'_, AtNode> {
        let first = index(place.first);
        let list = self.holders.get(first..first.saturating_add(index(place.length()))).unwrap_or_default();
        View { list, nested: place.nested() }
    }

    /// Enters a holder of an address.
    pub(crate) fn insert(&mut self, address: Address, span: Span, who: AtNode) {
        let Self { places, holders, free } = self;
        let insert = |place: &mut Place| {
            let length = place.length();
            let grown = length.saturating_add(1);
            move_to(holders, free, place, grown);
            let list = block(holders, *place, grown);
            let at = place_of(list.get(..index(length)).unwrap_or_default(), span);
            list.copy_within(at..index(length), at + 1);
            if let Some(new) = list.get_mut(at) {
                *new = Holder { span, who };
            }
            let nested = nested_after(list, at, place.nested());
            place.set(grown, nested);
        };
        places.change(address, insert, |_| false);
    }

    /// Takes out a holder of an address.
    pub(crate) fn remove(&mut self, address: Address, span: Span, who: AtNode) {
        let Self { places, holders, free } = self;
        let remove = |place: &mut Place| {
            let length = place.length();
            let list = block(holders, *place, length);
            let Some(at) = find(list, span, &who) else { return };
            list.copy_within(at + 1.., at);
            let shrunk = length.saturating_sub(1);
            let nested = place.nested() && is_nested(list.get(..index(shrunk)).unwrap_or_default());
            move_to(holders, free, place, shrunk);
            place.set(shrunk, nested);
        };
        places.change(address, remove, |place| place.length() == 0 && !place.is_service());
    }

    /// Notes that an entry of a service has this address, or no longer.
    pub(crate) fn serve(&mut self, address: Address, enter: bool) {
        let change = |place: &mut Place| {
            place.services = if enter { place.services.saturating_add(1) } else { place.services.saturating_sub(1) };
        };
        self.places.change(address, change, |place| place.length() == 0 && !place.is_service());
    }
}

/// The holders of a place, as if there were so many.
fn block(holders: &mut [Holder<AtNode>], place: Place, length: u32) -> &mut [Holder<AtNode>] {
    let first = index(place.first);
    holders.get_mut(first..first.saturating_add(index(length))).unwrap_or_default()
}

/// Moves the holders of a place, as far as they fit, to a block for so many, if theirs is of another size.
fn move_to(holders: &mut Vec<Holder<AtNode>>, free: &mut Vec<Vec<u32>>, place: &mut Place, length: u32) {
    let old = place.length();
    let (old_class, _) = class(old);
    let (new_class, size) = class(length);
    if old > 0 && length > 0 && old_class == new_class {
        return;
    }
    let mut first = 0;
    if length > 0 {
        let reused = free.get_mut(new_class).and_then(Vec::pop);
        first = reused.unwrap_or_else(|| {
            // Two holders are a cache line: what comes in pairs begins with one.
            if size.is_multiple_of(2) && !holders.len().is_multiple_of(2) {
                leave(free, 0, end_of(holders));
                holders.push(Holder::default());
            }
            let end = end_of(holders);
            holders.resize(holders.len() + index(size), Holder::default());
            end
        });
        let from = index(place.first);
        holders.copy_within(from..from + index(old.min(length)), index(first));
    }
    if old > 0 {
        leave(free, old_class, place.first);
    }
    place.first = first;
}

fn end_of(holders: &[Holder<AtNode>]) -> u32 {
    u32::try_from(holders.len()).unwrap_or(u32::MAX)
}

/// Notes that nobody uses a block.
fn leave(free: &mut Vec<Vec<u32>>, class: usize, first: u32) {
    if free.len() <= class {
        free.resize(class + 1, Vec::new());
    }
    free.get_mut(class).into_iter().for_each(|blocks| blocks.push(first));
}
