//! Whether the table says of now what is.

use crate::Faults;
use crate::facts::{Labelled, PodFacts};
use crate::model::{Life, Lives, Model};
use crate::others;
use crate::topic::{Topic, is_closed};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use weir_flow::{Address, Millis};
use weir_join::{Ask, Identity, IdentityKind};
use weir_schemas::metadata::Revision;

/// Compares what is with what the topic says is.
pub(crate) fn check(model: &Model, topic: &Topic, faults: &mut Faults) {
    let (_, now) = topic.promised();
    pods(model, topic, now, faults);
    services(model, topic, now, faults);
    labelled("Namespace", &model.namespaces, topic, faults);
    labelled("Node", &model.nodes, topic, faults);
    labelled("Policy", &model.policies, topic, faults);
    others::ask_nodes(model, topic, faults);
    let open = |kind: &str| open(kind, topic).into_keys().map(ToOwned::to_owned).collect::<BTreeSet<String>>();
    let live = uids(&model.pods);
    faults.check(open("Pod") == live, || {
        format!("pods: {:?}", open("Pod").symmetric_difference(&live).collect::<Vec<_>>())
    });
    let live = uids(&model.services);
    faults.check(open("Service") == live, || "other services are open than there are".to_owned());
}

fn pods(model: &Model, topic: &Topic, now: Millis, faults: &mut Faults) {
    let mut free: BTreeSet<IpAddr> = BTreeSet::new();
    let mut held: BTreeMap<IpAddr, Vec<(&str, &PodFacts)>> = BTreeMap::new();
    for (uid, life) in &model.pods {
        free.extend(life.states.iter().filter(|(_, it)| !it.host_network).flat_map(|(_, it)| &it.addresses));
        let Some(facts) = life.live() else { continue };
        let ask = Ask { pod_uid: Some(uid), ..Ask::address(now, Address::from(IpAddr::from([0, 0, 0, 0]))) };
        let by_uid = topic.table.resolve(&ask).identity;
        faults.check(by_uid.as_ref().is_some_and(|it| is(it, uid, facts, model)), || {
            format!("WRONG by UID now: {by_uid:?} is {facts:?}")
        });
        for address in facts.addresses.iter().filter(|address| facts.holds(**address)) {
            held.entry(*address).or_default().push((uid, facts));
        }
        if facts.host_network {
            on_a_node(facts, model, topic, now, faults);
        }
    }
    for (address, holders) in &held {
        let found = topic.table.resolve(&Ask::address(now, Address::from(*address)));
        let right = match &holders[..] {
            [(uid, facts)] => found.identity.as_ref().is_some_and(|it| is(it, uid, facts, model)),
            // kwok gives the same address to two pods now and then: then both are named, and none is taken for it.
            both => {
                let among = |uid: &str| found.candidates.iter().any(|candidate| *candidate.uid == *uid);
                found.identity.is_none() && both.iter().all(|(uid, _)| among(uid))
            }
        };
        faults.check(right, || format!("WRONG by address now: {address} is {holders:?}, told {found:?}"));
    }
    for address in free.iter().filter(|address| !held.contains_key(*address)) {
        let found = topic.table.resolve(&Ask::address(now, Address::from(*address)));
        faults.check(found.identity.is_none() && found.candidates.is_empty(), || {
            format!("WRONG: {address} was given back and is {found:?}")
        });
    }
}

/// The addresses of a pod on its node's network are the node's. An address that the node does not have is nobody's:
/// kwok gives a pod one of its own while it does not know the node yet.
fn on_a_node(pod: &PodFacts, model: &Model, topic: &Topic, now: Millis, faults: &mut Faults) {
    let node = model.nodes.values().filter_map(Life::live).find(|node| node.name == pod.node);
    for address in &pod.addresses {
        let found = topic.table.resolve(&Ask::address(now, Address::from(*address))).identity;
        let of_node = node.is_some_and(|node| node.addresses.contains(address));
        let right = match &found {
            Some(identity) => of_node && identity.kind == IdentityKind::Node && *identity.name == *pod.node,
            None => !of_node,
        };
        faults.check(right, || format!("WRONG: {address} of {pod:?} on {node:?} is {found:?}"));
    }
}

fn is(identity: &Identity, uid: &str, facts: &PodFacts, model: &Model) -> bool {
    let workload = (identity.workload_kind.to_string(), identity.workload.to_string());
    let labels: Vec<&str> = identity.labels.iter().map(|label| &**label).collect();
    identity.kind == IdentityKind::Pod
        && *identity.uid == *uid
        && *identity.namespace == *facts.namespace
        && *identity.name == *facts.name
        && *identity.node == *facts.node
        && *identity.service_account == *facts.account
        && workload == model.workload(facts)
        && labels == facts.labels
}

fn services(model: &Model, topic: &Topic, now: Millis, faults: &mut Faults) {
    let mut names = BTreeMap::new();
    for life in model.services.values() {
        for entry in life.states.iter().flat_map(|(_, facts)| &facts.entries) {
            names.entry(*entry).or_insert(None);
        }
    }
    for facts in model.services.values().filter_map(Life::live) {
        names.extend(facts.entries.iter().map(|entry| (*entry, Some(facts.name.as_str()))));
    }
    for ((address, port, protocol), name) in names {
        let told = topic.table.service(now, Address::from(address), port, protocol);
        faults
            .check(told.map(|told| &**told) == name, || format!("WRONG: {address}:{port} is {name:?}, told {told:?}"));
    }
}

fn labelled(kind: &str, lives: &Lives<Labelled>, topic: &Topic, faults: &mut Faults) {
    let open = open(kind, topic);
    for (uid, life) in lives {
        let revision = open.get(uid.as_str());
        let right = match life.live() {
            Some(facts) => revision.is_some_and(|revision| others::is(revision, facts)),
            None => revision.is_none(),
        };
        faults.check(right, || format!("WRONG now: {kind} {uid} is {:?}, told {revision:?}", life.live()));
    }
    faults.check(open.len() == uids(lives).len(), || format!("{kind}: {} are open", open.len()));
}

/// The open revisions of a kind.
fn open<'a>(kind: &str, topic: &'a Topic) -> BTreeMap<&'a str, &'a Revision> {
    let lines = topic.lines.iter().filter(|((of, _), _)| *of == kind);
    lines.filter_map(|((_, uid), line)| Some((uid.as_str(), line.last().filter(|last| !is_closed(last))?))).collect()
}

fn uids<F>(lives: &Lives<F>) -> BTreeSet<String> {
    lives.iter().filter(|(_, life)| life.live().is_some()).map(|(uid, _)| uid.clone()).collect()
}
