//! Who the ends of connections are to policies. The connections of a batch have few ends, and each is found out once.

use super::state::State;
use super::{Party, Pod, Seen, Steady, Why, look_up, see};
use crate::policies::{Policies, Timeline};
use foldhash::HashMap;
use foldhash::fast::RandomState;
use std::borrow::Cow;
use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use weir_flow::Millis;
use weir_join::{IdentityKind, Resolution};
use weir_policy::EndNumber;
use weir_schemas::enriched::Attribution;

/// The ends that connections of one tick had. It lives no longer than the metadata stays as it is.
#[derive(Debug, Default)]
pub struct Parties<'p> {
    /// Of which policies and of which tick.
    of: Option<(&'p Policies, (Millis, Millis))>,
    /// Since when no policy of the whole cluster has changed.
    cluster_since: Millis,
    /// By where their identities are.
    places: HashMap<usize, usize>,
    known: Vec<Known<'p>>,
    /// Their namespaces.
    namespaces: HashMap<usize, Steady<'p>>,
}

/// One end.
#[derive(Debug)]
struct Known<'p> {
    seen: Result<Seen<'p>, Why>,
    /// Its number in the engines that were asked last, before and after.
    numbers: [Option<(Arc<()>, EndNumber)>; 2],
}

/// At which end of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// At its start, with every change as late as it can have been.
    Before,
    /// At its end, with every change as early.
    After,
}

impl<'p> Parties<'p> {
    /// With room for so many ends.
    pub(crate) fn with_room(ends: usize) -> Self {
        Self {
            places: HashMap::with_capacity_and_hasher(ends, RandomState::default()),
            known: Vec::with_capacity(ends),
            ..Self::default()
        }
    }

    /// Begins with another tick, if it is one. `settled` is since when no policy of a namespace has changed.
    pub(super) fn begin(&mut self, policies: &'p Policies, tick: (Millis, Millis), settled: impl Fn(&str) -> Millis) {
        let is_same = |(of, at): (&Policies, (Millis, Millis))| std::ptr::eq(of, policies) && at == tick;
        if !self.of.is_some_and(is_same) {
            self.of = Some((policies, tick));
            self.cluster_since = settled("");
            self.places.clear();
            self.known.clear();
            self.namespaces.clear();
        }
    }

    /// The number of an end.
    pub(super) fn number(&mut self, end: &Resolution<'p>, settled: impl Fn(&str) -> Millis) -> usize {
        self.number_found(end, None, settled)
    }

    /// Gives numbers to those ends that are pods and have none; the answer is their numbers.
    pub(super) fn meet(
        &mut self,
        policies: &'p Policies,
        ends: &[&Resolution<'p>],
        settled: impl Fn(&str) -> Millis + Copy,
    ) -> Range<usize> {
        let is_new = |end: &&&Resolution<'p>| place(end).is_some_and(|place| !self.places.contains_key(&place));
        let new: Vec<&Resolution<'p>> = ends.iter().filter(is_new).copied().collect();
        let identities = || new.iter().filter_map(|end| end.identity.as_deref());
        black_box(identities().fold(0, |all, identity| all ^ identity.uid.len()));
        let pods =
            identities().map(|identity| (identity.kind == IdentityKind::Pod).then(|| look_up(policies, identity)));
        let pods: Vec<Option<Pod<'p>>> = pods.collect();
        let timelines = || pods.iter().flatten().filter_map(|(_, pod)| pod.and_then(Timeline::last));
        black_box(timelines().fold(0, |all, facts| all ^ Arc::as_ptr(facts).addr()));
        black_box(timelines().fold(false, |all, facts| all ^ facts.host_network));
        let first = self.known.len();
        for (end, pod) in new.into_iter().zip(pods) {
            self.number_found(end, pod, settled);
        }
        first..self.known.len()
    }

    fn number_found(
        &mut self,
        end: &Resolution<'p>,
        found: Option<Pod<'p>>,
        settled: impl Fn(&str) -> Millis,
    ) -> usize {
        let place = place(end);
        let known = place.and_then(|place| self.places.get(&place));
        if let Some(number) = known {
            return *number;
        }
        let number = self.known.len();
        let seen = self.of.ok_or("policies are not known").and_then(|(policies, tick)| {
            let mut seen = see(policies, end, found, tick, &mut self.namespaces)?;
            seen.since = seen.since.max(settled(seen.namespace));
            Ok(seen)
        });
        self.known.push(Known { seen, numbers: [None, None] });
        if let Some(place) = place {
            self.places.insert(place, number);
        }
        number
    }

    /// Who an end is, or why that is not known.
    pub(super) fn seen(&self, end: usize) -> Result<&Seen<'p>, Why> {
        let known = self.known.get(end).ok_or("policies are not known")?;
        known.seen.as_ref().map_err(|why| *why)
    }

    /// Since when no policy of the whole cluster has changed.
    pub(super) fn cluster_since(&self) -> Millis {
        self.cluster_since
    }

    /// Whether an end was the same throughout the tick.
    pub(super) fn stayed(&self, end: usize) -> bool {
        self.seen(end).is_ok_and(|seen| seen.before.is(&seen.after))
    }

    /// Whether two ends are the same object.
    pub(super) fn are_one(&self, [a, b]: [usize; 2]) -> bool {
        let object = |end| self.seen(end).ok().and_then(|seen| seen.object);
        object(a).is_some() && object(a) == object(b)
    }

    /// An end as policies see it at one end of the tick.
    pub(super) fn party(&self, end: usize, when: When) -> Option<&Party<'p>> {
        self.seen(end).ok().map(|seen| seen.at(when))
    }

    /// The number of an end in an engine.
    pub(super) fn end(&mut self, end: usize, when: When, state: &mut State) -> Option<EndNumber> {
        let Known { seen, numbers } = self.known.get_mut(end)?;
        let [before, after] = numbers;
        let number = if when == When::Before { before } else { after };
        if let Some((of, number)) = number
            && Arc::ptr_eq(of, state.numbers())
        {
            return Some(*number);
        }
        let found = state.end(seen.as_ref().ok()?.at(when));
        *number = Some((state.numbers().clone(), found));
        Some(found)
    }
}

/// Where an end's identity is. What was made for one answer may be elsewhere in the next, and has no place.
fn place(end: &Resolution<'_>) -> Option<usize> {
    match (&end.identity, end.attribution) {
        (Some(Cow::Borrowed(identity)), Attribution::Exact) => Some(std::ptr::from_ref(*identity).addr()),
        _ => None,
    }
}

impl<'p> Seen<'p> {
    fn at(&self, when: When) -> &Party<'p> {
        match when {
            When::Before => &self.before,
            When::After => &self.after,
        }
    }
}
