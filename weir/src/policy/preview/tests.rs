use super::judges::Judges;
use super::tally::{Becomes, Tally};
use super::{Edit, parse_id, take};
use crate::policy::history::History;
use crate::replay::samples::record;
use weir_policy::{Parsed, PolicyObject, Profile, parse};
use weir_schemas::enriched::{Attribution, Counters, Enriched, NoneReason};
use weir_schemas::metadata::{Bound, BoundSource, Metadata, Namespace, Object, Pod, Policy, Revision};

/// Ms since the epoch of the window that records are of.
const WINDOW: i64 = 100_000;

fn at(time: i64) -> Bound {
    Bound { earliest: time, latest: time, source: BoundSource::Arrival }
}

fn revision(uid: &str, name: &str, from: i64, to: Option<i64>, labels: &[&str], object: Object) -> Revision {
    Revision {
        cluster: "local".to_owned(),
        uid: uid.to_owned(),
        // In the order of their beginnings.
        revision: u64::try_from(from / 1_000 + 1).unwrap(),
        namespace: if matches!(object, Object::Namespace(_)) { String::new() } else { "shop".to_owned() },
        name: name.to_owned(),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        labels_dropped: 0,
        annotations: Vec::new(),
        changed_by: String::new(),
        changed_at: None,
        valid_from: at(from),
        valid_to: to.map(at),
        object,
    }
}

fn pod(name: &str, from: i64, to: Option<i64>, labels: &[&str]) -> Revision {
    let pod = Pod { workload: name.to_owned(), ..Pod::default() };
    revision(&format!("{name}-uid"), name, from, to, labels, Object::Pod(pod))
}

fn policy(name: &str, from: i64, to: Option<i64>, spec: &str) -> Revision {
    let policy = Policy {
        api_version: "networking.k8s.io/v1".to_owned(),
        kind: "NetworkPolicy".to_owned(),
        spec: spec.to_owned(),
        staged: false,
    };
    revision(name, name, from, to, &[], Object::Policy(policy))
}

/// A shop whose web talks to its db, with more revisions.
fn history(more: Vec<Revision>) -> History {
    let mut history = History::default();
    let namespace = revision("shop-uid", "shop", 0, None, &[], Object::Namespace(Namespace::default()));
    let mut all = vec![namespace, pod("web", 0, None, &["app=web"])];
    all.extend(more);
    all.into_iter().for_each(|revision| history.take(Metadata::Revision(revision), "", "local"));
    history
}

fn flow() -> Enriched {
    let mut flow = record();
    flow.window = WINDOW;
    flow.totals = Counters { started: 3, forward_bytes: 100, reverse_bytes: 50, ..Counters::default() };
    for (side, name) in [(&mut flow.initiator, "web"), (&mut flow.responder, "db")] {
        side.attribution = Attribution::Exact;
        side.pod_uid = Some(format!("{name}-uid"));
        side.namespace = Some("shop".to_owned());
        side.pod = Some(name.to_owned());
        side.workload = Some(name.to_owned());
    }
    flow
}

fn put(spec: &str) -> Edit {
    let object = PolicyObject {
        api_version: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        namespace: "shop",
        name: "new",
        staged: false,
    };
    match parse(object, &serde_json::from_str(spec).unwrap()) {
        Parsed::Policy(policy, _) => Edit::Put(policy),
        other => panic!("{other:?}"),
    }
}

fn becomes(history: &History, edits: Vec<Edit>, flow: &Enriched) -> (Becomes, String) {
    let verdicts = Judges::new(history, Profile::CALICO, edits).judge(flow);
    (Becomes::of(&verdicts), verdicts.why)
}

const DENY: &str = r#"{"podSelector":{"matchLabels":{"app":"db"}}}"#;

#[test]
fn an_edit_denies_allows_or_changes_nothing() {
    let open = history(vec![pod("db", 0, None, &["app=db"])]);
    assert_eq!(becomes(&open, vec![put(DENY)], &flow()).0, Becomes::NewlyDenied);
    let other = put(r#"{"podSelector":{"matchLabels":{"app":"web"}}}"#);
    assert_eq!(becomes(&open, vec![other], &flow()).0, Becomes::Unchanged);
    let closed = history(vec![pod("db", 0, None, &["app=db"]), policy("deny", 0, None, DENY)]);
    let delete = || vec![Edit::Delete(parse_id("networkpolicy/shop/deny").unwrap())];
    assert_eq!(becomes(&closed, delete(), &flow()).0, Becomes::NewlyAllowed);
    assert_eq!(becomes(&open, delete(), &flow()).0, Becomes::Unchanged);
    let mut judges = Judges::new(&open, Profile::CALICO, delete());
    judges.judge(&flow());
    assert_eq!(judges.missing().len(), 1);
}

#[test]
fn labels_and_policies_are_those_of_the_time() {
    // It is db's label before the window, and another one's after it.
    let earlier = history(vec![pod("db", 0, Some(WINDOW - 1), &["app=db"]), pod("db", WINDOW - 1, None, &["app=x"])]);
    assert_eq!(becomes(&earlier, vec![put(DENY)], &flow()).0, Becomes::Unchanged);
    let later =
        history(vec![pod("db", 0, Some(WINDOW + 9_000), &["app=db"]), pod("db", WINDOW + 9_000, None, &["app=x"])]);
    assert_eq!(becomes(&later, vec![put(DENY)], &flow()).0, Becomes::NewlyDenied);
    let within =
        history(vec![pod("db", 0, Some(WINDOW + 2_000), &["app=db"]), pod("db", WINDOW + 2_000, None, &["app=x"])]);
    let (unknown, why) = becomes(&within, vec![put(DENY)], &flow());
    assert_eq!((unknown, why.as_str()), (Becomes::Unknown, "policies or labels changed within the window"));
    let gone = history(vec![pod("db", 0, None, &["app=db"]), policy("deny", 0, Some(WINDOW - 1), DENY)]);
    assert_eq!(becomes(&gone, vec![put(DENY)], &flow()).0, Becomes::NewlyDenied);
}

#[test]
fn an_end_that_is_not_certain_makes_it_unknown_and_says_why() {
    let open = history(vec![pod("db", 0, None, &["app=db"])]);
    let unknown = |change: &dyn Fn(&mut Enriched)| {
        let mut flow = flow();
        change(&mut flow);
        let (becomes, why) = becomes(&open, vec![put(DENY)], &flow);
        assert_eq!(becomes, Becomes::Unknown);
        why
    };
    assert!(unknown(&|flow| flow.responder.attribution = Attribution::Ambiguous).contains("not certain"));
    assert!(unknown(&|flow| flow.responder.pod_uid = Some("other".to_owned())).contains("no longer has a pod"));
    let outside = |reason| {
        move |flow: &mut Enriched| {
            flow.initiator.attribution = Attribution::None;
            flow.initiator.pod_uid = None;
            flow.initiator.reason = Some(reason);
        }
    };
    assert!(unknown(&outside(NoneReason::BeforeHistory)).contains("before the metadata topic begins"));
    let mut flow = flow();
    outside(NoneReason::Outside)(&mut flow);
    assert_eq!(becomes(&open, vec![put(DENY)], &flow).0, Becomes::NewlyDenied);
}

#[test]
fn what_was_denied_has_no_bytes_and_rows_add_up() {
    let closed = history(vec![pod("db", 0, None, &["app=db"]), policy("deny", 0, None, DENY)]);
    let edits = vec![Edit::Delete(parse_id("networkpolicy/shop/deny").unwrap())];
    let mut judges = Judges::new(&closed, Profile::CALICO, edits);
    let mut tally = Tally::default();
    let mut later = flow();
    later.first_seen += 1_000;
    let (mut corrected, mut level, mut elsewhere) = (flow(), flow(), flow());
    corrected.correction = 1;
    level.level = 2;
    "other".clone_into(&mut elsewhere.cluster);
    for flow in [&later, &flow(), &corrected, &level, &elsewhere] {
        take(&mut judges, &mut tally, flow, 0, "local");
    }
    let json = tally.json(false);
    let row = &json["rows"][0];
    assert_eq!(
        (row["becomes"].as_str(), row["src"].as_str(), row["port"].as_u64()),
        (Some("newly_allowed"), Some("shop/web"), Some(443))
    );
    assert_eq!(
        (row["connections"].as_u64(), row["records"].as_u64(), row["bytes"].is_null()),
        (Some(6), Some(2), true)
    );
    assert_eq!(row["first"]["time"], "1970-01-01T00:01:40Z");
    assert_eq!((json["records"].as_u64(), json["corrections"].as_u64()), (Some(2), Some(1)));
    let text = tally.table(false);
    assert!(text.contains("newly allowed: 6 connections\n") && text.contains("shop/web -> shop/db"), "{text}");
}

#[test]
fn policies_are_named_by_kind_namespace_and_name() {
    assert_eq!(parse_id("NetworkPolicy/shop/web").unwrap().to_string(), "NetworkPolicy shop/web");
    assert_eq!(parse_id("clusternetworkpolicy/base").unwrap().to_string(), "ClusterNetworkPolicy base");
    for wrong in ["networkpolicy/web", "adminnetworkpolicy/shop/web", "ciliumnetworkpolicy/a/b", "web", ""] {
        assert!(parse_id(wrong).is_err(), "{wrong}");
    }
}
