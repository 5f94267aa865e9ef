//! Policies and those they select, made for tests; and what is known of them as of any time.

use super::*;
use crate::fixtures::CLUSTER;
use weir_flow::time::NEVER;
use weir_schemas::metadata::{Bound, BoundSource, ContainerPort, Namespace, Policy as Text};

/// Exactly then.
pub(crate) fn at(time: Millis) -> Bound {
    between(time, time)
}

/// At some time from the first to the second.
pub(crate) fn between(earliest: Millis, latest: Millis) -> Bound {
    Bound { earliest, latest, source: BoundSource::Status }
}

/// A revision of an object whose UID is `uid-` and its name, as in the join's fixtures.
pub(crate) fn revision(number: u64, name: &str, labels: &[&str], from: Bound, object: Object) -> Revision {
    let is_namespace = matches!(object, Object::Namespace(_) | Object::Node(_));
    Revision {
        cluster: CLUSTER.to_owned(),
        uid: format!("uid-{name}"),
        revision: number,
        namespace: if is_namespace { String::new() } else { "shop".to_owned() },
        name: name.to_owned(),
        labels: labels.iter().map(ToString::to_string).collect(),
        labels_dropped: 0,
        annotations: Vec::new(),
        changed_by: String::new(),
        changed_at: None,
        valid_from: from,
        valid_to: None,
        object,
    }
}

/// A pod of namespace `shop`.
pub(crate) fn pod(number: u64, name: &str, labels: &[&str], from: Bound) -> Revision {
    let ports = vec![ContainerPort { name: "sql".to_owned(), port: 80, protocol: 6 }];
    revision(number, name, labels, from, Object::Pod(Pod { ports, ..Pod::default() }))
}

/// Namespace `shop`.
pub(crate) fn namespace(number: u64, labels: &[&str], from: Bound) -> Revision {
    revision(number, "shop", labels, from, Object::Namespace(Namespace::default()))
}

/// A `NetworkPolicy` of namespace `shop`.
pub(crate) fn policy(number: u64, name: &str, spec: &serde_json::Value, from: Bound, to: Option<Bound>) -> Revision {
    let text = Text {
        api_version: "networking.k8s.io/v1".to_owned(),
        kind: "NetworkPolicy".to_owned(),
        spec: spec.to_string(),
        staged: false,
    };
    Revision { valid_to: to, ..revision(number, name, &[], from, Object::Policy(text)) }
}

/// The same, staged.
pub(crate) fn staged(mut policy: Revision) -> Revision {
    if let Object::Policy(text) = &mut policy.object {
        text.staged = true;
    }
    policy
}

/// Pods that are labelled `app=db` take connections of these only.
pub(crate) fn from_pods(labels: &serde_json::Value) -> serde_json::Value {
    serde_json::json!({
        "podSelector": {"matchLabels": {"app": "db"}},
        "ingress": [{"from": [{"podSelector": {"matchLabels": labels}}]}],
    })
}

/// Namespace `shop` with pods web-1 and db-1, of these labels since 0, and more.
pub(crate) fn policies(more: &[Revision]) -> Policies {
    let mut policies = Policies::new(CLUSTER);
    let world = [namespace(1, &[], at(0)), pod(1, "web-1", &["app=web"], at(0)), pod(1, "db-1", &["app=db"], at(0))];
    for revision in world.iter().chain(more) {
        policies.take(&Metadata::Revision(revision.clone()));
    }
    policies
}

#[test]
fn a_change_in_doubt_is_taken_early_or_late() {
    let policies = policies(&[pod(2, "web-1", &["app=new"], between(1_000, 2_000))]);
    let pod = policies.pod(ObjectKey::of("uid-web-1")).unwrap();
    let labels = |at, change| pod.held_or_last(at, change).map(|facts| facts.labels[0].to_string());
    assert_eq!(labels(1_500, Change::Early).as_deref(), Some("app=new"));
    assert_eq!(labels(1_500, Change::Late).as_deref(), Some("app=web"));
    assert_eq!(labels(2_000, Change::Late).as_deref(), Some("app=new"));
    assert_eq!(labels(-1, Change::Early), None);
    assert_eq!((pod.since(999), pod.since(1_000), pod.since(9_000)), (Some(0), Some(2_000), Some(2_000)));
}

#[test]
fn a_revision_that_says_the_same_of_a_pod_changes_nothing() {
    // Whatever was told first.
    let again = pod(2, "web-1", &["app=web"], at(5_000));
    let (mut first, mut last) = (Policies::new(CLUSTER), policies(std::slice::from_ref(&again)));
    for revision in [again, pod(1, "web-1", &["app=web"], at(0))] {
        first.take(&Metadata::Revision(revision.clone()));
        last.take(&Metadata::Revision(revision));
    }
    for policies in [&first, &last] {
        assert_eq!(policies.pod(ObjectKey::of("uid-web-1")).unwrap().since(9_000), Some(0));
    }
    let relabelled = [namespace(2, &[], at(3_000)), namespace(3, &["a=b"], at(4_000))];
    let policies = policies(&relabelled);
    let since = |at| policies.namespace("shop", at, Change::Late).unwrap().since(at);
    assert_eq!((since(3_500), since(4_500)), (Some(0), Some(4_000)));
}

#[test]
fn of_two_of_one_name_the_one_that_held_it_is_meant() {
    let mut old = namespace(1, &["old=1"], at(0));
    old.valid_to = Some(at(10_000));
    let mut new = namespace(1, &["new=1"], at(12_000));
    new.uid = "another".to_owned();
    for order in [[&old, &new], [&new, &old]] {
        let mut policies = Policies::new(CLUSTER);
        order.into_iter().for_each(|revision| policies.take(&Metadata::Revision(revision.clone())));
        let label = |at| {
            let namespace = policies.namespace("shop", at, Change::Late).unwrap();
            namespace.held_or_last(at, Change::Late).map(|facts| facts.labels[0].to_string())
        };
        assert_eq!([label(5_000), label(11_000), label(12_000)].map(Option::unwrap), ["old=1", "old=1", "new=1"]);
    }
}

#[test]
fn what_is_forgotten_is_gone() {
    let web = serde_json::json!({"app": "web"});
    let mut policies = policies(&[policy(1, "db", &from_pods(&web), at(NEVER), None)]);
    assert_eq!(policies.policy_revisions(), 1);
    for key in ["other/Policy/uid-db/1", "local/Policy/uid-db/2", "local/Pod/uid-db/1", "nonsense"] {
        policies.forget(key);
    }
    assert_eq!(policies.policy_revisions(), 1);
    for key in ["local/Policy/uid-db/1", "local/Pod/uid-web-1/1", "local/Namespace/uid-shop/1"] {
        policies.forget(key);
    }
    assert_eq!(policies.policy_revisions(), 0);
    assert!(policies.pod(ObjectKey::of("uid-web-1")).is_none() && policies.pod(ObjectKey::of("uid-db-1")).is_some());
    assert!(policies.namespace("shop", 0, Change::Late).is_none());
}

proptest::proptest! {
    #[test]
    fn what_is_steady_for_a_while_is_so_in_each_of_its_ticks(
        told in proptest::collection::vec((1_u64..4, 0_i64..100, 0_i64..20, proptest::option::of((0_i64..100, 0_i64..20)), 0_usize..2), 1..5),
    ) {
        let mut world = policies(&[]);
        for (number, from, doubt, to, labels) in told {
            let mut revision = pod(number, "web-1", [&["app=web"], &["app=other"]][labels], between(from, from + doubt));
            revision.valid_to = to.map(|(after, doubt)| between(from + after, from + after + doubt));
            world.take(&Metadata::Revision(revision));
        }
        let pod = world.pod(ObjectKey::of("uid-web-1")).unwrap();
        let ((from, until), facts, since) = pod.steady_between().unwrap();
        for begin in -10..250 {
            let tick = (begin, begin + 9);
            if from <= begin && tick.1 < until {
                proptest::prop_assert_eq!(pod.steady(tick), Some((facts, since)), "{:?}", tick);
            }
        }
    }
}
