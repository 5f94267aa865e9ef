//! What the model keeps of objects.

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::net::IpAddr;
use weir_flow::Millis;

/// What is kept of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodFacts {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) node: String,
    pub(crate) host_network: bool,
    pub(crate) account: String,
    /// As `k=v`, sorted by key.
    pub(crate) labels: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) phase: String,
    /// Whether it was asked to end.
    pub(crate) ending: bool,
    /// Its controller: kind and name.
    pub(crate) controller: Option<(String, String)>,
    /// When it was scheduled, in whole seconds, ms since the epoch.
    pub(crate) scheduled: Option<Millis>,
}

impl PodFacts {
    /// Whether it has run to its end.
    pub(crate) fn ended(&self) -> bool {
        matches!(self.phase.as_str(), "Succeeded" | "Failed")
    }

    /// Whether flows at this address are its own.
    pub(crate) fn holds(&self, address: IpAddr) -> bool {
        !self.ended() && !self.host_network && self.addresses.contains(&address)
    }

    /// Whether flows at this address certainly are its own: it was not even asked to end.
    pub(crate) fn keeps(&self, address: IpAddr) -> bool {
        !self.ending && self.holds(address)
    }
}

/// What is kept of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceFacts {
    /// As `namespace/name`.
    pub(crate) name: String,
    pub(crate) labels: Vec<String>,
    /// Address, port and protocol's number.
    pub(crate) entries: Vec<(IpAddr, u16, u8)>,
}

/// What is kept of any other object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Labelled {
    pub(crate) name: String,
    pub(crate) labels: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
    /// What is particular to it: a policy's specification.
    pub(crate) detail: serde_json::Value,
}

/// The controller of an object.
pub(crate) fn controller(meta: &ObjectMeta) -> Option<(String, String)> {
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| (owner.kind.clone(), owner.name.clone()))
}

fn labels(meta: &ObjectMeta) -> Vec<String> {
    meta.labels.iter().flatten().map(|(key, value)| format!("{key}={value}")).collect()
}

fn qualified(meta: &ObjectMeta) -> String {
    let name = meta.name.as_deref().unwrap_or_default();
    meta.namespace.as_deref().map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"))
}

fn labelled(meta: &ObjectMeta, addresses: Vec<IpAddr>, detail: serde_json::Value) -> Labelled {
    Labelled { name: qualified(meta), labels: labels(meta), addresses, detail }
}

/// A pod.
pub(crate) fn pod(pod: &Pod) -> PodFacts {
    let meta = &pod.metadata;
    let spec = pod.spec.clone().unwrap_or_default();
    let status = pod.status.clone().unwrap_or_default();
    let mut addresses: Vec<IpAddr> = status.pod_ips.iter().flatten().filter_map(|it| it.ip.parse().ok()).collect();
    addresses.sort_unstable();
    let scheduled = status.conditions.iter().flatten().find(|it| it.type_ == "PodScheduled" && it.status == "True");
    PodFacts {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        node: spec.node_name.unwrap_or_default(),
        host_network: spec.host_network == Some(true),
        account: spec.service_account_name.unwrap_or_default(),
        labels: labels(meta),
        addresses,
        phase: status.phase.unwrap_or_default(),
        ending: meta.deletion_timestamp.is_some(),
        controller: controller(meta),
        scheduled: scheduled.and_then(|it| it.last_transition_time.as_ref()).map(|time| time.0.as_millisecond()),
    }
}

/// A service.
pub(crate) fn service(service: &Service) -> ServiceFacts {
    let spec = service.spec.clone().unwrap_or_default();
    let addresses: Vec<IpAddr> = spec.cluster_ips.iter().flatten().filter_map(|text| text.parse().ok()).collect();
    let ports = spec.ports.unwrap_or_default();
    let number = |protocol: Option<&str>| match protocol {
        Some("UDP") => 17,
        Some("SCTP") => 132,
        _ => 6,
    };
    let mut entries: Vec<(IpAddr, u16, u8)> = addresses
        .iter()
        .flat_map(|address| {
            ports
                .iter()
                .filter_map(|port| Some((*address, u16::try_from(port.port).ok()?, number(port.protocol.as_deref()))))
        })
        .collect();
    entries.sort_unstable();
    ServiceFacts { name: qualified(&service.metadata), labels: labels(&service.metadata), entries }
}

/// A node.
pub(crate) fn node(node: &Node) -> Labelled {
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let addresses = addresses.filter(|address| address.type_ == "InternalIP").filter_map(|it| it.address.parse().ok());
    labelled(&node.metadata, addresses.collect(), serde_json::Value::Null)
}

/// A namespace.
pub(crate) fn namespace(namespace: &Namespace) -> Labelled {
    labelled(&namespace.metadata, Vec::new(), serde_json::Value::Null)
}

/// A network policy.
pub(crate) fn policy(policy: &NetworkPolicy) -> Labelled {
    labelled(&policy.metadata, Vec::new(), serde_json::to_value(&policy.spec).unwrap_or_default())
}
