//! Policies of kinds that a cluster has or has not.

use super::*;
use std::collections::BTreeSet;

/// A definition of a custom resource, as far as the API server wants it.
fn definition(group: &str, version: &str, plural: &str, kind: &str) -> serde_json::Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Cluster", "names": {"plural": plural, "kind": kind},
            "versions": [{"name": version, "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_of_other_makers_come_and_go_with_their_definitions() {
    let Some((path, client)) = control_plane().await else { return };
    let _kinds = KINDS.lock().await;
    let log = Log::memory();
    let settings =
        MetadataSettings { cluster: "test".to_owned(), kubeconfig: Some(path), ..MetadataSettings::default() };
    let service = Service::start(&settings, &log);
    table_at(&log, now()).await;

    let (group, version, plural, kind) =
        ("cilium.io", "v2", "ciliumclusterwidenetworkpolicies", "CiliumClusterwideNetworkPolicy");
    let definitions: Api<DynamicObject> = Api::all_with(
        client.clone(),
        &resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition"),
    );
    let policies: Api<DynamicObject> = Api::all_with(client.clone(), &resource(group, version, plural, kind));
    let policy: DynamicObject =
        object(json!({"apiVersion": "cilium.io/v2", "kind": kind, "metadata": {"name": "guard"},
        "spec": {"endpointSelector": {}}}));
    definitions.create(&PostParams::default(), &object(definition(group, version, plural, kind))).await.unwrap();
    while policies.create(&PostParams::default(), &policy).await.is_err() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    table_at(&log, now()).await;
    let is_policy = |object: &Object| matches!(object, Object::Policy(policy) if policy.kind.starts_with("Cilium"));
    let history = revisions_of(&log, is_policy).await;
    let guard = history.get(&("guard".to_owned(), 1)).unwrap();
    assert!(guard.valid_to.is_none() && history.len() == 1, "{history:#?}");
    let Object::Policy(kept) = &guard.object else { panic!() };
    assert_eq!(kept.spec, r#"{"endpointSelector":{}}"#);

    // With the definition its objects go.
    definitions.delete(&format!("{plural}.{group}"), &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    table_at(&log, now()).await;
    let history = revisions_of(&log, is_policy).await;
    assert!(history[&("guard".to_owned(), 1)].valid_to.is_some(), "{history:#?}");
    assert_eq!(service.metrics.value("weir_metadata_rebuilds_total", &[]), Some(0.0));
    service.stop().await;
}

/// The words in which policies are refused are kept with the policy engine's tests; a server says them still.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_refuses_policies_in_the_words_that_are_kept() {
    let Some((_, client)) = control_plane().await else { return };
    let policies: Api<DynamicObject> = Api::namespaced_with(
        client,
        "default",
        &resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"),
    );
    let kept = include_str!("../../../crates/policy/tests/judges/refused.json");
    let kept: Vec<serde_json::Value> = serde_json::from_str(kept).unwrap();
    let nothing_is_stored = PostParams { dry_run: true, ..PostParams::default() };
    let mut wrong = Vec::new();
    for case in &kept {
        let policy: DynamicObject = object(json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "t", "namespace": "default"}, "spec": case["spec"]}));
        let said: BTreeSet<String> = match policies.create(&nothing_is_stored, &policy).await {
            Ok(_) => BTreeSet::new(),
            Err(kube::Error::Api(status)) => {
                let causes = status.details.map(|details| details.causes).unwrap_or_default();
                causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
            }
            Err(error) => panic!("{error}"),
        };
        let wanted = case["refused"].as_array().unwrap().iter();
        let wanted: BTreeSet<String> = wanted.map(|error| error.as_str().unwrap().to_owned()).collect();
        if said != wanted {
            wrong.push(format!("{}\n  kept: {wanted:#?}\n  said: {said:#?}", case["spec"]));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), kept.len(), wrong.join("\n"));
}
