//! Lists of addresses, by number. Most pods have one or two, and the revisions of a pod repeat them.

use std::collections::BTreeMap;
use weir_flow::Address;

#[cfg(test)]
mod tests;

/// Where a list is; [`NONE`] of no addresses.
pub(crate) type ListNumber = u32;

/// The number of the empty list.
pub(crate) const NONE: ListNumber = u32::MAX;

/// The addresses of a list that stand with it.
const SHORT: usize = 2;

/// A list, with how many use it.
#[derive(Clone, Copy, Debug)]
struct List {
    first: [Address; SHORT],
    length: u8,
    users: u32,
}

/// Of a list that is longer than what stands with it.
const LONG: u8 = u8::MAX;

/// Lists of addresses, each with how many use it.
#[derive(Debug, Default)]
pub(crate) struct AddressLists {
    lists: Vec<List>,
    free: Vec<ListNumber>,
    long: BTreeMap<ListNumber, Box<[Address]>>,
}

impl AddressLists {
    /// The addresses of a list; none of a number that was never given.
    pub(crate) fn get(&self, number: ListNumber) -> &[Address] {
        match self.list(number) {
            Some(List { length: LONG, .. }) => self.long.get(&number).map_or(&[], |list| list),
            Some(List { first, length, .. }) => first.get(..usize::from(*length)).unwrap_or_default(),
            None => &[],
        }
    }

    /// Takes in a list with one user.
    pub(crate) fn insert(&mut self, addresses: &[Address]) -> ListNumber {
        let Some(first) = addresses.first() else { return NONE };
        let number = self.free.pop().unwrap_or_else(|| u32::try_from(self.lists.len()).unwrap_or(NONE));
        let second = addresses.get(1).unwrap_or(first);
        let length = u8::try_from(addresses.len()).ok().filter(|n| usize::from(*n) <= SHORT).unwrap_or(LONG);
        let list = List { first: [*first, *second], length, users: 1 };
        match usize::try_from(number).ok().and_then(|place| self.lists.get_mut(place)) {
            Some(place) => *place = list,
            None => self.lists.push(list),
        }
        if length == LONG {
            self.long.insert(number, addresses.into());
        }
        number
    }

    /// One more uses it.
    pub(crate) fn share(&mut self, number: ListNumber) -> ListNumber {
        if let Some(list) = self.list_mut(number) {
            list.users = list.users.saturating_add(1);
        }
        number
    }

    /// One less uses it; what nobody uses is dropped.
    pub(crate) fn release(&mut self, number: ListNumber) {
        let Some(list) = self.list_mut(number) else { return };
        list.users = list.users.saturating_sub(1);
        if list.users == 0 {
            list.length = 0;
            self.long.remove(&number);
            self.free.push(number);
        }
    }

    fn list(&self, number: ListNumber) -> Option<&List> {
        usize::try_from(number).ok().and_then(|place| self.lists.get(place))
    }

    fn list_mut(&mut self, number: ListNumber) -> Option<&mut List> {
        usize::try_from(number).ok().and_then(|place| self.lists.get_mut(place))
    }
}
