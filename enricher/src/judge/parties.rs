//! Who the ends of connections are to policies. The connections of a batch have few ends, and each is found out once.

use super::state::State;
use super::steady::SteadyPods;
use super::{ObjectKey, Party, Pod, Seen, Steady, Why, look_up, see};
use crate::policies::{Policies, Timeline};
use foldhash::HashMap;
use std::borrow::Cow;
use std::hint::black_box;
use std::sync::Arc;
use weir_flow::Millis;
use weir_join::{Identity, IdentityKind, Resolution};
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

    /// Since when no policy of the whole cluster has changed.
    pub(super) fn cluster_since(&self) -> Millis {
        self.cluster_since
    }

    /// The number of an end that was met in the batch.
    fn met(&self, end: &Resolution<'_>) -> Option<usize> {
        place(end).and_then(|place| self.places.get(&place)).copied()
    }

    fn take(&mut self, end: &Resolution<'p>, found: Option<Pod<'p>>, settled: impl Fn(&str) -> Millis) -> usize {
        let number = self.known.len();
        let seen = self.of.ok_or(UNKNOWN).and_then(|(policies, tick)| {
            let mut seen = see(policies, end, found, tick, &mut self.namespaces)?;
            seen.since = seen.since.max(settled(seen.namespace));
            Ok(seen)
        });
        self.known.push(Known { seen, numbers: [None, None] });
        if let Some(place) = place(end) {
            self.places.insert(place, number);
        }
        number
    }

    fn seen(&self, number: usize) -> Result<&Seen<'p>, Why> {
        let known = self.known.get(number).ok_or(UNKNOWN)?;
        known.seen.as_ref().map_err(|why| *why)
    }
}

const UNKNOWN: Why = "policies are not known";

/// An end that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// A pod that stays what it is.
    Steady(usize),
    /// Another end of the batch.
    Once(usize),
}

/// All ends that are known: those of the batch, and those that are kept.
pub(super) struct Company<'m, 'p> {
    pub(super) parties: &'m mut Parties<'p>,
    pub(super) steady: &'m mut SteadyPods,
}

impl<'p> Company<'_, 'p> {
    /// Which end it is.
    pub(super) fn meet(&mut self, end: &Resolution<'p>, settled: impl Fn(&str) -> Millis) -> Met {
        self.meet_found(end, None, settled)
    }

    fn known(&self, end: &Resolution<'p>) -> Option<Met> {
        let (policies, tick) = self.parties.of?;
        let steady = self.steady.find(policies, end, tick).map(Met::Steady);
        steady.or_else(|| self.parties.met(end).map(Met::Once))
    }

    fn meet_found(&mut self, end: &Resolution<'p>, found: Option<Pod<'p>>, settled: impl Fn(&str) -> Millis) -> Met {
        if let Some(known) = self.known(end) {
            return known;
        }
        let mut found = found;
        if let (Some((policies, tick)), Some(identity)) = (self.parties.of, end.identity.as_deref())
            && (identity.kind, end.attribution) == (IdentityKind::Pod, Attribution::Exact)
        {
            let pod = *found.get_or_insert_with(|| look_up(policies, identity));
            if let Some(number) = self.steady.keep(policies, end, pod.0, tick) {
                return Met::Steady(number);
            }
        }
        Met::Once(self.parties.take(end, found, settled))
    }

    /// Which ends these are. Each step is taken for all of them side by side, so that they wait for memory together.
    pub(super) fn meet_all(
        &mut self,
        policies: &'p Policies,
        ends: &[&Resolution<'p>],
        settled: impl Fn(&str) -> Millis + Copy,
    ) -> Vec<Met> {
        self.steady.touch(ends);
        let known: Vec<Option<Met>> = ends.iter().map(|end| self.known(end)).collect();
        let new = || ends.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(end, _)| *end);
        let identities = || new().map(|end| end.identity.as_deref());
        black_box(identities().flatten().fold(0, |all, identity| all ^ identity.uid.len()));
        let is_pod = |identity: &&Identity| identity.kind == IdentityKind::Pod;
        let look_up = |identity| look_up(policies, identity);
        let pods: Vec<Option<Pod<'p>>> = identities().map(|identity| identity.filter(is_pod).map(look_up)).collect();
        let timelines = || pods.iter().flatten().filter_map(|(_, pod)| pod.and_then(Timeline::last));
        black_box(timelines().fold(0, |all, facts| all ^ Arc::as_ptr(facts).addr()));
        black_box(timelines().fold(false, |all, facts| all ^ facts.host_network));
        let mut pods = pods.into_iter();
        let met = ends.iter().zip(&known);
        met.map(|(end, known)| known.unwrap_or_else(|| self.meet_found(end, pods.next().flatten(), settled))).collect()
    }

    /// Since when an end is what it is and no policy of its namespace has changed, and whether it is a pod; or why it is not
    /// known who it is.
    pub(super) fn since(&mut self, end: Met, settled: impl Fn(&str) -> Millis) -> Result<(Millis, bool), Why> {
        match end {
            Met::Steady(number) => {
                let (_, (_, last)) = self.parties.of.ok_or(UNKNOWN)?;
                Ok((self.steady.since(number, last, settled), true))
            }
            Met::Once(number) => {
                let seen = self.parties.seen(number)?;
                Ok((seen.since, matches!(seen.after, Party::Pod { .. })))
            }
        }
    }

    /// Whether an end was the same throughout the tick.
    pub(super) fn stayed(&self, end: Met) -> bool {
        match end {
            Met::Steady(_) => true,
            Met::Once(number) => self.parties.seen(number).is_ok_and(|seen| seen.before.is(&seen.after)),
        }
    }

    /// Whether two ends are the same object.
    pub(super) fn are_one(&self, [a, b]: [Met; 2]) -> bool {
        let object = |end| -> Option<ObjectKey> {
            match end {
                Met::Steady(number) => self.steady.object(number),
                Met::Once(number) => self.parties.seen(number).ok()?.object,
            }
        };
        object(a).is_some() && object(a) == object(b)
    }

    /// An end as policies see it at one end of the tick.
    pub(super) fn party(&self, end: Met, when: When) -> Option<Party<'_>> {
        match end {
            Met::Steady(number) => self.steady.party(number),
            Met::Once(number) => self.parties.seen(number).ok().map(|seen| seen.at(when).clone()),
        }
    }

    /// The number of an end in an engine.
    pub(super) fn number(&mut self, end: Met, when: When, state: &mut State) -> Option<EndNumber> {
        let number = match end {
            Met::Steady(number) => return self.steady.number(number, when, state),
            Met::Once(number) => number,
        };
        let Known { seen, numbers: [before, after] } = self.parties.known.get_mut(number)?;
        let party = seen.as_ref().ok()?.at(when);
        Some(state.number(if when == When::Before { before } else { after }, party))
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
