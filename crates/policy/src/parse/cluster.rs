//! `policy.networking.k8s.io/v1alpha2` `ClusterNetworkPolicy`, and what the older kinds share with it.

use super::labels::selector;
use crate::field::{At, Report, quoted};
use crate::model::{
    Action, Direction, Namespaces, Peer, Pods, Policy, PolicyId, PortMatch, Ports, Rule, Selector, Tier,
};
use crate::networks::parse_network;
use weir_flow::protocol;

/// What a schema says of its lists and actions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schema {
    /// The most rules in a block.
    pub(super) rules: usize,
    /// The most peers and ports of a rule.
    pub(super) members: usize,
    /// The actions by name.
    pub(super) actions: &'static [(&'static str, Action)],
    /// The field of a rule that holds its ports.
    pub(super) ports: &'static str,
    /// Reads one of them.
    pub(super) port: fn(&mut Report, &At<'_>) -> Option<PortMatch>,
}

const SCHEMA: Schema = Schema {
    rules: 25,
    members: 25,
    actions: &[("Accept", Action::Allow), ("Deny", Action::Deny), ("Pass", Action::Pass)],
    ports: "protocols",
    port: protocol_match,
};

/// What the schema says of a domain name: a pattern that also takes some other characters between Z and a.
const DOMAIN: &str = r"^(\*\.)?([a-zA-z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.)+[a-zA-z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.?$";

/// The most networks or domain names of a peer.
const NETWORKS: usize = 25;

pub(super) fn policy(report: &mut Report, id: PolicyId, at: &At<'_>) -> Option<Policy> {
    at.fields(report, &["tier", "priority", "subject", "ingress", "egress"])?;
    let tier = match required(report, at, "tier").and_then(|field| Some((field.text(report)?, field))) {
        Some(("Admin", _)) => Some(Tier::Admin),
        Some(("Baseline", _)) => Some(Tier::Baseline),
        Some((other, field)) => {
            report.unsupported(&field.path, other, &["Admin", "Baseline"]);
            None
        }
        None => None,
    };
    let priority = priority(report, at);
    let subject = subject(report, at);
    let ingress = rules(report, at, Direction::Ingress, SCHEMA);
    let egress = rules(report, at, Direction::Egress, SCHEMA);
    Some(Policy { id, tier: tier?, priority: priority?, subject: subject?, ingress, egress })
}

pub(super) fn required<'a>(report: &mut Report, at: &At<'a>, name: &str) -> Option<At<'a>> {
    let field = at.field(name);
    if field.is_none() {
        report.required(&format!("{}.{name}", at.path), "");
    }
    field
}

pub(super) fn priority(report: &mut Report, at: &At<'_>) -> Option<u16> {
    let field = required(report, at, "priority")?;
    let number = field.integer(report)?;
    within(report, &field.path, number, 0, 1000)
}

/// A number between two bounds, in the words of a structural schema.
pub(super) fn within(report: &mut Report, path: &str, number: i64, least: u16, most: u16) -> Option<u16> {
    if number < i64::from(least) {
        report.invalid(path, &number, &format!("{path} in body should be greater than or equal to {least}"));
        return None;
    }
    if number > i64::from(most) {
        report.invalid(path, &number, &format!("{path} in body should be less than or equal to {most}"));
        return None;
    }
    u16::try_from(number).ok()
}

/// The elements of a list that has at least one and at most `most`.
fn some<'a>(report: &mut Report, at: &At<'a>, most: usize) -> Vec<At<'a>> {
    let list = at.elements(report);
    if list.is_empty() && at.value.is_array() {
        report.invalid(&at.path, &0, &format!("{} in body should have at least 1 items", at.path));
    }
    too_many(report, at, list.len(), most);
    list
}

fn too_many(report: &mut Report, at: &At<'_>, count: usize, most: usize) {
    if count > most {
        let items = if most == 1 { "item" } else { "items" };
        report.error(&at.path, format!("Too many: {count}: must have at most {most} {items}"));
    }
}

/// A rule of the schema that does not hold of an object as a whole.
fn untrue(report: &mut Report, at: &At<'_>, rule: &str) {
    report.error(&at.path, format!("Invalid value: {rule}"));
}

/// The one field that is set of those that are known: its name and value.
pub(super) fn one_of<'a>(report: &mut Report, at: &At<'a>, known: &[&'static str]) -> Option<(&'static str, At<'a>)> {
    at.fields(report, known)?;
    let set: Vec<(&'static str, At<'a>)> = known.iter().filter_map(|name| Some((*name, at.field(name)?))).collect();
    match set.len() {
        0 => {
            report.invalid(&at.path, &0, &format!("{} in body should have at least 1 properties", at.path));
            None
        }
        1 => set.into_iter().next(),
        many => {
            too_many(report, at, many, 1);
            None
        }
    }
}

pub(super) fn subject(report: &mut Report, at: &At<'_>) -> Option<Pods> {
    let field = required(report, at, "subject")?;
    match one_of(report, &field, &["namespaces", "pods"])? {
        ("namespaces", field) => Some(namespaces(report, &field)),
        (_, field) => namespaced_pod(report, &field),
    }
}

fn namespaces(report: &mut Report, at: &At<'_>) -> Pods {
    Pods { namespaces: Namespaces::Selected(selector(report, at)), pods: Selector::default() }
}

fn namespaced_pod(report: &mut Report, at: &At<'_>) -> Option<Pods> {
    at.fields(report, &["namespaceSelector", "podSelector"])?;
    let namespaces = at.field("namespaceSelector").map(|field| selector(report, &field)).unwrap_or_default();
    let pods = required(report, at, "podSelector").map(|field| selector(report, &field))?;
    Some(Pods { namespaces: Namespaces::Selected(namespaces), pods })
}

/// The rules of a direction; a policy without any does not speak of it.
pub(super) fn rules(report: &mut Report, at: &At<'_>, direction: Direction, schema: Schema) -> Option<Vec<Rule>> {
    let field = at.field(direction.name())?;
    let list = field.elements(report);
    too_many(report, &field, list.len(), schema.rules);
    let rules: Vec<Rule> = list.iter().filter_map(|one| rule(report, one, direction, schema)).collect();
    (!rules.is_empty()).then_some(rules)
}

fn rule(report: &mut Report, at: &At<'_>, direction: Direction, schema: Schema) -> Option<Rule> {
    let peers_name = match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    at.fields(report, &["name", "action", peers_name, schema.ports])?;
    let name = match at.field("name") {
        Some(field) => field.text(report)?.to_owned(),
        None => String::new(),
    };
    if name.chars().count() > 100 {
        report.error(&format!("{}.name", at.path), "Too long: may not be more than 100 bytes".to_owned());
    }
    let action = action(report, at, schema.actions);
    let mut peers = Vec::new();
    if let Some(field) = required(report, at, peers_name) {
        for one in some(report, &field, schema.members) {
            peers.extend(peer(report, &one, direction));
        }
    }
    let mut ports = None;
    if let Some(field) = at.field(schema.ports) {
        let list = some(report, &field, schema.members);
        ports = Some(list.iter().filter_map(|one| (schema.port)(report, one)).collect::<Vec<_>>());
    }
    let named = ports.iter().flatten().any(|port| matches!(port.ports, Ports::Named(_)));
    if named && peers.iter().any(|peer| !matches!(peer, Peer::Pods(_))) {
        let detail = "networks/nodes/domainNames peer cannot be set with namedPorts since there are no namedPorts for \
                      networks/nodes/domainNames";
        untrue(report, at, detail);
    }
    let action = action?;
    if action != Action::Allow && peers.iter().any(|peer| matches!(peer, Peer::Domains(_))) {
        untrue(report, at, "domainNames are only supported for rules that accept");
    }
    Some(Rule { action, name, peers: Some(peers), ports })
}

fn action(report: &mut Report, at: &At<'_>, actions: &[(&str, Action)]) -> Option<Action> {
    let field = required(report, at, "action")?;
    let text = field.text(report)?;
    let known = actions.iter().find(|(name, _)| *name == text).map(|(_, action)| *action);
    if known.is_none() {
        let names: Vec<&str> = actions.iter().map(|(name, _)| *name).collect();
        report.unsupported(&field.path, text, &names);
    }
    known
}

fn peer(report: &mut Report, at: &At<'_>, direction: Direction) -> Option<Peer> {
    let known: &[&'static str] = match direction {
        Direction::Ingress => &["namespaces", "pods"],
        Direction::Egress => &["namespaces", "pods", "nodes", "networks", "domainNames"],
    };
    match one_of(report, at, known)? {
        ("namespaces", field) => Some(Peer::Pods(namespaces(report, &field))),
        ("pods", field) => Some(Peer::Pods(namespaced_pod(report, &field)?)),
        ("nodes", field) => Some(Peer::Nodes(selector(report, &field))),
        ("networks", field) => {
            let mut networks = Vec::new();
            for one in some(report, &field, NETWORKS) {
                let text = one.text(report)?;
                match parse_network(text) {
                    Some(network) => networks.push(network),
                    None => report.invalid(&one.path, &quoted(text), "Invalid CIDR format provided"),
                }
            }
            Some(Peer::Networks(networks))
        }
        (_, field) => {
            let list = some(report, &field, NETWORKS);
            Some(Peer::Domains(list.iter().filter_map(|one| domain(report, one)).collect()))
        }
    }
}

fn domain(report: &mut Report, at: &At<'_>) -> Option<String> {
    let text = at.text(report)?;
    let name = text.strip_prefix("*.").unwrap_or(text);
    let name = name.strip_suffix('.').unwrap_or(name);
    let fits = |part: &str| {
        let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        edge(part.bytes().next())
            && edge(part.bytes().last())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if name.split('.').count() < 2 || !name.split('.').all(fits) {
        let detail = format!("{} in body should match '{DOMAIN}'", at.path);
        report.invalid(&at.path, &quoted(text), &detail);
        return None;
    }
    Some(text.trim_end_matches('.').to_ascii_lowercase())
}

fn protocol_match(report: &mut Report, at: &At<'_>) -> Option<PortMatch> {
    let (name, field) = one_of(report, at, &["tcp", "udp", "sctp", "destinationNamedPort"])?;
    let protocol = match name {
        "tcp" => protocol::TCP,
        "udp" => protocol::UDP,
        "sctp" => protocol::SCTP,
        _ => {
            let name = field.text(report)?;
            return Some(PortMatch { protocol: None, ports: Ports::Named(name.to_owned()) });
        }
    };
    let (_, field) = one_of(report, &field, &["destinationPort"])?;
    let ports = match one_of(report, &field, &["number", "range"])? {
        ("number", field) => {
            let number = field.integer(report)?;
            let number = within(report, &field.path, number, 1, u16::MAX)?;
            Ports::Range(number, number)
        }
        (_, field) => {
            field.fields(report, &["start", "end"])?;
            range(report, &field)?
        }
    };
    Some(PortMatch { protocol: Some(protocol), ports })
}

/// `start` and `end`, of which the first is the lower.
pub(super) fn range(report: &mut Report, at: &At<'_>) -> Option<Ports> {
    let start = required(report, at, "start").and_then(|field| Some((field.integer(report)?, field.path)));
    let end = required(report, at, "end").and_then(|field| Some((field.integer(report)?, field.path)));
    let ((start, start_path), (end, end_path)) = (start?, end?);
    let first = within(report, &start_path, start, 1, u16::MAX);
    let last = within(report, &end_path, end, 1, u16::MAX);
    if start >= end {
        untrue(report, at, "Start port must be less than End port");
    }
    Some(Ports::Range(first?, last?))
}
