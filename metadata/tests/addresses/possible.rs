//! Who could have been named: the API's facts as far as they were known, and that an address has one holder at a time.

use crate::kubelet::Write;
use crate::pods::{Ending, Truth};
use crate::replay::{ALL, Question, WATCH, known_before};
use weir_flow::Millis;

/// How many holders of an address before and after a time are looked at: each takes a third of a second at least, and
/// what is told of one is late by half a minute at most.
const NEAR: usize = 30;

/// What tells of one hold, and when it was known.
#[derive(Clone, Debug)]
struct Told {
    pod: usize,
    dual: bool,
    /// The pod was bound to its node.
    scheduled: Millis,
    /// When a report first showed the address, and the latest begin that it allows.
    shown: Millis,
    /// When it was known that none had shown it.
    unshown: Millis,
    begun_by: Millis,
    /// The latest begin that each report allows, and when that was known.
    begun: Vec<(Millis, Millis)>,
    /// When a report first showed the end of its container, and when that was.
    ended_shown: Millis,
    ended: Millis,
    /// When the pod was gone at the API server, and when it can have kept its address at the latest.
    gone: Millis,
    /// When it was still there for certain: before its end went by unseen, if it did.
    last_there: Millis,
    given_back_by: Millis,
}

/// What could be known of every address.
pub(crate) struct Known {
    slots: Vec<Vec<Told>>,
    late: Millis,
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    pod: usize,
    fact: Fact,
    begin: (Millis, Millis),
    end: (Millis, Millis),
}

/// From what it follows that a pod still held its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fact {
    /// Its end was told, and is later.
    End,
    /// It is gone or has another address, and an earlier end would have been told before.
    Gone,
    /// An end would have been told by now.
    Silence,
}

/// What a decider can know that has the API's facts, and knows how late they can be and that an address has one holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decided {
    /// This pod held it throughout the bounds: by what follows from this.
    Certain(usize, Fact),
    /// This pod alone can have held it, if anybody did.
    Alone(usize),
    /// Several can have, or one that nothing is known of: the delays force an open answer.
    Forced,
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
                let mut told = Told {
                    pod: number,
                    dual: pod.dual,
                    scheduled: second(pod.scheduled),
                    shown: Millis::MAX,
                    unshown: Millis::MAX,
                    begun_by: Millis::MAX,
                    begun: Vec::new(),
                    ended_shown: Millis::MAX,
                    ended: Millis::MIN,
                    gone: Millis::MAX,
                    last_there: Millis::MAX,
                    given_back_by: Millis::MAX,
                };
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
        Self { slots, late }
    }

    /// Who held the address, by what was known at the API server up to `known_to`.
    pub(crate) fn decided(&self, question: &Question, known_to: Millis) -> Decided {
        let at = question.at;
        let all = &self.slots[question.slot];
        let place = all.partition_point(|told| told.begun_by <= at);
        let near = &all[place.saturating_sub(NEAR)..all.len().min(place + NEAR)];
        let near = near.iter().filter(|told| told.shown <= known_to + WATCH && (told.dual || !question.six));
        let mut bounds: Vec<Bounds> = near.map(|told| self.bounds(told, known_to)).collect();
        let before = bounds.clone();
        for bound in &mut bounds {
            for other in before.iter().filter(|other| other.pod != bound.pod) {
                if bound.begin.1 <= other.begin.0 {
                    bound.end.1 = bound.end.1.min(other.begin.1);
                }
                if other.begin.1 <= bound.begin.0 {
                    bound.begin.0 = bound.begin.0.max(other.end.0);
                }
            }
        }
        if let Some(certain) = bounds.iter().find(|bound| bound.begin.1 <= at && at < bound.end.0) {
            return Decided::Certain(certain.pod, certain.fact);
        }
        let mut possible = bounds.iter().filter(|bound| bound.begin.0 <= at && at < bound.end.1);
        match (possible.next(), possible.next()) {
            (Some(one), None) => Decided::Alone(one.pod),
            _ => Decided::Forced,
        }
    }

    fn bounds(&self, told: &Told, known_to: Millis) -> Bounds {
        let known = told.begun.iter().filter(|(seen, _)| *seen <= known_to + WATCH);
        let begun_by = known.map(|(_, begun)| *begun).min().unwrap_or(Millis::MAX);
        let begin = (told.scheduled.max(told.unshown.saturating_sub(self.late)).min(begun_by), begun_by);
        // What is not told of a pod that is gone will never be.
        let lasted = known_to.min(told.last_there).saturating_sub(self.late);
        let earliest = if told.ended_shown <= known_to + WATCH { told.ended } else { lasted };
        let latest = if told.gone <= known_to + WATCH { told.given_back_by } else { Millis::MAX };
        let fact = match (told.ended_shown <= known_to + WATCH, told.gone <= known_to + WATCH) {
            (true, _) => Fact::End,
            (false, true) => Fact::Gone,
            (false, false) => Fact::Silence,
        };
        Bounds { pod: told.pod, fact, begin, end: (earliest.max(begin.0), latest.max(earliest)) }
    }
}
