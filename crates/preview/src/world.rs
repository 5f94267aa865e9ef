//! Who there is and which policies hold, wherever that was read.

use anyhow::{Result, bail};
use std::collections::BTreeMap;
use weir_flow::Address;
use weir_policy::{
    Ask, Cache, End, EndNumber, Engine, FieldError, Judgement, NamedPort, Parsed, PodEnd, PolicyObject, Profile, parse,
    parse_served,
};

/// A policy object.
#[derive(Clone, Debug)]
pub struct PolicySource {
    /// `apiVersion`.
    pub api_version: String,
    /// `kind`.
    pub kind: String,
    /// Namespace; empty for a cluster-wide one.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Whether it is staged.
    pub staged: bool,
    /// What it says.
    pub spec: Spec,
    /// Where it is written; empty for one that is not from a manifest.
    pub file: String,
}

/// What a policy says: as it is written by a person, or as an API server took it.
#[derive(Clone, Debug)]
pub enum Spec {
    /// To be validated.
    Written(serde_json::Value),
    /// As text of the metadata topic.
    Served(String),
}

impl PolicySource {
    /// Reads it.
    #[must_use]
    pub fn parse(&self) -> Parsed {
        let object = PolicyObject {
            api_version: &self.api_version,
            kind: &self.kind,
            namespace: &self.namespace,
            name: &self.name,
            staged: self.staged,
        };
        match &self.spec {
            Spec::Written(spec) => parse(object, spec),
            Spec::Served(spec) => parse_served(object, spec),
        }
    }

    /// `NetworkPolicy shop/web`.
    #[must_use]
    pub fn title(&self) -> String {
        let place = if self.namespace.is_empty() { String::new() } else { format!("{}/", self.namespace) };
        format!("{} {place}{}", self.kind, self.name)
    }
}

/// A pod, or what a workload's template makes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pod {
    /// Its own name; empty for a template's.
    pub name: String,
    /// Labels as `k=v`, sorted.
    pub labels: Vec<String>,
    /// Whether these are all labels.
    pub complete: bool,
    /// Name, protocol and number of its ports.
    pub ports: Vec<(String, u8, u16)>,
    /// Whether it uses its node's network.
    pub host_network: bool,
    /// Name of its node; empty where it is not known.
    pub node: String,
    /// Its addresses.
    pub addresses: Vec<Address>,
}

/// Name of a namespace and of a workload in it: the top of the owners, or the pod itself.
pub type WorkloadName = (String, String);

/// A node.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// Labels as `k=v`.
    pub labels: Vec<String>,
    /// Addresses.
    pub addresses: Vec<Address>,
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Labels of namespaces, and whether they are all.
    pub namespaces: BTreeMap<String, (Vec<String>, bool)>,
    /// Nodes by name.
    pub nodes: BTreeMap<String, Node>,
    /// Pods by workload.
    pub workloads: BTreeMap<WorkloadName, Vec<Pod>>,
    /// Policies.
    pub policies: Vec<PolicySource>,
}

/// An end of a question.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its number in the engine.
    pub number: EndNumber,
    /// Its address, if it is known.
    pub address: Option<Address>,
    /// Its node's name; empty where it is not known.
    pub node: String,
    /// Its namespace; empty for what is in none.
    pub namespace: String,
    /// What it is called.
    pub title: String,
}

/// A policy that the API server would refuse.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Its kind and name.
    pub title: String,
    /// Its file.
    pub file: String,
    /// Why.
    pub errors: Vec<FieldError>,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let errors: Vec<String> = self.errors.iter().map(ToString::to_string).collect();
        write!(f, "{} ({}): {}", self.title, self.file, errors.join("; "))
    }
}

impl World {
    /// The policies compiled, and those that are invalid and do not count.
    #[must_use]
    pub fn compile(&self, profile: Profile) -> (Engine, Vec<Refused>) {
        let mut engine = Engine::new(profile);
        let mut refused = Vec::new();
        for source in &self.policies {
            match source.parse() {
                Parsed::Policy(policy, _) => engine.insert(*policy),
                Parsed::Foreign(foreign) => engine.insert_foreign(foreign),
                Parsed::Invalid(errors) => {
                    refused.push(Refused { title: source.title(), file: source.file.clone(), errors });
                }
            }
        }
        (engine, refused)
    }

    /// A pod as an end.
    pub fn place(&self, engine: &mut Engine, namespace: &str, pod: &Pod, title: String) -> Place {
        let nothing = (Vec::new(), true);
        let (namespace_labels, known) = self.namespaces.get(namespace).unwrap_or(&nothing);
        let ports: Vec<NamedPort<'_>> = pod
            .ports
            .iter()
            .map(|(name, protocol, port)| NamedPort { name, protocol: *protocol, port: *port })
            .collect();
        let number = engine.end(&End::Pod(PodEnd {
            namespace,
            namespace_labels,
            labels: &pod.labels,
            labels_complete: pod.complete && *known,
            ports: &ports,
            host_network: pod.host_network,
            node_labels: self.nodes.get(&pod.node).map(|node| node.labels.as_slice()),
        }));
        let address = pod.addresses.first().copied();
        Place { number, address, node: pod.node.clone(), namespace: namespace.to_owned(), title }
    }

    /// What a person means: `namespace/workload`, `namespace/pod`, `node/name`, or an address, which may be a pod's or a node's. Of a
    /// workload one pod of each kind that policies can tell apart.
    ///
    /// # Errors
    /// A name that nobody has, or that is none.
    pub fn find(&self, engine: &mut Engine, name: &str) -> Result<Vec<Place>> {
        if let Ok(address) = name.parse::<Address>() {
            return Ok(vec![self.at(engine, address)]);
        }
        let Some((namespace, rest)) = name.split_once('/') else {
            bail!("{name:?} is neither an address nor namespace/name");
        };
        if namespace == "node"
            && let Some(node) = self.nodes.get(rest)
        {
            let number = engine.end(&End::Node(Some(&node.labels)));
            let address = node.addresses.first().copied();
            let (node, title) = (rest.to_owned(), name.to_owned());
            return Ok(vec![Place { number, address, node, namespace: String::new(), title }]);
        }
        let of_namespace = self.workloads.iter().filter(|((of, _), _)| of == namespace);
        let mut found = Vec::new();
        for ((_, workload), pods) in of_namespace {
            let meant = pods.iter().filter(|pod| workload == rest || pod.name == rest);
            found.extend(meant.map(|pod| self.place(engine, namespace, pod, name.to_owned())));
        }
        if found.is_empty() {
            bail!("there is no pod or workload {name}");
        }
        Ok(distinct(engine, found))
    }

    /// Who has an address.
    fn at(&self, engine: &mut Engine, address: Address) -> Place {
        for ((namespace, workload), pods) in &self.workloads {
            let held = pods.iter().find(|pod| !pod.host_network && pod.addresses.contains(&address));
            if let Some(pod) = held {
                let title = format!("{namespace}/{workload}");
                return Place { address: Some(address), ..self.place(engine, namespace, pod, title) };
            }
        }
        if let Some((name, node)) = self.nodes.iter().find(|(_, node)| node.addresses.contains(&address)) {
            let number = engine.end(&End::Node(Some(&node.labels)));
            let (node, title) = (name.clone(), format!("node/{name}"));
            return Place { number, address: Some(address), node, namespace: String::new(), title };
        }
        outside(engine, address)
    }
}

/// An address that nobody in the cluster has.
pub fn outside(engine: &mut Engine, address: Address) -> Place {
    Place {
        number: engine.end::<&str>(&End::External),
        address: Some(address),
        node: String::new(),
        namespace: String::new(),
        title: address.to_string(),
    }
}

/// One of each that policies tell apart.
#[must_use]
pub fn distinct(engine: &Engine, places: Vec<Place>) -> Vec<Place> {
    let mut seen = std::collections::BTreeSet::new();
    places
        .into_iter()
        .filter(|place| seen.insert((place.number, engine.network_class(place.address), place.node.clone())))
        .collect()
}

/// What the policies say about a connection.
pub fn judge(
    engine: &Engine,
    cache: &mut Cache,
    (source, destination): (&Place, &Place),
    (protocol, port): (u8, u16),
) -> std::sync::Arc<Judgement> {
    let nodes_known = !source.node.is_empty() && !destination.node.is_empty();
    let ask = Ask {
        source: source.number,
        source_address: source.address,
        translated_source: None,
        destination: destination.number,
        destination_address: destination.address,
        protocol,
        port,
        same_node: nodes_known.then(|| source.node == destination.node),
        same_pod: false,
    };
    engine.judge(cache, &ask)
}
