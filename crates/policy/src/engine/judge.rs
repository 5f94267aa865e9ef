//! Asking.

use super::alike::Alike;
use super::side::{Possible, Side, Walk};
use super::{Arc, CompiledPorts, Engine};
use crate::ends::EndNumber;
use crate::model::Direction;
use crate::networks::{Class, UNKNOWN};
use crate::profile::{Profile, QUESTIONS, Reasons};
use crate::trace::{Hit, Step};
use foldhash::fast::FixedState;
use std::collections::{BTreeSet, HashMap};
use weir_flow::Address;

/// A question about a connection.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Who opens it.
    pub source: EndNumber,
    /// The source's address, if it is known.
    pub source_address: Option<Address>,
    /// The source's address after it was translated, if it was.
    pub translated_source: Option<Address>,
    /// To whom; behind a service the endpoint, not the service.
    pub destination: EndNumber,
    /// The destination's address, if it is known.
    pub destination_address: Option<Address>,
    /// IANA protocol number.
    pub protocol: u8,
    /// Destination port; 0 for protocols without.
    pub port: u16,
    /// Whether both ends are on one node, if that is known; it only matters where one of them is the node itself.
    pub same_node: Option<bool>,
    /// Whether both ends are the same pod: no policy can hold that back.
    pub same_pod: bool,
}

/// What policies say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The connection may be opened.
    Allow,
    /// It may not.
    Deny,
    /// It cannot be known.
    Unknown,
}

impl Outcome {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Unknown => "unknown",
        }
    }
}

/// What one set of policies says, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What it says.
    pub outcome: Outcome,
    /// Why it is not known; none where it is.
    pub reasons: Reasons,
    /// The source's side, which comes first.
    pub egress: Side,
    /// The destination's side.
    pub ingress: Side,
}

impl Verdict {
    /// What was passed and what decided, egress before ingress.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.egress.steps.iter().chain(&self.ingress.steps)
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What the policies in force say.
    pub enforced: Verdict,
    /// What they would say with the staged ones; absent where no staged policy selects either end.
    pub pending: Option<Verdict>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    ends: (EndNumber, EndNumber),
    classes: (Class, Class, Class),
    port: (u8, u16),
    same_node: Option<bool>,
    same_pod: bool,
    translated: bool,
    /// Whether the ends stand for all that no policy selects.
    unselected: bool,
}

/// Answers that were given. It belongs to one thread; after a change of policies it empties itself.
#[derive(Clone, Debug)]
pub struct Cache {
    answers: HashMap<Key, Arc<Judgement>, FixedState>,
    alike: Alike,
    state: Option<Arc<()>>,
    most: usize,
    hits: u64,
    misses: u64,
}

impl Cache {
    /// A cache of at most so many answers; where one more comes it is emptied first.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            answers: HashMap::default(),
            alike: Alike::default(),
            state: None,
            most: most.max(1),
            hits: 0,
            misses: 0,
        }
    }

    /// How many answers it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// How many asks were answered from it.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// How many were not.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.misses
    }
}

impl Engine {
    /// Answers, from the cache if it can.
    pub fn judge(&self, cache: &mut Cache, ask: &Ask) -> Arc<Judgement> {
        if !cache.state.as_ref().is_some_and(|state| Arc::ptr_eq(state, &self.state)) {
            cache.answers.clear();
            cache.alike = Alike::default();
            cache.state = Some(self.state.clone());
        }
        let key = self.key(&mut cache.alike, ask);
        if let Some(known) = cache.answers.get(&key) {
            cache.hits = cache.hits.saturating_add(1);
            return known.clone();
        }
        cache.misses = cache.misses.saturating_add(1);
        let judgement = Arc::new(self.answer(ask, self.classes(ask)));
        if cache.answers.len() >= cache.most {
            cache.answers.clear();
        }
        cache.answers.insert(key, judgement.clone());
        judgement
    }

    /// All of a question that may decide its answer.
    fn key(&self, alike: &mut Alike, ask: &Ask) -> Key {
        if let Some(ends) = self.unselected(ask) {
            let (classes, port) = ((UNKNOWN, UNKNOWN, UNKNOWN), (0, 0));
            return Key {
                ends,
                classes,
                port,
                same_node: None,
                same_pod: ask.same_pod,
                translated: false,
                unselected: true,
            };
        }
        Key {
            ends: (alike.first(self, ask.source), alike.first(self, ask.destination)),
            classes: self.classes(ask),
            port: (ask.protocol, ask.port),
            same_node: ask.same_node,
            same_pod: ask.same_pod,
            translated: ask.translated_source.is_some(),
            unselected: false,
        }
    }

    fn classes(&self, ask: &Ask) -> (Class, Class, Class) {
        let class = |address: Option<Address>| address.map_or(UNKNOWN, |address| self.networks.class(address));
        (class(ask.source_address), class(ask.destination_address), class(ask.translated_source))
    }

    /// Where no policy may select either end: two ends of which the same is said, whatever the addresses and ports.
    fn unselected(&self, ask: &Ask) -> Option<(EndNumber, EndNumber)> {
        let plain = |end: EndNumber, direction: Direction| {
            let selected = self.selected(end.0).filter(|selected| selected.policies(direction).is_empty());
            selected.map(|selected| EndNumber(selected.plain))
        };
        let ends = plain(ask.source, Direction::Egress).zip(plain(ask.destination, Direction::Ingress));
        ends.filter(|_| self.foreign.is_empty())
    }

    /// The number of the policies' networks that an address lies in: addresses with the same number are told apart by no policy.
    /// It holds until a policy changes.
    #[must_use]
    pub fn network_class(&self, address: Option<Address>) -> u32 {
        address.map_or(UNKNOWN, |address| self.networks.class(address))
    }

    /// The ports from which on the answer may be another one, between two ends and for any protocol: 1 and where ranges begin and
    /// have ended.
    #[must_use]
    pub fn port_starts(&self, source: EndNumber, destination: EndNumber) -> BTreeSet<u16> {
        let mut starts = BTreeSet::from([1]);
        let named = self.selected(destination.0).map(|end| &*end.known.ports).unwrap_or_default();
        let mut add = |first: u16, last: u16| {
            starts.insert(first.max(1));
            starts.extend(last.checked_add(1));
        };
        for (end, direction) in [(source, Direction::Egress), (destination, Direction::Ingress)] {
            let policies = self.selected(end.0).map(|end| end.policies(direction)).unwrap_or_default();
            let rules = policies.iter().filter_map(|policy| self.compiled(*policy)?.rules(direction)).flatten();
            for (_, ports) in rules.flat_map(|rule| rule.ports.iter().flatten()) {
                match ports {
                    CompiledPorts::Any => {}
                    CompiledPorts::Range(first, last) => add(*first, *last),
                    CompiledPorts::Named(name) => {
                        let known = named.iter().filter(|(known, ..)| known == name);
                        known.for_each(|(_, _, port)| add(*port, *port));
                    }
                }
            }
        }
        starts
    }

    fn answer(&self, ask: &Ask, classes: (Class, Class, Class)) -> Judgement {
        let enforced = self.verdict(ask, classes, false);
        let pending = self.has_staged(ask).then(|| self.verdict(ask, classes, true));
        Judgement { enforced, pending }
    }

    /// Whether a staged policy may select one of the ends.
    fn has_staged(&self, ask: &Ask) -> bool {
        let listed = |end: EndNumber, direction: Direction| {
            let policies = self.selected(end.0).map(|end| end.policies(direction)).unwrap_or_default();
            policies.iter().any(|policy| self.compiled(*policy).is_some_and(|one| one.policy.id.staged || one.shadowed))
        };
        listed(ask.source, Direction::Egress)
            || listed(ask.destination, Direction::Ingress)
            || self.foreign.iter().any(|foreign| foreign.staged)
    }

    fn walk<'a>(&'a self, ask: &'a Ask, classes: (Class, Class, Class), profile: Profile, pending: bool) -> Walk<'a> {
        Walk {
            engine: self,
            ask,
            profile,
            pending,
            source: classes.0,
            destination: classes.1,
            translated: classes.2,
            reasons: Reasons::default(),
            traced: false,
        }
    }

    fn verdict(&self, ask: &Ask, classes: (Class, Class, Class), pending: bool) -> Verdict {
        if ask.same_pod {
            let step = Step { direction: Direction::Egress, hit: Hit::Itself };
            let side =
                |steps: Vec<Step>| Side { outcome: Outcome::Allow, reasons: Reasons::default(), steps: steps.into() };
            let (egress, ingress) = (side(vec![step]), side(Vec::new()));
            return Verdict { outcome: Outcome::Allow, reasons: Reasons::default(), egress, ingress };
        }
        let mut walk = self.walk(ask, classes, self.profile, pending);
        walk.traced = true;
        let (out, out_steps) = walk.side(Direction::Egress);
        let out_reasons = std::mem::take(&mut walk.reasons);
        let (into, into_steps) = walk.side(Direction::Ingress);
        let into_reasons = walk.reasons;
        let mut reasons = out_reasons.and(into_reasons);
        let mut outcome = both(out, into).outcome();
        if outcome == Outcome::Unknown {
            outcome = self.settle(ask, classes, self.profile, pending, reasons).unwrap_or(Outcome::Unknown);
        }
        if outcome != Outcome::Unknown {
            reasons = Reasons::default();
        }
        let side = |possible: Possible, reasons: Reasons, steps: Vec<Step>| {
            let outcome = possible.outcome();
            let reasons = if outcome == Outcome::Unknown { reasons } else { Reasons::default() };
            Side { outcome, reasons, steps: steps.into() }
        };
        Verdict {
            outcome,
            reasons,
            egress: side(out, out_reasons, out_steps),
            ingress: side(into, into_reasons, into_steps),
        }
    }

    /// The outcome on which all ways to answer what is left to the implementation agree; nothing if they do not.
    fn settle(
        &self,
        ask: &Ask,
        classes: (Class, Class, Class),
        profile: Profile,
        pending: bool,
        open: Reasons,
    ) -> Option<Outcome> {
        let asked = |question: &&crate::profile::Question| {
            open.contains(question.reason()) && profile.answer(**question).is_none()
        };
        let question = *QUESTIONS.iter().find(asked)?;
        let mut agreed = None;
        for answer in [true, false] {
            let profile = profile.with(question, answer);
            let mut walk = self.walk(ask, classes, profile, pending);
            let (out, _) = walk.side(Direction::Egress);
            let (into, _) = walk.side(Direction::Ingress);
            let mut outcome = both(out, into).outcome();
            if outcome == Outcome::Unknown {
                outcome = self.settle(ask, classes, profile, pending, walk.reasons)?;
            }
            if *agreed.get_or_insert(outcome) != outcome {
                return None;
            }
        }
        agreed
    }
}

/// A connection needs both sides.
fn both(out: Possible, into: Possible) -> Possible {
    Possible { allow: out.allow && into.allow, deny: out.deny || into.deny }
}
