use super::judges::Judges;
use super::{Becomes, Edit, History, Preview, edits, parse_id};
use crate::read::kept_since;
use weir_flow::{AddressScope, Level, Millis, RecordSettings};
use weir_policy::{Parsed, PolicyObject, Profile, parse};
use weir_schemas::enriched::{
    Action, Arrival, Attribution, Counters, Enriched, Explanation, IdentifiedBy, Kind, NoneReason, Side,
};
use weir_schemas::metadata::{Bound, BoundSource, Metadata, Namespace, Object, Pod, Policy, Revision};
use weir_schemas::raw::Origin;

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
    let mut preview = Preview::new(&closed, "local", Profile::CALICO, edits, 0);
    let mut later = flow();
    later.first_seen += 1_000;
    let (mut corrected, mut level, mut elsewhere) = (flow(), flow(), flow());
    corrected.correction = 1;
    level.level = 2;
    "other".clone_into(&mut elsewhere.cluster);
    for flow in [&later, &flow(), &corrected, &level, &elsewhere] {
        preview.take(flow);
    }
    let json = preview.tally.json(false, 10);
    let row = &json["rows"][0];
    assert_eq!(
        (row["becomes"].as_str(), row["src"].as_str(), row["port"].as_u64(), row["protocol"].as_str()),
        (Some("newly_allowed"), Some("shop/web"), Some(443), Some("tcp"))
    );
    assert_eq!(
        (row["connections"].as_u64(), row["records"].as_u64(), row["bytes"].is_null()),
        (Some(6), Some(2), true)
    );
    assert_eq!(row["first"]["time"], "1970-01-01T00:01:40Z");
    assert_eq!(row["last"]["time"], "1970-01-01T00:01:41Z");
    assert_eq!(row["last"]["source"]["pod"], "web");
    assert_eq!((json["records"].as_u64(), json["corrections"].as_u64()), (Some(2), Some(1)));
    assert_eq!(json["totals"]["newly_allowed"], serde_json::json!({"connections": 6, "bytes": null}));
    assert_eq!(preview.tally.json(false, 0)["rows_more"], 1);
    let mut late = Preview::new(&closed, "local", Profile::CALICO, Vec::new(), WINDOW + 1);
    late.take(&flow());
    assert_eq!(late.tally.records, 0, "its window is before");
}

#[test]
fn policies_are_named_by_kind_namespace_and_name() {
    assert_eq!(parse_id("NetworkPolicy/shop/web").unwrap().to_string(), "NetworkPolicy shop/web");
    assert_eq!(parse_id("clusternetworkpolicy/base").unwrap().to_string(), "ClusterNetworkPolicy base");
    for wrong in ["networkpolicy/web", "adminnetworkpolicy/shop/web", "ciliumnetworkpolicy/a/b", "web", ""] {
        assert!(parse_id(wrong).is_err(), "{wrong}");
    }
}

/// The errors of a text, as people read them.
fn faults(text: &str) -> Vec<String> {
    edits(text).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn pasted_policies_are_read_and_what_is_wrong_has_its_line() {
    let good = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a}\nspec: {podSelector: {}}\n---\n\
                apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: passed-over}\n---\n\
                kind: List\napiVersion: v1\nitems:\n- apiVersion: policy.networking.k8s.io/v1alpha2\n  \
                kind: ClusterNetworkPolicy\n  metadata: {name: b, annotations: {weir.dev/staged: \"true\"}}\n  \
                spec: {tier: Admin, priority: 1, subject: {namespaces: {}}}\n";
    let ids = |text: &str| -> Vec<String> {
        let put = |edit: Edit| match edit {
            Edit::Put(policy) => policy.id.to_string(),
            Edit::Delete(id) => panic!("{id}"),
        };
        edits(text).unwrap().into_iter().map(put).collect()
    };
    assert_eq!(ids(good), ["NetworkPolicy default/a", "ClusterNetworkPolicy b"]);
    let json = r#"{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"a","namespace":"shop"},"spec":{"podSelector":{}}}"#;
    assert_eq!(ids(json), ["NetworkPolicy shop/a"]);

    let wrong = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a}\nspec:\n  podSelector: {}\n  \
                 ingress:\n  - ports:\n    - port: 80\n      endPort: 79\n";
    assert_eq!(
        faults(wrong),
        [
            "line 9: NetworkPolicy default/a: spec.ingress[0].ports[0].endPort: Invalid value: 79: must be greater than or equal to `port`"
        ]
    );
    assert_eq!(faults("a: [1, 2\nb: }")[0].split(':').next(), Some("line 2"));
    assert_eq!(faults("kind: Pod\napiVersion: v1\n"), ["there is no policy in it"]);
    assert_eq!(faults(""), ["there is no policy in it"]);
    assert_eq!(faults("- 1\n"), ["line 1: no Kubernetes object: it has no kind, or no apiVersion"]);
    let cilium = "\napiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: a, namespace: b}\n";
    assert_eq!(faults(cilium), ["line 2: CiliumNetworkPolicy b/a: its kind cannot be evaluated"]);
}

#[test]
fn hostile_texts_are_refused_in_bounded_time() {
    let deep = "[".repeat(10_000);
    assert!(!faults(&deep).is_empty());
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        bomb += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(", "));
    }
    assert!(!faults(&bomb).is_empty());
    let many = "kind: NetworkPolicy\napiVersion: networking.k8s.io/v1\nspec: {podSelector: {}}\n---\n".repeat(200);
    assert_eq!(faults(&many).len(), 50, "each lacks its name");
}

#[test]
fn level_one_is_kept_since_the_last_settings_without_it() {
    let entry = |valid_from: Millis, allowed: &[Level], denied: &[Level]| RecordSettings {
        valid_from,
        levels_allowed: allowed.to_vec(),
        levels_denied: denied.to_vec(),
        ..RecordSettings::small("local")
    };
    let (both, two) = ([Level::One, Level::Two], [Level::Two]);
    assert_eq!(Level::One.number(), super::LEVEL);
    assert_eq!(kept_since(Vec::new()), Millis::MIN);
    assert_eq!(kept_since(vec![entry(0, &both, &both)]), Millis::MIN);
    assert_eq!(kept_since(vec![entry(9, &both, &both), entry(0, &both, &two)]), 9);
    assert_eq!(kept_since(vec![entry(9, &two, &both), entry(0, &both, &both)]), Millis::MAX);
}

/// An end of which only the address is known.
fn side(address: &str) -> Side {
    Side {
        attribution: Attribution::None,
        by: IdentifiedBy::Nothing,
        reason: None,
        candidates: Vec::new(),
        always_valid: false,
        scope: AddressScope::Private,
        address: Some(address.parse().unwrap()),
        addresses: Vec::new(),
        addresses_more: 0,
        port: Some(443),
        namespace: None,
        pod: None,
        pod_uid: None,
        pods: Vec::new(),
        pods_more: 0,
        workload_kind: None,
        workload: None,
        node: None,
        zone: None,
        service: None,
        service_account: None,
        labels: Vec::new(),
        labels_some: Vec::new(),
        labels_more: 0,
        domains: Vec::new(),
        domains_more: 0,
        country: None,
        as_number: None,
        as_organization: None,
        container: None,
        process: None,
        host: None,
        network_set: None,
    }
}

fn record() -> Enriched {
    Enriched {
        id: format!("{:032x}", 1),
        correction: 0,
        kind: Kind::Upsert,
        origin: Origin::Ebpf,
        cluster: "local".to_owned(),
        cluster_known: false,
        level: 1,
        window: WINDOW,
        window_length: 5_000,
        generation: WINDOW,
        semantics: 1,
        initiator: side("10.0.0.1"),
        responder: side("2001:db8::2"),
        protocol: 6,
        orientation_guessed: false,
        untranslated: false,
        first_seen: WINDOW,
        last_seen: WINDOW + 1_000,
        totals: Counters::default(),
        by_initiator: None,
        by_responder: None,
        arrival: Arrival::Unknown,
        arrival_reason: "sampled".to_owned(),
        action: Action::Allow,
        community_id: None,
        judgements: Vec::new(),
        judgements_more: 0,
        explanation: Explanation::default(),
        coarsened: false,
        samples: 1,
    }
}
