//! Who could have been named: bounds from the API's facts as far as they were known, and that an address has one holder at a time.

use weir_flow::Millis;

/// What tells of one hold of an address, and when it was known.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) pod: usize,
    pub(crate) dual: bool,
    /// The pod was bound to its node.
    pub(crate) scheduled: Millis,
    /// When a report first showed the address.
    pub(crate) shown: Millis,
    /// When it was known that none had shown it.
    pub(crate) unshown: Millis,
    /// The latest begin that all reports allow.
    pub(crate) begun_by: Millis,
    /// The latest begin that each report allows, and when that was known.
    pub(crate) begun: Vec<(Millis, Millis)>,
    /// When a report first showed the end of its container, and when that was.
    pub(crate) ended_shown: Millis,
    pub(crate) ended: Millis,
    /// When the pod was gone at the API server.
    pub(crate) gone: Millis,
    /// When it was still there for certain: before its end went by unseen, if it did.
    pub(crate) last_there: Millis,
    /// When it can have kept its address at the latest.
    pub(crate) given_back_by: Millis,
}

impl Told {
    /// A hold of which nothing was told but that its pod was bound to its node.
    pub(crate) fn nothing(pod: usize, dual: bool, scheduled: Millis) -> Self {
        Self {
            pod,
            dual,
            scheduled,
            shown: Millis::MAX,
            unshown: Millis::MAX,
            begun_by: Millis::MAX,
            begun: Vec::new(),
            ended_shown: Millis::MAX,
            ended: Millis::MIN,
            gone: Millis::MAX,
            last_there: Millis::MAX,
            given_back_by: Millis::MAX,
        }
    }
}

/// How late nodes tell at most, and what is told later than what is known, but counts as known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delays {
    pub(crate) late: Millis,
    pub(crate) watch: Millis,
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

/// Who held an address at a time, by what was known at the API server up to `known_to` of those that are `near` that time.
pub(crate) fn decide<'a>(
    near: impl Iterator<Item = &'a Told>,
    at: Millis,
    known_to: Millis,
    delays: Delays,
) -> Decided {
    let shown = near.filter(|told| told.shown <= known_to + delays.watch);
    let mut bounds: Vec<Bounds> = shown.map(|told| of(told, known_to, delays)).collect();
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

fn of(told: &Told, known_to: Millis, delays: Delays) -> Bounds {
    let now = known_to + delays.watch;
    let known = told.begun.iter().filter(|(seen, _)| *seen <= now);
    let begun_by = known.map(|(_, begun)| *begun).min().unwrap_or(Millis::MAX);
    let begin = (told.scheduled.max(told.unshown.saturating_sub(delays.late)).min(begun_by), begun_by);
    // What is not told of a pod that is gone will never be.
    let lasted = known_to.min(told.last_there).saturating_sub(delays.late);
    let earliest = if told.ended_shown <= now { told.ended } else { lasted };
    let latest = if told.gone <= now { told.given_back_by } else { Millis::MAX };
    let fact = match (told.ended_shown <= now, told.gone <= now) {
        (true, _) => Fact::End,
        (false, true) => Fact::Gone,
        (false, false) => Fact::Silence,
    };
    Bounds { pod: told.pod, fact, begin, end: (earliest.max(begin.0), latest.max(earliest)) }
}
