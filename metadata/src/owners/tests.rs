use super::*;
use serde_json::json;

fn meta(name: &str, owner: Option<(&str, &str)>) -> ObjectMeta {
    let owners = owner
        .map(|(kind, name)| json!([{"apiVersion": "v1", "kind": kind, "name": name, "uid": "u", "controller": true}]));
    serde_json::from_value(json!({"name": name, "namespace": "shop", "ownerReferences": owners})).unwrap()
}

fn top(owners: &Owners, owner: Option<(&str, &str)>) -> (String, String, bool) {
    let Owner { kind, name, known, .. } = owners.top(&meta("pod", owner));
    (kind, name, known)
}

fn is(kind: &str, name: &str, known: bool) -> (String, String, bool) {
    (kind.to_owned(), name.to_owned(), known)
}

#[test]
fn chains_are_followed_to_their_top() {
    let mut owners = Owners::default();
    owners.learn(Middle::ReplicaSet, &meta("web-5f", Some(("Deployment", "web"))));
    owners.learn(Middle::ReplicaSet, &meta("alone", None));
    owners.learn(Middle::Job, &meta("nightly-1", Some(("CronJob", "nightly"))));
    assert_eq!(top(&owners, Some(("ReplicaSet", "web-5f"))), is("Deployment", "web", true));
    assert_eq!(top(&owners, Some(("ReplicaSet", "alone"))), is("ReplicaSet", "alone", true));
    assert_eq!(top(&owners, Some(("Job", "nightly-1"))), is("CronJob", "nightly", true));
    assert_eq!(top(&owners, Some(("DaemonSet", "agent"))), is("DaemonSet", "agent", true));
    assert_eq!(top(&owners, None), is("", "pod", true));
    assert_eq!(top(&owners, Some(("ReplicaSet", "later"))), is("ReplicaSet", "later", false));
    assert_eq!(owners.missing(&meta("pod", Some(("ReplicaSet", "later")))), Some(Middle::ReplicaSet));
    assert_eq!(owners.missing(&meta("pod", Some(("ReplicaSet", "web-5f")))), None);
}

#[test]
fn a_controller_that_is_gone_is_remembered_for_its_pods() {
    let mut owners = Owners::default();
    let set = meta("web-5f", Some(("Deployment", "web")));
    owners.learn(Middle::ReplicaSet, &set);
    owners.lose(Middle::ReplicaSet, &set, 0);
    assert_eq!(top(&owners, Some(("ReplicaSet", "web-5f"))), is("Deployment", "web", true));
    owners.lose(Middle::ReplicaSet, &set, REMEMBERED + 1);
    owners.replace(Middle::ReplicaSet, &[], 3 * REMEMBERED);
    owners.lose(Middle::Job, &set, 3 * REMEMBERED);
    assert!(!top(&owners, Some(("ReplicaSet", "web-5f"))).2, "but not for ever");
}
