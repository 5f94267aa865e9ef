//! Objects to policies: read, validated as the API server would, and brought into one form.

use crate::field::{At, FieldError, Remarks, Report, quoted};
use crate::model::{Foreign, Policy, PolicyId, PolicyKind};
use serde_json::Value;
use weir_flow::protocol;

mod admin;
mod cluster;
mod labels;
mod network;

#[cfg(test)]
mod tests;

/// A policy object as it stands on the metadata topic or in a manifest.
#[derive(Clone, Copy, Debug)]
pub struct PolicyObject<'a> {
    /// `apiVersion`.
    pub api_version: &'a str,
    /// `kind`.
    pub kind: &'a str,
    /// Namespace; empty for a cluster-wide object.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
    /// Whether it is only staged.
    pub staged: bool,
}

/// What an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A policy that the engine evaluates, and what there is to say of it.
    Policy(Box<Policy>, Remarks),
    /// A policy of which it is only known that it may select.
    Foreign(Foreign),
    /// What the API server would not take, and why.
    Invalid(Vec<FieldError>),
}

/// Reads a policy whose `spec` is given as JSON.
///
/// A kind or a version that the engine cannot evaluate is [`Parsed::Foreign`].
#[must_use]
pub fn parse(object: PolicyObject<'_>, spec: &Value) -> Parsed {
    let Some(kind) = PolicyKind::of(object.api_version, object.kind) else {
        return Parsed::Foreign(foreign(object));
    };
    let id =
        PolicyId { kind, namespace: object.namespace.to_owned(), name: object.name.to_owned(), staged: object.staged };
    let mut report = Report::default();
    name(&mut report, object.name);
    let at = At::new(spec, "spec");
    let policy = match kind {
        PolicyKind::NetworkPolicy => network::policy(&mut report, id, &at),
        PolicyKind::ClusterNetworkPolicy => cluster::policy(&mut report, id, &at),
        PolicyKind::AdminNetworkPolicy | PolicyKind::BaselineAdminNetworkPolicy => admin::policy(&mut report, id, &at),
    };
    match policy {
        Some(policy) if report.errors.is_empty() => Parsed::Policy(Box::new(policy), report.remarks),
        _ => Parsed::Invalid(report.errors),
    }
}

/// Reads a policy that an API server has taken, with `spec` as the text of the metadata topic.
///
/// What cannot be understood is [`Parsed::Foreign`], never invalid: the server knows a newer version of the kind, or the
/// text was too long to be kept.
#[must_use]
pub fn parse_served(object: PolicyObject<'_>, spec: &str) -> Parsed {
    match serde_json::from_str::<Value>(spec).map(|spec| parse(object, &spec)) {
        Ok(Parsed::Invalid(_)) | Err(_) => Parsed::Foreign(foreign(object)),
        Ok(parsed) => parsed,
    }
}

fn foreign(object: PolicyObject<'_>) -> Foreign {
    Foreign {
        kind: object.kind.to_owned(),
        namespace: object.namespace.to_owned(),
        name: object.name.to_owned(),
        staged: object.staged,
    }
}

/// `metadata.name` is a subdomain of RFC 1123.
fn name(report: &mut Report, name: &str) {
    if name.is_empty() {
        report.required("metadata.name", "name or generateName is required");
        return;
    }
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let fits = |part: &str| {
        let bytes = part.as_bytes();
        edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
    };
    if name.len() > 253 {
        report.invalid("metadata.name", &quoted(name), "must be no more than 253 characters");
    } else if !name.split('.').all(fits) {
        let detail = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
                      must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
                      '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
        report.invalid("metadata.name", &quoted(name), detail);
    }
}

/// A protocol's name, which the API writes in capitals.
fn transport(report: &mut Report, at: &At<'_>, supported: &[&str]) -> Option<u8> {
    match at.text(report)? {
        "TCP" => Some(protocol::TCP),
        "UDP" => Some(protocol::UDP),
        "SCTP" => Some(protocol::SCTP),
        other => {
            report.unsupported(&at.path, other, supported);
            None
        }
    }
}

/// A port's name as `IsValidPortName` of Kubernetes takes it.
fn port_name(report: &mut Report, path: &str, name: &str) {
    let mut fail = |detail: &str| report.invalid(path, &quoted(name), detail);
    if name.len() > 15 {
        fail("must be no more than 15 characters");
    }
    if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') || name.is_empty() {
        fail("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    }
    if !name.bytes().any(|byte| byte.is_ascii_lowercase()) {
        fail("must contain at least one letter (a-z)");
    }
    if name.contains("--") {
        fail("must not contain consecutive hyphens");
    }
    if name.starts_with('-') || name.ends_with('-') {
        fail("must not begin or end with a hyphen");
    }
}
