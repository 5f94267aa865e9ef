//! What clients asked DNS servers, from the payloads that the kernel programs handed on, by agents that follow one another. Pure.
//!
//! An agent leaves its successor the payloads from the first one on that is still needed. What became of a question before a known
//! moment is told by then: the successor reads it again, for questions that wait, and passes over it.

use super::inherit::Grid;
use super::messages;
use crate::abi::Message;
use crate::dns::{DnsCounts, Tracker, Unnamed};
use crate::tick::Told;
use weir_flow::Millis;

#[cfg(test)]
mod tests;

/// Pairs questions with answers, and knows what of the payloads is told of.
#[derive(Debug)]
pub struct Questions {
    tracker: Tracker,
    /// Payloads read since their ring buffer was made.
    read: u64,
    /// How many of them are of the tick after the running one, and where the first of those begins.
    ahead: (u64, Option<u64>),
}

/// What a predecessor's payloads tell of one window.
#[derive(Clone, Debug, Default)]
pub struct Answered {
    /// The window's start, ms since the epoch.
    pub window: Millis,
    /// Time of the first payload and of the last one, ns of the kernel's clock.
    pub span: (u64, u64),
    /// The samples.
    pub asked: Vec<Unnamed>,
    /// What is told once these are.
    pub told: Told,
}

impl Questions {
    /// At most `limit` questions wait, and as many different ones are in a tick.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { tracker: Tracker::new(limit), read: 0, ahead: (0, None) }
    }

    /// What was counted since the start.
    #[must_use]
    pub fn counts(&self) -> DnsCounts {
        self.tracker.counts()
    }

    /// Takes a payload. What came at `boundary` or later is of the tick after the running one. `bridged` says whether its interface is
    /// a pod's on a bridge.
    pub fn take(&mut self, message: &Message, bridged: bool, boundary: u64) {
        self.read += 1;
        if message.time >= boundary {
            self.ahead.0 += 1;
            self.ahead.1.get_or_insert(message.position);
        }
        self.observe(message, bridged, boundary);
    }

    fn observe(&mut self, message: &Message, bridged: bool, boundary: u64) {
        let (one, other) = messages::seen(message, bridged);
        self.tracker.observe(&one, boundary);
        if let Some(other) = other {
            self.tracker.observe(&other, boundary);
        }
    }

    /// Ends the running tick at `boundary`, as it was given to [`Questions::take`]; payloads were read up to `position`. The samples,
    /// and what is told once they are.
    pub fn end_tick(&mut self, boundary: u64, position: u64) -> (Vec<Unnamed>, Told) {
        let asked = self.tracker.end_tick(boundary);
        (asked, self.told(boundary, position))
    }

    /// Ends the last tick: what still waits has no answer.
    pub fn finish(&mut self) -> Vec<Unnamed> {
        self.tracker.finish()
    }

    fn told(&mut self, until: u64, position: u64) -> Told {
        let (ahead, first) = std::mem::take(&mut self.ahead);
        let needed = first.into_iter().chain(self.tracker.first_untold()).min();
        Told { until, read: self.read - ahead, position: needed.unwrap_or(position).min(position) }
    }

    /// Takes what a predecessor left, all that was read up to `position`, of which everything before `before.until` is told. What it
    /// tells of each window, oldest first; the running tick goes on from there.
    pub fn inherit(
        &mut self,
        mut left: Vec<Message>,
        is_bridged: impl Fn(u32) -> bool,
        before: Told,
        position: u64,
        grid: &Grid,
    ) -> Vec<Answered> {
        // Processors finish what they began to write in any order.
        left.sort_by_key(|message| message.time);
        let (again, mut rest) = left.split_at(left.partition_point(|message| message.time < before.until));
        for message in again {
            self.observe(message, is_bridged(message.ifindex), before.until);
        }
        self.tracker.pass_over(before.until);
        self.read = before.read;
        let mut answered = Vec::new();
        while let (Some(first), Some(end)) = (rest.first(), rest.last()) {
            let window = grid.window_of(first.time);
            let border = grid.kernel(window.saturating_add(grid.window));
            let (own, later) = rest.split_at(rest.partition_point(|message| message.time < border));
            for message in own {
                self.take(message, is_bridged(message.ifindex), u64::MAX);
            }
            let until = border.min(end.time + 1);
            let asked = self.tracker.end_tick(until);
            // Before all of it is told nothing need be given back.
            let told = Told { until, read: self.read, position: 0 };
            let last = own.last().unwrap_or(first).time;
            answered.push(Answered { window, span: (first.time, last), asked, told });
            rest = later;
        }
        if let Some(last) = answered.last_mut() {
            last.told = self.told(last.told.until, position);
        }
        answered
    }
}
