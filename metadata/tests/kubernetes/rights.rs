//! The rights that the manifests grant.

use super::*;
use std::collections::BTreeSet;
use std::path::Path;
use weir_metadata::watched::POLICY_KINDS;

const RULES: &str = include_str!("../../../k8s/base/rbac.yaml");

/// A right: group, resource and verb, and whether it is for one namespace.
type Right = (String, String, String, bool);

fn rules() -> Vec<serde_json::Value> {
    let mut bytes = RULES.as_bytes();
    let documents = serde_saphyr::read_with_options::<_, serde_json::Value>(&mut bytes, serde_saphyr::options! {});
    documents.map(Result::unwrap).collect()
}

/// What the rules grant.
fn granted() -> BTreeSet<Right> {
    let texts = |rule: &serde_json::Value, name: &str| -> Vec<String> {
        rule[name].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut rights = BTreeSet::new();
    for role in rules().iter().filter(|document| document["kind"].as_str().unwrap().ends_with("Role")) {
        for rule in role["rules"].as_array().unwrap() {
            for group in texts(rule, "apiGroups") {
                for resource in texts(rule, "resources") {
                    let right = |verb| (group.clone(), resource.clone(), verb, role["kind"] == "Role");
                    rights.extend(texts(rule, "verbs").into_iter().map(right));
                }
            }
        }
    }
    rights
}

/// What an account has asked the API server for, by its log.
fn asked(audit: &Path, account: &str) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for line in std::fs::read_to_string(audit).unwrap().lines() {
        // The last line may still be being written.
        let Ok(event) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let object = &event["objectRef"];
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        if event["user"]["username"].as_str() == Some(account) && !object.is_null() {
            let is_in_namespace = object["namespace"].is_string();
            let right = (text(&object["apiGroup"]), text(&object["resource"]), text(&event["verb"]), is_in_namespace);
            rights.insert(right);
        }
    }
    rights
}

/// Neither more nor less is granted than was asked for. Kinds that this cluster does not have were not asked for: what is
/// granted of them is what is asked of the kind that every cluster has.
async fn assert_least(audit: &Path, account: &str) {
    let mut asked_for = BTreeSet::new();
    let is_absent = |(group, resource, ..): &Right, asked: &BTreeSet<Right>| {
        POLICY_KINDS.iter().any(|kind| kind.plural == resource && kind.places.iter().any(|(of, _)| of == group))
            && !asked.iter().any(|(of, what, ..)| (of, what) == (group, resource))
    };
    for _ in 0..50 {
        asked_for = asked(audit, account);
        let mut expected = asked_for.clone();
        let always: Vec<String> = asked_for
            .iter()
            .filter(|(group, resource, ..)| group == "networking.k8s.io" && resource == "networkpolicies")
            .map(|(_, _, verb, _)| verb.clone())
            .collect();
        let absent: Vec<Right> = granted().into_iter().filter(|right| is_absent(right, &asked_for)).collect();
        for (group, resource, _, one) in absent {
            expected.extend(always.iter().map(|verb| (group.clone(), resource.clone(), verb.clone(), one)));
        }
        if expected == granted() {
            return;
        }
        asked_for = expected;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let granted = granted();
    let more: Vec<_> = granted.difference(&asked_for).collect();
    let less: Vec<_> = asked_for.difference(&granted).collect();
    panic!("granted and never asked for: {more:?}; asked for and not granted: {less:?}");
}

/// Makes the objects of `k8s/base/rbac.yaml` in a namespace of the test's; the names of the cluster-wide ones are the file's.
async fn grant(client: &Client, space: &str) {
    let text = RULES.replace("namespace: weir\n", &format!("namespace: {space}\n"));
    let mut bytes = text.as_bytes();
    for document in serde_saphyr::read_with_options::<_, serde_json::Value>(&mut bytes, serde_saphyr::options! {}) {
        let document = document.unwrap();
        let field = |name: &str| document[name].as_str().unwrap().to_owned();
        let (version, kind) = (field("apiVersion"), field("kind"));
        let (group, number) = version.split_once('/').unwrap_or(("", &version));
        let place = ApiResource {
            api_version: version.clone(),
            ..resource(group, number, &format!("{}s", kind.to_lowercase()), &kind)
        };
        let api: Api<DynamicObject> = match kind.starts_with("Cluster") {
            true => Api::all_with(client.clone(), &place),
            false => Api::namespaced_with(client.clone(), space, &place),
        };
        let name = document["metadata"]["name"].as_str().unwrap();
        api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&document)).await.unwrap();
    }
}

/// A kubeconfig for the same API server with a service account's token.
async fn kubeconfig_of(client: &Client, kubeconfig: &std::path::Path, space: &str, account: &str) -> String {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), space);
    let request = TokenRequest::default();
    let token = accounts.create_token_request(account, &PostParams::default(), &request).await.unwrap();
    let mut config = Kubeconfig::read_from(kubeconfig).unwrap();
    let token = serde_json::from_value(json!({"token": token.status.unwrap().token})).unwrap();
    for user in &mut config.auth_infos {
        user.auth_info = Some(AuthInfo::clone(&token));
    }
    serde_json::to_string(&config).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_of_its_role_suffice_and_without_them_it_says_what_is_missing() {
    let Some((path, client)) = control_plane().await else { return };
    let _kinds = KINDS.lock().await;
    let space = format!("weir-rights-{}", now());
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &object(json!({"metadata": {"name": space}}))).await.unwrap();
    grant(&client, &space).await;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &space);
    let nobody: ServiceAccount = object(json!({"metadata": {"name": "nobody"}}));
    accounts.create(&PostParams::default(), &nobody).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let settings = async |account: &str| {
        let file = folder.path().join(account);
        std::fs::write(&file, kubeconfig_of(&client, &path, &space, account).await).unwrap();
        MetadataSettings {
            cluster: format!("test-{space}"),
            kubeconfig: Some(file),
            kube_namespace: Some(space.clone()),
            ..MetadataSettings::default()
        }
    };
    let log = Log::memory();
    let service = Service::start(&settings("weir-metadata").await, &log);
    eventually("it writes", || service.metrics.value("weir_metadata_heartbeat_milliseconds", &[]) > Some(0.0)).await;
    let samples = service.metrics.samples().into_iter();
    let failed: Vec<_> = samples.filter(|sample| sample.name == "weir_metadata_api_failures_total").collect();
    assert!(failed.iter().all(|sample| sample.value == 0.0), "{failed:?}");
    service.stop().await;
    let audit = path.with_file_name("audit.log");
    if audit.exists() {
        assert_least(&audit, &format!("system:serviceaccount:{space}:weir-metadata")).await;
    } else {
        eprintln!("skipped: {} is not there: the API server keeps no log of what was asked", audit.display());
    }

    let refused = settings("nobody").await;
    let (metrics, health) = (Metrics::new(), Health::new());
    let error = weir_metadata::run(refused, log, &metrics, &health, CancellationToken::new()).await.unwrap_err();
    let error = error.to_string();
    assert!(error.contains("refuses to list pods") && error.contains("grant"), "{error}");
    namespaces.delete(&space, &DeleteParams::default()).await.unwrap();
}
