//! One direction of a verdict: the policies that select one end, in order.

use super::judge::{Ask, Outcome};
use super::{Compiled, CompiledPeer, CompiledPorts, CompiledRule, Engine, index};
use crate::bits::number;
use crate::ends::{EndKind, EndNumber};
use crate::labels::Holds;
use crate::model::{Action, Direction, Foreign, Tier};
use crate::networks::{Class, UNKNOWN};
use crate::profile::{Profile, Question, Reasons};
use crate::trace::{FOREIGN_NAMED, Hit, Step};
use weir_flow::protocol;

/// One direction of a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// What this direction alone says.
    pub outcome: Outcome,
    /// Why it is not known.
    pub reasons: Reasons,
    /// What was passed and what decided, in order.
    pub steps: Box<[Step]>,
}

/// What may come of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Possible {
    pub(super) allow: bool,
    pub(super) deny: bool,
}

impl Possible {
    pub(super) fn outcome(self) -> Outcome {
        match (self.allow, self.deny) {
            (true, false) => Outcome::Allow,
            (false, true) => Outcome::Deny,
            _ => Outcome::Unknown,
        }
    }
}

/// What a policy or a group of them may do with a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Matches {
    allow: bool,
    deny: bool,
    pass: bool,
    /// That nothing matches.
    none: bool,
}

impl Matches {
    fn add(&mut self, action: Action) {
        match action {
            Action::Allow => self.allow = true,
            Action::Deny => self.deny = true,
            Action::Pass => self.pass = true,
        }
    }

    fn actions(self) -> usize {
        usize::from(self.allow) + usize::from(self.deny) + usize::from(self.pass)
    }
}

/// An ask with its addresses as classes, and what was found to be open.
pub(super) struct Walk<'a> {
    pub(super) engine: &'a Engine,
    pub(super) ask: &'a Ask,
    pub(super) profile: Profile,
    /// Whether staged policies count.
    pub(super) pending: bool,
    pub(super) source: Class,
    pub(super) destination: Class,
    pub(super) translated: Class,
    pub(super) reasons: Reasons,
    /// Whether steps are wanted.
    pub(super) traced: bool,
}

impl Walk<'_> {
    fn end(&self, direction: Direction) -> (EndNumber, EndNumber) {
        match direction {
            Direction::Ingress => (self.ask.destination, self.ask.source),
            Direction::Egress => (self.ask.source, self.ask.destination),
        }
    }

    fn kind(&self, end: EndNumber) -> EndKind {
        self.engine.selected(end.0).map_or(EndKind::External, |end| end.known.kind)
    }

    fn is_host(&self, end: EndNumber) -> bool {
        matches!(self.kind(end), EndKind::HostPod | EndKind::Node)
    }

    /// The answer to a question; [`Holds::Maybe`], noted, if it is open.
    fn answer(&mut self, question: Question) -> Holds {
        match self.profile.answer(question) {
            Some(true) => Holds::Yes,
            Some(false) => Holds::No,
            None => {
                self.reasons = self.reasons.and(question.reason());
                Holds::Maybe
            }
        }
    }

    fn counts(&self, compiled: &Compiled) -> bool {
        if self.pending { !compiled.shadowed } else { !compiled.policy.id.staged }
    }

    /// What a direction says.
    pub(super) fn side(&mut self, direction: Direction) -> (Possible, Vec<Step>) {
        let mut steps = Vec::new();
        let mut result = Possible::default();
        let (subject, _) = self.end(direction);
        if self.kind(subject) == EndKind::External || self.kind(subject) == EndKind::Node {
            return (Possible { allow: true, deny: false }, steps);
        }
        let (policies, more) = self.foreign(subject);
        if !policies.is_empty() {
            self.reasons = self.reasons.and(Reasons::FOREIGN);
            self.step(&mut steps, direction, Hit::Foreign { policies, more });
            return (Possible { allow: true, deny: true }, steps);
        }
        let policies = self.engine.selected(subject.0).map(|end| end.policies(direction)).unwrap_or_default();
        let mut on = self.cluster_tier(Tier::Admin, policies, direction, &mut result, &mut steps);
        if on {
            on = self.namespaced_tier(policies, direction, &mut result, &mut steps);
        }
        if on {
            on = self.cluster_tier(Tier::Baseline, policies, direction, &mut result, &mut steps);
        }
        if on {
            result.allow = true;
            self.step(&mut steps, direction, Hit::NoPolicy);
        }
        (result, steps)
    }

    /// The policies that may select an end and cannot be evaluated: some of them, and how many more.
    fn foreign(&self, subject: EndNumber) -> (Box<[Foreign]>, usize) {
        let Some(end) = self.engine.selected(subject.0).filter(|_| !self.engine.foreign.is_empty()) else {
            return Default::default();
        };
        let may =
            |namespace: &str| namespace.is_empty() || self.engine.texts.find(namespace) == Some(end.known.namespace);
        let all = self.engine.foreign.iter();
        let mut all = all.filter(|foreign| (self.pending || !foreign.staged) && may(&foreign.namespace));
        let named = all.by_ref().take(FOREIGN_NAMED).cloned().collect();
        (named, all.count())
    }

    fn step(&self, steps: &mut Vec<Step>, direction: Direction, hit: Hit) {
        if self.traced {
            steps.push(Step { direction, hit });
        }
    }

    /// A tier of cluster-wide policies; whether it may be left for the next.
    fn cluster_tier(
        &mut self,
        tier: Tier,
        policies: &[u32],
        direction: Direction,
        result: &mut Possible,
        steps: &mut Vec<Step>,
    ) -> bool {
        // Pods in their node's network are not selected by these kinds.
        if self.kind(self.end(direction).0) != EndKind::Pod {
            return true;
        }
        let mut passed = false;
        let mut at = 0;
        while let Some(first) = policies.get(at).and_then(|policy| self.engine.compiled(*policy)) {
            let (of, priority) = (first.policy.tier, first.policy.priority);
            let (mut group, mut several) = (Matches { none: true, ..Matches::default() }, 0_usize);
            while let Some((policy, compiled)) = policies.get(at).and_then(|policy| {
                let compiled = self.engine.compiled(*policy)?;
                (compiled.policy.tier == of && compiled.policy.priority == priority).then_some((*policy, compiled))
            }) {
                at += 1;
                if of != tier || !self.counts(compiled) {
                    continue;
                }
                let one = self.policy(policy, compiled, direction, steps);
                several += usize::from(one.actions() > 0);
                group.allow |= one.allow;
                group.deny |= one.deny;
                group.pass |= one.pass;
                group.none &= one.none;
            }
            if group.actions() > 1 && several > 1 {
                self.reasons = self.reasons.and(Reasons::SAME_PRIORITY);
            }
            result.allow |= group.allow;
            result.deny |= group.deny;
            passed |= group.pass;
            if !group.none {
                return passed;
            }
        }
        true
    }

    /// What the first matching rule of a policy may do.
    fn policy(&mut self, policy: u32, compiled: &Compiled, direction: Direction, steps: &mut Vec<Step>) -> Matches {
        let mut matches = Matches::default();
        let selected = self.select(compiled, direction);
        if selected == Holds::Maybe {
            matches.none = true;
        }
        for (at, rule) in compiled.rules(direction).into_iter().flatten().enumerate() {
            let holds = self.rule(rule, compiled.policy.tier, direction);
            if holds == Holds::No {
                continue;
            }
            matches.add(rule.action);
            let certain = holds == Holds::Yes && selected == Holds::Yes;
            self.step(steps, direction, Hit::Rule { policy, rule: number(at), action: rule.action, certain });
            if holds == Holds::Yes {
                return matches;
            }
        }
        matches.none = true;
        self.step(steps, direction, Hit::NoRule { policy, certain: selected == Holds::Yes });
        matches
    }

    fn select(&mut self, compiled: &Compiled, direction: Direction) -> Holds {
        let (subject, _) = self.end(direction);
        let mut holds = self.engine.holds(compiled.subject, subject.0);
        if holds == Holds::Maybe {
            self.reasons = self.reasons.and(Reasons::LABELS_LEFT_OUT);
        }
        if holds != Holds::No && self.kind(subject) == EndKind::HostPod {
            holds = holds.min(self.answer(Question::HostNetworkPods));
        }
        holds
    }

    /// `NetworkPolicy` objects: together they allow what any of them allows, and end what they do not.
    fn namespaced_tier(
        &mut self,
        policies: &[u32],
        direction: Direction,
        result: &mut Possible,
        steps: &mut Vec<Step>,
    ) -> bool {
        let engine = self.engine;
        let mut isolated = Holds::No;
        let mut selecting = Vec::new();
        let of_tier = policies.iter().filter_map(|policy| Some((*policy, engine.compiled(*policy)?)));
        for (policy, compiled) in of_tier.filter(|(_, compiled)| compiled.policy.tier == Tier::NetworkPolicy) {
            if !self.counts(compiled) {
                continue;
            }
            let selected = self.select(compiled, direction);
            if selected != Holds::No {
                isolated = isolated.max(selected);
                selecting.push((policy, compiled, selected));
            }
        }
        if isolated == Holds::No {
            return true;
        }
        let exempt = self.exempt(direction);
        if exempt != Holds::No {
            self.step(steps, direction, Hit::OwnNode { certain: exempt == Holds::Yes });
            result.allow = true;
        }
        if exempt == Holds::Yes {
            return false;
        }
        let mut held = Holds::Yes;
        if !protocol::has_ports(self.ask.protocol) {
            held = self.answer(Question::OtherProtocols);
            if held == Holds::No {
                return true;
            }
        }
        let (mut may_deny, mut none_matches) = (false, true);
        for &(policy, compiled, selected) in &selecting {
            let matches = self.allows(policy, compiled, selected, direction, steps);
            result.allow |= matches != Holds::No;
            none_matches &= matches == Holds::No;
            if matches == Holds::Yes && selected == Holds::Yes {
                // That others do not allow it is no matter.
                return held != Holds::Yes;
            }
            // If none but this selected, it would deny, unless it surely allows.
            may_deny |= matches != Holds::Yes;
        }
        if may_deny {
            result.deny = true;
            let certain = isolated == Holds::Yes && none_matches && held == Holds::Yes && exempt == Holds::No;
            if self.traced {
                let policies = selecting.iter().map(|(policy, ..)| *policy).collect();
                self.step(steps, direction, Hit::EndOfTier { policies, certain });
            }
        }
        isolated != Holds::Yes || held != Holds::Yes
    }

    /// Whether one of a policy's rules matches.
    fn allows(
        &mut self,
        policy: u32,
        compiled: &Compiled,
        selected: Holds,
        direction: Direction,
        steps: &mut Vec<Step>,
    ) -> Holds {
        let mut most = Holds::No;
        for (at, rule) in compiled.rules(direction).into_iter().flatten().enumerate() {
            let holds = self.rule(rule, Tier::NetworkPolicy, direction);
            if holds == Holds::No {
                continue;
            }
            let certain = holds == Holds::Yes && selected == Holds::Yes;
            self.step(steps, direction, Hit::Rule { policy, rule: number(at), action: rule.action, certain });
            most = most.max(holds);
            if most == Holds::Yes {
                return most;
            }
        }
        if most == Holds::No {
            self.step(steps, direction, Hit::NoRule { policy, certain: selected == Holds::Yes });
        }
        most
    }

    /// What a `NetworkPolicy` cannot hold back: traffic from a pod's own node, and perhaps traffic to it.
    fn exempt(&mut self, direction: Direction) -> Holds {
        let (subject, peer) = self.end(direction);
        if !self.is_host(peer) || self.is_host(subject) {
            return Holds::No;
        }
        let near = match self.ask.same_node {
            Some(false) => return Holds::No,
            Some(true) => Holds::Yes,
            None => {
                self.reasons = self.reasons.and(Reasons::NODE_UNKNOWN);
                Holds::Maybe
            }
        };
        match direction {
            Direction::Ingress => near,
            Direction::Egress => near.min(self.answer(Question::OwnNode)),
        }
    }

    fn rule(&mut self, rule: &CompiledRule, tier: Tier, direction: Direction) -> Holds {
        if let Some(ports) = &rule.ports
            && !ports.iter().any(|(protocol, ports)| self.port(*protocol, *ports))
        {
            return Holds::No;
        }
        let Some(peers) = &rule.peers else { return Holds::Yes };
        let mut most = Holds::No;
        for peer in peers {
            most = most.max(self.peer(peer, tier, direction));
            if most == Holds::Yes {
                break;
            }
        }
        most
    }

    fn port(&self, protocol: Option<u8>, ports: CompiledPorts) -> bool {
        let (asked, port) = (self.ask.protocol, self.ask.port);
        if !protocol::has_ports(asked) || protocol.is_some_and(|protocol| protocol != asked) {
            return false;
        }
        match ports {
            CompiledPorts::Any => true,
            CompiledPorts::Range(first, last) => (first..=last).contains(&port),
            CompiledPorts::Named(name) => {
                let end = self.engine.selected(self.ask.destination.0);
                end.is_some_and(|end| end.known.ports.binary_search(&(name, asked, port)).is_ok())
            }
        }
    }

    fn peer(&mut self, peer: &CompiledPeer, tier: Tier, direction: Direction) -> Holds {
        let (_, end) = self.end(direction);
        match peer {
            CompiledPeer::Pods(selection) => {
                let mut holds = self.engine.holds(*selection, end.0);
                if holds == Holds::No {
                    return holds;
                }
                if holds == Holds::Maybe {
                    self.reasons = self.reasons.and(Reasons::LABELS_LEFT_OUT);
                }
                if self.kind(end) == EndKind::HostPod {
                    // The cluster-wide kinds do not mean them.
                    if tier != Tier::NetworkPolicy {
                        return Holds::No;
                    }
                    holds = holds.min(self.answer(Question::HostNetworkPods));
                }
                if direction == Direction::Ingress && self.ask.translated_source.is_some() {
                    // A source that was translated is no pod's address any more.
                    holds = holds.min(match self.answer(Question::TranslatedSource) {
                        Holds::Yes => Holds::No,
                        Holds::No => Holds::Yes,
                        Holds::Maybe => Holds::Maybe,
                    });
                }
                holds
            }
            CompiledPeer::Nodes(selection) => {
                let holds = self.engine.holds(*selection, end.0);
                if holds == Holds::Maybe {
                    self.reasons = self.reasons.and(Reasons::NODE_LABELS);
                }
                holds
            }
            CompiledPeer::IpBlock(network, except) => self.ip_block(*network, except, end, direction),
            CompiledPeer::Networks(networks) => {
                let class = if direction == Direction::Ingress { self.source } else { self.destination };
                self.any_network(networks, class)
            }
            CompiledPeer::Domains if self.kind(end) == EndKind::External => {
                self.reasons = self.reasons.and(Reasons::DOMAIN_NAMES);
                Holds::Maybe
            }
            CompiledPeer::Domains => Holds::No,
        }
    }

    fn any_network(&mut self, networks: &[Class], class: Class) -> Holds {
        if class == UNKNOWN {
            self.reasons = self.reasons.and(Reasons::NO_ADDRESS);
            return Holds::Maybe;
        }
        let within = networks.iter().any(|network| self.engine.networks.is_within(class, *network));
        if within { Holds::Yes } else { Holds::No }
    }

    fn ip_block(&mut self, network: Class, except: &[Class], end: EndNumber, direction: Direction) -> Holds {
        let original = if direction == Direction::Ingress { self.source } else { self.destination };
        let seen = self.in_block(network, except, original);
        let (mut holds, question) = match self.kind(end) {
            EndKind::External => (seen, None),
            EndKind::Pod => (seen, Some(Question::IpBlockPods)),
            EndKind::HostPod | EndKind::Node => (seen, Some(Question::IpBlockNodes)),
        };
        if let Some(question) = question.filter(|_| holds != Holds::No) {
            holds = holds.min(self.answer(question));
        }
        if direction == Direction::Ingress && self.ask.translated_source.is_some() {
            let translated = self.in_block(network, except, self.translated);
            if translated != holds {
                return match self.answer(Question::TranslatedSource) {
                    Holds::Yes => translated,
                    Holds::No => holds,
                    Holds::Maybe => Holds::Maybe,
                };
            }
        }
        if holds == Holds::Maybe && seen == Holds::Maybe {
            self.reasons = self.reasons.and(Reasons::NO_ADDRESS);
        }
        holds
    }

    fn in_block(&self, network: Class, except: &[Class], class: Class) -> Holds {
        if class == UNKNOWN {
            return Holds::Maybe;
        }
        let networks = &self.engine.networks;
        let inside =
            networks.is_within(class, network) && !except.iter().any(|except| networks.is_within(class, *except));
        if inside { Holds::Yes } else { Holds::No }
    }
}

impl Engine {
    /// The policies behind the numbers of a step; nothing for one that is gone.
    pub(crate) fn policy_of(&self, number: u32) -> Option<&crate::model::Policy> {
        Some(&self.policies.get(index(number))?.as_ref()?.policy)
    }
}
