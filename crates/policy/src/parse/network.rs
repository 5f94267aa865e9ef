//! `networking.k8s.io/v1` `NetworkPolicy`.

use super::labels::selector;
use super::{port_name, transport};
use crate::field::{At, Report, quoted};
use crate::model::{
    Action, Direction, Namespaces, Peer, Pods, Policy, PolicyId, PortMatch, Ports, Rule, Selector, Tier,
};
use crate::networks::{parse_network, sloppiness};
use ipnet::IpNet;
use serde_json::Value;
use weir_flow::protocol;

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
const CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
const PORT: &str = "must be between 1 and 65535, inclusive";

pub(super) fn policy(report: &mut Report, id: PolicyId, at: &At<'_>) -> Option<Policy> {
    let empty = Value::Object(serde_json::Map::new());
    // A policy without a specification selects everything and allows nothing in.
    let at = if at.value.is_null() { At::new(&empty, &at.path) } else { at.clone() };
    at.fields(report, &["podSelector", "ingress", "egress", "policyTypes"])?;
    let pods = at.field("podSelector").map(|field| selector(report, &field)).unwrap_or_default();
    let ingress = rules(report, &at, Direction::Ingress, &id.namespace);
    let egress = rules(report, &at, Direction::Egress, &id.namespace);
    let (speaks_in, speaks_out) = types(report, &at, egress.is_empty());
    let subject = Pods { namespaces: Namespaces::Named(id.namespace.clone()), pods };
    Some(Policy {
        id,
        tier: Tier::NetworkPolicy,
        priority: 0,
        subject,
        ingress: speaks_in.then_some(ingress),
        egress: speaks_out.then_some(egress),
    })
}

/// Whether the policy speaks of what comes in and of what goes out: as `policyTypes` says, else always of the first, and of
/// the second if there are rules for it.
fn types(report: &mut Report, at: &At<'_>, no_egress: bool) -> (bool, bool) {
    let listed = at.field("policyTypes").map(|field| field.elements(report)).unwrap_or_default();
    if listed.len() > 2 {
        let names: Vec<String> = listed.iter().map(|one| one.value.to_string()).collect();
        let path = format!("{}.policyTypes", at.path);
        report.invalid(&path, &format!("[{}]", names.join(",")), "may not specify more than two policyTypes");
        return (true, true);
    }
    if listed.is_empty() {
        return (true, !no_egress);
    }
    let mut speaks = (false, false);
    for one in &listed {
        match one.text(report) {
            Some("Ingress") => speaks.0 = true,
            Some("Egress") => speaks.1 = true,
            Some(other) => report.unsupported(&one.path, other, &["Ingress", "Egress"]),
            None => {}
        }
    }
    speaks
}

fn rules(report: &mut Report, at: &At<'_>, direction: Direction, namespace: &str) -> Vec<Rule> {
    let Some(list) = at.field(direction.name()) else { return Vec::new() };
    let peers_name = match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let mut rules = Vec::new();
    for rule in list.elements(report) {
        // A rule that is null is a rule without fields.
        if !rule.value.is_null() && rule.fields(report, &["ports", peers_name]).is_none() {
            continue;
        }
        // An empty list matches everything, as an absent one does.
        let ports = rule.field("ports").map(|field| field.elements(report)).unwrap_or_default();
        let ports: Vec<PortMatch> = ports.iter().filter_map(|port| port_match(report, port)).collect();
        let peers = rule.field(peers_name).map(|field| field.elements(report)).unwrap_or_default();
        let peers: Vec<Peer> = peers.iter().filter_map(|one| peer(report, one, namespace)).collect();
        rules.push(Rule {
            action: Action::Allow,
            name: String::new(),
            peers: (!peers.is_empty()).then_some(peers),
            ports: (!ports.is_empty()).then_some(ports),
        });
    }
    rules
}

fn port_match(report: &mut Report, at: &At<'_>) -> Option<PortMatch> {
    at.fields(report, &["protocol", "port", "endPort"])?;
    let protocol = match at.field("protocol") {
        Some(field) => transport(report, &field, &PROTOCOLS),
        None => Some(protocol::TCP),
    };
    let end = match at.field("endPort") {
        Some(field) => Some((field.integer(report)?, field.path)),
        None => None,
    };
    let ports = match (at.field("port"), end) {
        (None, None) => Some(Ports::Any),
        (None, Some((end, path))) => {
            report.invalid(&path, &end, "may not be specified when `port` is not specified");
            None
        }
        (Some(field), end) => match field.value {
            Value::String(name) => {
                if let Some((end, path)) = end {
                    report.invalid(&path, &end, "may not be specified when `port` is non-numeric");
                }
                port_name(report, &field.path, name);
                Some(Ports::Named(name.clone()))
            }
            _ => numbers(report, &field, end),
        },
    };
    Some(PortMatch { protocol: Some(protocol?), ports: ports? })
}

fn numbers(report: &mut Report, at: &At<'_>, end: Option<(i64, String)>) -> Option<Ports> {
    let first = at.integer(report)?;
    let number = |number: i64| u16::try_from(number).ok().filter(|number| *number > 0);
    if number(first).is_none() {
        report.invalid(&at.path, &first, PORT);
    }
    let Some((last, path)) = end else { return number(first).map(|port| Ports::Range(port, port)) };
    if last < first {
        report.invalid(&path, &last, "must be greater than or equal to `port`");
    }
    if number(last).is_none() {
        report.invalid(&path, &last, PORT);
    }
    Some(Ports::Range(number(first)?, number(last)?))
}

fn peer(report: &mut Report, at: &At<'_>, namespace: &str) -> Option<Peer> {
    if at.value.is_null() {
        report.required(&at.path, "must specify a peer");
        return None;
    }
    at.fields(report, &["podSelector", "namespaceSelector", "ipBlock"])?;
    let pods = at.field("podSelector").map(|field| selector(report, &field));
    let namespaces = at.field("namespaceSelector").map(|field| selector(report, &field));
    let block = at.field("ipBlock");
    if block.is_some() && (pods.is_some() || namespaces.is_some()) {
        report.error(&at.path, "Forbidden: may not specify both ipBlock and another peer".to_owned());
    }
    match (pods, namespaces, block) {
        (_, _, Some(block)) => ip_block(report, &block),
        (None, None, None) => {
            report.required(&at.path, "must specify a peer");
            None
        }
        (pods, namespaces, None) => Some(Peer::Pods(Pods {
            namespaces: namespaces.map_or_else(|| Namespaces::Named(namespace.to_owned()), Namespaces::Selected),
            pods: pods.unwrap_or_else(Selector::default),
        })),
    }
}

fn ip_block(report: &mut Report, at: &At<'_>) -> Option<Peer> {
    at.fields(report, &["cidr", "except"])?;
    let path = format!("{}.cidr", at.path);
    let Some(field) = at.field("cidr") else {
        report.required(&path, "");
        return None;
    };
    let text = field.text(report)?;
    if text.is_empty() {
        report.required(&path, "");
        return None;
    }
    let network = network(report, &path, text);
    let mut except = Vec::new();
    for one in at.field("except").map(|field| field.elements(report)).unwrap_or_default() {
        let Some(text) = one.text(report) else { continue };
        let (Some(part), Some(network)) = (self::network(report, &one.path, text), network) else { continue };
        if !network.contains(&part) || network == part {
            report.invalid(&one.path, &quoted(text), "must be a strict subset of `cidr`");
        }
        except.push(part);
    }
    Some(Peer::IpBlock { network: network?, except })
}

/// A network, of which not every version takes every form.
fn network(report: &mut Report, path: &str, text: &str) -> Option<IpNet> {
    let Some(network) = parse_network(text) else {
        report.invalid(path, &quoted(text), CIDR);
        return None;
    };
    if let Some(detail) = sloppiness(text) {
        report.newer(path, &quoted(text), detail);
    }
    Some(network)
}
