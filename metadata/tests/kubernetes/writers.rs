//! One writer at a time, and the network sets in its namespace.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn network_sets_are_followed_and_the_lease_keeps_a_second_writer_waiting() {
    let Some((path, client)) = control_plane().await else { return };
    let space = "default";
    let (name, cluster) = (format!("partners-{}", now()), format!("test-{}", now()));
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), space);
    let set = |networks: &str| {
        json!({"metadata": {"name": name, "labels": {"weir.dev/network-set": "true"}},
        "data": {"networks": networks}})
    };
    maps.create(&PostParams::default(), &object(set("203.0.113.0/24"))).await.unwrap();
    let log = Log::memory();
    let settings = MetadataSettings {
        cluster,
        kubeconfig: Some(path),
        kube_namespace: Some(space.to_owned()),
        ..MetadataSettings::default()
    };
    let writing = |service: &Service| service.metrics.value("weir_metadata_writing", &[]).unwrap_or_default();
    let first = Service::start(&settings, &log);
    eventually("the first writes", || writing(&first) == 1.0).await;
    let second = Service::start(&settings, &log);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!((writing(&first), writing(&second)), (1.0, 0.0));
    assert_eq!(first.metrics.value("weir_metadata_rebuilds_total", &[]), Some(0.0), "nobody was fenced");

    maps.patch(&name, &PatchParams::default(), &Patch::Merge(set("198.51.100.0/24"))).await.unwrap();
    let is_set = |object: &Object| matches!(object, Object::NetworkSet(_));
    let mut history = BTreeMap::new();
    for _ in 0..100 {
        history = revisions_of(&log, is_set).await;
        if history.contains_key(&(name.clone(), 2)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let networks = |revision: u64| match &history[&(name.clone(), revision)].object {
        Object::NetworkSet(set) => set.networks.clone(),
        _ => Vec::new(),
    };
    assert_eq!((networks(1), networks(2)), (vec!["203.0.113.0/24".to_owned()], vec!["198.51.100.0/24".to_owned()]));

    // Stopped, the first gives the lease back, and the second goes on.
    let asked = now();
    first.stop().await;
    eventually("the second writes", || writing(&second) == 1.0).await;
    eprintln!("the second took over after {} ms", now() - asked);
    maps.delete(&name, &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let history = revisions_of(&log, is_set).await;
    assert!(history[&(name.clone(), 2)].valid_to.is_some());
    second.stop().await;
}
