//! What policies say of a connection, as of the tick of a sample.
//!
//! A verdict is a function of the sample's ends, of the metadata as of its tick and of the settings; what a [`Judge`]
//! remembers only saves work. Where policies or labels changed within a tick, or may have, the connection is judged twice:
//! at the tick's start with every change as late as it can have been, and at its end with every change as early. If both
//! come to the same, that is the verdict; else it is unknown.
//!
//! A judge keeps one engine for each set of policies that was asked for lately. A set that is new is made of the one asked
//! for last by what differs, so that a change of one policy compiles one policy.

use crate::policies::{Change, LabelFacts, Labels, ObjectKey, PodFacts, Policies, Timeline};
use foldhash::{HashMap, HashSet};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use weir_flow::time::NEVER;
use weir_flow::{Address, Millis, RecordSettings};
use weir_join::{Identity, IdentityKind, Resolution};
use weir_policy::{EndNumber, Profile};
use weir_schemas::enriched::{Attribution, NoneReason, Verdict};
use weir_schemas::partial::Answer;

mod answer;
mod parties;
mod state;
mod steady;

#[cfg(test)]
mod tests;

pub use parties::Parties;
use parties::{Company, Met, When};
use state::{Held, State};
use steady::SteadyPods;

/// From this version of the meaning of records on they say what policies said.
pub(crate) const SEMANTICS: i32 = 2;

/// The most sets of policies that are kept compiled.
const STATES: usize = 8;

/// A question about a connection.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'c, 'p> {
    /// Who opened it, and by what address.
    pub initiator: (&'c Resolution<'p>, Address),
    /// To whom.
    pub responder: (&'c Resolution<'p>, Address),
    /// The initiator's address as the responder's end saw it, if that is another one.
    pub translated: Option<Address>,
    /// IANA protocol number.
    pub protocol: u8,
    /// The responder's port; 0 for protocols without.
    pub port: u16,
    /// First and last millisecond of the tick.
    pub tick: (Millis, Millis),
    /// The settings in force.
    pub settings: &'c RecordSettings,
}

/// What policies said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The answer.
    pub answer: Arc<Answer>,
    /// Since when nothing that may decide it has changed: the policies of both ends' namespaces and those of the whole
    /// cluster, and both ends themselves.
    pub since: Millis,
}

/// Judges connections. It belongs to a thread; the lock is for its memory alone.
#[derive(Debug, Default)]
pub struct Judge {
    memory: Mutex<(Memory, SteadyPods)>,
}

/// What is remembered.
#[derive(Debug, Default)]
struct Memory {
    /// Whose changes these are.
    of: Option<Arc<()>>,
    /// Every time at which a policy changed, as late and as early as it can have.
    late: Vec<Millis>,
    early: Vec<Millis>,
    /// By namespace, empty for the whole cluster: changes by how early they can have been, with the latest that any so far
    /// can have been.
    settled: HashMap<Arc<str>, Vec<(Millis, Millis)>>,
    /// Which set of policies holds between two changes, by profile.
    known: HashMap<(&'static str, Change, usize), usize>,
    states: Vec<State>,
    /// Which was asked for last.
    last: usize,
    /// Which hold after and before the tick that was asked about last, by profile: connections of a batch are of one tick.
    of_tick: Option<(&'static str, (Millis, Millis), [usize; 2])>,
    /// Answers that nothing can be said, by why: records share them.
    unknown: BTreeMap<Why, Arc<Answer>>,
    /// The other answers that were given, each once: what says the same is at the same place, and need not be compared.
    answers: HashSet<Arc<Answer>>,
}

/// An end as policies see it, at one time.
#[derive(Clone, Debug)]
enum Party<'p> {
    Pod { facts: &'p Arc<PodFacts>, namespace: Option<&'p Arc<LabelFacts>>, node: Option<&'p Arc<LabelFacts>> },
    Node(Option<&'p Arc<LabelFacts>>),
    Outside,
}

/// An end, and since when it is what it is.
#[derive(Debug)]
struct Seen<'p> {
    before: Party<'p>,
    after: Party<'p>,
    since: Millis,
    namespace: &'p str,
    /// Which object it is; nothing of what is outside.
    object: Option<ObjectKey>,
}

impl Party<'_> {
    fn is(&self, other: &Self) -> bool {
        let same = |a: &Option<&Arc<LabelFacts>>, b: &Option<&Arc<LabelFacts>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        match (self, other) {
            (Self::Pod { facts, namespace, node }, Self::Pod { facts: f, namespace: ns, node: n }) => {
                Arc::ptr_eq(facts, f) && same(namespace, ns) && same(node, n)
            }
            (Self::Node(a), Self::Node(b)) => same(a, b),
            (Self::Outside, Self::Outside) => true,
            _ => false,
        }
    }
}

/// Why nothing can be said.
type Why = &'static str;

const GONE: Why = "the metadata no longer has a pod or its namespace";

impl Judge {
    /// Finds out who the ends of connections of one tick are to policies, before they are judged about. Each step is taken for
    /// all of them side by side, so that they wait for memory together; what is found is what each alone would have found.
    pub fn meet<'p>(
        &self,
        policies: &'p Policies,
        ends: &[&Resolution<'p>],
        (tick, settings): ((Millis, Millis), &RecordSettings),
        parties: &mut Parties<'p>,
    ) {
        if settings.semantics < SEMANTICS {
            return;
        }
        let (memory, steady) = &mut *self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let mut company = memory.begin(policies, tick, ends.len(), (parties, steady));
        let met = company.meet_all(policies, ends, |namespace| memory.settled(namespace, tick.1));
        let [after, _] = memory.states_of_tick(policies, settings, tick);
        if let Some(state) = memory.states.get_mut(after) {
            let number = |end: Met| company.number(end, When::After, state);
            let numbers: Vec<EndNumber> = met.into_iter().filter_map(number).collect();
            state.fetch(&numbers);
        }
    }

    /// What policies said of a connection; nothing where no end is a pod's, or the cluster is older than verdicts on records.
    /// `parties` are the ends of the batch's connections: what is found out about them is not found out again.
    #[must_use]
    pub fn judge<'p>(
        &self,
        policies: &'p Policies,
        connection: &Connection<'_, 'p>,
        parties: &mut Parties<'p>,
    ) -> Option<Judged> {
        if connection.settings.semantics < SEMANTICS {
            return None;
        }
        let (memory, steady) = &mut *self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = [connection.initiator.0, connection.responder.0];
        let mut company = memory.begin(policies, connection.tick, ends.len(), (parties, steady));
        let settled = |namespace: &str| memory.settled(namespace, connection.tick.1);
        let pair = ends.map(|end| company.meet(end, settled));
        let since = match pair.map(|end| company.since(end, settled)) {
            [Ok((_, false)), Ok((_, false))] => return None,
            [Ok((initiator, _)), Ok((responder, _))] => initiator.max(responder).max(company.parties.cluster_since()),
            // Nobody is judged where there is no cluster.
            [Err(""), _] | [_, Err("")] => return None,
            [Err(why), _] | [_, Err(why)] => return Some(Judged { answer: memory.unknown(why), since: NEVER }),
        };
        let answer = memory.answer(policies, connection, &mut company, pair);
        Some(Judged { answer, since })
    }
}

/// A namespace that was what it is throughout a tick, and since when; nothing where that takes a closer look.
type Steady<'p> = Option<(&'p Arc<LabelFacts>, Millis)>;

/// A pod as it was looked up.
type Pod<'p> = (ObjectKey, Option<&'p Timeline<PodFacts>>);

fn look_up<'p>(policies: &'p Policies, identity: &Identity) -> Pod<'p> {
    let object = ObjectKey::of(&identity.uid);
    (object, policies.pod(object))
}

/// Who an end is to policies. `namespaces` are those that were met before, by where their names are; `found` is the pod, if it
/// was looked up.
fn see<'p>(
    policies: &'p Policies,
    end: &Resolution<'_>,
    found: Option<Pod<'p>>,
    tick: (Millis, Millis),
    namespaces: &mut HashMap<usize, Steady<'p>>,
) -> Result<Seen<'p>, Why> {
    let outside = Seen { before: Party::Outside, after: Party::Outside, since: NEVER, namespace: "", object: None };
    match (end.attribution, end.identity.as_deref()) {
        (Attribution::Exact, Some(identity)) => match identity.kind {
            IdentityKind::Pod => {
                let (object, pod) = found.unwrap_or_else(|| look_up(policies, identity));
                let pod = pod.ok_or(GONE)?;
                if let Some((facts, since)) = pod.steady(tick)
                    && !facts.host_network
                    && let Some((namespace, of_namespace)) = steady_namespace(policies, facts, tick, namespaces)
                {
                    let party = || Party::Pod { facts, namespace: Some(namespace), node: None };
                    let (before, after, namespace) = (party(), party(), &*facts.namespace);
                    return Ok(Seen { before, after, since: since.max(of_namespace), namespace, object: Some(object) });
                }
                see_pod(policies, identity, (object, pod), tick)
            }
            IdentityKind::Node => {
                let node = |at, change| Party::Node(labels(policies.node(&identity.name, at, change), at, change));
                let (before, after) = (node(tick.0, Change::Late), node(tick.1, Change::Early));
                let since = policies.node(&identity.name, tick.1, Change::Early).and_then(|node| node.since(tick.1));
                let object = Some(ObjectKey::of(&identity.uid));
                Ok(Seen { before, after, since: since.unwrap_or(NEVER), namespace: "", object })
            }
            IdentityKind::Service => Err("the address is a service's, and its endpoint is not known"),
        },
        (Attribution::Exact, None) => Err("an end is not known"),
        (Attribution::Ambiguous, _) => Err("who had the address is not certain"),
        (Attribution::None, _) => match end.reason {
            Some(NoneReason::Outside) => Ok(outside),
            Some(NoneReason::UnknownPodAddress) => Err("a pod's address that nobody is known to have had"),
            Some(NoneReason::BeforeHistory) => Err("it was before the metadata begins"),
            Some(NoneReason::NotYetReported) => Err("a pod that was not yet reported"),
            Some(NoneReason::NoCluster) => Err(""),
            None => Err("an end is not known"),
        },
    }
}

fn labels(timeline: Option<&Labels>, at: Millis, change: Change) -> Option<&Arc<LabelFacts>> {
    timeline.and_then(|timeline| timeline.held_or_last(at, change))
}

fn steady_namespace<'p>(
    policies: &'p Policies,
    facts: &'p PodFacts,
    tick: (Millis, Millis),
    known: &mut HashMap<usize, Steady<'p>>,
) -> Steady<'p> {
    // Names are kept once.
    *known
        .entry(facts.namespace.as_ptr().addr())
        .or_insert_with(|| policies.only_namespace(&facts.namespace).and_then(|namespace| namespace.steady(tick)))
}

fn see_pod<'p>(
    policies: &'p Policies,
    identity: &Identity,
    (object, pod): (ObjectKey, &'p Timeline<PodFacts>),
    tick: (Millis, Millis),
) -> Result<Seen<'p>, Why> {
    // Who came only within the tick is what it was at its end.
    let after = pod.held_or_last(tick.1, Change::Early).ok_or(GONE)?;
    let before = pod.held_or_last(tick.0, Change::Late).unwrap_or(after);
    let namespace_of = |facts: &PodFacts, at, change| policies.namespace(&facts.namespace, at, change);
    let ends = namespace_of(after, tick.1, Change::Early);
    let namespace = labels(ends, tick.1, Change::Early);
    // Manifests need not have namespaces; a cluster does.
    if namespace.is_none() && !identity.always_valid {
        return Err(GONE);
    }
    let begins = namespace_of(before, tick.0, Change::Late);
    let earlier = labels(begins, tick.0, Change::Late).or(namespace);
    let mut since = pod.since(tick.1).max(ends.and_then(|ends| ends.since(tick.1))).unwrap_or(NEVER);
    let node = |facts: &PodFacts, at, change| policies.node(&facts.node, at, change).filter(|_| facts.host_network);
    if let Some(node) = node(after, tick.1, Change::Early) {
        since = since.max(node.since(tick.1).unwrap_or(NEVER));
    }
    let later = labels(node(after, tick.1, Change::Early), tick.1, Change::Early);
    let sooner = labels(node(before, tick.0, Change::Late), tick.0, Change::Late);
    Ok(Seen {
        before: Party::Pod { facts: before, namespace: earlier, node: sooner },
        after: Party::Pod { facts: after, namespace, node: later },
        since,
        namespace: &after.namespace,
        object: Some(object),
    })
}

impl Memory {
    /// Begins with a question about so many ends.
    fn begin<'m, 'p>(
        &mut self,
        policies: &'p Policies,
        tick: (Millis, Millis),
        ends: usize,
        (parties, steady): (&'m mut Parties<'p>, &'m mut SteadyPods),
    ) -> Company<'m, 'p> {
        if self.follow(policies) {
            steady.unsettle();
        }
        steady.begin(policies, ends);
        parties.begin(policies, tick, |namespace| self.settled(namespace, tick.1));
        Company { parties, steady }
    }

    /// Finds out when policies changed, if that is other than it was; whether it may be.
    fn follow(&mut self, policies: &Policies) -> bool {
        if self.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, policies.state())) {
            return false;
        }
        self.of = Some(policies.state().clone());
        self.known.clear();
        self.of_tick = None;
        self.settled.clear();
        (self.late, self.early) = (Vec::new(), Vec::new());
        for ((_, namespace, _), policy) in policies.policies() {
            for (earliest, latest) in policy.changes() {
                self.early.push(earliest);
                self.late.push(latest);
                self.settled.entry(namespace.clone()).or_default().push((earliest, latest));
            }
        }
        for times in [&mut self.late, &mut self.early] {
            times.sort_unstable();
            times.dedup();
        }
        for changes in self.settled.values_mut() {
            changes.sort_unstable();
            let mut most = NEVER;
            for (_, latest) in changes {
                most = most.max(*latest);
                *latest = most;
            }
        }
        true
    }

    /// Since when no policy of a namespace has changed, as far as is known of a time.
    fn settled(&self, namespace: &str, at: Millis) -> Millis {
        let Some(changes) = self.settled.get(namespace) else { return NEVER };
        let begun = changes.partition_point(|(earliest, _)| *earliest <= at);
        begun.checked_sub(1).and_then(|last| changes.get(last)).map_or(NEVER, |(_, latest)| *latest)
    }

    fn answer<'p>(
        &mut self,
        policies: &Policies,
        of: &Connection<'_, 'p>,
        company: &mut Company<'_, 'p>,
        pair: [Met; 2],
    ) -> Arc<Answer> {
        let [after, before] = self.states_of_tick(policies, of.settings, of.tick);
        let later = self.ask(after, of, company, (pair, When::After));
        let same_policies = self.late.is_empty() || before == after;
        if same_policies && pair.iter().all(|end| company.stayed(*end)) {
            return later;
        }
        let earlier = self.ask(before, of, company, (pair, When::Before));
        if earlier.verdict == later.verdict && earlier.reason == later.reason {
            return later;
        }
        self.unknown("policies or labels changed within the tick")
    }

    fn ask<'p>(
        &mut self,
        state: usize,
        of: &Connection<'_, 'p>,
        company: &mut Company<'_, 'p>,
        pair: ([Met; 2], When),
    ) -> Arc<Answer> {
        let Self { states, answers, .. } = self;
        let answer = states.get_mut(state).and_then(|state| state.ask(of, company, pair, answers));
        answer.unwrap_or_else(|| self.unknown("policies are not known"))
    }

    /// That nothing can be said, and why.
    fn unknown(&mut self, why: Why) -> Arc<Answer> {
        self.unknown.entry(why).or_insert_with(|| Arc::new(answer::unknown(why))).clone()
    }

    /// The numbers of the sets of policies that held after and before a tick.
    fn states_of_tick(&mut self, policies: &Policies, settings: &RecordSettings, tick: (Millis, Millis)) -> [usize; 2] {
        let profile = Profile::named(&settings.cni_profile).unwrap_or(Profile::NONE);
        if let Some((name, of, states)) = self.of_tick
            && name == profile.name()
            && of == tick
        {
            return states;
        }
        let after = self.state(policies, profile, tick.1, Change::Early);
        // Where this one has to make room it does not take that one's.
        let before = self.state(policies, profile, tick.0, Change::Late);
        self.of_tick = Some((profile.name(), tick, [after, before]));
        [after, before]
    }

    /// The number of the set of policies that held at a time.
    fn state(&mut self, policies: &Policies, profile: Profile, at: Millis, change: Change) -> usize {
        let times = match change {
            Change::Late => &self.late,
            Change::Early => &self.early,
        };
        let place = (profile.name(), change, times.partition_point(|time| *time <= at));
        if let Some(state) = self.known.get(&place) {
            self.last = *state;
            return *state;
        }
        let held = held(policies, at, change);
        let is = |state: &State| state.profile() == profile && state.holds(&held);
        let state = match self.states.iter().position(is) {
            Some(state) => state,
            None => self.make(profile, held),
        };
        self.known.insert(place, state);
        self.last = state;
        state
    }

    /// Compiles a set of policies, from the set that was asked for last.
    fn make(&mut self, profile: Profile, held: Held) -> usize {
        let near = self.states.get(self.last).filter(|state| state.profile() == profile);
        let new = State::of(near, profile, held);
        if self.states.len() < STATES {
            self.states.push(new);
            return self.states.len() - 1;
        }
        self.of_tick = None;
        // In turn, but never the one asked for last.
        let place = (self.last + 1) % STATES;
        self.known.retain(|_, state| *state != place);
        if let Some(old) = self.states.get_mut(place) {
            *old = new;
        }
        place
    }
}

/// The policies that held at a time. Of two with the same name, one has followed the other.
fn held(policies: &Policies, at: Millis, change: Change) -> Held {
    let mut held: BTreeMap<_, (Millis, _)> = BTreeMap::new();
    for (name, policy) in policies.policies() {
        let Some(rules) = policy.held(at, change) else { continue };
        let begun = policy.begun_at(at, change).unwrap_or(NEVER);
        match held.get(name) {
            Some((other, _)) if *other >= begun => {}
            _ => {
                held.insert(name.clone(), (begun, rules.clone()));
            }
        }
    }
    held.into_iter().map(|(name, (_, rules))| (name, rules)).collect()
}

impl Judged {
    /// The same without what names policies.
    pub(crate) fn without_names(&self) -> Self {
        let Self { answer, since } = self;
        Self { answer: Arc::new(answer::without_names(answer)), since: *since }
    }

    /// Whether a connection opened at a time may be held against the verdict.
    pub(crate) fn is_settled(&self, opened_at: Millis, settings: &RecordSettings) -> bool {
        self.answer.verdict != Verdict::Unknown && opened_at >= self.since.saturating_add(settings.policy_settle)
    }
}
