//! The two ends: ECS `source` and `destination`, and how certain we are of them.

use super::{Ip, is_false, is_zero};
use serde::Serialize;
use weir_flow::{Address, AddressScope};
use weir_schemas::enriched::{Attribution, IdentifiedBy, NoneReason, Side};

/// `source` or `destination`: who it is and what it sent.
#[derive(Serialize)]
pub(super) struct Party<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<Ip>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    domain: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packets: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Name<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<Name<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<Name<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network_set: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    geo: Option<Geo<'a>>,
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    autonomous_system: Option<AutonomousSystem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kubernetes: Option<Kubernetes<'a>>,
}

#[derive(Serialize)]
struct Name<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Geo<'a> {
    country_iso_code: &'a str,
}

#[derive(Serialize)]
struct AutonomousSystem<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization: Option<Name<'a>>,
}

#[derive(PartialEq, Default, Serialize)]
struct Kubernetes<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "is_default")]
    pod: Pod<'a>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pods: &'a [String],
    #[serde(skip_serializing_if = "is_default")]
    workload: Workload<'a>,
    #[serde(skip_serializing_if = "is_default")]
    node: Node<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_account: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    labels: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    labels_some: &'a [String],
}

#[derive(PartialEq, Default, Serialize)]
struct Pod<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'a str>,
}

#[derive(PartialEq, Default, Serialize)]
struct Workload<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

#[derive(PartialEq, Default, Serialize)]
struct Node<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<&'a str>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl<'a> Party<'a> {
    /// The end apart from its port and what it sent.
    pub(super) fn apart(side: &'a Side) -> Self {
        Self { port: None, ..Self::of(side, None) }
    }

    /// The end with the bytes and packets that it sent, where they are known.
    pub(super) fn of(side: &'a Side, sent: Option<(u64, u64)>) -> Self {
        let name = |text: &'a Option<String>| text.as_deref().map(|name| Name { name });
        Self {
            ip: side.address.map(Ip),
            port: side.port,
            domain: &side.domains,
            bytes: sent.map(|(bytes, _)| bytes),
            packets: sent.map(|(_, packets)| packets),
            host: name(&side.host),
            process: name(&side.process),
            container: name(&side.container),
            network_set: side.network_set.as_deref(),
            geo: side.country.as_deref().map(|country_iso_code| Geo { country_iso_code }),
            autonomous_system: (side.as_number.is_some() || side.as_organization.is_some())
                .then(|| AutonomousSystem { number: side.as_number, organization: name(&side.as_organization) }),
            kubernetes: Some(Kubernetes::of(side)).filter(|k| !is_default(k)),
        }
    }
}

impl<'a> Kubernetes<'a> {
    fn of(side: &'a Side) -> Self {
        Self {
            namespace: side.namespace.as_deref(),
            pod: Pod { name: side.pod.as_deref(), uid: side.pod_uid.as_deref() },
            pods: &side.pods,
            workload: Workload { kind: side.workload_kind.as_deref(), name: side.workload.as_deref() },
            node: Node { name: side.node.as_deref(), zone: side.zone.as_deref() },
            service: side.service.as_deref(),
            service_account: side.service_account.as_deref(),
            labels: &side.labels,
            labels_some: &side.labels_some,
        }
    }
}

/// `weir.source` or `weir.destination`: how the end was identified, and the sets behind the record.
#[derive(Serialize)]
pub(super) struct Identity<'a> {
    attribution: Attribution,
    identified_by: IdentifiedBy,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<NoneReason>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    candidates: &'a [String],
    #[serde(skip_serializing_if = "is_false")]
    always_valid: bool,
    scope: AddressScope,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<Ip>,
    #[serde(skip_serializing_if = "is_zero")]
    addresses_more: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pods_more: u64,
    #[serde(skip_serializing_if = "is_zero")]
    labels_more: u64,
    #[serde(skip_serializing_if = "is_zero")]
    domains_more: u64,
}

impl<'a> Identity<'a> {
    pub(super) fn of(side: &'a Side) -> Self {
        let ips = |addresses: &[Address]| addresses.iter().copied().map(Ip).collect();
        Self {
            attribution: side.attribution,
            identified_by: side.by,
            reason: side.reason,
            candidates: &side.candidates,
            always_valid: side.always_valid,
            scope: side.scope,
            addresses: ips(&side.addresses),
            addresses_more: side.addresses_more,
            pods_more: side.pods_more,
            labels_more: side.labels_more,
            domains_more: side.domains_more,
        }
    }
}
