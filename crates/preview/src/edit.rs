//! Changes to policies, as people write them.

use crate::world::{PolicySource, Spec};
use crate::yaml::{self, Node};
use serde::Serialize;
use serde_json::Value;
use std::fmt;
use thiserror::Error;
use weir_policy::{FieldError, Parsed, Policy, PolicyId, PolicyKind};

/// Lists inside lists deeper than this are refused.
const DEPTH: usize = 4;
/// The most faults that are listed.
const FAULTS: usize = 50;

/// A change to the policies.
#[derive(Clone, Debug)]
pub enum Edit {
    /// Adds it, or takes it for the one of its name.
    Put(Box<Policy>),
    /// Takes it out.
    Delete(PolicyId),
}

/// Why a policy cannot be put.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PutError {
    /// The engine does not know its kind.
    #[error("its kind cannot be evaluated")]
    Foreign,
    /// The API server would not take it.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<FieldError>),
}

/// The edit that a policy is; a staged one is judged as if it were enforced.
///
/// # Errors
/// A kind that is not evaluated, or fields that the API server would refuse.
pub fn put(source: &PolicySource) -> Result<Edit, PutError> {
    match source.parse() {
        Parsed::Policy(mut policy, _) => {
            policy.id.staged = false;
            Ok(Edit::Put(policy))
        }
        Parsed::Foreign(_) => Err(PutError::Foreign),
        Parsed::Invalid(errors) => Err(PutError::Invalid(errors)),
    }
}

/// A text names no policy.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} names no policy: write networkpolicy/NAMESPACE/NAME or clusternetworkpolicy/NAME")]
pub struct IdError(String);

/// `networkpolicy/shop/web` or `clusternetworkpolicy/base`, in any case.
///
/// # Errors
/// A kind that there is not, or that is namespaced where no namespace is given.
pub fn parse_id(text: &str) -> Result<PolicyId, IdError> {
    let kinds = [
        PolicyKind::NetworkPolicy,
        PolicyKind::ClusterNetworkPolicy,
        PolicyKind::AdminNetworkPolicy,
        PolicyKind::BaselineAdminNetworkPolicy,
    ];
    let parts: Vec<&str> = text.split('/').collect();
    let kind = parts.first().and_then(|name| kinds.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name)));
    let (kind, namespace, name) = match (kind, parts.as_slice()) {
        (Some(kind @ PolicyKind::NetworkPolicy), [_, namespace, name]) => (kind, *namespace, *name),
        (Some(kind), [_, name]) if kind != PolicyKind::NetworkPolicy => (kind, "", *name),
        _ => return Err(IdError(text.to_owned())),
    };
    Ok(PolicyId { kind, namespace: namespace.to_owned(), name: name.to_owned(), staged: false })
}

/// What is wrong in a text of manifests, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The line, from 1; nothing where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Kind and name of the policy; empty where there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub policy: String,
    /// Path of the field; empty where none is to blame.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        for part in [&self.policy, &self.field].into_iter().filter(|part| !part.is_empty()) {
            write!(f, "{part}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// The policies of a text in YAML or JSON, of any number of documents and lists. Objects that are no policies are passed over.
///
/// # Errors
/// Everything that is wrong in it, at most fifty; a text without a policy.
pub fn edits(text: &str) -> Result<Vec<Edit>, Vec<Fault>> {
    let fault = |line, message: String| Fault { line, policy: String::new(), field: String::new(), message };
    let documents = yaml::read(text).map_err(|(line, message)| vec![fault(line, format!("not YAML: {message}"))])?;
    let (mut edits, mut faults) = (Vec::new(), Vec::new());
    for document in &documents {
        take(document, 0, &mut edits, &mut faults);
    }
    if edits.is_empty() && faults.is_empty() {
        faults.push(fault(None, "there is no policy in it".to_owned()));
    }
    faults.truncate(FAULTS);
    if faults.is_empty() { Ok(edits) } else { Err(faults) }
}

fn take(node: &Node, depth: usize, edits: &mut Vec<Edit>, faults: &mut Vec<Fault>) {
    if node.is_null() {
        return;
    }
    let text = |name: &str| node.get(name).and_then(Node::text).unwrap_or_default().to_owned();
    let (kind, api_version) = (text("kind"), text("apiVersion"));
    let mut fail = |at: &Node, policy: &str, message: &str| {
        let (policy, message) = (policy.to_owned(), message.to_owned());
        faults.push(Fault { line: at.line(), policy, field: String::new(), message });
    };
    if kind.is_empty() || api_version.is_empty() {
        return fail(node, "", "no Kubernetes object: it has no kind, or no apiVersion");
    }
    if let Some(items) = node.get("items").and_then(Node::list).filter(|_| kind.ends_with("List")) {
        if depth >= DEPTH {
            return fail(node, "", "lists inside lists are too deep");
        }
        return items.iter().for_each(|item| take(item, depth + 1, edits, faults));
    }
    if !kind.contains("NetworkPolicy") {
        return;
    }
    let metadata = |name: &str| node.get("metadata").and_then(|metadata| metadata.get(name)).and_then(Node::text);
    let namespaced = PolicyKind::of(&api_version, &kind).is_none_or(|kind| kind == PolicyKind::NetworkPolicy);
    let namespace = metadata("namespace").filter(|name| !name.is_empty()).unwrap_or("default");
    let source = PolicySource {
        api_version,
        kind,
        namespace: if namespaced { namespace.to_owned() } else { String::new() },
        name: metadata("name").unwrap_or_default().to_owned(),
        staged: false,
        spec: Spec::Written(node.get("spec").map_or(Value::Null, Node::value)),
        file: String::new(),
    };
    match put(&source) {
        Ok(edit) => edits.push(edit),
        Err(PutError::Foreign) => fail(node, &source.title(), &PutError::Foreign.to_string()),
        Err(PutError::Invalid(errors)) => faults.extend(errors.into_iter().map(|error| Fault {
            line: node.line_of(&error.path),
            policy: source.title(),
            field: error.path,
            message: error.message,
        })),
    }
}
