//! Pods, and the agents among them.

use super::{created, deleted, millis, observed, parse_addresses, text};
use crate::bounds::{SECOND_ROUNDED, between, written};
use crate::revisions::Observed;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use weir_flow::time::NEVER;
use weir_flow::{Address, Millis, protocol};
use weir_schemas::metadata::{self, Bound, BoundSource, Container, ContainerPort, Object};

/// The label by which the agents' pods are known.
const AGENT_LABEL: (&str, &str) = ("app.kubernetes.io/name", "weir-agent");

/// An annotation that gives a pod in a manifest its addresses, separated by commas.
pub const ADDRESS_ANNOTATION: &str = "weir.dev/address";

/// The annotation of a pod that a kubelet runs from a file: the UID by which the node knows it, which is not the API's. The API
/// server lets a kubelet make nothing but such pods, owned by its own node and on it, and lets nobody add or change the
/// annotation later; but whoever may make pods may make one with it.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// The digits of the hash that a kubelet takes for the UID of a pod of a file.
const HASH_DIGITS: usize = 32;

/// How long the containers of a pod may go on when nobody waited for their end.
const UNAWAITED_END: Millis = 30_000;

/// The top of a pod's owner chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Kind; empty for a pod without an owner.
    pub kind: String,
    /// Name; the pod's own without an owner.
    pub name: String,
    /// Whether the chain could be followed to its top.
    pub known: bool,
    /// The chain as `Kind/name`, nearest first.
    pub chain: Vec<String>,
}

/// The controller that owns an object: kind, name and UID.
#[must_use]
pub fn controller(meta: &ObjectMeta) -> Option<(&str, &str, &str)> {
    let owners = meta.owner_references.iter().flatten();
    let owner = owners.into_iter().find(|owner| owner.controller == Some(true))?;
    Some((&owner.kind, &owner.name, &owner.uid))
}

/// A pod, with the top of its owner chain, as it arrived.
#[must_use]
pub fn pod(pod: &Pod, owner: Owner, arrival: Millis) -> Observed {
    observed_pod(pod, owner, arrival, has_given_back(pod))
}

/// A pod as it was while it held the addresses that its status still shows though it has given them back, and when its
/// containers ended; nothing where it may hold them, or where it is not told when it began or ended.
#[must_use]
pub fn former_pod(pod: &Pod, owner: &Owner, arrival: Millis) -> Option<(Observed, Millis)> {
    let ended = last_end(pod).filter(|ended| *ended > NEVER && has_given_back(pod))?;
    let is_dated = pod.metadata.creation_timestamp.is_some() && first_start(pod).is_some();
    (is_dated && !addresses(pod).is_empty()).then(|| (observed_pod(pod, owner.clone(), arrival, false), ended))
}

fn has_given_back(pod: &Pod) -> bool {
    has_ended(pod) || has_lost_sandbox(pod)
}

fn observed_pod(pod: &Pod, owner: Owner, arrival: Millis, ended: bool) -> Observed {
    let spec = pod.spec.as_ref();
    let addresses = if ended { Vec::new() } else { addresses(pod) };
    let object = metadata::Pod {
        owners: owner.chain,
        ports: ports(pod),
        host_network: spec.and_then(|spec| spec.host_network).unwrap_or(false),
        node: spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        service_account: spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_default(),
        workload_kind: owner.kind,
        workload: owner.name,
        phase: text(&pod.status.as_ref().and_then(|status| status.phase.clone())).to_owned(),
        containers: containers(pod),
        addresses,
    };
    let has_addresses = !object.addresses.is_empty();
    let mut seen = observed("pod", &pod.metadata, Object::Pod(object));
    seen.uid = pod_uid(pod);
    seen.owner_known = owner.known;
    if pod.metadata.creation_timestamp.is_some() {
        if has_addresses {
            let held = holds_addresses(pod, arrival);
            seen.since = Some(held);
            seen.changed = Some(held);
        } else if ended {
            seen.changed = last_end(pod).map(|end| between(end, arrival, BoundSource::Status));
        } else {
            seen.changed = condition_time(pod, "PodScheduled").map(|time| written(time, BoundSource::Status));
        }
    }
    seen
}

/// When a deleted pod gave its addresses back, as far as its own times tell; `awaited` if it was seen ending before it
/// was gone, so that its node took part.
#[must_use]
pub fn pod_end(pod: &Pod, arrival: Millis, awaited: bool) -> Option<Bound> {
    if let Some(end) = last_end(pod) {
        return Some(between(end, arrival, BoundSource::Status));
    }
    let mut bound = deleted(&pod.metadata, arrival)?;
    if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) {
        // Its node had not told that it ended: what it had still to tell, such as an earlier end, is lost.
        bound.earliest = NEVER;
        if !awaited {
            bound.latest = bound.latest.saturating_add(UNAWAITED_END);
        }
    }
    Some(bound)
}

/// From when on a pod can have given its addresses back because all its containers have ended, if they have.
#[must_use]
pub fn containers_ended(pod: &Pod, arrival: Millis) -> Option<Bound> {
    let is_terminated =
        |status: &ContainerStatus| status.state.as_ref().is_some_and(|state| state.terminated.is_some());
    let all = pod.status.as_ref()?.container_statuses.iter().flatten().all(is_terminated);
    last_end(pod).filter(|_| all).map(|end| between(end, arrival, BoundSource::Status))
}

/// The agent that a pod is while it is ready.
#[must_use]
pub fn agent(pod: &Pod) -> Option<Observed> {
    let ready = agent_condition(pod).filter(|condition| condition.status == "True")?;
    let node = pod.spec.as_ref()?.node_name.clone()?;
    let agent = metadata::Agent { node, networks: Vec::new(), one_observer: false };
    let mut seen = observed("agent", &pod.metadata, Object::Agent(agent));
    seen.uid = pod_uid(pod);
    seen.labels = Vec::new();
    let since = ready.last_transition_time.as_ref().map(|time| written(millis(time), BoundSource::Status));
    seen.since = Some(since.unwrap_or_else(|| created(&pod.metadata)));
    Some(seen)
}

/// When an agent's pod ceased to be ready, as far as its own times tell.
#[must_use]
pub fn agent_end(pod: &Pod) -> Option<Bound> {
    let ready = agent_condition(pod).filter(|condition| condition.status != "True")?;
    ready.last_transition_time.as_ref().map(|time| written(millis(time), BoundSource::Status))
}

fn agent_condition(pod: &Pod) -> Option<&PodCondition> {
    let labels = pod.metadata.labels.as_ref()?;
    if labels.get(AGENT_LABEL.0).map(String::as_str) != Some(AGENT_LABEL.1) {
        return None;
    }
    condition(pod, "Ready")
}

/// The UID by which the pod's node knows it.
#[must_use]
pub fn pod_uid(pod: &Pod) -> String {
    mirrored_uid(pod).map_or_else(|| api_uid(pod), ToOwned::to_owned)
}

/// The UID by which the API server knows the pod.
#[must_use]
pub fn api_uid(pod: &Pod) -> String {
    super::uid("pod", &pod.metadata)
}

/// The UID that a pod claims which a kubelet may have made for a pod of a file: with its one owner the node that it is on, as
/// the API server demands of kubelets, and with a hash for UID, which no UID of the API server's can be.
#[must_use]
pub fn mirrored_uid(pod: &Pod) -> Option<&str> {
    let uid = pod.metadata.annotations.as_ref()?.get(MIRROR_ANNOTATION)?;
    let is_hash = uid.len() == HASH_DIGITS && uid.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    let [owner] = pod.metadata.owner_references.as_deref()? else { return None };
    let of_node = owner.api_version == "v1" && owner.kind == "Node" && owner.controller == Some(true);
    let on_it = pod.spec.as_ref()?.node_name.as_ref() == Some(&owner.name);
    (is_hash && of_node && on_it).then_some(uid)
}

fn addresses(pod: &Pod) -> Vec<Address> {
    let mut texts: Vec<&str> = Vec::new();
    if let Some(status) = &pod.status {
        texts.extend(status.pod_ips.iter().flatten().map(|entry| entry.ip.as_str()));
        texts.extend(status.pod_ip.as_deref());
    }
    let annotation = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(ADDRESS_ANNOTATION));
    if let Some(annotation) = annotation.filter(|_| pod.metadata.creation_timestamp.is_none()) {
        texts.extend(annotation.split(','));
    }
    parse_addresses(texts.into_iter())
}

/// A pod that has run to its end keeps its addresses in its status but no longer holds them.
fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether a pod has no sandbox, not yet or no longer: the kubelet goes on showing the addresses of one that is gone,
/// which may be another pod's by then.
fn has_lost_sandbox(pod: &Pod) -> bool {
    condition(pod, "PodReadyToStartContainers").is_some_and(|condition| condition.status == "False")
}

fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == type_)
}

fn condition_time(pod: &Pod, type_: &str) -> Option<Millis> {
    let condition = condition(pod, type_).filter(|condition| condition.status == "True")?;
    condition.last_transition_time.as_ref().map(millis)
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.iter().flat_map(|status| {
        let initial = status.init_container_statuses.iter().flatten();
        initial.chain(status.container_statuses.iter().flatten())
    })
}

fn containers(pod: &Pod) -> Vec<Container> {
    let known = statuses(pod).filter_map(|status| Some((status.container_id.as_deref()?, &status.name)));
    let mut containers: Vec<Container> = known
        .map(|(id, name)| Container { id: id.rsplit("://").next().unwrap_or(id).to_owned(), name: name.clone() })
        .collect();
    containers.retain(|container| !container.id.is_empty());
    containers.sort_unstable();
    containers
}

fn ports(pod: &Pod) -> Vec<ContainerPort> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    // A sidecar is an init container that goes on.
    let sidecars = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let declared = containers.chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let mut ports: Vec<ContainerPort> = declared
        .filter_map(|port| {
            Some(ContainerPort {
                name: text(&port.name).to_owned(),
                port: u16::try_from(port.container_port).ok()?,
                protocol: protocol::parse(port.protocol.as_deref().unwrap_or("TCP"))?,
            })
        })
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn holds_addresses(pod: &Pod, arrival: Millis) -> Bound {
    let created = created(&pod.metadata).earliest;
    let earliest = condition_time(pod, "PodScheduled").unwrap_or(created).max(created);
    let sandbox = condition_time(pod, "PodReadyToStartContainers").map(|time| time.saturating_add(SECOND_ROUNDED));
    // The kubelet notices a sandbox after it is there, maybe after its first container has started. A container that was
    // restarted may have begun in another sandbox.
    let started = first_start(pod).filter(|_| sandbox.is_none() || !statuses(pod).any(was_restarted));
    match [sandbox, started].into_iter().flatten().min().map(|latest| latest.min(arrival)) {
        Some(latest) if latest >= earliest => between(earliest, latest, BoundSource::Status),
        _ => between(earliest, arrival, BoundSource::Arrival),
    }
}

fn first_start(pod: &Pod) -> Option<Millis> {
    let started = |state: &Option<ContainerState>| -> Option<Millis> {
        let state = state.as_ref()?;
        let running = state.running.as_ref().and_then(|running| running.started_at.as_ref());
        let terminated = state.terminated.as_ref().and_then(|terminated| terminated.started_at.as_ref());
        running.or(terminated).map(millis)
    };
    let first = statuses(pod).flat_map(|status| [started(&status.last_state), started(&status.state)]).flatten().min();
    first.map(|time| time.saturating_add(SECOND_ROUNDED))
}

fn was_restarted(status: &ContainerStatus) -> bool {
    status.restart_count > 0 || status.last_state.as_ref().is_some_and(|last| last.terminated.is_some())
}

/// From when on the addresses can have been given back, if all containers have ended: when the last of them did; since
/// an unknown time if one was restarted, for that may have been in another sandbox with other addresses.
fn last_end(pod: &Pod) -> Option<Millis> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref().filter(|statuses| !statuses.is_empty())?;
    if containers.iter().any(was_restarted) {
        return Some(NEVER);
    }
    containers.iter().try_fold(NEVER, |last, status| {
        let terminated = status.state.as_ref()?.terminated.as_ref()?;
        terminated.finished_at.as_ref().map(|time| last.max(millis(time)))
    })
}
