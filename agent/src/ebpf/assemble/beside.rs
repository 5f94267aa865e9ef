//! What is told of tuples beside their flows, by drops and by sockets, and the flow that each of that goes to. Pure.

use super::sample::{end, point};
use super::tuple::Tuple;
use super::{Surroundings, has_second_report, is_host, opposite};
use crate::abi::{self, Flow, Key};
use crate::ebpf::capture::Drained;
use std::collections::{HashMap, HashSet};
use weir_schemas::raw::{End, Point};

/// What is told of one tuple.
#[derive(Default)]
pub(super) struct Told {
    /// Place of what its socket says.
    pub(super) tcp: Option<usize>,
    /// Places of its drops.
    pub(super) drops: Vec<usize>,
    best: Option<Best>,
}

/// The report that stands for a tuple best.
#[derive(Clone, Copy)]
struct Best {
    rank: (bool, bool),
    flow: usize,
    /// Whether it is the second report of its flow.
    second: bool,
}

/// All that is told.
pub(super) struct Beside(HashMap<Tuple, Told>);

impl Beside {
    /// Finds each tuple's flow.
    pub(super) fn of(drained: &Drained, returned: &HashSet<Tuple>, node: &impl Surroundings) -> Self {
        let mut all: HashMap<Tuple, Told> = HashMap::new();
        for (place, (key, _)) in drained.tcp.iter().enumerate() {
            all.entry(Tuple::of_tcp(key)).or_default().tcp = Some(place);
        }
        for (place, (key, _)) in drained.drops.iter().enumerate() {
            all.entry(Tuple::of_drop(key)).or_default().drops.push(place);
        }
        if all.is_empty() {
            return Self(all);
        }
        for (index, (key, flow)) in drained.flows.iter().enumerate() {
            let Some(told) = all.get_mut(&Tuple::of_key(key)) else { continue };
            for (rank, second) in ranks(key, flow, returned, node) {
                if told.best.is_none_or(|best| rank < best.rank) {
                    told.best = Some(Best { rank, flow: index, second });
                }
            }
        }
        Self(all)
    }

    /// What goes to one of the reports of a flow.
    pub(super) fn of_flow(&self, key: &Key, flow: usize, second: bool) -> Option<&Told> {
        if self.0.is_empty() {
            return None;
        }
        let told = self.0.get(&Tuple::of_key(key))?;
        told.best.is_some_and(|best| (best.flow, best.second) == (flow, second)).then_some(told)
    }

    /// What is told of a tuple that no flow has.
    pub(super) fn lonely(&self, tuple: &Tuple) -> Option<&Told> {
        self.0.get(tuple).filter(|told| told.best.is_none())
    }
}

/// The ranks of a flow's reports, the second one first.
fn ranks(
    key: &Key,
    flow: &Flow,
    returned: &HashSet<Tuple>,
    node: &impl Surroundings,
) -> impl Iterator<Item = ((bool, bool), bool)> {
    let host = is_host(key, flow, node.interface(flow.ifindex).1, returned, node);
    let end = end(key.hook);
    let second = (host && has_second_report(key)).then(|| (rank(Point::Host, opposite(end)), true));
    let first = rank(point(key, flow.flags & abi::FLOW_UNDERLAY != 0, host), end);
    second.into_iter().chain([(first, false)])
}

/// Source reports before destination reports, and both before what only passed through.
fn rank(point: Point, end: End) -> (bool, bool) {
    (matches!(point, Point::Transit | Point::Underlay), end == End::Destination)
}
