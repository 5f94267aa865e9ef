//! The objects that the driver makes.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

/// A deployment whose pods carry a revision as a label.
pub(crate) fn deployment<K: DeserializeOwned>(space: &str, name: &str, replicas: usize, revision: u64) -> K {
    object(json!({
        "metadata": {"name": name, "namespace": space, "labels": {"app": name}},
        "spec": {"replicas": replicas, "revisionHistoryLimit": 1, "selector": {"matchLabels": {"app": name}},
            "strategy": {"rollingUpdate": {"maxSurge": "50%", "maxUnavailable": "50%"}}, "template": template(name, revision)}
    }))
}

/// The template of a deployment's pods.
pub(crate) fn template(name: &str, revision: u64) -> Value {
    json!({
        "metadata": {"labels": {"app": name, "revision": revision.to_string()}},
        "spec": {"serviceAccountName": if name.ends_with('3') { "other" } else { "default" },
            "containers": [{"name": "main", "image": "main", "ports": [{"containerPort": 8080}]}],
            "terminationGracePeriodSeconds": 1}
    })
}

/// A node that kwok runs.
pub(crate) fn node<K: DeserializeOwned>(number: usize) -> K {
    let name = node_name(number);
    let address = format!("172.20.{}.{}", number / 250, number % 250 + 1);
    // Without a name among them, kwok would replace the addresses.
    let addresses = json!([{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}]);
    let resources = json!({"cpu": "64", "memory": "512Gi", "pods": "250"});
    object(json!({
        "metadata": {"name": name, "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"type": "kwok", "topology.kubernetes.io/zone": format!("zone-{}", number % 3)}},
        "status": {"addresses": addresses, "allocatable": resources, "capacity": resources}
    }))
}

/// The name of a node.
pub(crate) fn node_name(number: usize) -> String {
    format!("scale-{number}")
}

/// A job that ends by itself and goes soon after; by a `CronJob` where one is given (name and UID).
pub(crate) fn job<K: DeserializeOwned>(space: &str, name: &str, cron: Option<(&str, &str)>) -> K {
    let owners: Vec<Value> = cron
        .map(|(name, uid)| json!({"apiVersion": "batch/v1", "kind": "CronJob", "name": name, "uid": uid, "controller": true}))
        .into_iter()
        .collect();
    object(json!({
        "metadata": {"name": name, "namespace": space, "ownerReferences": owners},
        "spec": {"parallelism": 2, "completions": 2, "ttlSecondsAfterFinished": 2, "template": {
            "metadata": {"labels": {"batch": "yes"}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "main"}]}}}
    }))
}

/// A `CronJob` that starts nothing by itself.
pub(crate) fn cron_job<K: DeserializeOwned>(name: &str) -> K {
    object(json!({
        "metadata": {"name": name},
        "spec": {"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": {"template": {
            "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "main"}]}}}}}
    }))
}

/// A pod without an owner.
pub(crate) fn bare_pod<K: DeserializeOwned>(name: &str, host_network: bool) -> K {
    object(json!({
        "metadata": {"name": name, "labels": {"bare": "yes"}},
        "spec": {"hostNetwork": host_network, "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": "main"}]}
    }))
}

/// A service of both families.
pub(crate) fn service<K: DeserializeOwned>(name: &str, app: &str, port: u16) -> K {
    object(json!({
        "metadata": {"name": name, "labels": {"port": port.to_string()}},
        "spec": {"ipFamilyPolicy": "PreferDualStack", "selector": {"app": app},
            "ports": [{"name": "web", "port": port, "targetPort": 8080}, {"name": "dns", "port": 53, "protocol": "UDP"}]}
    }))
}

/// A policy that lets a port in.
pub(crate) fn policy<K: DeserializeOwned>(name: &str, app: &str, port: u16) -> K {
    object(json!({
        "metadata": {"name": name},
        "spec": {"podSelector": {"matchLabels": {"app": app}}, "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"port": port, "protocol": "TCP"}]}]}
    }))
}
