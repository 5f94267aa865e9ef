//! The same answers without any cleverness, for tests: sets of everything that may come out, by trying every way to answer what is open.

use crate::model::{
    Action, Direction, Namespaces, Operator, Peer, Pods, Policy, PortMatch, Ports, Rule, Selector, Tier,
};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use weir_flow::Address;

/// An end with texts.
#[derive(Clone, Debug)]
pub(super) enum Who {
    Pod { namespace: String, labels: BTreeMap<String, String>, ports: Vec<(String, u8, u16)>, host: bool, node: usize },
    Node(usize),
    External,
}

/// A question with texts.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) source: (Who, Address),
    pub(super) destination: (Who, Address),
    pub(super) translated: Option<Address>,
    pub(super) protocol: u8,
    pub(super) port: u16,
    pub(super) same_node: Option<bool>,
}

/// Answers to what is left open, in the order of the crate's questions, and whether both ends are on one node.
#[derive(Clone, Copy)]
struct Open {
    answers: [bool; 6],
    same_node: bool,
    domain: bool,
}

/// Labels of namespaces and nodes.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) namespaces: BTreeMap<String, BTreeMap<String, String>>,
    pub(super) nodes: Vec<BTreeMap<String, String>>,
}

fn fits(selector: &Selector, labels: &BTreeMap<String, String>) -> bool {
    selector.requirements.iter().all(|one| {
        let value = labels.get(&one.key);
        match one.operator {
            Operator::In => value.is_some_and(|value| one.values.contains(value)),
            Operator::NotIn => value.is_none_or(|value| !one.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    })
}

impl World {
    fn pods(&self, pods: &Pods, who: &Who) -> bool {
        let Who::Pod { namespace, labels, .. } = who else { return false };
        let namespace_fits = match &pods.namespaces {
            Namespaces::Named(name) => name == namespace,
            Namespaces::Selected(selector) => {
                let mut labels = self.namespaces[namespace].clone();
                labels.insert("kubernetes.io/metadata.name".to_owned(), namespace.clone());
                fits(selector, &labels)
            }
        };
        namespace_fits && fits(&pods.pods, labels)
    }

    fn node_labels(&self, who: &Who) -> Option<&BTreeMap<String, String>> {
        match who {
            Who::Node(node) | Who::Pod { host: true, node, .. } => Some(&self.nodes[*node]),
            _ => None,
        }
    }

    fn port(&self, port: &PortMatch, ask: &Question) -> bool {
        if ![6, 17, 132].contains(&ask.protocol) || port.protocol.is_some_and(|protocol| protocol != ask.protocol) {
            return false;
        }
        match (&port.ports, &ask.destination.0) {
            (Ports::Any, _) => true,
            (Ports::Range(first, last), _) => *first <= ask.port && ask.port <= *last,
            (Ports::Named(name), Who::Pod { ports, .. }) => ports.contains(&(name.clone(), ask.protocol, ask.port)),
            (Ports::Named(_), _) => false,
        }
    }

    fn peer(&self, peer: &Peer, tier: Tier, direction: Direction, ask: &Question, open: Open) -> bool {
        let ingress = direction == Direction::Ingress;
        let (who, address) = if ingress { &ask.source } else { &ask.destination };
        let translated = ask.translated.filter(|_| ingress && open.answers[2]);
        let is_host = matches!(who, Who::Node(_) | Who::Pod { host: true, .. });
        let inside = |network: &IpNet, address: Address| network.contains(&address.ip());
        match peer {
            Peer::Pods(pods) => {
                let counts = !is_host || (tier == Tier::NetworkPolicy && open.answers[3]);
                self.pods(pods, who) && counts && translated.is_none()
            }
            Peer::Nodes(nodes) => self.node_labels(who).is_some_and(|labels| fits(nodes, labels)),
            Peer::Networks(networks) => networks.iter().any(|network| inside(network, *address)),
            Peer::Domains(_) => matches!(who, Who::External) && open.domain,
            Peer::IpBlock { network, except } => {
                let seen = translated.unwrap_or(*address);
                let held = inside(network, seen) && !except.iter().any(|part| inside(part, seen));
                let counts = match who {
                    _ if translated.is_some() => true,
                    Who::External => true,
                    Who::Pod { host: false, .. } => open.answers[0],
                    _ => open.answers[1],
                };
                held && counts
            }
        }
    }

    fn rule(&self, rule: &Rule, tier: Tier, direction: Direction, ask: &Question, open: Open) -> bool {
        let ports = rule.ports.as_ref().is_none_or(|ports| ports.iter().any(|port| self.port(port, ask)));
        let peers = rule.peers.as_ref();
        ports && peers.is_none_or(|peers| peers.iter().any(|peer| self.peer(peer, tier, direction, ask, open)))
    }

    fn first(&self, policy: &Policy, direction: Direction, ask: &Question, open: Open) -> Option<Action> {
        let rules = policy.rules(direction).unwrap_or_default();
        rules.iter().find(|rule| self.rule(rule, policy.tier, direction, ask, open)).map(|rule| rule.action)
    }

    /// Everything that a tier of cluster-wide policies may do.
    fn tier(&self, policies: &[&Policy], direction: Direction, ask: &Question, open: Open) -> BTreeSet<Option<Action>> {
        let mut priorities: Vec<u16> = policies.iter().map(|policy| policy.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        for priority in priorities {
            let group = policies.iter().filter(|policy| policy.priority == priority);
            let may: BTreeSet<Action> = group.filter_map(|policy| self.first(policy, direction, ask, open)).collect();
            if !may.is_empty() {
                return may.into_iter().map(|action| (action != Action::Pass).then_some(action)).collect();
            }
        }
        BTreeSet::from([None])
    }

    fn namespaced(&self, policies: &[&Policy], direction: Direction, ask: &Question, open: Open) -> Option<Action> {
        if policies.is_empty() || (![6, 17, 132].contains(&ask.protocol) && !open.answers[5]) {
            // Also where the node is exempt the next tier would be asked; the exemption below comes first.
            if policies.is_empty() || !self.exempt(direction, ask, open) {
                return None;
            }
        }
        if self.exempt(direction, ask, open) {
            return Some(Action::Allow);
        }
        let allowed = policies.iter().any(|policy| self.first(policy, direction, ask, open).is_some());
        Some(if allowed { Action::Allow } else { Action::Deny })
    }

    fn exempt(&self, direction: Direction, ask: &Question, open: Open) -> bool {
        let is_host = |who: &Who| matches!(who, Who::Node(_) | Who::Pod { host: true, .. });
        let (subject, peer) = match direction {
            Direction::Ingress => (&ask.destination.0, &ask.source.0),
            Direction::Egress => (&ask.source.0, &ask.destination.0),
        };
        is_host(peer) && !is_host(subject) && open.same_node && (direction == Direction::Ingress || open.answers[4])
    }

    fn side(&self, policies: &[Policy], direction: Direction, ask: &Question, open: Open) -> BTreeSet<Action> {
        let who = match direction {
            Direction::Ingress => &ask.destination.0,
            Direction::Egress => &ask.source.0,
        };
        let Who::Pod { host, .. } = who else { return BTreeSet::from([Action::Allow]) };
        let of = |tier: Tier| -> Vec<&Policy> {
            let counts = !host || (tier == Tier::NetworkPolicy && open.answers[3]);
            let found = policies.iter().filter(|policy| {
                counts && policy.tier == tier && policy.rules(direction).is_some() && self.pods(&policy.subject, who)
            });
            found.collect()
        };
        let mut all = BTreeSet::new();
        for admin in self.tier(&of(Tier::Admin), direction, ask, open) {
            let Some(action) = admin.or_else(|| self.namespaced(&of(Tier::NetworkPolicy), direction, ask, open)) else {
                let baseline = self.tier(&of(Tier::Baseline), direction, ask, open);
                all.extend(baseline.into_iter().map(|action| action.unwrap_or(Action::Allow)));
                continue;
            };
            all.insert(action);
        }
        all
    }

    /// Everything that may come out under a profile's answers.
    pub(super) fn outcomes(&self, policies: &[Policy], ask: &Question, answers: &[Option<bool>; 6]) -> BTreeSet<bool> {
        let mut all = BTreeSet::new();
        for bits in 0_u32..256 {
            let bit = |at: usize| bits & (1 << at) != 0;
            if (0..6).any(|at| answers[at].is_some_and(|answer| answer != bit(at))) {
                continue;
            }
            if ask.same_node.is_some_and(|same| same != bit(6)) {
                continue;
            }
            let open = Open { answers: std::array::from_fn(bit), same_node: bit(6), domain: bit(7) };
            for out in self.side(policies, Direction::Egress, ask, open) {
                for into in self.side(policies, Direction::Ingress, ask, open) {
                    all.insert(out == Action::Allow && into == Action::Allow);
                }
            }
        }
        all
    }
}
