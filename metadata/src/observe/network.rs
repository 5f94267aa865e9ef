//! What decides where traffic may go and where it ends up: policies, the endpoints behind services, and sets of networks.

use super::{observed, parse_addresses, text};
use crate::bounds::written;
use crate::revisions::Observed;
use crate::watched::PolicyKind;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use weir_flow::protocol;
use weir_schemas::metadata::{self, Bound, BoundSource, Object};

#[cfg(test)]
mod tests;

/// The label by which a slice names its service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// The label of a `ConfigMap` that is a network set; its value is `true`.
pub const NETWORK_SET_LABEL: &str = "weir.dev/network-set";

/// The annotation of a policy that is judged as pending and never as enforced.
pub const STAGED_ANNOTATION: &str = "weir.dev/staged";

/// A slice of a service's endpoints: those that are ready, or that say nothing of it, which means the same.
#[must_use]
pub fn endpoint_slice(slice: &EndpointSlice) -> Observed {
    let ready = slice
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true));
    let service = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_LABEL));
    let ports = slice.ports.iter().flatten().filter_map(|port| {
        let number = u16::try_from(port.port?).ok()?;
        Some(metadata::ServicePort {
            name: text(&port.name).to_owned(),
            port: number,
            protocol: protocol::parse(port.protocol.as_deref().unwrap_or("TCP"))?,
            target: number,
            target_name: String::new(),
        })
    });
    let object = metadata::EndpointSlice {
        service: service.cloned().unwrap_or_default(),
        addresses: parse_addresses(ready.flat_map(|endpoint| endpoint.addresses.iter().map(String::as_str))),
        ports: ports.collect(),
    };
    observed("endpointslice", &slice.metadata, Object::EndpointSlice(object))
}

/// A `NetworkPolicy`. The API server notes when it was changed, so that a change need not be dated by its arrival.
#[must_use]
pub fn network_policy(policy: &NetworkPolicy) -> Observed {
    let spec = serde_json::to_value(&policy.spec).unwrap_or_default();
    let object = metadata::Policy {
        api_version: "networking.k8s.io/v1".to_owned(),
        kind: "NetworkPolicy".to_owned(),
        spec: canonical(&spec),
        staged: is_staged(&policy.metadata),
    };
    let mut seen = observed("networkpolicy", &policy.metadata, Object::Policy(object));
    seen.changed = seen.about.changed_at.map(|time| written(time, BoundSource::ManagedFields));
    seen
}

/// A policy of a kind that Kubernetes itself does not have.
#[derive(Clone, Debug)]
pub struct OtherPolicy {
    /// `apiVersion` as it was read.
    pub api_version: String,
    /// The kind.
    pub kind: PolicyKind,
    /// Metadata.
    pub metadata: ObjectMeta,
    /// What it says: `.spec`, or Cilium's list `.specs`.
    pub spec: Value,
}

impl OtherPolicy {
    /// What is kept of an object of this kind, whose fields besides `metadata` are given.
    #[must_use]
    pub fn of(kind: PolicyKind, api_version: String, metadata: ObjectMeta, mut fields: Value) -> Self {
        let spec = ["spec", "specs"].iter().find_map(|name| fields.get_mut(*name).map(Value::take));
        Self { api_version, kind, metadata, spec: spec.unwrap_or_default() }
    }
}

/// A policy of another kind.
#[must_use]
pub fn other_policy(policy: &OtherPolicy) -> Observed {
    let object = metadata::Policy {
        api_version: policy.api_version.clone(),
        kind: policy.kind.kind.to_owned(),
        spec: canonical(&policy.spec),
        staged: policy.kind.staged || is_staged(&policy.metadata),
    };
    let mut seen = observed(policy.kind.name, &policy.metadata, Object::Policy(object));
    seen.changed = seen.about.changed_at.map(|time| written(time, BoundSource::ManagedFields));
    seen
}

fn is_staged(meta: &ObjectMeta) -> bool {
    meta.annotations.as_ref().and_then(|all| all.get(STAGED_ANNOTATION)).is_some_and(|value| value == "true")
}

/// A network set: a `ConfigMap` whose keys `networks` and `domains` hold one network (or address) or domain a line; what
/// follows a `#` is a remark. Lines that are neither are left out ([`network_set_errors`]).
#[must_use]
pub fn network_set(map: &ConfigMap) -> Observed {
    let networks: BTreeSet<IpNet> = lines(map, "networks").filter_map(parse_network).collect();
    let domains: BTreeSet<String> = lines(map, "domains").filter_map(parse_domain).collect();
    let set = metadata::NetworkSet {
        networks: networks.iter().map(ToString::to_string).collect(),
        domains: domains.into_iter().collect(),
    };
    let mut seen = observed("networkset", &map.metadata, Object::NetworkSet(set));
    seen.changed = seen.about.changed_at.map(|time| written(time, BoundSource::ManagedFields));
    // One that gets its label late is shown as new by a watch that selects by it.
    if let (Some(since), Some(changed)) = (&mut seen.since, seen.changed)
        && since.latest < changed.latest
        && since.source != BoundSource::Always
    {
        *since = Bound { latest: changed.latest, source: BoundSource::ManagedFields, ..*since };
    }
    seen
}

/// How many lines of a network set are neither a network nor a domain.
#[must_use]
pub fn network_set_errors(map: &ConfigMap) -> usize {
    lines(map, "networks").filter(|line| parse_network(line).is_none()).count()
        + lines(map, "domains").filter(|line| parse_domain(line).is_none()).count()
}

/// The lines of a key, without remarks and blanks.
fn lines<'a>(map: &'a ConfigMap, key: &str) -> impl Iterator<Item = &'a str> {
    let text = map.data.as_ref().and_then(|data| data.get(key)).map(String::as_str).unwrap_or_default();
    text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).filter(|line| !line.is_empty())
}

fn parse_network(text: &str) -> Option<IpNet> {
    let network = text.parse::<IpNet>().ok();
    network.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)).map(|network| network.trunc())
}

/// A domain in lower case without its last dot, with at most one `*` as its first label (RFC 1035, RFC 4592).
fn parse_domain(text: &str) -> Option<String> {
    let domain = text.trim_end_matches('.').to_ascii_lowercase();
    let name = domain.strip_prefix("*.").unwrap_or(&domain);
    let fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    (name.len() <= 253 && name.split('.').all(fits)).then_some(domain)
}

/// JSON without blanks and with sorted keys: the same for the same value.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, String> = map.iter().map(|(key, value)| (key, canonical(value))).collect();
            let fields: Vec<String> =
                sorted.into_iter().map(|(key, value)| format!("{}:{value}", Value::String(key.clone()))).collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        scalar => scalar.to_string(),
    }
}
