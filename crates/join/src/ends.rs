//! Who had an address over time. All holders stand in one long list, those of an address side by side: a look-up reads
//! the entry of the address, which says who has it for long, and only for other times the holders.

use crate::addresses::key;
use crate::holders::{AtNode, Holder, View, find, is_nested, nested_after, place_of};
use crate::index::{Found, Home, Index, Latest};
use crate::since::{Moment, Since};
use crate::span::Span;
use weir_flow::{Address, Millis};

#[cfg(test)]
mod tests;

/// The bit that says that holders are nested.
const NESTED: u32 = 1 << 31;

/// How many holders an address has, and what else is seldom asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rest {
    /// Number of the holders, with [`NESTED`].
    length: u32,
    /// How many entries of services have this address.
    services: u32,
}

impl Rest {
    fn length(self) -> u32 {
        self.length & !NESTED
    }

    fn nested(self) -> bool {
        self.length & NESTED != 0
    }

    fn set(&mut self, length: u32, nested: bool) {
        self.length = length | if nested { NESTED } else { 0 };
    }
}

/// Where an address is and its holders are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(Found);

impl Place {
    /// Who alone and certainly has the address at a moment, if that is said: nobody else is possible, and it is no
    /// service's.
    pub(crate) fn latest(self, moment: Moment) -> Option<AtNode> {
        self.0.latest.at(moment)
    }
}

/// Pods and nodes by address over time, and which addresses are services'.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// With where the holders begin.
    index: Index<Rest>,
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
    /// Where to look for an address, which reads nothing.
    #[inline]
    pub(crate) fn home(&self, address: Address) -> Home {
        self.index.home(key(address))
    }

    /// Reads from where an address is looked for, so that it is near when it is.
    #[inline]
    pub(crate) fn touch(&self, home: Home) -> u64 {
        self.index.touch(home)
    }

    /// Where an address is that is looked for there.
    #[inline]
    pub(crate) fn place_from(&self, home: Home, address: Address) -> Option<Place> {
        self.index.find(home, key(address)).map(Place)
    }

    /// Where an address is.
    #[inline]
    pub(crate) fn place(&self, address: Address) -> Option<Place> {
        self.place_from(self.home(address), address)
    }

    /// The holders at a place.
    #[inline]
    pub(crate) fn at(&self, place: Place) -> View<'_, AtNode> {
        self.view(place.0.number, self.rest(place))
    }

    #[inline]
    fn view(&self, begin: u32, rest: Rest) -> View<'_, AtNode> {
        let first = index(begin);
        let list = self.holders.get(first..first.saturating_add(index(rest.length()))).unwrap_or_default();
        View { list, nested: rest.nested() }
    }

    /// Reads how many holders a place has and the first of them, neither of which waits for the other.
    #[inline]
    pub(crate) fn touch_holders(&self, place: Place) -> Millis {
        let first = self.holders.get(index(place.0.number)).map_or(0, |holder| holder.span.earliest_start());
        first ^ i64::from(self.rest(place).length)
    }

    /// Whether a service has this address.
    #[inline]
    pub(crate) fn is_service(&self, place: Place) -> bool {
        self.rest(place).services > 0
    }

    #[inline]
    fn rest(&self, place: Place) -> Rest {
        self.index.rest(place.0.slot).copied().unwrap_or_default()
    }

    /// Enters a holder of an address.
    pub(crate) fn insert(&mut self, address: Address, span: Span, who: AtNode) {
        let place = self.place(address);
        let (mut rest, mut begin) = place.map_or((Rest::default(), 0), |place| (self.rest(place), place.0.number));
        let length = rest.length();
        let grown = length.saturating_add(1);
        begin = move_to(&mut self.holders, &mut self.free, (begin, length), grown);
        let list = block(&mut self.holders, begin, grown);
        let at = place_of(list.get(..index(length)).unwrap_or_default(), span);
        list.copy_within(at..index(length), at + 1);
        if let Some(new) = list.get_mut(at) {
            *new = Holder { span, who };
        }
        rest.set(grown, nested_after(list, at, rest.nested()));
        self.keep(address, place, begin, rest);
    }

    /// Takes out a holder of an address.
    pub(crate) fn remove(&mut self, address: Address, span: Span, who: AtNode) {
        let Some(place) = self.place(address) else { return };
        let (mut rest, begin) = (self.rest(place), place.0.number);
        let length = rest.length();
        let list = block(&mut self.holders, begin, length);
        let Some(at) = find(list, span, &who) else { return };
        list.copy_within(at + 1.., at);
        let shrunk = length.saturating_sub(1);
        rest.set(shrunk, rest.nested() && is_nested(list.get(..index(shrunk)).unwrap_or_default()));
        let begin = move_to(&mut self.holders, &mut self.free, (begin, length), shrunk);
        self.keep(address, Some(place), begin, rest);
    }

    /// Notes that an entry of a service has this address, or no longer.
    pub(crate) fn serve(&mut self, address: Address, enter: bool) {
        let place = self.place(address);
        let (mut rest, begin) = place.map_or((Rest::default(), 0), |place| (self.rest(place), place.0.number));
        rest.services = if enter { rest.services.saturating_add(1) } else { rest.services.saturating_sub(1) };
        self.keep(address, place, begin, rest);
    }

    /// Notes what an address has; of one that has nothing there is no entry.
    fn keep(&mut self, address: Address, place: Option<Place>, begin: u32, rest: Rest) {
        let latest = if rest.services > 0 { Latest::NOBODY } else { latest(self.view(begin, rest)) };
        match place {
            Some(place) if rest.length() == 0 && rest.services == 0 => self.index.remove(place.0.slot),
            Some(place) => self.index.set(place.0.slot, latest, begin, rest),
            None if rest.length() == 0 && rest.services == 0 => {}
            None => self.index.insert(key(address), latest, begin, rest),
        }
    }
}

/// Who has an address for long, alone and for certain: the last one, if nobody tells of its end, from when it certainly
/// began and all others have certainly ended.
fn latest(holders: View<'_, AtNode>) -> Latest {
    let latest = |(last, others): (&Holder<AtNode>, Millis)| Latest {
        since: Since::of(others.max(last.span.latest_start())),
        who: last.who,
    };
    holders.latest_open().map_or(Latest::NOBODY, latest)
}

/// So many holders from a place on.
fn block(holders: &mut [Holder<AtNode>], begin: u32, length: u32) -> &mut [Holder<AtNode>] {
    let first = index(begin);
    holders.get_mut(first..first.saturating_add(index(length))).unwrap_or_default()
}

/// Moves holders, as far as they fit, to a block for so many, if theirs is of another size, and says where they begin.
fn move_to(holders: &mut Vec<Holder<AtNode>>, free: &mut Vec<Vec<u32>>, (begin, old): (u32, u32), length: u32) -> u32 {
    let (old_class, _) = class(old);
    let (new_class, size) = class(length);
    if old > 0 && length > 0 && old_class == new_class {
        return begin;
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
        let from = index(begin);
        holders.copy_within(from..from + index(old.min(length)), index(first));
    }
    if old > 0 {
        leave(free, old_class, begin);
    }
    first
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
