//! The engine against the naive evaluator, on random clusters whose policies and labels come and go.

use super::naive::{Question as Naive, Who, World};
use super::{Arc, Engine};
use crate::ends::{End, EndNumber, NamedPort, PodEnd};
use crate::model::{
    Action, Namespaces, Operator, Peer, Pods, Policy, PolicyId, PolicyKind, PortMatch, Ports, Requirement, Rule,
    Selector, Tier,
};
use crate::profile::{Profile, QUESTIONS};
use crate::{Ask, Cache, Outcome};
use ipnet::IpNet;
use proptest::prelude::*;
use std::collections::BTreeMap;
use weir_flow::Address;

type Labels = BTreeMap<String, String>;

fn labels() -> impl Strategy<Value = Labels> {
    let pair = ("[abc]", "[01]");
    prop::collection::btree_map(pair.0, pair.1, 0..3)
}

fn requirement() -> impl Strategy<Value = Requirement> {
    let operator = prop_oneof![
        3 => Just(Operator::In),
        1 => Just(Operator::NotIn),
        1 => Just(Operator::Exists),
        1 => Just(Operator::DoesNotExist)
    ];
    ("[abc]", operator, prop::collection::btree_set("[01]", 1..3)).prop_map(|(key, operator, values)| {
        let sets = matches!(operator, Operator::In | Operator::NotIn);
        Requirement { key, operator, values: if sets { values.into_iter().collect() } else { Vec::new() } }
    })
}

fn selector() -> impl Strategy<Value = Selector> {
    prop::collection::vec(requirement(), 0..3).prop_map(|requirements| Selector { requirements })
}

fn namespaces() -> impl Strategy<Value = Namespaces> {
    let name = Requirement {
        key: "kubernetes.io/metadata.name".to_owned(),
        operator: Operator::In,
        values: vec!["n1".to_owned()],
    };
    prop_oneof![
        1 => "n[012]".prop_map(Namespaces::Named),
        2 => selector().prop_map(Namespaces::Selected),
        1 => Just(Namespaces::Selected(Selector { requirements: vec![name] })),
    ]
}

fn pods() -> impl Strategy<Value = Pods> {
    (namespaces(), selector()).prop_map(|(namespaces, pods)| Pods { namespaces, pods })
}

fn network() -> impl Strategy<Value = IpNet> {
    let all = ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/30", "10.0.0.4/30", "10.0.0.1/32", "8.0.0.0/8", "::/0", "fd00::/8"];
    prop::sample::select(all.to_vec()).prop_map(|text| text.parse().unwrap())
}

fn peer(namespaced: bool) -> BoxedStrategy<Peer> {
    let block = (network(), prop::collection::vec(network(), 0..2))
        .prop_map(|(network, except)| Peer::IpBlock { network, except });
    if namespaced {
        prop_oneof![2 => pods().prop_map(Peer::Pods), 1 => block].boxed()
    } else {
        prop_oneof![
            3 => pods().prop_map(Peer::Pods),
            1 => selector().prop_map(Peer::Nodes),
            1 => prop::collection::vec(network(), 1..3).prop_map(Peer::Networks),
            1 => Just(Peer::Domains(vec!["*.example.com".to_owned()])),
        ]
        .boxed()
    }
}

fn port() -> impl Strategy<Value = PortMatch> {
    let protocol = prop::option::weighted(0.8, prop::sample::select(vec![6_u8, 17, 132]));
    let ports = prop_oneof![
        Just(Ports::Any),
        (80_u16..83, 0_u16..3).prop_map(|(first, more)| Ports::Range(first, first + more)),
        "[pq]".prop_map(Ports::Named),
    ];
    (protocol, ports).prop_map(|(protocol, ports)| PortMatch { protocol, ports })
}

fn rules(namespaced: bool) -> impl Strategy<Value = Option<Vec<Rule>>> {
    let actions = if namespaced { vec![Action::Allow] } else { vec![Action::Allow, Action::Deny, Action::Pass] };
    let peers = prop::option::weighted(0.8, prop::collection::vec(peer(namespaced), 1..3));
    let ports = prop::option::weighted(0.4, prop::collection::vec(port(), 1..3));
    let rule = (prop::sample::select(actions), peers, ports).prop_map(|(action, peers, ports)| Rule {
        // Domain names are for what is allowed alone.
        action: if peers.iter().flatten().any(|peer| matches!(peer, Peer::Domains(_))) {
            Action::Allow
        } else {
            action
        },
        name: String::new(),
        peers,
        ports,
    });
    prop::option::weighted(0.7, prop::collection::vec(rule, usize::from(!namespaced)..3))
}

fn policy() -> impl Strategy<Value = Policy> {
    let tiers = prop_oneof![1 => Just(Tier::Admin), 2 => Just(Tier::NetworkPolicy), 1 => Just(Tier::Baseline)];
    tiers.prop_flat_map(|tier| {
        let namespaced = tier == Tier::NetworkPolicy;
        (pods(), rules(namespaced), rules(namespaced), 0_u16..3, "[a-f]", "n[012]").prop_map(
            move |(mut subject, ingress, egress, priority, name, namespace)| {
                let kind = if namespaced { PolicyKind::NetworkPolicy } else { PolicyKind::ClusterNetworkPolicy };
                if namespaced {
                    subject.namespaces = Namespaces::Named(namespace.clone());
                }
                let namespace = if namespaced { namespace } else { String::new() };
                let id = PolicyId { kind, namespace, name, staged: false };
                let priority = if namespaced { 0 } else { priority };
                Policy { id, tier, priority, subject, ingress, egress }
            },
        )
    })
}

fn who() -> impl Strategy<Value = (Who, Address)> {
    let ports = prop::collection::vec(("[pq]", prop::sample::select(vec![6_u8, 17]), 80_u16..83), 0..3);
    let pod = ("n[012]", labels(), ports, prop::bool::weighted(0.15), 0_usize..2, 1_u8..8);
    prop_oneof![
        5 => pod.prop_map(|(namespace, labels, ports, host, node, last)| {
            let address = if host { format!("192.168.0.{node}") } else { format!("10.0.0.{last}") };
            (Who::Pod { namespace, labels, ports, host, node }, address.parse().unwrap())
        }),
        1 => (0_usize..2).prop_map(|node| (Who::Node(node), format!("192.168.0.{node}").parse().unwrap())),
        1 => prop::sample::select(vec!["8.8.8.8", "10.0.0.5", "1.1.1.1", "fd00::1"])
            .prop_map(|text| (Who::External, text.parse().unwrap())),
    ]
}

fn question() -> impl Strategy<Value = Naive> {
    let protocol = prop_oneof![4 => Just(6_u8), 2 => Just(17), 1 => Just(132), 1 => Just(1)];
    let translated = prop::option::weighted(0.1, prop::sample::select(vec!["192.168.0.0", "10.0.0.1"]));
    let same = prop::option::of(any::<bool>());
    (who(), who(), translated, protocol, 79_u16..86, same).prop_map(
        |(source, destination, translated, protocol, port, same_node)| Naive {
            source,
            destination,
            translated: translated.map(|text| text.parse().unwrap()),
            protocol,
            port: if protocol == 1 { 0 } else { port },
            same_node,
        },
    )
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Box<Policy>),
    Remove(usize),
    Ask(Box<Naive>),
    Relabel(usize, Labels),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => policy().prop_map(|policy| Step::Insert(Box::new(policy))),
        1 => (0_usize..8).prop_map(Step::Remove),
        1 => (0_usize..3, labels()).prop_map(|(namespace, labels)| Step::Relabel(namespace, labels)),
        6 => question().prop_map(|question| Step::Ask(Box::new(question))),
    ];
    prop::collection::vec(step, 4..30)
}

fn texts(labels: &Labels) -> Vec<String> {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect()
}

fn end(engine: &mut Engine, world: &World, who: &Who) -> EndNumber {
    match who {
        Who::External => engine.end::<String>(&End::External),
        Who::Node(node) => engine.end(&End::Node(Some(&texts(&world.nodes[*node])))),
        Who::Pod { namespace, labels, ports, host, node } => {
            let named: Vec<NamedPort<'_>> = ports
                .iter()
                .map(|(name, protocol, port)| NamedPort { name, protocol: *protocol, port: *port })
                .collect();
            engine.end(&End::Pod(PodEnd {
                namespace,
                namespace_labels: &texts(&world.namespaces[namespace]),
                labels: &texts(labels),
                labels_complete: true,
                ports: &named,
                host_network: *host,
                node_labels: Some(&texts(&world.nodes[*node])),
            }))
        }
    }
}

fn ask(engine: &mut Engine, world: &World, naive: &Naive) -> Ask {
    Ask {
        source: end(engine, world, &naive.source.0),
        source_address: Some(naive.source.1),
        translated_source: naive.translated,
        destination: end(engine, world, &naive.destination.0),
        destination_address: Some(naive.destination.1),
        protocol: naive.protocol,
        port: naive.port,
        same_node: naive.same_node,
        same_pod: false,
    }
}

fn profile(answers: &[Option<bool>; 6]) -> Profile {
    let mut profile = Profile::NONE;
    for (question, answer) in QUESTIONS.into_iter().zip(answers) {
        if let Some(answer) = answer {
            profile = profile.with(question, *answer);
        }
    }
    profile
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_comes_out_is_what_the_naive_way_gives(
        steps in steps(),
        answers in prop::array::uniform6(prop::option::of(any::<bool>())),
        nodes in prop::collection::vec(labels(), 2),
    ) {
        let namespaces = ["n0", "n1", "n2"].map(|name| (name.to_owned(), Labels::new()));
        let mut world = World { namespaces: namespaces.into(), nodes };
        let mut engine = Engine::new(profile(&answers));
        let mut cache = Cache::new(64);
        let mut policies: BTreeMap<PolicyId, Policy> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Insert(policy) => {
                    policies.insert(policy.id.clone(), (*policy).clone());
                    engine.insert(*policy);
                }
                Step::Remove(at) => {
                    let id = policies.keys().nth(at).cloned();
                    if let Some(id) = id {
                        policies.remove(&id);
                        prop_assert!(engine.remove(&id));
                        prop_assert!(!engine.remove(&id));
                    }
                }
                Step::Relabel(namespace, labels) => {
                    world.namespaces.insert(format!("n{namespace}"), labels);
                }
                Step::Ask(naive) => {
                    let present: Vec<Policy> = policies.values().cloned().collect();
                    let may = world.outcomes(&present, &naive, &answers);
                    let wanted = match (may.contains(&true), may.contains(&false)) {
                        (true, false) => Outcome::Allow,
                        (false, true) => Outcome::Deny,
                        _ => Outcome::Unknown,
                    };
                    let ask = ask(&mut engine, &world, &naive);
                    let first = engine.judge(&mut cache, &ask);
                    prop_assert_eq!(first.enforced.outcome, wanted, "{:?} {:?}", naive, present);
                    prop_assert_eq!(wanted == Outcome::Unknown, !first.enforced.reasons.is_empty());
                    let again = engine.judge(&mut cache, &ask);
                    prop_assert!(Arc::ptr_eq(&first, &again), "the second answer is not the cached one");
                }
            }
        }
    }
}
