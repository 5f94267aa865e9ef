//! Whether the table says of the past what was.

use crate::facts::PodFacts;
use crate::model::Model;
use crate::timeline::Timeline;
use crate::topic::Topic;
use crate::{Faults, clock::Clock};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::collections::HashMap;
use std::fmt::Debug;
use std::net::IpAddr;
use weir_flow::{Address, Millis};
use weir_join::{Ask, Identity, IdentityKind, Resolution};
use weir_schemas::enriched::{Attribution, IdentifiedBy};

/// How far from a change half of the questions are asked, ms.
const NEAR: Millis = 8_000;

/// How long a pod may run on that was deleted without time to end, ms (docs/design.md).
const UNSEEN_END: Millis = 30_000;

/// What the answers were.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answers {
    pub(crate) exact: u64,
    pub(crate) ambiguous: u64,
    /// Ambiguous, or named after one of them, when the control plane had given the address to two pods.
    pub(crate) given_twice: u64,
    /// Ambiguous, and the true holder not yet among the candidates.
    pub(crate) without_truth: u64,
    pub(crate) none: u64,
    /// Exact, when by the model nobody certainly was.
    pub(crate) undecided: u64,
    /// A workload known by its nearest controller only, which was gone when the pod was first seen.
    pub(crate) nearest_only: u64,
    /// Labels or a node of just before or after, because what was went by while the service was away.
    pub(crate) went_by: u64,
}

/// The past as the model has it, to be compared with the table.
pub(crate) struct Past<'a> {
    model: &'a Model,
    topic: &'a Topic,
    pods: Vec<Timeline<'a, PodFacts>>,
    by_address: HashMap<IpAddr, Vec<usize>>,
    /// When the service was killed.
    kills: &'a [Millis],
    random: SmallRng,
}

impl<'a> Past<'a> {
    pub(crate) fn new(model: &'a Model, topic: &'a Topic, clock: &Clock, (kills, seed): (&'a [Millis], u64)) -> Self {
        let pods = Timeline::all(&model.pods, clock, topic);
        let mut by_address: HashMap<IpAddr, Vec<usize>> = HashMap::new();
        for (number, pod) in pods.iter().enumerate() {
            let own = pod.life.states.iter().filter(|(_, facts)| !facts.host_network);
            for address in own.flat_map(|(_, facts)| &facts.addresses) {
                let list = by_address.entry(*address).or_default();
                if list.last() != Some(&number) {
                    list.push(number);
                }
            }
        }
        Self { model, topic, pods, by_address, kills, random: SmallRng::seed_from_u64(seed) }
    }

    /// How many addresses more than one pod had.
    pub(crate) fn shared_addresses(&self) -> usize {
        self.by_address.values().filter(|pods| pods.len() > 1).count()
    }

    /// A time at which the table must answer, near a change of the pod or during its life.
    fn time(&mut self, number: usize) -> Option<Millis> {
        let (first, last) = self.topic.promised();
        let moments = &self.pods.get(number)?.moments;
        let at = if self.random.random_bool(0.5) {
            moments.choose(&mut self.random)?.1.saturating_add(self.random.random_range(-NEAR..NEAR))
        } else {
            let begin = moments.first()?.1.max(first);
            let end = moments.last()?.0.max(begin.saturating_add(NEAR)).min(last);
            self.random.random_range(begin..end.max(begin.saturating_add(1)))
        };
        (first < at && at <= last).then_some(at)
    }

    /// Asks for pods by UID.
    pub(crate) fn ask_by_uid(&mut self, questions: usize, faults: &mut Faults) -> Answers {
        let mut answers = Answers::default();
        for _ in 0..questions {
            let number = self.random.random_range(0..self.pods.len());
            let Some(at) = self.time(number) else { continue };
            let Some(pod) = self.pods.get(number).filter(|pod| pod.certain(at).is_some()) else { continue };
            let ask = Ask { pod_uid: Some(pod.uid), ..Ask::address(at, unspecified()) };
            let resolution = self.topic.table.resolve(&ask);
            match (resolution.attribution, &resolution.identity) {
                (Attribution::Exact, Some(identity)) if resolution.by == IdentifiedBy::Uid => {
                    answers.exact += 1;
                    self.check_identity(pod, at, identity, &mut answers, faults);
                }
                (Attribution::None, _) => {
                    answers.none += 1;
                    faults.check(pod.unknown(at), || wrong("unknown by UID", pod, at, &resolution));
                }
                _ => faults.add(wrong("neither exact nor unknown by UID", pod, at, &resolution)),
            }
        }
        answers
    }

    /// Asks for addresses of pods.
    pub(crate) fn ask_by_address(&mut self, questions: usize, faults: &mut Faults) -> Answers {
        let mut answers = Answers::default();
        for _ in 0..questions {
            let number = self.random.random_range(0..self.pods.len());
            let Some(at) = self.time(number) else { continue };
            let Some((_, facts)) = self.pods.get(number).and_then(|pod| pod.life.states.last()) else { continue };
            let Some(address) = facts.addresses.choose(&mut self.random).copied().filter(|_| !facts.host_network)
            else {
                continue;
            };
            self.check_address(address, at, &mut answers, faults);
        }
        answers
    }

    fn check_address(&self, address: IpAddr, at: Millis, answers: &mut Answers, faults: &mut Faults) {
        let had = self.by_address.get(&address).into_iter().flatten().filter_map(|number| self.pods.get(*number));
        let had: Vec<&Timeline<'_, PodFacts>> = had.collect();
        let holders: Vec<_> =
            had.iter().filter(|pod| pod.certain(at).is_some_and(|facts| facts.keeps(address))).collect();
        let resolution = self.topic.table.resolve(&Ask::address(at, Address::from(address)));
        if holders.len() > 1 {
            answers.given_twice += 1;
            check_given_twice(&holders, at, &resolution, faults);
            return;
        }
        let holder = holders.first();
        let others_in_doubt = || {
            let others = had.iter().filter(|pod| holder.is_none_or(|holder| holder.uid != pod.uid));
            let mut shown = others.filter_map(|pod| Some((pod.shown(|facts| facts.holds(address))?, self.beyond(pod))));
            shown.any(|((begin, end), beyond)| begin < at && at <= end.saturating_add(beyond))
        };
        match (resolution.attribution, &resolution.identity) {
            (Attribution::Exact, Some(identity)) => {
                answers.exact += 1;
                answers.undecided += u64::from(holder.is_none());
                let named = had.iter().find(|pod| *pod.uid == *identity.uid && may_hold(pod, address, at));
                let right = named.is_some_and(|named| holder.is_none_or(|holder| holder.uid == named.uid));
                faults.check(right && identity.kind == IdentityKind::Pod, || {
                    format!("WRONG: {address} at {at} was {holder:?}, named {identity:?}; all that had it: {had:?}")
                });
                if let Some(named) = named {
                    self.check_identity(named, at, identity, answers, faults);
                }
            }
            (Attribution::Ambiguous, _) => {
                answers.ambiguous += 1;
                let Some(holder) = holder else { return };
                faults.check(holder.doubtful(at) || others_in_doubt(), || wrong("ambiguous", holder, at, &resolution));
                if !resolution.candidates.iter().any(|candidate| *candidate.uid == *holder.uid) {
                    answers.without_truth += 1;
                    faults.check(holder.doubtful(at), || wrong("not among the candidates", holder, at, &resolution));
                }
            }
            _ => {
                answers.none += 1;
                let Some(holder) = holder else { return };
                faults.check(holder.doubtful(at), || wrong("nobody", holder, at, &resolution));
            }
        }
    }

    /// How much longer than it was there a pod may still have run: the API server forgets one that is deleted without
    /// time to end before its node has ended it, and a service that was away did not see that another was given time.
    fn beyond(&self, pod: &Timeline<'_, PodFacts>) -> Millis {
        let asked = pod.life.states.last().is_some_and(|(_, last)| last.ending);
        let end = pod.windows.get(pod.life.states.len()).map(|(_, end)| *end);
        let begin = pod.windows.get(pod.life.states.len().saturating_sub(1)).map(|(begin, _)| *begin);
        let away = begin.zip(end).is_some_and(|(begin, end)| self.kills.iter().any(|at| begin <= *at && *at <= end));
        if asked && !away { 0 } else { UNSEEN_END }
    }

    fn check_identity(
        &self,
        pod: &Timeline<'_, PodFacts>,
        at: Millis,
        identity: &Identity,
        answers: &mut Answers,
        faults: &mut Faults,
    ) {
        let Some(facts) = pod.certain(at) else { return };
        let doubtful = pod.doubtful(at);
        let mut right = (&*identity.namespace, &*identity.name) == (facts.namespace.as_str(), facts.name.as_str());
        right &= *identity.service_account == *facts.account;
        let workload = (identity.workload_kind.to_string(), identity.workload.to_string());
        if workload != self.model.workload(facts) {
            let nearest = facts.controller.as_ref() == Some(&workload);
            answers.nearest_only += u64::from(nearest);
            right &= nearest;
        }
        if !says(identity, facts, doubtful) {
            answers.went_by += 1;
            let others = pod.life.states.iter().any(|(_, other)| says(identity, other, doubtful));
            right &= others && pod.may_go_by(at, self.kills);
        }
        faults.check(right, || {
            let doubts: Vec<_> = pod.moments.iter().zip(&pod.windows).collect();
            format!(
                "WRONG at {at}: {identity:?} was {facts:?}; {doubts:?}\n  {:?}",
                self.topic.lines.get(&("Pod", pod.uid.to_owned()))
            )
        });
    }
}

/// With two that certainly hold an address, neither may be named while the history knows of both, and both are
/// candidates. kwok gives the same address to two pods now and then.
fn check_given_twice(holders: &[&&Timeline<'_, PodFacts>], at: Millis, resolution: &Resolution, faults: &mut Faults) {
    let known = holders.iter().filter(|pod| !pod.doubtful(at));
    let among = |pod: &Timeline<'_, PodFacts>| resolution.candidates.iter().any(|it| *it.uid == *pod.uid);
    let is_named = |pod: &Timeline<'_, PodFacts>| resolution.identity.as_ref().is_some_and(|it| *it.uid == *pod.uid);
    let right = match known.clone().count() {
        0 => resolution.identity.is_none() || holders.iter().any(|pod| is_named(pod)),
        1 => known.clone().all(|pod| is_named(pod) || among(pod)),
        _ => resolution.identity.is_none() && known.clone().all(|pod| among(pod)),
    };
    faults.check(right, || format!("WRONG: held by {holders:?} at {at}, told {resolution:?}"));
}

/// Whether an identity says what a pod was: all of it, or in doubt only what is beyond doubt.
fn says(identity: &Identity, facts: &PodFacts, doubtful: bool) -> bool {
    let node = *identity.node == *facts.node || (identity.node.is_empty() && doubtful);
    let labels = identity.labels.iter().all(|label| facts.labels.iter().any(|known| **known == **label));
    node && labels && (doubtful || identity.labels.len() == facts.labels.len())
}

/// Whether a pod may have held an address: from its scheduling on, as it says itself, until it was seen without.
fn may_hold(pod: &Timeline<'_, PodFacts>, address: IpAddr, at: Millis) -> bool {
    let scheduled = pod.life.states.iter().filter_map(|(_, facts)| facts.scheduled).min();
    let since = scheduled.unwrap_or(pod.life.created);
    pod.spans(|facts| facts.holds(address)).iter().any(|(begin, end)| since.min(*begin) <= at && at < *end)
}

fn unspecified() -> Address {
    Address::from(IpAddr::from([0, 0, 0, 0]))
}

fn wrong<F: Debug>(what: &str, pod: &Timeline<'_, F>, at: Millis, resolution: &Resolution) -> String {
    let doubts: Vec<_> = pod.moments.iter().zip(&pod.windows).collect();
    format!("{what}, without reason: {} at {at}: {resolution:?}\n  {:?}\n  {doubts:?}", pod.uid, pod.life)
}
