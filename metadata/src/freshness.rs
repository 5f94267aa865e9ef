//! What can be promised: how far the watches have certainly told everything.
//!
//! A probe is a consistent read of every kind that began at a known time; it answers the version that the API server held
//! then. Once the watch of every kind has reached the version that the probe found for it, everything that the API
//! server held when the probe began has arrived. A probe's answer alone would not do: the watches are other connections,
//! and one of them may be stuck.

use std::collections::VecDeque;
use weir_flow::Millis;
use weir_flow::time::NEVER;
use weir_schemas::metadata::Proof;

#[cfg(test)]
mod tests;

/// Probes that wait for the watches; older ones are superseded.
const PROBES: usize = 32;

/// What a watch has told and what has not entered the history yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The watch's number.
    pub kind: usize,
    /// The lowest version that has not entered.
    pub version: u64,
    /// The earliest arrival of what has not entered, ms since the epoch.
    pub arrival: Millis,
}

/// How far `N` watches and the probes are.
#[derive(Debug)]
pub struct Freshness<const N: usize> {
    reached: [Option<u64>; N],
    alive: [Millis; N],
    probes: VecDeque<(Millis, [u64; N])>,
    answered: Millis,
    began: Millis,
}

impl<const N: usize> Freshness<N> {
    /// Nothing is known yet at `now`.
    #[must_use]
    pub fn new(now: Millis) -> Self {
        Self { reached: [None; N], alive: [NEVER; N], probes: VecDeque::new(), answered: NEVER, began: now }
    }

    /// The watch of a kind showed at `now` that it has told everything up to a version.
    pub fn reached(&mut self, kind: usize, version: u64, now: Millis) {
        if let (Some(reached), Some(alive)) = (self.reached.get_mut(kind), self.alive.get_mut(kind)) {
            *reached = (*reached).max(Some(version));
            *alive = (*alive).max(now);
        }
    }

    /// A probe that began at `started` found these versions.
    pub fn probed(&mut self, started: Millis, found: [u64; N], now: Millis) {
        self.answered = self.answered.max(now);
        self.probes.push_back((started, found));
        if self.probes.len() > PROBES {
            self.probes.pop_front();
        }
    }

    /// The time up to which everything has arrived, and how that is known: the last probe that all watches have reached;
    /// or, while no probe has been answered for three times `delay` though every watch is alive, `delay` before the time
    /// at which the most silent of them last showed so. What is `held` counts as not told yet.
    pub fn proven(&mut self, now: Millis, delay: Millis, held: Option<Held>) -> Option<(Millis, Proof)> {
        let is_held = |kind: usize, needed: u64| held.is_some_and(|held| held.kind == kind && needed >= held.version);
        let passed = |found: &[u64; N]| {
            self.reached.iter().zip(found).enumerate().all(|(kind, (reached, needed))| {
                reached.is_some_and(|reached| reached >= *needed) && !is_held(kind, *needed)
            })
        };
        if let Some(last) = self.probes.iter().rposition(|(_, found)| passed(found)) {
            let started = self.probes.iter().take(last + 1).map(|(started, _)| *started).max();
            self.probes.drain(..=last);
            return started.map(|started| (started, Proof::Probed));
        }
        let unanswered = now.saturating_sub(self.answered.max(self.began)) > delay.saturating_mul(3);
        let silent = self.alive.iter().copied().chain(held.map(|held| held.arrival)).min().unwrap_or(NEVER);
        (unanswered && silent != NEVER).then(|| (silent.saturating_sub(delay), Proof::Assumed))
    }

    /// When each watch last showed that it is alive, the most silent one.
    #[must_use]
    pub fn most_silent(&self) -> Millis {
        self.alive.iter().copied().min().unwrap_or(NEVER)
    }
}
