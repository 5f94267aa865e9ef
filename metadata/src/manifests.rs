//! Kubernetes objects from files: manifests, and dumps of `kubectl get -o yaml|json`.
//!
//! Parsing is pure; [`Folder`] reads the files. Only pods that show an address (`status.podIP(s)`, or the annotation
//! `weir.dev/address`) can name flows: what a Deployment would create has none.

use crate::keep::{Keep, LeftOut};
use crate::observe::{self, NETWORK_SET_LABEL, OtherPolicy};
use crate::owners::{Middle, Owners};
use crate::revisions::Observed;
use crate::watched::PolicyKind;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use thiserror::Error;
use weir_flow::Millis;
use weir_schemas::metadata::Object;

mod folder;

#[cfg(test)]
mod tests;

pub use folder::{Folder, FolderError, Scan, read_written};

/// Lists inside lists deeper than this are refused.
const DEPTH: usize = 4;

/// Why a file is no manifest.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{file}, document {document}: {message}")]
pub struct ManifestError {
    /// The file's path.
    pub file: String,
    /// Which of the file's documents, from 1; empty ones do not count.
    pub document: usize,
    /// What is wrong.
    pub message: String,
}

/// An object that matters.
#[derive(Clone, Debug)]
enum Item {
    Pod(Box<Pod>),
    Node(Box<Node>),
    Namespace(Box<Namespace>),
    Service(Box<Service>),
    EndpointSlice(Box<EndpointSlice>),
    NetworkPolicy(Box<NetworkPolicy>),
    OtherPolicy(Box<OtherPolicy>),
    NetworkSet(Box<ConfigMap>),
    Owned(Middle, Box<ObjectMeta>),
    /// A kind whose pods have no addresses here.
    Workload,
}

/// The objects of one file.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    items: Vec<Item>,
    ignored: usize,
}

/// What all files show together.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// The objects, sorted by kind and UID, each once.
    pub objects: Vec<Observed>,
    /// Pods without an address.
    pub pods_without_address: usize,
    /// Deployments and the like: they name no flow.
    pub workloads: usize,
    /// Objects of kinds that do not matter here.
    pub ignored: usize,
    /// Objects that stand in more than one place; the last file in order counts.
    pub repeated: usize,
    /// What was left out of objects.
    pub left_out: LeftOut,
}

/// Reads one file's text: JSON when its name ends in `.json`, else YAML of any number of documents, which JSON is too.
///
/// # Errors
/// The first document that is no Kubernetes object.
pub fn parse(file: &str, text: &str) -> Result<Contents, ManifestError> {
    let mut contents = Contents::default();
    for (document, value) in documents(file, text)? {
        let fail = |message: String| ManifestError { file: file.to_owned(), document, message };
        take(&mut contents, value, 0).map_err(fail)?;
    }
    Ok(contents)
}

/// The documents of one file's text and their numbers, from 1; empty ones do not count.
fn documents(file: &str, text: &str) -> Result<Vec<(usize, Value)>, ManifestError> {
    let fail = |document: usize, message: String| ManifestError { file: file.to_owned(), document, message };
    if file.ends_with(".json") {
        let value = serde_json::from_str(text).map_err(|error| fail(1, format!("not JSON: {error}")))?;
        return Ok(vec![(1, value)]);
    }
    let mut bytes = text.as_bytes();
    // Without snippets: a manifest may hold secrets, and errors are logged.
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_events: 100_000_000,
            max_nodes: 50_000_000,
            max_documents: 1_000_000,
            max_total_scalar_bytes: 1 << 30,
        },
    };
    let mut found = Vec::new();
    for (index, value) in serde_saphyr::read_with_options::<_, Value>(&mut bytes, options).enumerate() {
        let document = index + 1;
        let value = value.map_err(|error| fail(document, format!("not YAML: {}", first_line(&error.to_string()))))?;
        found.push((document, value));
    }
    Ok(found)
}

/// An object of a manifest as it is written, of whatever kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// Path of its file.
    pub file: String,
    /// Which of the file's documents it stands in, from 1.
    pub document: usize,
    /// The object: it has a kind and an `apiVersion`.
    pub object: Value,
}

/// Every object of one file's text, those in lists one by one.
///
/// # Errors
/// The first document that is no Kubernetes object.
pub fn written(file: &str, text: &str) -> Result<Vec<Written>, ManifestError> {
    let mut found = Vec::new();
    for (document, value) in documents(file, text)? {
        let fail = |message: String| ManifestError { file: file.to_owned(), document, message };
        each(value, 0, &mut |_, _, object| {
            found.push(Written { file: file.to_owned(), document, object });
            Ok(())
        })
        .map_err(fail)?;
    }
    Ok(found)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Gives the object, or those of the list that it is, to `visit` with kind and version.
fn each(
    mut value: Value,
    depth: usize,
    visit: &mut dyn FnMut(&str, &str, Value) -> Result<(), String>,
) -> Result<(), String> {
    let field = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, version) = (field("kind"), field("apiVersion"));
    if kind.is_empty() {
        return Err("no kind: not a Kubernetes object".to_owned());
    }
    if version.is_empty() {
        return Err(format!("{kind} without apiVersion"));
    }
    if !(kind.ends_with("List") && value.get("items").is_some_and(Value::is_array)) {
        return visit(&kind, &version, value);
    }
    if depth >= DEPTH {
        return Err(format!("{kind} inside lists more than {DEPTH} deep"));
    }
    let element = kind.strip_suffix("List").unwrap_or_default().to_owned();
    let Some(Value::Array(items)) = value.get_mut("items").map(Value::take) else { return Ok(()) };
    for (index, mut item) in items.into_iter().enumerate() {
        // The elements of a typed list need not repeat their kind.
        if let (Some(map), false) = (item.as_object_mut(), element.is_empty()) {
            map.entry("kind").or_insert_with(|| Value::String(element.clone()));
            map.entry("apiVersion").or_insert_with(|| Value::String(version.clone()));
        }
        each(item, depth + 1, visit).map_err(|message| format!("item {}: {message}", index + 1))?;
    }
    Ok(())
}

fn take(contents: &mut Contents, value: Value, depth: usize) -> Result<(), String> {
    each(value, depth, &mut |kind, version, value| take_one(contents, kind, version, value))
}

fn take_one(contents: &mut Contents, kind: &str, version: &str, mut value: Value) -> Result<(), String> {
    let item = match (kind, version) {
        ("Pod", "v1") => Item::Pod(Box::new(typed(kind, value)?)),
        ("Node", "v1") => Item::Node(Box::new(typed(kind, value)?)),
        ("Namespace", "v1") => Item::Namespace(Box::new(typed(kind, value)?)),
        ("Service", "v1") => Item::Service(Box::new(typed(kind, value)?)),
        ("EndpointSlice", "discovery.k8s.io/v1") => Item::EndpointSlice(Box::new(typed(kind, value)?)),
        ("NetworkPolicy", "networking.k8s.io/v1") => Item::NetworkPolicy(Box::new(typed(kind, value)?)),
        ("ConfigMap", "v1") if is_network_set(&value) => Item::NetworkSet(Box::new(typed(kind, value)?)),
        ("ReplicaSet", "apps/v1") => Item::Owned(Middle::ReplicaSet, Box::new(metadata(kind, &mut value)?)),
        ("Job", "batch/v1") => Item::Owned(Middle::Job, Box::new(metadata(kind, &mut value)?)),
        ("Deployment" | "StatefulSet" | "DaemonSet", _) | ("CronJob", "batch/v1") => Item::Workload,
        _ => match PolicyKind::of(version, kind) {
            Some(policy) => Item::OtherPolicy(Box::new(other_policy(policy, version.to_owned(), value)?)),
            None => {
                contents.ignored += 1;
                return Ok(());
            }
        },
    };
    contents.items.push(item);
    Ok(())
}

fn typed<K: DeserializeOwned + k8s_openapi::Metadata<Ty = ObjectMeta>>(kind: &str, value: Value) -> Result<K, String> {
    let object: K = serde_json::from_value(value).map_err(|error| format!("{kind}: {error}"))?;
    if object.metadata().name.as_deref().unwrap_or_default().is_empty() {
        return Err(format!("{kind} without metadata.name"));
    }
    Ok(object)
}

fn is_network_set(value: &Value) -> bool {
    value["metadata"]["labels"][NETWORK_SET_LABEL] == "true"
}

fn other_policy(kind: PolicyKind, version: String, mut value: Value) -> Result<OtherPolicy, String> {
    let meta = metadata(kind.kind, &mut value)?;
    if meta.name.as_deref().unwrap_or_default().is_empty() {
        return Err(format!("{} without metadata.name", kind.kind));
    }
    let meta = if kind.namespaced { placed(&meta) } else { meta };
    Ok(OtherPolicy::of(kind, version, meta, value))
}

fn metadata(kind: &str, value: &mut Value) -> Result<ObjectMeta, String> {
    let meta = value.get_mut("metadata").map(Value::take).unwrap_or_default();
    serde_json::from_value(meta).map_err(|error| format!("{kind} metadata: {error}"))
}

/// A namespaced object in a manifest without a namespace is in `default`, where it would be created.
fn placed(meta: &ObjectMeta) -> ObjectMeta {
    let mut meta = meta.clone();
    if meta.namespace.as_deref().unwrap_or_default().is_empty() {
        meta.namespace = Some("default".to_owned());
    }
    meta
}

/// The object where it would be created.
fn in_namespace<K: Clone + k8s_openapi::Metadata<Ty = ObjectMeta>>(object: &K) -> K {
    let mut object = object.clone();
    *object.metadata_mut() = placed(object.metadata());
    object
}

/// What the files show together, in the order given.
pub fn show<'a>(files: impl Iterator<Item = &'a Contents> + Clone, keep: &Keep, arrival: Millis) -> Shown {
    let mut owners = Owners::default();
    for item in files.clone().flat_map(|contents| &contents.items) {
        if let Item::Owned(kind, meta) = item {
            owners.learn(*kind, &placed(meta));
        }
    }
    let mut shown = Shown::default();
    let mut objects: BTreeMap<(crate::revisions::Kind, String), Observed> = BTreeMap::new();
    for contents in files {
        shown.ignored += contents.ignored;
        for item in &contents.items {
            shown.workloads += usize::from(matches!(item, Item::Workload));
            let Some((mut seen, meta)) = observe_item(item, &owners, &mut shown.left_out, arrival) else { continue };
            shown.left_out += keep.apply(&mut seen, &meta);
            if matches!(&seen.object, Object::Pod(pod) if pod.addresses.is_empty()) {
                shown.pods_without_address += 1;
            }
            let place = (crate::revisions::Kind::of(&seen.object), seen.uid.clone());
            shown.repeated += usize::from(objects.insert(place, seen).is_some());
        }
    }
    shown.objects = objects.into_values().collect();
    shown
}

fn observe_item(
    item: &Item,
    owners: &Owners,
    left_out: &mut LeftOut,
    arrival: Millis,
) -> Option<(Observed, ObjectMeta)> {
    Some(match item {
        Item::Pod(pod) => {
            let pod = in_namespace(&**pod);
            (observe::pod(&pod, owners.top(&pod.metadata), arrival), pod.metadata)
        }
        Item::Node(node) => (observe::node(node), node.metadata.clone()),
        Item::Namespace(namespace) => (observe::namespace(namespace), namespace.metadata.clone()),
        Item::Service(service) => (observe::service(&in_namespace(&**service)), service.metadata.clone()),
        Item::EndpointSlice(slice) => (observe::endpoint_slice(&in_namespace(&**slice)), slice.metadata.clone()),
        Item::NetworkPolicy(policy) => (observe::network_policy(&in_namespace(&**policy)), policy.metadata.clone()),
        Item::OtherPolicy(policy) => (observe::other_policy(policy), policy.metadata.clone()),
        Item::NetworkSet(map) => {
            *left_out += LeftOut::of_network_set(map);
            (observe::network_set(&in_namespace(&**map)), map.metadata.clone())
        }
        Item::Owned(..) | Item::Workload => return None,
    })
}
