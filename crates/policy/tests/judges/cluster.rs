//! A small cluster out of manifests.

use serde_json::Value;
use std::collections::BTreeMap;
use weir_flow::{Address, protocol};
use weir_policy::{
    Ask, Cache, End, EndNumber, Engine, Judgement, NamedPort, Parsed, PodEnd, PolicyObject, Profile, parse,
};

/// Namespaces, pods and nodes, by name.
#[derive(Debug, Default, Clone)]
pub(crate) struct Cluster {
    namespaces: BTreeMap<String, Vec<String>>,
    pods: BTreeMap<String, Pod>,
    nodes: BTreeMap<String, Node>,
}

#[derive(Debug, Clone)]
struct Pod {
    namespace: String,
    labels: Vec<String>,
    complete: bool,
    address: Option<Address>,
    node: String,
    host: bool,
    ports: Vec<(String, u8, u16)>,
}

#[derive(Debug, Clone)]
struct Node {
    labels: Vec<String>,
    address: Option<Address>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn labels(meta: &Value) -> Vec<String> {
    let map = meta["labels"].as_object();
    map.into_iter().flatten().map(|(key, value)| format!("{key}={}", text(value))).collect()
}

/// A policy object of a manifest, read.
pub(crate) fn policy(object: &Value) -> Parsed {
    let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
    let namespace = if kind == "NetworkPolicy" { namespace } else { "" };
    let staged = object["metadata"]["annotations"]["weir.dev/staged"] == "true";
    let name = text(&object["metadata"]["name"]);
    parse(PolicyObject { api_version: &version, kind: &kind, namespace, name: &name, staged }, &object["spec"])
}

/// One end of a question.
struct Asked {
    number: EndNumber,
    address: Option<Address>,
    node: String,
}

impl Cluster {
    /// Takes an object that is no policy.
    pub(crate) fn add(&mut self, object: &Value) {
        let meta = &object["metadata"];
        let name = text(&meta["name"]);
        match object["kind"].as_str() {
            Some("Namespace") => {
                self.namespaces.insert(name, labels(meta));
            }
            Some("Node") => {
                let addresses = object["status"]["addresses"].as_array();
                let address = addresses.into_iter().flatten().find_map(|one| one["address"].as_str()?.parse().ok());
                self.nodes.insert(name, Node { labels: labels(meta), address });
            }
            Some("Pod") => {
                let namespace = meta["namespace"].as_str().unwrap_or("default").to_owned();
                let spec = &object["spec"];
                let containers = spec["containers"].as_array();
                let ports = containers.into_iter().flatten().flat_map(|one| one["ports"].as_array()).flatten();
                let ports = ports.map(|port| {
                    let number = port["containerPort"].as_u64().and_then(|port| u16::try_from(port).ok());
                    let protocol = protocol::parse(port["protocol"].as_str().unwrap_or("TCP"));
                    (text(&port["name"]), protocol.expect("a protocol"), number.expect("a port"))
                });
                let pod = Pod {
                    namespace: namespace.clone(),
                    labels: labels(meta),
                    complete: meta["annotations"]["labels"] != "incomplete",
                    address: object["status"]["podIP"].as_str().and_then(|address| address.parse().ok()),
                    node: text(&spec["nodeName"]),
                    host: spec["hostNetwork"].as_bool().unwrap_or(false),
                    ports: ports.collect(),
                };
                self.pods.insert(format!("{namespace}/{name}"), pod);
            }
            other => panic!("what is {other:?}?"),
        }
    }

    fn end(&self, engine: &mut Engine, name: &str) -> Asked {
        if let Some(address) = name.strip_prefix("ip:") {
            let address = address.split('/').next().and_then(|address| address.parse().ok());
            return Asked { number: engine.end::<&str>(&End::External), address, node: String::new() };
        }
        if let Some(name) = name.strip_prefix("node:") {
            let node = &self.nodes[name];
            let number = engine.end(&End::Node(Some(&node.labels)));
            return Asked { number, address: node.address, node: name.to_owned() };
        }
        let pod = self.pods.get(name).unwrap_or_else(|| panic!("no pod {name}"));
        let ports: Vec<NamedPort<'_>> = pod
            .ports
            .iter()
            .map(|(name, protocol, port)| NamedPort { name, protocol: *protocol, port: *port })
            .collect();
        let none = Vec::new();
        let end = End::Pod(PodEnd {
            namespace: &pod.namespace,
            namespace_labels: self.namespaces.get(&pod.namespace).unwrap_or(&none),
            labels: &pod.labels,
            labels_complete: pod.complete,
            ports: &ports,
            host_network: pod.host,
            node_labels: self.nodes.get(&pod.node).map(|node| node.labels.as_slice()),
        });
        Asked { number: engine.end(&end), address: pod.address, node: pod.node.clone() }
    }

    /// What the engine says of a connection between two ends by name, perhaps from an address after translation.
    pub(crate) fn judge(
        &self,
        engine: &mut Engine,
        cache: &mut Cache,
        (source, destination): (&str, &str),
        (protocol, port): (&str, u16),
        translated: Option<Address>,
    ) -> std::sync::Arc<Judgement> {
        let (from, to) = (self.end(engine, source), self.end(engine, destination));
        let known = !from.node.is_empty() && !to.node.is_empty();
        let ask = Ask {
            source: from.number,
            source_address: from.address,
            translated_source: translated,
            destination: to.number,
            destination_address: to.address,
            protocol: protocol::parse(protocol).expect("a protocol"),
            port,
            same_node: known.then_some(from.node == to.node),
            same_pod: source == destination,
        };
        engine.judge(cache, &ask)
    }
}

/// An engine with these policies, all of which must be valid.
pub(crate) fn engine<'a>(profile: Profile, policies: impl Iterator<Item = &'a Value>) -> Engine {
    let mut engine = Engine::new(profile);
    for object in policies {
        match policy(object) {
            Parsed::Policy(policy, remarks) => {
                assert!(remarks.unknown.is_empty(), "fields that the kind does not have: {remarks:?}");
                engine.insert(*policy);
            }
            Parsed::Foreign(foreign) => engine.insert_foreign(foreign),
            Parsed::Invalid(errors) => panic!("{object}: {errors:?}"),
        }
    }
    engine
}
