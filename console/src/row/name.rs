//! What an end is called: the most telling thing known of it, and a second line.

use super::{End, EndKind};

/// Kind, name and detail of an end.
pub(super) fn of(end: &End) -> (EndKind, String, String) {
    let namespace = end.namespace.clone().unwrap_or_default();
    let workload = match (&end.workload_kind, &end.workload) {
        (Some(kind), Some(name)) => format!("{kind}/{name}"),
        (None, Some(name)) => name.clone(),
        _ => String::new(),
    };
    if let Some(pod) = &end.pod {
        return (EndKind::Pod, pod.clone(), joined(&[namespace, workload]));
    }
    if let Some(name) = &end.workload {
        let kind = end.workload_kind.clone().unwrap_or_default();
        return (EndKind::Workload, name.clone(), joined(&[namespace, kind, count(end, "pod")]));
    }
    if end.attribution == "ambiguous" {
        let detail = match end.candidates.as_slice() {
            [] => "ambiguous".to_owned(),
            many => format!("one of {}: {}", many.len(), many.join(", ")),
        };
        return address(end, &detail);
    }
    // Only a name where the address says no more: behind a service stands the pod, which was handled above.
    if let (Some(service), "exact") = (&end.service, end.attribution.as_str()) {
        let (space, name) = service.split_once('/').unwrap_or(("", service));
        return (EndKind::Service, name.to_owned(), joined(&[space.to_owned(), "Service".to_owned()]));
    }
    if let Some(container) = &end.container {
        let process = end.process.clone().unwrap_or_default();
        let place = end.host.clone().or_else(|| end.node.clone()).unwrap_or_default();
        return (EndKind::Container, container.clone(), joined(&[process, place, plain_address(end)]));
    }
    if let Some(process) = &end.process {
        let place = end.host.clone().or_else(|| end.node.clone()).unwrap_or_default();
        return (EndKind::Process, process.clone(), joined(&[place, plain_address(end)]));
    }
    if let Some(host) = &end.host {
        return (EndKind::Host, host.clone(), joined(&["host".to_owned(), plain_address(end)]));
    }
    if let Some(node) = &end.node {
        return (EndKind::Host, node.clone(), joined(&["node".to_owned(), plain_address(end)]));
    }
    if let Some(set) = &end.network_set {
        return (EndKind::NetworkSet, set.clone(), joined(&["network set".to_owned(), plain_address(end)]));
    }
    if !namespace.is_empty() {
        return (EndKind::Namespace, namespace, joined(&["namespace".to_owned(), count(end, "pod")]));
    }
    address(end, &scope(end))
}

fn address(end: &End, detail: &str) -> (EndKind, String, String) {
    match (&end.address, end.addresses.as_slice()) {
        (Some(address), _) => (EndKind::Address, address.clone(), detail.to_owned()),
        (None, [single]) if end.addresses_more == 0 => (EndKind::Address, single.clone(), detail.to_owned()),
        (None, []) => (EndKind::Unknown, "unknown".to_owned(), detail.to_owned()),
        (None, _) => (EndKind::Address, count(end, "address"), detail.to_owned()),
    }
}

fn plain_address(end: &End) -> String {
    end.address.clone().unwrap_or_else(|| count(end, "address"))
}

fn scope(end: &End) -> String {
    match end.scope.as_str() {
        "private" => "private network".to_owned(),
        "public" => "internet".to_owned(),
        "link_local" => "link-local".to_owned(),
        other => other.to_owned(),
    }
}

/// `3 pods` or `1 address`; nothing for none.
fn count(end: &End, what: &str) -> String {
    let (listed, more, plural) = match what {
        "pod" => (end.pods.len(), end.pods_more, "pods"),
        _ => (end.addresses.len(), end.addresses_more, "addresses"),
    };
    match u64::try_from(listed).unwrap_or(u64::MAX).saturating_add(more) {
        0 => String::new(),
        1 => format!("1 {what}"),
        many => format!("{many} {plural}"),
    }
}

fn joined(parts: &[String]) -> String {
    let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    parts.join(" · ")
}
