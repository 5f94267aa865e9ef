use super::super::tests::{at, node, pod, revision, table};
use weir_flow::Millis;
use weir_flow::time::FOR_EVER;
use weir_schemas::enriched::Attribution;
use weir_schemas::metadata::{BoundSource, Metadata};

/// Asked to end at a time; nobody has told that it did.
fn asked(time: Millis) -> Option<(Millis, Millis)> {
    Some((time, FOR_EVER))
}

fn held(uid: &str, number: u64, from: (Millis, Millis), to: Option<(Millis, Millis)>) -> Metadata {
    revision(uid, number, from, to, pod(&["10.0.0.1"], "n"))
}

/// The pod that is named at a time, or the candidates.
fn who(messages: &[Metadata], time: Millis) -> (Option<String>, Vec<String>) {
    let side = table(messages).side(&at(time, "10.0.0.1"));
    assert_eq!(side.pod.is_some(), side.attribution == Attribution::Exact);
    (side.pod, side.candidates)
}

fn exactly(uid: &str) -> (Option<String>, Vec<String>) {
    (Some(format!("name-{uid}")), Vec::new())
}

fn one_of(uids: &[&str]) -> (Option<String>, Vec<String>) {
    (None, uids.iter().map(|uid| format!("shop/name-{uid}")).collect())
}

#[test]
fn whoever_had_the_address_before_its_certain_holder_is_out() {
    let pods = [held("a", 1, (100, 110), asked(200)), held("b", 1, (230, 240), None)];
    assert_eq!(who(&pods, 150), exactly("a"));
    assert_eq!(who(&pods, 210), one_of(&["a"]));
    assert_eq!(who(&pods, 235), one_of(&["a", "b"]), "b may not have it yet");
    assert_eq!(who(&pods, 240), exactly("b"));
    let [a, b] = pods;
    assert_eq!(who(&[b, a], 240), exactly("b"), "in whatever order they are told");
}

#[test]
fn whoever_may_have_come_after_a_certain_holder_stays_a_candidate() {
    let pods = [held("a", 1, (100, 110), None), held("b", 1, (200, 240), None)];
    assert_eq!(who(&pods, 220), one_of(&["a", "b"]), "a may have ended, and nobody told yet");
    let together = [held("a", 1, (100, 110), None), held("b", 1, (90, 105), asked(107))];
    assert_eq!(who(&together, 120), one_of(&["a", "b"]), "either may have been the first");
}

#[test]
fn an_address_that_two_certainly_have_tells_nothing_about_a_third() {
    let pods =
        [held("a", 1, (50, 60), asked(90)), held("b", 1, (100, 110), None), held("c", 1, (150, 160), asked(300))];
    assert_eq!(who(&pods, 120), exactly("b"));
    assert_eq!(who(&pods, 200), one_of(&["a", "b", "c"]));
    assert_eq!(who(&pods, 310), one_of(&["b", "c"]), "a is out, and c may have come after b");
}

#[test]
fn a_holder_that_was_learnt_late_may_have_been_the_first() {
    let clipped = |uid, from| match held(uid, 1, from, None) {
        Metadata::Revision(mut revision) => {
            revision.valid_from.source = BoundSource::Clipped;
            Metadata::Revision(revision)
        }
        heartbeat @ Metadata::Heartbeat(_) => heartbeat,
    };
    let first = held("a", 1, (100, 110), asked(150));
    assert_eq!(who(&[first.clone(), held("b", 1, (170, 175), None)], 180), exactly("b"));
    assert_eq!(who(&[first, clipped("b", (170, 175))], 180), one_of(&["a", "b"]));
    let late_first = [clipped("a", (100, 110)), held("b", 1, (170, 175), None)];
    assert_eq!(who(&late_first, 180), one_of(&["a", "b"]), "both are certain");
}

#[test]
fn a_change_of_labels_is_no_new_beginning() {
    let pods = [
        held("b", 1, (100, 110), Some((200, 200))),
        held("b", 2, (200, 200), None),
        held("x", 1, (150, 160), asked(170)),
    ];
    assert_eq!(who(&pods, 250), one_of(&["b", "x"]), "b had it before x");
    let pods = [
        held("x", 1, (100, 100), Some((210, 210))),
        held("x", 2, (210, 210), asked(260)),
        held("b", 1, (220, 230), None),
    ];
    assert_eq!(who(&pods, 250), one_of(&["b", "x"]), "both are certain");
    assert_eq!(who(&pods, 270), exactly("b"));
}

#[test]
fn a_node_does_not_take_an_address_from_a_pod() {
    let node = revision("n", 1, (200, 200), None, node(&["10.0.0.1"], &[], ""));
    let table = table(&[held("a", 1, (100, 110), asked(150)), node]);
    assert_eq!(table.side(&at(300, "10.0.0.1")).attribution, Attribution::Ambiguous);
}
