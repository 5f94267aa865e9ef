//! One set of policies, compiled, and what was asked of it.

use super::answer::answer;
use super::parties::{Company, Met, When};
use super::{Connection, Party};
use crate::policies::{LabelFacts, PodFacts, PolicyName, Rules};
use foldhash::{HashMap, HashSet};
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_policy::{Ask, Cache, End, EndNumber, Engine, Judgement, PodEnd, Profile};
use weir_schemas::partial::Answer;

/// The policies of a set, by what people know them by.
pub(super) type Held = BTreeMap<PolicyName, Arc<Rules>>;

/// The most answers that are kept of a set.
const ANSWERS: usize = 100_000;
/// The most ends that policies tell apart before all are forgotten.
const ENDS: usize = 200_000;

/// Where the facts of an end are; they are held as long as this is known.
type Place = [usize; 3];

/// A set of policies.
#[derive(Debug)]
pub(super) struct State {
    held: Held,
    engine: Engine,
    cache: Cache,
    ends: HashMap<Place, (EndNumber, [Option<Facts>; 3])>,
    /// Another one where the numbers of ends are others.
    numbers: Arc<()>,
    /// By where the engine's judgement is, which is held here too.
    answers: HashMap<usize, (Arc<Judgement>, Arc<Answer>)>,
}

/// What keeps an end's facts where they are.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "held, so that no other facts get to the same place")]
enum Facts {
    Pod(Arc<PodFacts>),
    Labels(Arc<LabelFacts>),
}

impl State {
    /// Compiles a set of policies: all, or what is other than in another set.
    pub(super) fn of(near: Option<&Self>, profile: Profile, held: Held) -> Self {
        let near = near.filter(|near| near.engine.ends() < ENDS);
        let mut engine = near.map_or_else(|| Engine::new(profile), |near| near.engine.clone());
        let before = near.map(|near| &near.held);
        let same = |name: &PolicyName, rules: &Arc<Rules>, other: Option<&Held>| {
            other.and_then(|other| other.get(name)).is_some_and(|known| Arc::ptr_eq(known, rules))
        };
        for (_, rules) in before.into_iter().flatten().filter(|(name, rules)| !same(name, rules, Some(&held))) {
            match &**rules {
                Rules::Policy(policy) => engine.remove(&policy.id),
                Rules::Foreign(foreign) => engine.remove_foreign(foreign),
            };
        }
        for (_, rules) in held.iter().filter(|(name, rules)| !same(name, rules, before)) {
            match &**rules {
                Rules::Policy(policy) => engine.insert(weir_policy::Policy::clone(policy)),
                Rules::Foreign(foreign) => engine.insert_foreign(foreign.clone()),
            }
        }
        let ends = near.map(|near| near.ends.clone()).unwrap_or_default();
        Self { held, engine, cache: Cache::new(ANSWERS), ends, numbers: Arc::new(()), answers: HashMap::default() }
    }

    pub(super) fn profile(&self) -> Profile {
        self.engine.profile()
    }

    /// Whether it is this set of policies.
    pub(super) fn holds(&self, held: &Held) -> bool {
        let mut pairs = self.held.iter().zip(held);
        self.held.len() == held.len() && pairs.all(|((name, a), (other, b))| name == other && Arc::ptr_eq(a, b))
    }

    /// What it says of a connection between two ends; nothing if they are not known.
    pub(super) fn ask<'p>(
        &mut self,
        of: &Connection<'_, 'p>,
        company: &mut Company<'_, 'p>,
        ([initiator, responder], when): ([Met; 2], When),
        answers: &mut HashSet<Arc<Answer>>,
    ) -> Option<Arc<Answer>> {
        if self.ends.len() + 2 > ENDS {
            // Names and labels that nobody has any more are forgotten with the engine.
            *self = Self::of(None, self.engine.profile(), std::mem::take(&mut self.held));
        }
        let (source, destination) = (company.number(initiator, when, self)?, company.number(responder, when, self)?);
        let is_host = |end| company.party(end, when).is_some_and(|party| party.is_host());
        // It matters only where one end is a node itself, and is not read otherwise.
        let both = of.initiator.0.identity.as_deref().zip(of.responder.0.identity.as_deref());
        let nodes = both.filter(|_| is_host(initiator) || is_host(responder));
        let nodes = nodes.filter(|(a, b)| !a.node.is_empty() && !b.node.is_empty());
        let ask = Ask {
            source,
            source_address: Some(of.initiator.1),
            translated_source: of.translated,
            destination,
            destination_address: Some(of.responder.1),
            protocol: of.protocol,
            port: of.port,
            same_node: nodes.map(|(a, b)| a.node == b.node),
            same_pod: company.are_one([initiator, responder]),
        };
        let judgement = self.engine.judge(&mut self.cache, &ask);
        let place = Arc::as_ptr(&judgement).addr();
        if let Some((_, answer)) = self.answers.get(&place) {
            return Some(answer.clone());
        }
        // A judgement is of two ends that policies tell apart, and so of two namespaces.
        let parties = [initiator, responder].map(|end| company.party(end, when));
        let namespaces = parties.each_ref().map(|party| party.as_ref().map_or("", Party::namespace));
        let answer = one_of(answers, answer(&self.engine, &judgement, namespaces));
        if self.answers.len() >= ANSWERS {
            self.answers.clear();
        }
        self.answers.insert(place, (judgement, answer.clone()));
        Some(answer)
    }

    /// Reads what is asked first of ends that are judged about next.
    pub(super) fn fetch(&self, ends: &[EndNumber]) {
        self.engine.fetch(ends);
    }

    /// The number of an end, which is looked up if what is known is not of this set of policies.
    pub(super) fn number(&mut self, known: &mut Option<(Arc<()>, EndNumber)>, party: &Party<'_>) -> EndNumber {
        if let Some((of, number)) = known
            && Arc::ptr_eq(of, &self.numbers)
        {
            return *number;
        }
        let number = self.end(party);
        *known = Some((self.numbers.clone(), number));
        number
    }

    fn end(&mut self, party: &Party<'_>) -> EndNumber {
        let place = party.place();
        if let Some((number, _)) = self.ends.get(&place) {
            return *number;
        }
        let number = match party {
            Party::Pod { facts, namespace, node } => self.engine.end(&End::Pod(PodEnd {
                namespace: &facts.namespace,
                namespace_labels: namespace.map(|namespace| &*namespace.labels).unwrap_or_default(),
                labels: &facts.labels,
                labels_complete: facts.complete && namespace.is_none_or(|namespace| namespace.complete),
                ports: &facts.ports(),
                host_network: facts.host_network,
                // What was left out of a node's labels is not known: then none of them is.
                node_labels: node.filter(|node| node.complete).map(|node| &*node.labels),
            })),
            Party::Node(node) => {
                self.engine.end(&End::Node(node.filter(|node| node.complete).map(|node| &*node.labels)))
            }
            Party::Outside => self.engine.end::<&str>(&End::External),
        };
        self.ends.insert(place, (number, party.keep()));
        number
    }
}

/// The one copy of an answer.
fn one_of(answers: &mut HashSet<Arc<Answer>>, answer: Answer) -> Arc<Answer> {
    if let Some(known) = answers.get(&answer) {
        return known.clone();
    }
    if answers.len() >= ANSWERS {
        answers.clear();
    }
    let new = Arc::new(answer);
    answers.insert(new.clone());
    new
}

impl Party<'_> {
    /// Whether it has a node's address.
    fn is_host(&self) -> bool {
        match self {
            Self::Pod { facts, .. } => facts.host_network,
            Self::Node(_) => true,
            Self::Outside => false,
        }
    }

    fn namespace(&self) -> &str {
        match self {
            Self::Pod { facts, .. } => &facts.namespace,
            Self::Node(_) | Self::Outside => "",
        }
    }

    fn place(&self) -> Place {
        let of = |labels: &Option<&Arc<LabelFacts>>| labels.map_or(0, |it| Arc::as_ptr(it).addr());
        match self {
            Self::Pod { facts, namespace, node } => [Arc::as_ptr(facts).addr(), of(namespace), of(node)],
            Self::Node(node) => [0, 0, of(node)],
            // No facts are there.
            Self::Outside => [0, 0, usize::MAX],
        }
    }

    fn keep(&self) -> [Option<Facts>; 3] {
        let labels = |labels: &Arc<LabelFacts>| Some(Facts::Labels(labels.clone()));
        match self {
            Self::Pod { facts, namespace, node } => {
                [Some(Facts::Pod(Arc::clone(facts))), namespace.and_then(labels), node.and_then(labels)]
            }
            Self::Node(node) => [None, None, node.and_then(labels)],
            Self::Outside => [None, None, None],
        }
    }
}
