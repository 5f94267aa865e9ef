use super::*;
use std::time::{Duration, SystemTime};

const PODS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: n1, containers: []}
status: {podIP: 10.0.0.1, phase: Running}
---
# nothing but a comment
---
apiVersion: v1
kind: Pod
metadata: {name: db, annotations: {weir.dev/address: '10.0.0.2, fd00::2'}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
";

fn shown(texts: &[(&str, &str)]) -> Shown {
    let files: Vec<Contents> = texts.iter().map(|(file, text)| parse(file, text).unwrap()).collect();
    show(files.iter(), &Keep::default(), 1_000)
}

fn pod<'a>(shown: &'a Shown, name: &str) -> (&'a Observed, &'a weir_schemas::metadata::Pod) {
    let found = shown.objects.iter().find(|object| object.name == name).unwrap();
    let Object::Pod(pod) = &found.object else { panic!() };
    (found, pod)
}

#[test]
fn pods_with_addresses_name_flows_and_deployments_do_not() {
    let shown = shown(&[("a.yaml", PODS)]);
    assert_eq!((shown.objects.len(), shown.workloads, shown.pods_without_address), (2, 1, 0));
    let (web, object) = pod(&shown, "web");
    assert_eq!((web.namespace.as_str(), web.labels.as_slice()), ("shop", &["app=web".to_owned()][..]));
    assert_eq!((object.addresses.len(), object.node.as_str()), (1, "n1"));
    assert_eq!(web.since, Some(crate::bounds::always()));
    let (db, object) = pod(&shown, "db");
    assert_eq!((db.namespace.as_str(), object.addresses.len()), ("default", 2));
}

#[test]
fn dumps_are_lists_in_yaml_and_json_with_owner_chains() {
    let yaml = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Pod, metadata: {name: web-5f-x, namespace: shop, uid: u1, creationTimestamp: '2026-01-01T00:00:00Z',
   ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-5f, uid: r1, controller: true}]},
   status: {podIP: 10.0.0.1, phase: Running}}
- {apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: other}}
";
    let json = r#"{"apiVersion": "apps/v1", "kind": "ReplicaSetList", "items": [{"metadata": {"name": "web-5f",
        "namespace": "shop", "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d",
        "controller": true}]}}]}"#;
    let shown = shown(&[("a.yaml", yaml), ("b.json", json)]);
    let (seen, object) = pod(&shown, "web-5f-x");
    assert_eq!((object.workload_kind.as_str(), object.workload.as_str()), ("Deployment", "web"));
    assert_eq!((seen.uid.as_str(), shown.ignored), ("u1", 1));
    assert_ne!(seen.since, Some(crate::bounds::always()), "a dump has times");
}

#[test]
fn an_error_names_the_file_the_document_and_what_is_wrong() {
    let error = |text: &str| parse("dir/a.yaml", text).unwrap_err();
    let second = "kind: Namespace\napiVersion: v1\nmetadata: {name: a}\n---\nkind: Pod\napiVersion: v1\nmetadata: {}\n";
    assert_eq!(error(second).to_string(), "dir/a.yaml, document 2: Pod without metadata.name");
    assert_eq!(error("a: 1").to_string(), "dir/a.yaml, document 1: no kind: not a Kubernetes object");
    assert_eq!(error("a: [1").document, 1);
    let json = parse("a.json", "{\"kind\": ").unwrap_err();
    assert!(json.message.starts_with("not JSON: "), "{json}");
    assert_eq!(error("kind: Pod").message, "Pod without apiVersion");
    let wrong = "kind: Service\napiVersion: v1\nmetadata: {name: a}\nspec: {ports: 7}\n";
    assert!(error(wrong).message.starts_with("Service: "), "{}", error(wrong));
}

#[test]
fn an_error_shows_no_line_of_the_file() {
    let secret = "kind: Secret\napiVersion: v1\nstringData: {password: hunter2\n";
    let text = parse("s.yaml", secret).unwrap_err().to_string();
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn an_object_in_two_places_counts_once() {
    let shown = shown(&[("a.yaml", PODS), ("b.yaml", PODS)]);
    assert_eq!((shown.objects.len(), shown.repeated), (2, 2));
}

#[test]
fn a_folder_shows_changes_and_keeps_the_last_good_version() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("a.yaml"), PODS).unwrap();
    std::fs::write(path("notes.txt"), "not a manifest").unwrap();
    std::fs::write(path(".hidden.yaml"), "not: a manifest").unwrap();
    let mut folder = Folder::new(dir.path());
    let mut clock = SystemTime::now() + Duration::from_secs(60);
    let mut scan = |folder: &mut Folder| {
        clock += Duration::from_secs(2);
        folder.scan(clock).unwrap()
    };
    assert!(scan(&mut folder).changed);
    assert!(!scan(&mut folder).changed);
    assert_eq!(folder.show(&Keep::default(), 0).objects.len(), 2);

    std::fs::write(path("a.yaml"), "kind: Pod\n").unwrap();
    let broken = scan(&mut folder);
    assert_eq!((broken.invalid.len(), folder.show(&Keep::default(), 0).objects.len()), (1, 2));

    std::fs::create_dir(path("more")).unwrap();
    std::fs::write(path("more/n.yml"), "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}").unwrap();
    std::fs::remove_file(path("a.yaml")).unwrap();
    assert!(scan(&mut folder).changed);
    assert_eq!(folder.show(&Keep::default(), 0).objects.len(), 1);
}

#[test]
fn the_first_scan_refuses_what_is_no_manifest() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.yaml"), "a: 1").unwrap();
    let error = Folder::new(dir.path()).scan(SystemTime::now()).unwrap_err().to_string();
    assert!(error.contains("a.yaml, document 1: no kind") && error.contains("correct the file"), "{error}");
    let error = Folder::new(&dir.path().join("away")).scan(SystemTime::now()).unwrap_err().to_string();
    assert!(error.contains("away") && error.contains("--manifests"), "{error}");
}

#[test]
fn policies_and_slices_of_manifests_are_kept() {
    let text = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-x, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.1]}]
ports: [{port: 80}]
---
apiVersion: example.org/v1
kind: NetworkPolicy
metadata: {name: other}
";
    let shown = shown(&[("a.yaml", text)]);
    let kinds: Vec<_> =
        shown.objects.iter().map(|o| (o.object.kind(), o.namespace.as_str(), o.name.as_str())).collect();
    assert_eq!(kinds, [("EndpointSlice", "shop", "web-x"), ("Policy", "default", "deny")]);
    assert_eq!(shown.ignored, 1);
}

const SETS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: partners, namespace: weir, labels: {weir.dev/network-set: 'true'}}
data:
  networks: |
    203.0.113.0/24   # head office
    198.51.100.7
    10.1.2.3/8
    not a network
  domains: |
    API.Example.com.
    *.example.org
---
apiVersion: v1
kind: ConfigMap
metadata: {name: other, namespace: weir}
data: {networks: 192.0.2.0/24}
---
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: guard}
spec: {priority: 5, subject: {namespaces: {}}}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web}
specs: [{endpointSelector: {}}]
---
apiVersion: projectcalico.org/v3
kind: StagedNetworkPolicy
metadata: {name: try, namespace: shop}
spec: {selector: all()}
";

#[test]
fn network_sets_are_labelled_config_maps() {
    let shown = shown(&[("sets.yaml", SETS)]);
    let sets: Vec<_> = shown.objects.iter().filter(|object| matches!(object.object, Object::NetworkSet(_))).collect();
    let [partners] = sets[..] else { panic!("{sets:#?}") };
    let Object::NetworkSet(set) = &partners.object else { panic!() };
    assert_eq!(set.networks, ["10.0.0.0/8", "198.51.100.7/32", "203.0.113.0/24"]);
    assert_eq!(set.domains, ["*.example.org", "api.example.com"]);
    assert_eq!((shown.left_out.invalid, shown.ignored), (1, 1));
}

#[test]
fn policies_of_other_makers_are_named_objects() {
    let shown = shown(&[("sets.yaml", SETS)]);
    let policies = shown.objects.iter().filter_map(|object| match &object.object {
        Object::Policy(policy) => Some((object.namespace.as_str(), object.name.as_str(), policy)),
        _ => None,
    });
    let mut policies: Vec<_> = policies.collect();
    policies.sort_by_key(|(_, name, _)| *name);
    let [(none, "guard", guard), (shop, "try", staged), (default, "web", web)] = policies[..] else {
        panic!("{policies:#?}")
    };
    assert_eq!((none, shop, default), ("", "shop", "default"));
    assert_eq!(
        (guard.kind.as_str(), guard.spec.as_str()),
        ("AdminNetworkPolicy", r#"{"priority":5,"subject":{"namespaces":{}}}"#)
    );
    assert!(staged.staged && !guard.staged && !web.staged);
    assert_eq!(web.spec, r#"[{"endpointSelector":{}}]"#);
}
