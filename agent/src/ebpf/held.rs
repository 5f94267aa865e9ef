//! What was read of a tick before it ended, until the rest of it is there. Pure.

use super::capture::Drained;
use crate::abi::{COUNTERS, Count, DropKey, Dropped, Flow, Key, Tcp, TcpKey, Times};
use std::collections::HashMap;

#[cfg(test)]
mod tests;

/// Adds up what a buffer held, several times in a tick.
#[derive(Debug)]
pub struct Held {
    limit: usize,
    flows: HashMap<Key, Flow>,
    drops: HashMap<DropKey, Dropped>,
    tcp: HashMap<TcpKey, Tcp>,
    beyond_table: u64,
    counters: [Count; COUNTERS],
}

impl Held {
    /// With room for about `limit` flows.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            flows: HashMap::new(),
            drops: HashMap::new(),
            tcp: HashMap::new(),
            beyond_table: 0,
            counters: [Count::default(); COUNTERS],
        }
    }

    /// Whether more may come before the tick's end.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.flows.len() < self.limit
    }

    /// Takes a part of the running tick.
    pub fn add(&mut self, drained: Drained) {
        for (key, flow) in drained.flows {
            self.flows.entry(key).and_modify(|known| merge_flow(known, &flow)).or_insert(flow);
        }
        for (key, drop) in drained.drops {
            self.drops.entry(key).and_modify(|known| merge_drop(known, &drop)).or_insert(drop);
        }
        for (key, tcp) in drained.tcp {
            self.tcp.entry(key).and_modify(|known| merge_tcp(known, &tcp)).or_insert(tcp);
        }
        self.beyond_table = self.beyond_table.saturating_add(drained.beyond_table);
        for (sum, more) in self.counters.iter_mut().zip(drained.counters) {
            sum.packets = sum.packets.saturating_add(more.packets);
            sum.bytes = sum.bytes.saturating_add(more.bytes);
        }
    }

    /// The whole tick, with its last part.
    #[must_use]
    pub fn with(&mut self, last: Drained) -> Drained {
        if self.counters.iter().all(|count| count.packets == 0) {
            return last;
        }
        self.add(last);
        self.take()
    }

    /// All that was added.
    #[must_use]
    pub fn take(&mut self) -> Drained {
        Drained {
            flows: std::mem::take(&mut self.flows).into_iter().collect(),
            drops: std::mem::take(&mut self.drops).into_iter().collect(),
            tcp: std::mem::take(&mut self.tcp).into_iter().collect(),
            beyond_table: std::mem::take(&mut self.beyond_table),
            counters: std::mem::take(&mut self.counters),
        }
    }
}

/// Makes one of entries of the same key. The kernel programs say which of them may have another beside them.
pub(super) fn unite(flows: &mut Vec<(Key, Flow)>) {
    let mut places: HashMap<Key, Option<usize>> =
        flows.iter().filter(|(_, flow)| flow.again != 0).map(|(key, _)| (*key, None)).collect();
    if places.is_empty() {
        return;
    }
    let mut second = Vec::new();
    for index in 0..flows.len() {
        let (key, later) = flows[index];
        let Some(place) = places.get_mut(&key) else { continue };
        let Some(first) = *place else {
            *place = Some(index);
            flows[index].1.again = 0;
            continue;
        };
        let known = &mut flows[first].1;
        // What is decided once is as it was for the flow's first packet.
        let (decided, other) = if later.first < known.first { (later, *known) } else { (*known, later) };
        *known = Flow { again: 0, ..decided };
        merge_flow(known, &other);
        second.push(index);
    }
    // From the end, so that what takes an entry's place is none of these.
    for index in second.into_iter().rev() {
        flows.swap_remove(index);
    }
}

fn merge_flow(known: &mut Flow, later: &Flow) {
    known.bytes = known.bytes.saturating_add(later.bytes);
    known.packets = known.packets.saturating_add(later.packets);
    known.first = known.first.min(later.first);
    known.last = known.last.max(later.last);
    known.tcp_flags |= later.tcp_flags;
    known.started = known.started.saturating_add(later.started);
    known.ended = known.ended.saturating_add(later.ended);
    known.zero_windows = known.zero_windows.saturating_add(later.zero_windows);
    known.resets = known.resets.saturating_add(later.resets);
    merge_times(&mut known.handshake, &later.handshake);
    if later.opener != 0 {
        known.opener = later.opener;
        known.opened = later.opened;
    }
    if later.process[0] != 0 {
        known.process = later.process;
    }
}

fn merge_drop(known: &mut Dropped, later: &Dropped) {
    known.packets = known.packets.saturating_add(later.packets);
    known.bytes = known.bytes.saturating_add(later.bytes);
    known.first = known.first.min(later.first);
    known.last = known.last.max(later.last);
    known.started = known.started.saturating_add(later.started);
    if later.opener != 0 {
        known.opener = later.opener;
        known.opened = later.opened;
    }
}

fn merge_tcp(known: &mut Tcp, later: &Tcp) {
    merge_times(&mut known.round_trip, &later.round_trip);
    known.retransmits = known.retransmits.saturating_add(later.retransmits);
}

fn merge_times(known: &mut Times, later: &Times) {
    if later.count == 0 {
        return;
    }
    known.min = if known.count == 0 { later.min } else { known.min.min(later.min) };
    known.max = known.max.max(later.max);
    known.sum = known.sum.saturating_add(later.sum);
    known.count = known.count.saturating_add(later.count);
}
