use super::*;
use crate::observe;
use crate::revisions::History;
use serde_json::{Value, json};

/// A policy with the times at which managers changed it, s.
fn policy(spec: &Value, touched: &[(&str, i64)]) -> k8s_openapi::api::networking::v1::NetworkPolicy {
    let time = |second: i64| jiff::Timestamp::from_second(second).unwrap().to_string();
    let fields: Vec<Value> = touched
        .iter()
        .map(|(manager, second)| json!({"manager": manager, "operation": "Update", "time": time(*second)}))
        .collect();
    serde_json::from_value(json!({
        "metadata": {"name": "deny", "namespace": "shop", "uid": "p", "creationTimestamp": time(10), "managedFields": fields},
        "spec": spec}))
    .unwrap()
}

fn from_list(policy: &k8s_openapi::api::networking::v1::NetworkPolicy, history: &History, arrival: Millis) -> Observed {
    listed(observe::network_policy(policy), &policy.metadata, history.heartbeat(), arrival)
}

const OPEN: fn() -> Value = || json!({"podSelector": {}});
const DENY: fn() -> Value = || json!({"podSelector": {}, "policyTypes": ["Ingress"]});

#[test]
fn a_change_that_a_list_shows_lies_between_the_heartbeat_and_the_last_touch() {
    let mut history = History::new("c");
    let _ = history.observe(from_list(&policy(&OPEN(), &[("kubectl", 10)]), &history, 11_000), 11_000);
    history.promise(20_000);
    // While nobody watched, kubectl changed the text at 30 s, and a controller a label at 50 s.
    let after = policy(&DENY(), &[("kubectl", 30), ("controller", 50)]);
    let written = history.observe(from_list(&after, &history, 60_000), 60_000);
    let [closed, opened] = &written[..] else { panic!("{written:?}") };
    assert_eq!((opened.valid_from.earliest, opened.valid_from.latest), (20_001, 50_999));
    assert_eq!(closed.valid_to, Some(opened.valid_from), "at 40 s it was denied already: neither is certain");
}

#[test]
fn an_object_that_a_list_shows_first_is_certain_from_its_last_touch_on() {
    let mut history = History::new("c");
    history.promise(5_000);
    let written = history.observe(from_list(&policy(&DENY(), &[("kubectl", 30)]), &history, 60_000), 60_000);
    let from = written[0].valid_from;
    assert_eq!((from.earliest, from.latest, from.source), (10_000, 30_999, BoundSource::ManagedFields));
}

#[test]
fn without_noted_times_it_is_certain_from_the_list_on() {
    let mut history = History::new("c");
    history.promise(5_000);
    let written = history.observe(from_list(&policy(&DENY(), &[]), &history, 60_000), 60_000);
    assert_eq!((written[0].valid_from.earliest, written[0].valid_from.latest), (10_000, 60_000));
}

#[test]
fn a_manifest_that_was_changed_between_scans_is_as_uncertain_and_one_without_times_always_valid() {
    let mut history = History::new("c");
    let mut dumped = observe::network_policy(&policy(&DENY(), &[("kubectl", 30), ("controller", 50)]));
    history.promise(20_000);
    shown(&mut dumped, history.heartbeat());
    let bounds = |bound: Option<Bound>| bound.map(|bound| (bound.earliest, bound.latest));
    assert_eq!((bounds(dumped.since), bounds(dumped.changed)), (Some((10_000, 50_999)), Some((20_001, 50_999))));
    let bare = serde_json::from_value(json!({"metadata": {"name": "x"}, "spec": {"podSelector": {}}})).unwrap();
    let mut bare = observe::network_policy(&bare);
    shown(&mut bare, NEVER);
    assert_eq!(bare.since, Some(crate::bounds::always()));
}

proptest::proptest! {
    /// Two managers change a policy while nobody watches; whatever is certain of a time was so.
    #[test]
    fn nothing_that_changed_unseen_is_certain(
        changes in proptest::collection::vec((21i64..100, proptest::bool::ANY, 0u8..3), 0..8),
    ) {
        let spec = |number: u8| json!({"podSelector": {"matchLabels": {"v": number.to_string()}}});
        let mut history = History::new("c");
        let _ = history.observe(from_list(&policy(&spec(0), &[("kubectl", 10)]), &history, 11_000), 11_000);
        history.promise(20_000);
        let mut changes = changes;
        changes.sort_unstable();
        let (mut states, mut touched) = (vec![(10i64, 0u8)], vec![("kubectl", 10i64)]);
        for (second, is_text, number) in changes {
            if is_text {
                states.push((second, number));
                touched[0].1 = second;
            } else {
                touched.push(("controller", second));
            }
        }
        let last = states.last().map_or(0, |(_, number)| *number);
        let mut revisions = std::collections::BTreeMap::new();
        let first = history.open_of(crate::revisions::Kind::Policy).next().cloned().unwrap();
        revisions.insert(first.revision, first);
        for revision in history.observe(from_list(&policy(&spec(last), &touched), &history, 101_000), 101_000) {
            revisions.insert(revision.revision, revision);
        }
        for at in (20_001..101_000).step_by(500) {
            let certain = revisions.values().find(|it| it.valid_from.latest <= at && it.valid_to.is_none_or(|to| at < to.earliest));
            let text = |revision: &weir_schemas::metadata::Revision| match &revision.object {
                Object::Policy(policy) => policy.spec.clone(),
                _ => String::new(),
            };
            // Several changes in one second: the last counts from the second's end on.
            let was: Vec<u8> = states.iter().filter(|(second, _)| second * 1000 <= at).map(|(_, number)| *number).collect();
            // A text that was replaced and came back while nobody watched is no change that a list can show.
            let came_back = last == 0;
            if let (Some(certain), false) = (certain, came_back) {
                let is = was.last().map(|number| spec(*number).to_string());
                proptest::prop_assert_eq!(Some(text(certain)), is, "at {}", at);
            }
        }
    }
}
