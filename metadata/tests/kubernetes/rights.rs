//! The rights that the manifests grant.

use super::*;

/// Makes the objects of `k8s/base/rbac.yaml` in a namespace of the test's; the names of the cluster-wide ones are the file's.
async fn grant(client: &Client, space: &str) {
    let text =
        include_str!("../../../k8s/base/rbac.yaml").replace("namespace: weir\n", &format!("namespace: {space}\n"));
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

    let refused = settings("nobody").await;
    let (metrics, health) = (Metrics::new(), Health::new());
    let error = weir_metadata::run(refused, log, &metrics, &health, CancellationToken::new()).await.unwrap_err();
    let error = error.to_string();
    assert!(error.contains("refuses to list pods") && error.contains("grant"), "{error}");
    namespaces.delete(&space, &DeleteParams::default()).await.unwrap();
}
