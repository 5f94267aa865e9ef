//! Networks in CIDR notation over time.

use crate::holders::{Holders, Slot};
use crate::span::Span;
use foldhash::HashMap;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use weir_flow::{Address, Millis};

/// Networks, by family and length of prefix, and who held them. Cost of a look-up: one hash per length in use.
#[derive(Debug, Default)]
pub(crate) struct Networks {
    lengths: BTreeMap<(bool, u8), HashMap<u128, Holders>>,
}

fn bits(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(a) => (true, u128::from(u32::from(a))),
        IpAddr::V6(a) => (false, u128::from(a)),
    }
}

fn masked(four: bool, value: u128, length: u8) -> u128 {
    let width: u32 = if four { 32 } else { 128 };
    let drop = width.saturating_sub(u32::from(length));
    value.checked_shr(drop).unwrap_or(0).checked_shl(drop).unwrap_or(0)
}

impl Networks {
    /// Enters a holder of a network, or takes it out.
    pub(crate) fn hold(&mut self, network: &IpNet, span: Span, slot: Slot, enter: bool) {
        if enter { self.insert(network, span, slot) } else { self.remove(network, span, slot) }
    }

    fn insert(&mut self, network: &IpNet, span: Span, slot: Slot) {
        let (four, value) = bits(network.network());
        let by_value = self.lengths.entry((four, network.prefix_len())).or_default();
        by_value.entry(masked(four, value, network.prefix_len())).or_default().insert(span, slot);
    }

    fn remove(&mut self, network: &IpNet, span: Span, slot: Slot) {
        let (four, value) = bits(network.network());
        let key = (four, network.prefix_len());
        let Some(by_value) = self.lengths.get_mut(&key) else { return };
        let value = masked(four, value, network.prefix_len());
        if let Some(holders) = by_value.get_mut(&value) {
            holders.remove(span, slot);
            if holders.is_empty() {
                by_value.remove(&value);
            }
        }
        if by_value.is_empty() {
            self.lengths.remove(&key);
        }
    }

    /// Whether some network that contains the address satisfies the condition on one of its possible holders.
    pub(crate) fn any(&self, address: Address, at: Millis, condition: impl Fn(Span) -> bool) -> bool {
        let (four, value) = bits(address.ip());
        self.lengths.iter().filter(|((family, _), _)| *family == four).any(|((_, length), by_value)| {
            by_value
                .get(&masked(four, value, *length))
                .is_some_and(|holders| holders.possible(at).any(|(span, _)| condition(span)))
        })
    }
}
