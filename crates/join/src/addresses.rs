//! Addresses as numbers.

use crate::index::Key;
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

/// The two halves of an address's number.
pub(crate) fn key(address: Address) -> Key {
    match address.ip() {
        IpAddr::V4(a) => (0, 0xffff_0000_0000 | u64::from(u32::from(a))),
        IpAddr::V6(a) => {
            let [a, b, c, d, e, f, g, h, rest @ ..] = a.octets();
            (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes(rest))
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
