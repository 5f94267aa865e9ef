//! A world out of manifests: pods as they are, and pods as templates would make them.

use anyhow::Result;
use serde_json::Value;
use std::path::Path;
use weir_flow::protocol;
use weir_metadata::manifests::{Written, read_written};
use weir_metadata::observe::STAGED_ANNOTATION;
use weir_metadata::watched::PolicyKind;
use weir_preview::world::{Node, Pod, PolicySource, Spec, World};
use weir_service::HintExt as _;

/// Reads a folder of manifests, or one file.
pub(crate) fn read(path: &Path) -> Result<World> {
    let written =
        read_written(path).hint("give a folder of .yaml, .yml or .json files, or one of them").exit_code(1)?;
    Ok(world(&written, path))
}

/// The world that objects describe, which were read at this path.
pub(crate) fn world(written: &[Written], root: &Path) -> World {
    let mut world = World::default();
    // Pods as they are come last, and take the place of what templates would make.
    for is_pod in [false, true] {
        for one in written.iter().filter(|one| (one.object["kind"] == "Pod") == is_pod) {
            take(&mut world, one, root);
        }
    }
    world
}

fn take(world: &mut World, one: &Written, root: &Path) {
    let object = &one.object;
    let (kind, version) = (text(&object["kind"]), text(&object["apiVersion"]));
    let name = text(&object["metadata"]["name"]);
    let template = match (kind.as_str(), version.as_str()) {
        ("Namespace", "v1") => {
            world.namespaces.insert(name, (labels(&object["metadata"]["labels"]), true));
            return;
        }
        ("Node", "v1") => {
            world.nodes.insert(name, node(object));
            return;
        }
        ("Pod", "v1") => object,
        ("Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" | "ReplicationController", _) => {
            &object["spec"]["template"]
        }
        ("CronJob", _) => &object["spec"]["jobTemplate"]["spec"]["template"],
        _ => {
            world.policies.extend(policy(one, &kind, &version, root));
            return;
        }
    };
    if name.is_empty() || (kind != "Pod" && !object["metadata"]["ownerReferences"].is_null()) {
        // What is owned is what its owner's template makes.
        return;
    }
    let workload = if kind == "Pod" { owner(object).unwrap_or_else(|| name.clone()) } else { name.clone() };
    let pods = world.workloads.entry((namespace(object), workload)).or_default();
    pods.retain(|pod| kind != "Pod" || !pod.name.is_empty());
    pods.push(pod(template, if kind == "Pod" { name } else { String::new() }));
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn namespace(object: &Value) -> String {
    let namespace = object["metadata"]["namespace"].as_str().filter(|name| !name.is_empty());
    namespace.unwrap_or("default").to_owned()
}

fn labels(value: &Value) -> Vec<String> {
    let pairs = value.as_object().into_iter().flatten();
    pairs.map(|(key, value)| format!("{key}={}", text(value))).collect()
}

/// The name of a pod's controller; of a ReplicaSet of a Deployment that of the Deployment.
fn owner(pod: &Value) -> Option<String> {
    let owners = pod["metadata"]["ownerReferences"].as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"] == true)?;
    let name = owner["name"].as_str()?;
    let hash = pod["metadata"]["labels"]["pod-template-hash"].as_str();
    let deployment = hash.and_then(|hash| name.strip_suffix(hash)).and_then(|name| name.strip_suffix('-'));
    Some(deployment.filter(|_| owner["kind"] == "ReplicaSet").unwrap_or(name).to_owned())
}

fn node(object: &Value) -> Node {
    let addresses = object["status"]["addresses"].as_array().into_iter().flatten();
    Node {
        labels: labels(&object["metadata"]["labels"]),
        addresses: addresses.filter_map(|one| one["address"].as_str()?.parse().ok()).collect(),
    }
}

fn pod(object: &Value, name: String) -> Pod {
    let spec = &object["spec"];
    let sidecars = spec["initContainers"].as_array().into_iter().flatten();
    let sidecars = sidecars.filter(|container| container["restartPolicy"] == "Always");
    let containers = spec["containers"].as_array().into_iter().flatten().chain(sidecars);
    let declared = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    let ports = declared.filter_map(|port| {
        let number = u16::try_from(port["containerPort"].as_u64()?).ok()?;
        Some((text(&port["name"]), protocol::parse(port["protocol"].as_str().unwrap_or("TCP"))?, number))
    });
    let status = &object["status"];
    let listed = status["podIPs"].as_array().into_iter().flatten().filter_map(|one| one["ip"].as_str());
    let noted = object["metadata"]["annotations"][weir_metadata::observe::ADDRESS_ANNOTATION].as_str();
    let all = listed.chain(status["podIP"].as_str()).chain(noted.into_iter().flat_map(|list| list.split(',')));
    let mut addresses = Vec::new();
    for address in all.filter_map(|address| address.trim().parse().ok()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Pod {
        name,
        labels: labels(&object["metadata"]["labels"]),
        complete: true,
        ports: ports.collect(),
        host_network: spec["hostNetwork"] == true,
        node: text(&spec["nodeName"]),
        addresses,
    }
}

/// A policy of any kind that is known, if the object is one.
fn policy(one: &Written, kind: &str, version: &str, root: &Path) -> Option<PolicySource> {
    let own = kind == "NetworkPolicy" && version.starts_with("networking.k8s.io/");
    let other = PolicyKind::of(version, kind);
    if !own && other.is_none() {
        return None;
    }
    let namespaced = own || other.is_some_and(|other| other.namespaced);
    let object = &one.object;
    let folder = Path::new(&one.file).strip_prefix(root).unwrap_or(Path::new(""));
    let in_staged = folder.components().any(|part| part.as_os_str() == "staged");
    let noted = object["metadata"]["annotations"][STAGED_ANNOTATION] == "true";
    Some(PolicySource {
        api_version: version.to_owned(),
        kind: kind.to_owned(),
        namespace: if namespaced { namespace(object) } else { String::new() },
        name: text(&object["metadata"]["name"]),
        staged: noted || in_staged || other.is_some_and(|other| other.staged),
        spec: Spec::Written(object["spec"].clone()),
        file: one.file.clone(),
    })
}
