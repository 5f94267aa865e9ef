//! Networks in CIDR notation over time.

use crate::addresses::{change_entry, number};
use crate::holders::{Holders, View};
use foldhash::HashMap;
use ipnet::{IpNet, Ipv4Net};
use std::collections::BTreeMap;
use std::net::IpAddr;
use weir_flow::{Address, Millis};

#[cfg(test)]
mod tests;

/// Length of the prefix under which IPv4 addresses stand as IPv4-mapped ones.
const MAPPED: u8 = 96;

/// Networks, by family and length of prefix, and who held them. Cost of a look-up: one hash per length in use.
#[derive(Debug)]
pub(crate) struct Networks<T> {
    /// By whether it is IPv4 and the length in IPv4-mapped form; IPv6 networks never contain IPv4 addresses.
    lengths: BTreeMap<(bool, u8), HashMap<u128, Holders<T>>>,
}

impl<T> Default for Networks<T> {
    fn default() -> Self {
        Self { lengths: BTreeMap::new() }
    }
}

fn masked(value: u128, length: u8) -> u128 {
    let drop = 128u32.saturating_sub(u32::from(length));
    value.checked_shr(drop).unwrap_or(0).checked_shl(drop).unwrap_or(0)
}

/// A network in the one form in which it is kept: without host bits, and as IPv4 where it lies in `::ffff:0:0/96`,
/// because an [`Address`] is IPv4 then.
pub(crate) fn canonical(network: IpNet) -> IpNet {
    let network = network.trunc();
    let IpNet::V6(six) = network else { return network };
    let four = six.network().to_ipv4_mapped().zip(six.prefix_len().checked_sub(MAPPED));
    four.and_then(|(address, length)| Ipv4Net::new(address, length).ok()).map_or(network, IpNet::V4)
}

/// Family, length and number of a network.
fn place(network: &IpNet) -> ((bool, u8), u128) {
    match network {
        IpNet::V4(four) => {
            let length = MAPPED.saturating_add(four.prefix_len());
            ((true, length), masked(number(Address::new(IpAddr::V4(four.network()))), length))
        }
        IpNet::V6(six) => ((false, six.prefix_len()), masked(u128::from(six.network()), six.prefix_len())),
    }
}

impl<T: PartialEq> Networks<T> {
    /// Changes the holders of a network.
    pub(crate) fn change(&mut self, network: &IpNet, change: impl FnOnce(&mut Holders<T>)) {
        let (length, value) = place(network);
        let by_value = self.lengths.entry(length).or_default();
        change_entry(by_value, value, change, Holders::is_empty);
        if by_value.is_empty() {
            self.lengths.remove(&length);
        }
    }

    /// The holders of each network that contains the address, longest prefix first.
    pub(crate) fn containing(&self, address: Address) -> impl Iterator<Item = View<'_, T>> {
        let value = number(address);
        let four = matches!(address.ip(), IpAddr::V4(_));
        self.lengths
            .range((four, 0)..=(four, 128))
            .rev()
            .filter_map(move |((_, length), by_value)| by_value.get(&masked(value, *length)).map(Holders::view))
    }

    /// Whether somebody may have held a network that contains the address.
    pub(crate) fn any_possible(&self, address: Address, at: Millis) -> bool {
        self.containing(address).any(|holders| holders.possible(at).next().is_some())
    }

    /// Whether somebody certainly held a network that contains the address.
    pub(crate) fn any_certain(&self, address: Address, at: Millis) -> bool {
        self.containing(address).any(|holders| holders.any_certain(at))
    }
}
