//! The truth: which pod held which address when, to the millisecond.

use crate::random::Random;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use weir_flow::{Address, Millis};

/// Nodes; each gives its pods the addresses of its own slots.
pub(crate) const NODES: usize = 4;
/// Slots of a node: an IPv4 address and the IPv6 address that a pod with both gets beside it.
pub(crate) const SLOTS: usize = 6;
/// When the first pod is made.
pub(crate) const BEGIN: Millis = 1_700_000_000_000;

/// How a pod ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    /// It is asked to end, and its node tells when it has.
    Deleted,
    /// It ends by itself, as a Job's does.
    Completed,
    /// Its node evicts it.
    Evicted,
    /// It is deleted without waiting for its node, while it runs.
    Forced,
    /// It is asked to end, and then deleted without waiting for its node.
    DeletedThenForced,
    /// Its node is taken for lost: the control plane calls it failed and deletes it, while it runs.
    Orphaned,
    /// Its sandbox is lost and made anew with another address, while the API goes on showing the old one for a while.
    Moved,
}

/// A time during which a pod held the addresses of a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    pub(crate) slot: usize,
    pub(crate) begin: Millis,
    /// Exclusive.
    pub(crate) end: Millis,
    /// When its container started and ended.
    pub(crate) started: Millis,
    pub(crate) finished: Millis,
    /// When the kubelet noticed that its sandbox was ready.
    pub(crate) noticed: Millis,
}

#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) node: usize,
    pub(crate) dual: bool,
    pub(crate) created: Millis,
    pub(crate) scheduled: Millis,
    /// When somebody asked for its end.
    pub(crate) asked: Millis,
    pub(crate) ending: Ending,
    /// More than one where its sandbox was made anew, with another address.
    pub(crate) holds: Vec<Hold>,
}

impl Pod {
    pub(crate) fn end(&self) -> Millis {
        self.holds.last().map_or(Millis::MAX, |hold| hold.end)
    }

    /// How it gave back the addresses of a slot.
    pub(crate) fn ending_at(&self, slot: usize) -> Ending {
        let last = self.holds.last().is_some_and(|hold| hold.slot == slot);
        if last { self.ending } else { Ending::Moved }
    }

    pub(crate) fn addresses(&self, slot: usize) -> Vec<Address> {
        let [four, six] = slot_addresses(slot);
        if self.dual { vec![four, six] } else { vec![four] }
    }
}

/// The addresses of a slot.
pub(crate) fn slot_addresses(slot: usize) -> [Address; 2] {
    let (node, place) = (slot / SLOTS + 1, slot % SLOTS + 10);
    [format!("10.128.{node}.{place}").parse().unwrap(), format!("fd00:10:128:{node}::{place}").parse().unwrap()]
}

/// Everything that happens: `switches` times an address goes from one pod to the next.
pub(crate) struct Truth {
    pub(crate) pods: Vec<Pod>,
    /// By slot, in the order of time: who held it (a number of `pods`), and which of that pod's holds it was.
    pub(crate) slots: Vec<Vec<(usize, usize)>>,
    pub(crate) end: Millis,
}

impl Truth {
    pub(crate) fn new(random: &mut Random, switches: usize) -> Self {
        let all = NODES * SLOTS;
        let mut truth = Self { pods: Vec::new(), slots: vec![Vec::new(); all], end: BEGIN };
        let mut free: BinaryHeap<Reverse<(Millis, usize)>> =
            (0..all).map(|slot| Reverse((BEGIN + random.between(10_000, 30_000), slot))).collect();
        let mut moving: Vec<usize> = Vec::new();
        for _ in 0..switches + all {
            let Some(Reverse((since, slot))) = free.pop() else { break };
            let begin = since + random.pick(&[0, 1_000, 5_000]);
            let hold = hold(random, slot, begin);
            // A sandbox that is made anew gets another address: its own could come back only after another pod had it,
            // within the time of one report.
            let fits = |pod: &usize| {
                let last = truth.pods[*pod].holds[0];
                truth.pods[*pod].node == slot / SLOTS && last.slot != slot && last.end < begin
            };
            let pod = match moving.iter().position(fits) {
                Some(place) => moving.swap_remove(place),
                None => truth.add(random, slot / SLOTS, begin),
            };
            truth.pods[pod].holds.push(hold);
            truth.slots[slot].push((pod, truth.pods[pod].holds.len() - 1));
            if truth.pods[pod].holds.len() == 1 && random.percent(3) {
                moving.push(pod);
            }
            free.push(Reverse((hold.end, slot)));
            truth.end = truth.end.max(hold.end);
        }
        for pod in &mut truth.pods {
            end(random, pod);
        }
        truth
    }

    fn add(&mut self, random: &mut Random, node: usize, begin: Millis) -> usize {
        let created = begin - random.between(200, 8_000);
        let number = self.pods.len();
        self.pods.push(Pod {
            name: format!("pod-{number}"),
            uid: format!("uid-{number}"),
            node,
            dual: random.percent(33),
            created,
            scheduled: random.between(created, begin),
            asked: Millis::MAX,
            ending: random.pick(&[
                Ending::Deleted,
                Ending::Deleted,
                Ending::Deleted,
                Ending::Completed,
                Ending::Completed,
                Ending::Evicted,
                Ending::Forced,
                Ending::DeletedThenForced,
                Ending::Orphaned,
            ]),
            holds: Vec::new(),
        });
        number
    }

    /// Who held an address at a time.
    pub(crate) fn holder(&self, slot: usize, six: bool, at: Millis) -> Option<&Pod> {
        let holders = &self.slots[slot];
        let after = holders.partition_point(|(pod, hold)| self.pods[*pod].holds[*hold].begin <= at);
        let (pod, hold) = *holders.get(after.checked_sub(1)?)?;
        let pod = &self.pods[pod];
        (at < pod.holds[hold].end && (pod.dual || !six)).then_some(pod)
    }
}

fn hold(random: &mut Random, slot: usize, begin: Millis) -> Hold {
    let length = match random.between(1, 100) {
        1..=20 => random.between(300, 3_000),
        21..=80 => random.between(3_000, 60_000),
        _ => random.between(60_000, 240_000),
    };
    let end = begin + length;
    let finished = end - random.between(0, 1_500.min(length / 3));
    let started = begin + random.between(0, 2_000.min(length / 3));
    Hold { slot, begin, end, started, finished, noticed: begin + random.between(0, 1_500) }
}

/// When somebody asked for the end of a pod whose end is known.
fn end(random: &mut Random, pod: &mut Pod) {
    let Some(last) = pod.holds.last() else { return };
    let earliest = last.begin;
    pod.asked = match pod.ending {
        Ending::Deleted | Ending::DeletedThenForced => {
            random.between((last.finished - 30_000).max(earliest), last.finished)
        }
        Ending::Forced => random.between((last.end - 30_000).max(earliest), last.end),
        Ending::Orphaned => random.between((last.end - 60_000).max(earliest), last.end),
        Ending::Completed | Ending::Evicted | Ending::Moved => Millis::MAX,
    };
}
