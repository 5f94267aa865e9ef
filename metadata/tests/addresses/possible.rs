//! What was told of every hold, and when that was known.

use crate::decide::{Decided, Delays, Told, decide};
use crate::kubelet::Write;
use crate::pods::{Ending, Truth};
use crate::replay::{ALL, Question, WATCH, known_before};
use weir_flow::Millis;

/// How many holders of an address before and after a time are looked at: each takes a third of a second at least, and
/// what is told of one is late by half a minute at most.
const NEAR: usize = 30;

/// What could be known of every address.
pub(crate) struct Known {
    slots: Vec<Vec<Told>>,
    delays: Delays,
}

fn second(time: Millis) -> Millis {
    time.div_euclid(1_000) * 1_000
}

impl Known {
    pub(crate) fn new(truth: &Truth, writes: &[(usize, Write)], outages: &[(Millis, Millis)], late: Millis) -> Self {
        let arrival =
            |at: Millis| outages.iter().find(|(from, to)| (*from..*to).contains(&at)).map_or(at, |(_, to)| *to);
        let unseen_since = |at: Millis| {
            known_before(outages.iter().find(|(from, to)| (*from..*to).contains(&at)).map_or(at, |(from, _)| *from))
        };
        let mut slots: Vec<Vec<Told>> = vec![Vec::new(); ALL];
        let mut of_pod: Vec<Vec<&Write>> = vec![Vec::new(); truth.pods.len()];
        writes.iter().for_each(|(pod, write)| of_pod[*pod].push(write));
        for (number, pod) in truth.pods.iter().enumerate() {
            let gone = of_pod[number].iter().find(|write| write.gone).map_or(Millis::MAX, |write| write.at);
            for (place, hold) in pod.holds.iter().enumerate() {
                // Another address shows that this one was given back, and so does that the pod is gone.
                let next = pod.holds.get(place + 1).and_then(|next| {
                    let shows =
                        |write: &&&Write| write.shown.report.is_some_and(|report| report.hold.begin == next.begin);
                    of_pod[number].iter().find(shows).map(|write| write.at)
                });
                let until = next.unwrap_or(Millis::MAX).min(gone);
                let mut told = Told::nothing(number, pod.dual, second(pod.scheduled));
                let mine = of_pod[number].iter().filter_map(|write| Some((write.at, write.shown.report?)));
                for (at, report) in mine.filter(|(_, report)| report.hold.begin == hold.begin) {
                    // What was shown and gone while nobody looked was never known.
                    let seen = arrival(at);
                    if seen > until {
                        continue;
                    }
                    if seen < told.shown {
                        told.shown = seen;
                        told.unshown = unseen_since(at);
                    }
                    let ready =
                        report.ready.filter(|(ready, _)| *ready).map_or(Millis::MAX, |(_, ready)| second(ready) + 999);
                    // A container that was restarted may have begun, and ended, in another sandbox.
                    let restarted = report.before.is_some();
                    let has_begun = (report.running || report.terminated) && !restarted;
                    let start = if has_begun { second(hold.started) + 999 } else { Millis::MAX };
                    told.begun.push((seen, seen.min(ready).min(start)));
                    if report.terminated && seen < told.ended_shown {
                        told.ended_shown = seen;
                        let finished = if restarted { Millis::MIN } else { second(hold.finished) };
                        told.ended = finished.max(unseen_since(at) - late);
                    }
                }
                told.begun_by = told.begun.iter().map(|(_, begun)| *begun).min().unwrap_or(Millis::MAX);
                told.gone = arrival(until);
                told.last_there = unseen_since(until);
                told.given_back_by = match pod.ending {
                    Ending::Forced | Ending::DeletedThenForced | Ending::Orphaned if next.is_none() => gone + 60_000,
                    _ => told.gone,
                };
                slots[hold.slot].push(told);
            }
        }
        slots.iter_mut().for_each(|slot| slot.sort_by_key(|told| told.begun_by));
        Self { slots, delays: Delays { late, watch: WATCH } }
    }

    /// Who held the address, by what was known at the API server up to `known_to`.
    pub(crate) fn decided(&self, question: &Question, known_to: Millis) -> Decided {
        let at = question.at;
        let all = &self.slots[question.slot];
        let place = all.partition_point(|told| told.begun_by <= at);
        let near = &all[place.saturating_sub(NEAR)..all.len().min(place + NEAR)];
        decide(near.iter().filter(|told| told.dual || !question.six), at, known_to, self.delays)
    }
}
