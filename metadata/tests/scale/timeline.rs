//! An object's states with times, and when the history may be in doubt about them.

use crate::clock::Clock;
use crate::model::{Life, Lives};
use crate::topic::Topic;
use weir_flow::Millis;

/// A life with times.
#[derive(Debug)]
pub(crate) struct Timeline<'a, F> {
    pub(crate) uid: &'a str,
    pub(crate) life: &'a Life<F>,
    /// Between which times each state began, and last the end, if it has one.
    pub(crate) moments: Vec<(Millis, Millis)>,
    /// For each of them, when the history may be in doubt about it.
    pub(crate) windows: Vec<(Millis, Millis)>,
}

impl<'a, F> Timeline<'a, F> {
    /// Every object's.
    pub(crate) fn all(lives: &'a Lives<F>, clock: &Clock, topic: &Topic) -> Vec<Self> {
        lives.iter().map(|(uid, life)| Self::new(uid, life, clock, topic)).collect()
    }

    fn new(uid: &'a str, life: &'a Life<F>, clock: &Clock, topic: &Topic) -> Self {
        let moments = life.states.iter().map(|(moment, _)| *moment).chain(life.gone);
        let moments: Vec<(Millis, Millis)> = moments.map(|moment| moment.times(clock)).collect();
        let windows = moments.iter().map(|(earliest, latest)| topic.window(*earliest, *latest)).collect();
        Self { uid, life, moments, windows }
    }

    /// The state that it certainly had at a time.
    pub(crate) fn certain(&self, at: Millis) -> Option<&'a F> {
        let place = self.moments.partition_point(|(_, latest)| *latest <= at).checked_sub(1)?;
        let ended = self.moments.get(place + 1).is_some_and(|(earliest, _)| *earliest <= at);
        self.life.states.get(place).filter(|_| !ended).map(|(_, facts)| facts)
    }

    /// Whether the history may be in doubt about it at a time.
    pub(crate) fn doubtful(&self, at: Millis) -> bool {
        self.windows.iter().any(|(begin, end)| *begin < at && at <= *end)
    }

    /// Whether the history need not know of it at a time.
    pub(crate) fn unknown(&self, at: Millis) -> bool {
        self.windows.first().is_none_or(|(_, end)| at <= *end)
    }

    /// Whether the state at a time may have gone by unseen: it was over before the first promise that includes it was
    /// written, and the service was killed in between.
    pub(crate) fn may_go_by(&self, at: Millis, kills: &[Millis]) -> bool {
        let place = self.moments.partition_point(|(_, latest)| *latest <= at).saturating_sub(1);
        let (Some((begin, end)), Some((_, over))) = (self.windows.get(place), self.moments.get(place + 1)) else {
            return false;
        };
        over <= end && kills.iter().any(|kill| begin <= kill && kill <= end)
    }

    /// The times between which the states for which `condition` holds may have held.
    pub(crate) fn spans(&self, condition: impl Fn(&F) -> bool) -> Vec<(Millis, Millis)> {
        let states = self.life.states.iter().enumerate().filter(|(_, (_, facts))| condition(facts));
        states
            .map(|(place, _)| {
                let begin = self.moments.get(place).map_or(Millis::MIN, |(earliest, _)| *earliest);
                (begin, self.moments.get(place + 1).map_or(Millis::MAX, |(_, latest)| *latest))
            })
            .collect()
    }

    /// The times between which the history may show those states.
    pub(crate) fn shown(&self, condition: impl Fn(&F) -> bool) -> Option<(Millis, Millis)> {
        let places: Vec<usize> = (0..self.life.states.len())
            .filter(|place| self.life.states.get(*place).is_some_and(|(_, facts)| condition(facts)))
            .collect();
        let begin = self.windows.get(*places.first()?)?.0;
        let end = self.windows.get(places.last()? + 1).map_or(Millis::MAX, |(_, end)| *end);
        Some((begin, end))
    }
}
