//! What policies say of a connection, as of the tick of a sample.
//!
//! A verdict is a function of the sample's ends, of the metadata as of its tick and of the settings; what a [`Judge`]
//! remembers only saves work. Where policies or labels changed within a tick, or may have, the connection is judged twice:
//! at the tick's start with every change as late as it can have been, and at its end with every change as early. If both
//! come to the same, that is the verdict; else it is unknown.
//!
//! A judge keeps one engine for each set of policies that was asked for lately. A set that is new is made of the one asked
//! for last by what differs, so that a change of one policy compiles one policy.

use crate::policies::{Change, LabelFacts, Labels, PodFacts, Policies};
use foldhash::HashMap;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use weir_flow::time::NEVER;
use weir_flow::{Address, Millis, RecordSettings};
use weir_join::{Identity, IdentityKind, Resolution};
use weir_policy::Profile;
use weir_schemas::enriched::{Attribution, NoneReason, Verdict};
use weir_schemas::partial::Answer;

mod answer;
mod state;

#[cfg(test)]
mod tests;

use state::{Held, State};

/// From this version of the meaning of records on they say what policies said.
pub(crate) const SEMANTICS: i32 = 2;

/// The most sets of policies that are kept compiled.
const STATES: usize = 8;

/// A question about a connection.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'c> {
    /// Who opened it, and by what address.
    pub initiator: (&'c Resolution<'c>, Address),
    /// To whom.
    pub responder: (&'c Resolution<'c>, Address),
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
    memory: Mutex<Memory>,
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
}

/// An end as policies see it, at one time.
#[derive(Clone, Debug)]
enum Party<'p> {
    Pod { facts: &'p Arc<PodFacts>, namespace: Option<&'p Arc<LabelFacts>>, node: Option<&'p Arc<LabelFacts>> },
    Node(Option<&'p Arc<LabelFacts>>),
    Outside,
}

/// An end, and since when it is what it is.
struct Seen<'p> {
    before: Party<'p>,
    after: Party<'p>,
    since: Millis,
    namespace: &'p str,
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

impl Judge {
    /// What policies said of a connection; nothing where no end is a pod's, or the cluster is older than verdicts on records.
    #[must_use]
    pub fn judge(&self, policies: &Policies, connection: &Connection<'_>) -> Option<Judged> {
        if connection.settings.semantics < SEMANTICS {
            return None;
        }
        let ends = [connection.initiator.0, connection.responder.0];
        let seen = ends.map(|end| see(policies, end, connection.tick));
        let unknown = |why: &str| Some(Judged { answer: Arc::new(answer::unknown(why)), since: NEVER });
        let [initiator, responder] = match seen {
            [Ok(initiator), Ok(responder)] => [initiator, responder],
            // Nobody is judged where there is no cluster.
            [Err(""), _] | [_, Err("")] => return None,
            [Err(why), _] | [_, Err(why)] => return unknown(why),
        };
        let is_pod = |seen: &Seen<'_>| matches!(seen.after, Party::Pod { .. });
        if !is_pod(&initiator) && !is_pod(&responder) {
            return None;
        }
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.follow(policies);
        let since = initiator.since.max(responder.since);
        let since = ["", initiator.namespace, responder.namespace]
            .into_iter()
            .map(|namespace| memory.settled(namespace, connection.tick.1))
            .fold(since, Millis::max);
        let answer = memory.answer(policies, connection, [&initiator, &responder]);
        Some(Judged { answer, since })
    }
}

/// Who an end is to policies.
fn see<'p>(policies: &'p Policies, end: &'p Resolution<'_>, tick: (Millis, Millis)) -> Result<Seen<'p>, Why> {
    let outside = Seen { before: Party::Outside, after: Party::Outside, since: NEVER, namespace: "" };
    match (end.attribution, end.identity.as_deref()) {
        (Attribution::Exact, Some(identity)) => match identity.kind {
            IdentityKind::Pod => see_pod(policies, identity, tick),
            IdentityKind::Node => {
                let node = |at, change| Party::Node(labels(policies.node(&identity.name, at, change), at, change));
                let (before, after) = (node(tick.0, Change::Late), node(tick.1, Change::Early));
                let since = policies.node(&identity.name, tick.1, Change::Early).and_then(|node| node.since(tick.1));
                Ok(Seen { before, after, since: since.unwrap_or(NEVER), namespace: "" })
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

fn see_pod<'p>(policies: &'p Policies, identity: &Identity, tick: (Millis, Millis)) -> Result<Seen<'p>, Why> {
    const GONE: Why = "the metadata no longer has a pod or its namespace";
    let pod = policies.pod(&identity.uid).ok_or(GONE)?;
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
    })
}

impl Memory {
    /// Finds out when policies changed, if that is other than it was.
    fn follow(&mut self, policies: &Policies) {
        if self.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, policies.state())) {
            return;
        }
        self.of = Some(policies.state().clone());
        self.known.clear();
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
    }

    /// Since when no policy of a namespace has changed, as far as is known of a time.
    fn settled(&self, namespace: &str, at: Millis) -> Millis {
        let Some(changes) = self.settled.get(namespace) else { return NEVER };
        let begun = changes.partition_point(|(earliest, _)| *earliest <= at);
        begun.checked_sub(1).and_then(|last| changes.get(last)).map_or(NEVER, |(_, latest)| *latest)
    }

    fn answer(&mut self, policies: &Policies, of: &Connection<'_>, ends: [&Seen<'_>; 2]) -> Arc<Answer> {
        let profile = Profile::named(&of.settings.cni_profile).unwrap_or(Profile::NONE);
        let after = self.state(policies, profile, of.tick.1, Change::Early);
        let [initiator, responder] = ends;
        let later = self.ask(after, of, [&initiator.after, &responder.after]);
        let before = self.state(policies, profile, of.tick.0, Change::Late);
        // The first may have had to make room for the second.
        let same_policies = self.late.is_empty() || before == after;
        if same_policies && initiator.before.is(&initiator.after) && responder.before.is(&responder.after) {
            return later;
        }
        let earlier = self.ask(before, of, [&initiator.before, &responder.before]);
        if earlier.verdict == later.verdict && earlier.reason == later.reason {
            return later;
        }
        Arc::new(answer::unknown("policies or labels changed within the tick"))
    }

    fn ask(&mut self, state: usize, of: &Connection<'_>, parties: [&Party<'_>; 2]) -> Arc<Answer> {
        match self.states.get_mut(state) {
            Some(state) => state.ask(of, parties),
            None => Arc::new(answer::unknown("policies are not known")),
        }
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
