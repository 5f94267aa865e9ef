//! Who had an address over time. A look-up reads the entry of the address, which says who has it for long; for other times
//! a line beside it that says who had it before; and only what that leaves open is searched in the holders. All of those
//! stand in one long list, those of an address side by side.

use crate::addresses::{change_entry, key};
use crate::holders::{AtNode, Holder, View, find, is_nested, nested_after, place_of};
use crate::index::{Found, Home, Index, Latest};
use crate::since::{Moment, Since};
use crate::span::Span;
use crate::timeline::{LOOKED_AT, Part, Said, Timeline};
use foldhash::HashMap;
use weir_flow::time::{FOR_EVER, NEVER};
use weir_flow::{Address, Millis};

#[cfg(test)]
mod tests;

/// The bit that says that holders are nested.
const NESTED: u32 = 1 << 31;
/// The bit that says that a service has the address.
const SERVED: u32 = 1 << 30;

/// Who had an address over time, and how many holders it has in all: a cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Known {
    /// Silent of a service's address.
    past: Timeline<6>,
    /// Number of the holders, with [`NESTED`] and [`SERVED`].
    length: u32,
}

impl Known {
    fn length(self) -> u32 {
        self.length & !(NESTED | SERVED)
    }

    fn is_nested(self) -> bool {
        self.length & NESTED != 0
    }

    fn is_served(self) -> bool {
        self.length & SERVED != 0
    }

    fn is_empty(self) -> bool {
        self.length & !NESTED == 0
    }

    fn set_holders(&mut self, length: u32, nested: bool) {
        self.length = length | if nested { NESTED } else { 0 } | self.length & SERVED;
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

    /// Where its holders begin.
    fn begin(self) -> u32 {
        self.0.number
    }
}

/// Pods and nodes by address over time, and which addresses are services'.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// With where the holders of each begin.
    index: Index<Known>,
    holders: Vec<Holder<AtNode>>,
    /// Blocks of holders that nobody uses, by [`class`].
    free: Vec<Vec<u32>>,
    /// How many entries of services have an address, of those that any has.
    served: HashMap<Address, u32>,
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

    /// Reads what is said of the past of whatever is looked for there.
    #[inline]
    pub(crate) fn touch_past(&self, home: Home) -> u32 {
        self.index.touch_rest(home, |known| known.length).iter().flatten().fold(0, |all, one| all ^ one)
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
        self.view(place.begin(), self.known(place))
    }

    #[inline]
    fn view(&self, begin: u32, known: Known) -> View<'_, AtNode> {
        let first = index(begin);
        let list = self.holders.get(first..first.saturating_add(index(known.length()))).unwrap_or_default();
        View { list, nested: known.is_nested() }
    }

    /// Reads what is known at a place: who had the address, and where its holders are.
    #[inline]
    pub(crate) fn touch_known(&self, place: Place) -> u32 {
        self.index.rest(place.0.slot).map_or(0, |known| known.length)
    }

    /// Who alone and certainly had the address at a place.
    #[inline]
    pub(crate) fn past(&self, place: Place, moment: Moment) -> Said {
        self.index.rest(place.0.slot).map_or(Said::Nothing, |known| known.past.at(moment))
    }

    /// Whether a service has this address.
    #[inline]
    pub(crate) fn is_service(&self, place: Place) -> bool {
        self.known(place).is_served()
    }

    #[inline]
    fn known(&self, place: Place) -> Known {
        self.index.rest(place.0.slot).copied().unwrap_or_default()
    }

    /// Enters a holder of an address.
    pub(crate) fn insert(&mut self, address: Address, span: Span, who: AtNode) {
        let place = self.place(address);
        let mut known = place.map_or(Known::default(), |place| self.known(place));
        let (begin, length) = (place.map_or(0, Place::begin), known.length());
        let grown = length.saturating_add(1);
        let begin = move_to(&mut self.holders, &mut self.free, (begin, length), grown);
        let list = block(&mut self.holders, begin, grown);
        let at = place_of(list.get(..index(length)).unwrap_or_default(), span);
        list.copy_within(at..index(length), at + 1);
        if let Some(new) = list.get_mut(at) {
            *new = Holder { span, who };
        }
        known.set_holders(grown, nested_after(list, at, known.is_nested()));
        self.keep(address, place, begin, known);
    }

    /// Takes out a holder of an address.
    pub(crate) fn remove(&mut self, address: Address, span: Span, who: AtNode) {
        let Some(place) = self.place(address) else { return };
        let mut known = self.known(place);
        let length = known.length();
        let list = block(&mut self.holders, place.begin(), length);
        let Some(at) = find(list, span, &who) else { return };
        list.copy_within(at + 1.., at);
        let shrunk = length.saturating_sub(1);
        let nested = known.is_nested() && is_nested(list.get(..index(shrunk)).unwrap_or_default());
        let begin = move_to(&mut self.holders, &mut self.free, (place.begin(), length), shrunk);
        known.set_holders(shrunk, nested);
        self.keep(address, Some(place), begin, known);
    }

    /// Notes that an entry of a service has this address, or no longer.
    pub(crate) fn serve(&mut self, address: Address, enter: bool) {
        let change = |entries: &mut u32| {
            *entries = if enter { entries.saturating_add(1) } else { entries.saturating_sub(1) };
        };
        change_entry(&mut self.served, address, change, |entries| *entries == 0);
        let place = self.place(address);
        let mut known = place.map_or(Known::default(), |place| self.known(place));
        known.length &= !SERVED;
        if self.served.contains_key(&address) {
            known.length |= SERVED;
        }
        self.keep(address, place, place.map_or(0, Place::begin), known);
    }

    /// Notes what an address has, with where its holders begin; of one that has nothing there is no entry.
    fn keep(&mut self, address: Address, place: Option<Place>, begin: u32, mut known: Known) {
        let holders = self.view(begin, known);
        let (latest, past) =
            if known.is_served() { (Latest::NOBODY, Timeline::SILENT) } else { (latest(holders), past(holders)) };
        known.past = past;
        match place {
            Some(place) if known.is_empty() => self.index.remove(place.0.slot),
            Some(place) => self.index.set(place.0.slot, latest, begin, known),
            None if known.is_empty() => {}
            None => self.index.insert(key(address), latest, begin, known),
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

/// Who had an address alone and for certain, one after the other, and when nobody can have had it. Where one may have
/// held longer than a later one, what is between their ends is not said.
fn past<const N: usize>(holders: View<'_, AtNode>) -> Timeline<N> {
    let skipped = holders.list.len().saturating_sub(LOOKED_AT);
    let (Some(list), Some(first)) = (holders.list.get(skipped..), holders.list.first()) else {
        return Timeline::SILENT;
    };
    if skipped > 0 && holders.nested {
        return Timeline::SILENT;
    }
    let end = |holder: &Holder<AtNode>| holder.span.latest_end();
    let mut ended = skipped.checked_sub(1).and_then(|last| holders.list.get(last)).map_or(NEVER, end);
    let followers = list.iter().skip(1).map(|next| next.span.earliest_start()).chain([FOR_EVER]);
    let parts = list.iter().zip(followers).flat_map(|(holder, next)| {
        let from = holder.span.latest_start().max(ended);
        let held = Part { from, until: holder.span.earliest_end().min(next), said: Said::Who(holder.who) };
        ended = ended.max(holder.span.latest_end());
        [held, Part { from: ended, until: next, said: Said::Nobody }]
    });
    Timeline::of((skipped == 0).then(|| first.span.earliest_start()), parts)
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

fn end_of<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

/// Notes that nobody uses a block.
fn leave(free: &mut Vec<Vec<u32>>, class: usize, first: u32) {
    if free.len() <= class {
        free.resize(class + 1, Vec::new());
    }
    free.get_mut(class).into_iter().for_each(|blocks| blocks.push(first));
}
