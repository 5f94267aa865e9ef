//! What decides where traffic may go and where it ends up: policies, and the endpoints behind services.

use super::{observed, parse_addresses, text};
use crate::bounds::written;
use crate::revisions::Observed;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::Value;
use std::collections::BTreeMap;
use weir_flow::protocol;
use weir_schemas::metadata::{self, BoundSource, Object};

#[cfg(test)]
mod tests;

/// The label by which a slice names its service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

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
    let annotations = policy.metadata.annotations.as_ref();
    let object = metadata::Policy {
        api_version: "networking.k8s.io/v1".to_owned(),
        kind: "NetworkPolicy".to_owned(),
        spec: canonical(&spec),
        staged: annotations.and_then(|all| all.get(STAGED_ANNOTATION)).is_some_and(|value| value == "true"),
    };
    let mut seen = observed("networkpolicy", &policy.metadata, Object::Policy(object));
    seen.changed = seen.about.changed_at.map(|time| written(time, BoundSource::ManagedFields));
    seen
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
