//! Kubernetes objects as what the history keeps of them. Pure: the time of arrival is an argument.
//!
//! Which time bounds what (Kubernetes 1.29 and later):
//!
//! | event | not before | not after |
//! |---|---|---|
//! | an object exists | `creationTimestamp` | the same second |
//! | a pod holds its addresses | condition `PodScheduled`, else creation | condition `PodReadyToStartContainers` or the first container's start, if none was restarted; without that condition the first container's start, else arrival |
//! | a pod is bound to its node | condition `PodScheduled` | the same second |
//! | a pod gives its addresses back by ending | the last container's end; the last heartbeat if one was restarted, maybe in another sandbox | arrival |
//! | a pod gives its addresses back by losing its sandbox (`PodReadyToStartContainers` is false) | its containers' end, else the last heartbeat | arrival, or when the next sandbox was ready where that is told to be sooner |
//! | a pod that is asked to end | the request to delete | open, until it is deleted |
//! | a pod is deleted | the last container's end; the last heartbeat if its node had not told of one | arrival; half a minute later if it was not seen ending with time to do so, because then nobody waited for its containers |
//! | an agent is ready, or no longer | condition `Ready` | the same second |
//! | a policy or network set is changed, as a watch tells | the newest time of `managedFields`, but a status's | the same second |
//! | the same, as a list shows: after a restart, an outage or a version that is too old | the last heartbeat | the newest time of `managedFields`, else arrival |
//! | what is no pod is first shown by a list | `creationTimestamp` | the newest time of `managedFields`, else arrival |
//! | a network set gets its label | `creationTimestamp` | the newest time of `managedFields` |
//! | anything else changes | the last heartbeat | arrival |
//!
//! Labels of a pod that were changed before it was first seen count from its beginning.

use crate::bounds::{always, between, written};
use crate::revisions::{About, Observed};
use k8s_openapi::api::core::v1::{Namespace, Node, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;
use weir_flow::{Address, Millis, protocol};
use weir_schemas::metadata::{self, Bound, BoundSource, Object};

mod listed;
mod network;
mod pod;

#[cfg(test)]
mod tests;

pub use listed::{listed, shown};
pub use network::{
    NETWORK_SET_LABEL, OtherPolicy, STAGED_ANNOTATION, endpoint_slice, network_policy, network_set, network_set_errors,
    other_policy,
};
pub use pod::{
    ADDRESS_ANNOTATION, Owner, agent, agent_end, api_uid, containers_ended, controller, former_pod, mirrored_uid, pod,
    pod_end, pod_uid,
};

/// Milliseconds of a Kubernetes time.
#[must_use]
pub fn millis(time: &Time) -> Millis {
    time.0.as_millisecond()
}

/// Labels as `k=v`, sorted by key, as a map is already.
fn labels(labels: Option<&BTreeMap<String, String>>) -> Vec<String> {
    labels.into_iter().flatten().map(|(key, value)| format!("{key}={value}")).collect()
}

/// What an object says about itself besides its content: who changed it last, and when.
fn about(meta: &ObjectMeta) -> About {
    // A status is written by controllers all the time and is no change of what the object is.
    let entries = meta.managed_fields.iter().flatten().filter(|entry| entry.subresource.as_deref() != Some("status"));
    let newest = entries.filter_map(|entry| Some((millis(entry.time.as_ref()?), text(&entry.manager)))).max();
    About {
        labels_dropped: 0,
        changed_by: newest.map(|(_, manager)| manager.to_owned()).unwrap_or_default(),
        changed_at: newest.map(|(time, _)| time),
    }
}

/// When anything of an object was last changed, its status included.
fn touched(meta: &ObjectMeta) -> Option<Millis> {
    meta.managed_fields.iter().flatten().filter_map(|entry| entry.time.as_ref()).map(millis).max()
}

/// From when an object exists; always without a time.
fn created(meta: &ObjectMeta) -> Bound {
    meta.creation_timestamp.as_ref().map_or_else(always, |time| written(millis(time), BoundSource::Creation))
}

/// The longest UID, bytes: Kubernetes gives UUIDs, a manifest may hold anything.
const UID_BYTES: usize = 128;

/// The object's UID; for one without (a manifest) a UUID made of kind, namespace and name.
fn uid(kind: &str, meta: &ObjectMeta) -> String {
    if let Some(uid) = meta.uid.as_deref().filter(|uid| (1..=UID_BYTES).contains(&uid.len())) {
        return uid.to_owned();
    }
    made_uid(kind, text(&meta.namespace), text(&meta.name))
}

/// The UID of an object that has none of its own.
#[must_use]
pub fn made_uid(kind: &str, namespace: &str, name: &str) -> String {
    /// The space of names in which such UIDs are made; any fixed value would do.
    const SPACE: uuid::Uuid = uuid::Uuid::from_u128(0x8d0c_2f4e_65c1_5b0e_9a54_77c0_57e1_0001);
    uuid::Uuid::new_v5(&SPACE, format!("{kind}/{namespace}/{name}").as_bytes()).to_string()
}

fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or_default()
}

fn parse_addresses<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<Address> {
    let mut addresses: Vec<Address> = texts.filter_map(|text| text.trim().parse().ok()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// An object without its labels and annotations, which [`Keep`](crate::keep::Keep) puts onto it.
fn observed(kind: &str, meta: &ObjectMeta, object: Object) -> Observed {
    Observed {
        uid: uid(kind, meta),
        namespace: text(&meta.namespace).to_owned(),
        name: text(&meta.name).to_owned(),
        labels: Vec::new(),
        annotations: Vec::new(),
        object,
        since: Some(created(meta)),
        changed: None,
        owner_known: true,
        about: about(meta),
    }
}

/// When an object was deleted, as far as its own times tell.
#[must_use]
pub fn deleted(meta: &ObjectMeta, arrival: Millis) -> Option<Bound> {
    let deletion = millis(meta.deletion_timestamp.as_ref()?);
    let grace = meta.deletion_grace_period_seconds.unwrap_or(0).saturating_mul(1000);
    Some(between(deletion.saturating_sub(grace), arrival, BoundSource::Deletion))
}

/// A node.
#[must_use]
pub fn node(node: &Node) -> Observed {
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let addresses = addresses.filter(|address| matches!(address.type_.as_str(), "InternalIP" | "ExternalIP"));
    let mut pod_networks: Vec<String> = Vec::new();
    if let Some(spec) = &node.spec {
        pod_networks.extend(spec.pod_cidrs.iter().flatten().cloned());
        pod_networks.extend(spec.pod_cidr.iter().cloned());
    }
    pod_networks.retain(|network| !network.is_empty());
    pod_networks.sort_unstable();
    pod_networks.dedup();
    let zone = node.metadata.labels.as_ref().and_then(|labels| labels.get("topology.kubernetes.io/zone"));
    let object = metadata::Node {
        addresses: parse_addresses(addresses.map(|address| address.address.as_str())),
        pod_networks,
        zone: zone.cloned().unwrap_or_default(),
    };
    observed("node", &node.metadata, Object::Node(object))
}

/// A namespace.
#[must_use]
pub fn namespace(namespace: &Namespace) -> Observed {
    let phase = namespace.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
    observed("namespace", &namespace.metadata, Object::Namespace(metadata::Namespace { phase }))
}

/// A service.
#[must_use]
pub fn service(service: &Service) -> Observed {
    let mut addresses: Vec<&str> = Vec::new();
    let mut ports = Vec::new();
    let mut selector = Vec::new();
    if let Some(spec) = &service.spec {
        addresses.extend(spec.cluster_ips.iter().flatten().map(String::as_str));
        addresses.extend(spec.cluster_ip.as_deref());
        addresses.extend(spec.external_ips.iter().flatten().map(String::as_str));
        addresses.extend(spec.load_balancer_ip.as_deref());
        selector = labels(spec.selector.as_ref());
        ports = spec.ports.iter().flatten().filter_map(service_port).collect();
    }
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    addresses.extend(ingress.iter().filter_map(|ingress| ingress.ip.as_deref()));
    let addresses = parse_addresses(addresses.into_iter());
    observed("service", &service.metadata, Object::Service(metadata::Service { addresses, ports, selector }))
}

fn service_port(port: &k8s_openapi::api::core::v1::ServicePort) -> Option<metadata::ServicePort> {
    let number = u16::try_from(port.port).ok()?;
    let (target, target_name) = match &port.target_port {
        Some(IntOrString::Int(target)) => (u16::try_from(*target).ok()?, String::new()),
        Some(IntOrString::String(name)) => (0, name.clone()),
        None => (number, String::new()),
    };
    Some(metadata::ServicePort {
        name: port.name.clone().unwrap_or_default(),
        port: number,
        protocol: protocol::parse(port.protocol.as_deref().unwrap_or("TCP"))?,
        target,
        target_name,
    })
}
