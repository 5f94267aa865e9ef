//! `policy.networking.k8s.io/v1alpha1` `AdminNetworkPolicy` and `BaselineAdminNetworkPolicy`, read as what a
//! `ClusterNetworkPolicy` of the Admin and the Baseline tier says.

use super::cluster::{Schema, one_of, priority, range, required, rules, subject, within};
use super::transport;
use crate::field::{At, Report, quoted};
use crate::model::{Action, Direction, Policy, PolicyId, PolicyKind, PortMatch, Ports, Tier};
use weir_flow::protocol;

const ADMIN: Schema = Schema {
    rules: 100,
    members: 100,
    actions: &[("Allow", Action::Allow), ("Deny", Action::Deny), ("Pass", Action::Pass)],
    ports: "ports",
    port: port_match,
};

const BASELINE: Schema = Schema { actions: &[("Allow", Action::Allow), ("Deny", Action::Deny)], ..ADMIN };

/// The place in the Baseline tier of what has no priority: after all that have one.
const LAST: u16 = 1000;

pub(super) fn policy(report: &mut Report, id: PolicyId, at: &At<'_>) -> Option<Policy> {
    let is_admin = id.kind == PolicyKind::AdminNetworkPolicy;
    let known: &[&str] =
        if is_admin { &["priority", "subject", "ingress", "egress"] } else { &["subject", "ingress", "egress"] };
    at.fields(report, known)?;
    let (tier, priority, schema) = if is_admin {
        (Tier::Admin, priority(report, at), ADMIN)
    } else {
        if id.name != "default" {
            let detail =
                "Only one baseline admin network policy with metadata.name=\"default\" can be created in the cluster";
            report.invalid("metadata.name", &quoted(&id.name), detail);
        }
        (Tier::Baseline, Some(LAST), BASELINE)
    };
    let subject = subject(report, at);
    let ingress = rules(report, at, Direction::Ingress, schema);
    let egress = rules(report, at, Direction::Egress, schema);
    Some(Policy { id, tier, priority: priority?, subject: subject?, ingress, egress })
}

fn port_match(report: &mut Report, at: &At<'_>) -> Option<PortMatch> {
    let (name, field) = one_of(report, at, &["portNumber", "namedPort", "portRange"])?;
    match name {
        "portNumber" => {
            field.fields(report, &["protocol", "port"])?;
            let protocol = protocol_of(report, &field);
            let port = required(report, &field, "port")?;
            let number = port.integer(report)?;
            let number = within(report, &port.path, number, 1, u16::MAX)?;
            Some(PortMatch { protocol: Some(protocol?), ports: Ports::Range(number, number) })
        }
        "portRange" => {
            field.fields(report, &["protocol", "start", "end"])?;
            let protocol = protocol_of(report, &field);
            Some(PortMatch { protocol: Some(protocol?), ports: range(report, &field)? })
        }
        _ => Some(PortMatch { protocol: None, ports: Ports::Named(field.text(report)?.to_owned()) }),
    }
}

fn protocol_of(report: &mut Report, at: &At<'_>) -> Option<u8> {
    // Clients write what is not specified as an empty text.
    match at.field("protocol").filter(|field| field.value != "") {
        Some(field) => transport(report, &field, &["TCP", "UDP", "SCTP"]),
        None => Some(protocol::TCP),
    }
}
