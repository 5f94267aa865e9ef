//! A map by address: IPv4 addresses, which are most, take four bytes of a key.

use foldhash::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use weir_flow::Address;

/// An address as a number: IPv4 in its IPv4-mapped form, which no [`Address`] has otherwise.
pub(crate) fn number(address: Address) -> u128 {
    match address.ip() {
        IpAddr::V4(a) => u128::from(a.to_ipv6_mapped()),
        IpAddr::V6(a) => u128::from(a),
    }
}

/// The address of a number.
pub(crate) fn address_of(number: u128) -> Address {
    Address::new(IpAddr::V6(Ipv6Addr::from(number)))
}

/// A map by address.
#[derive(Debug)]
pub(crate) struct AddressMap<V> {
    four: HashMap<u32, V>,
    /// By the two halves, because a number of 128 bits would align the whole entry to 16 bytes.
    six: HashMap<(u64, u64), V>,
}

impl<V> Default for AddressMap<V> {
    fn default() -> Self {
        Self { four: HashMap::default(), six: HashMap::default() }
    }
}

/// The two halves of a number.
fn halves(number: u128) -> (u64, u64) {
    let [a, b, c, d, e, f, g, h, rest @ ..] = number.to_be_bytes();
    (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes(rest))
}

impl<V: Default> AddressMap<V> {
    pub(crate) fn get(&self, address: Address) -> Option<&V> {
        match address.ip() {
            IpAddr::V4(a) => self.four.get(&u32::from(a)),
            IpAddr::V6(a) => self.six.get(&halves(u128::from(a))),
        }
    }

    /// Changes what an address has, an empty value at first; what is empty afterwards is taken out.
    pub(crate) fn change(&mut self, address: Address, change: impl FnOnce(&mut V), is_empty: impl FnOnce(&V) -> bool) {
        match address.ip() {
            IpAddr::V4(a) => change_entry(&mut self.four, u32::from(a), change, is_empty),
            IpAddr::V6(a) => change_entry(&mut self.six, halves(u128::from(a)), change, is_empty),
        }
    }
}

/// Changes an entry of a map, an empty value at first; what is empty afterwards is taken out.
pub(crate) fn change_entry<K: Clone + Eq + std::hash::Hash, V: Default>(
    map: &mut HashMap<K, V>,
    key: K,
    change: impl FnOnce(&mut V),
    is_empty: impl FnOnce(&V) -> bool,
) {
    use std::collections::hash_map::Entry;
    match map.entry(key) {
        Entry::Occupied(mut entry) => {
            change(entry.get_mut());
            if is_empty(entry.get()) {
                entry.remove();
            }
        }
        Entry::Vacant(entry) => {
            let mut value = V::default();
            change(&mut value);
            if !is_empty(&value) {
                entry.insert(value);
            }
        }
    }
}
