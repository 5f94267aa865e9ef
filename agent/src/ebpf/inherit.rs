//! Ticks of what a predecessor left in the maps. Pure.

use super::assemble::Tuple;
use super::capture::Drained;
use super::capture::ledger::Inherited;
use super::questions::Answered;
use crate::abi::{COUNT_SEEN, COUNTERS, Count, Flow, Key};
use crate::dns::Unnamed;
use crate::tick::Mark;
use std::collections::{BTreeMap, HashMap};
use weir_flow::Millis;
use weir_flow::time::floor_to;

#[cfg(test)]
mod tests;

/// What was left of one window.
#[derive(Clone, Debug)]
pub struct Part {
    /// Start of its first tick, ms since the epoch.
    pub start: Millis,
    /// How many ticks it spans; never across a window's border.
    pub ticks: u32,
    /// What was counted, with a share of the counters: all parts together have them all.
    pub drained: Drained,
    /// What was asked.
    pub asked: Vec<Unnamed>,
    /// The counters once this part is published.
    pub mark: Mark,
}

/// What there is of one window.
#[derive(Default)]
struct Window {
    flows: Vec<(Key, Flow)>,
    answered: Option<Answered>,
}

/// How ticks lie: their length and that of windows in ms, and wall clock minus the kernel's in ns.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// Length of a tick.
    pub tick: Millis,
    /// Length of a window.
    pub window: Millis,
    /// Wall clock minus the kernel's clock, ns.
    pub offset: i128,
}

impl Grid {
    fn wall(&self, time: u64) -> Millis {
        Millis::try_from((i128::from(time) + self.offset).div_euclid(super::run::NANOS)).unwrap_or(Millis::MAX)
    }

    /// The start of the window that a time of the kernel's clock is in, ms since the epoch.
    pub(super) fn window_of(&self, time: u64) -> Millis {
        floor_to(self.wall(time), self.window)
    }

    /// A time in ns of the kernel's clock.
    pub(super) fn kernel(&self, time: Millis) -> u64 {
        u64::try_from(i128::from(time) * super::run::NANOS - self.offset).unwrap_or(0)
    }
}

/// The parts of what was left, and of what payloads told, oldest first; at least one. No tick was told apart while nobody was there to set the next
/// one's end, so that a flow is of the window of its last packet, whole.
#[must_use]
pub fn parts(inherited: Inherited, answered: Vec<Answered>, grid: Grid, now: u64) -> Vec<Part> {
    let Inherited { drained, settled, told, .. } = inherited;
    let Drained { flows, drops, tcp, beyond_table, counters } = drained;
    let mut windows: BTreeMap<Millis, Window> = BTreeMap::new();
    for (key, flow) in flows {
        windows.entry(grid.window_of(flow.last.max(flow.first))).or_default().flows.push((key, flow));
    }
    for one in answered {
        let window = windows.entry(one.window).or_default();
        window.answered = Some(one);
    }
    if windows.is_empty() {
        windows.insert(grid.window_of(now), Window::default());
    }
    let mut parts: Vec<Part> = Vec::with_capacity(windows.len());
    let mut told = told;
    for (window, Window { mut flows, answered }) in windows {
        let (start, ticks) = span(window, &flows, answered.as_ref(), grid, now);
        let begin = grid.kernel(start);
        for (_, flow) in &mut flows {
            flow.first = flow.first.max(begin);
            flow.last = flow.last.max(flow.first);
        }
        let mut own = [Count::default(); COUNTERS];
        own[COUNT_SEEN] = seen(&flows);
        let drained = Drained { flows, counters: own, ..Drained::default() };
        told = answered.as_ref().map_or(told, |answered| answered.told);
        let asked = answered.map(|answered| answered.asked).unwrap_or_default();
        parts.push(Part { start, ticks, drained, asked, mark: Mark { told, ..settled } });
    }
    // What is in no flow (losses) goes with the first part; drops and sockets' times with the last that has their flow.
    let later: Vec<Count> = parts.iter().skip(1).map(|part| part.drained.counters[COUNT_SEEN]).collect();
    if let Some(first) = parts.first_mut() {
        first.drained.counters = counters;
        for count in later {
            let seen = &mut first.drained.counters[COUNT_SEEN];
            seen.packets = seen.packets.saturating_sub(count.packets);
            seen.bytes = seen.bytes.saturating_sub(count.bytes);
        }
    }
    let flows = FlowsOf::of(&parts);
    for (key, drop) in drops {
        if let Some(part) = flows.part(&mut parts, &Tuple::of_drop(&key)) {
            part.drained.drops.push((key, drop));
        }
    }
    for (key, statistics) in tcp {
        if let Some(part) = flows.part(&mut parts, &Tuple::of_tcp(&key)) {
            part.drained.tcp.push((key, statistics));
        }
    }
    if let Some(last) = parts.last_mut() {
        last.drained.beyond_table = beyond_table;
    }
    let mut mark = settled;
    for part in &mut parts {
        mark = mark.plus(&part.drained.counters);
        part.mark.counts = mark.counts;
    }
    parts
}

/// The last part in which each flow is.
struct FlowsOf(HashMap<Tuple, usize>);

impl FlowsOf {
    fn of(parts: &[Part]) -> Self {
        let mut last = HashMap::new();
        for (place, part) in parts.iter().enumerate() {
            last.extend(part.drained.flows.iter().map(|(key, _)| (Tuple::of_key(key), place)));
        }
        Self(last)
    }

    /// The last part in which a flow is, or the last of all.
    fn part<'a>(&self, parts: &'a mut [Part], flow: &Tuple) -> Option<&'a mut Part> {
        let last = parts.len().checked_sub(1)?;
        parts.get_mut(self.0.get(flow).copied().unwrap_or(last))
    }
}

/// The ticks of a window that flows and payloads touch.
fn span(window: Millis, flows: &[(Key, Flow)], answered: Option<&Answered>, grid: Grid, now: u64) -> (Millis, u32) {
    let of_flows = flows.iter().map(|(_, flow)| (flow.first, flow.last.max(flow.first)));
    let touched = of_flows.chain(answered.map(|answered| answered.span));
    let (first, last) = touched.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1))).unwrap_or((now, now));
    let start = floor_to(grid.wall(first), grid.tick).max(window);
    let ticks = (floor_to(grid.wall(last), grid.tick) - start).max(0) / grid.tick + 1;
    (start, u32::try_from(ticks).unwrap_or(u32::MAX))
}

fn seen(flows: &[(Key, Flow)]) -> Count {
    flows.iter().fold(Count::default(), |sum, (_, flow)| Count {
        packets: sum.packets.saturating_add(flow.packets),
        bytes: sum.bytes.saturating_add(flow.bytes),
    })
}
