//! Labels and reading the engine's answer.

use super::*;

#[test]
fn only_data_that_no_node_saw_has_a_label() {
    let label = |origins: &[&str]| label(origins.iter().map(ToString::to_string).collect::<BTreeSet<_>>().iter());
    assert_eq!(label(&[]), None);
    assert_eq!(label(&["ebpf"]), None);
    assert_eq!(label(&["ebpf", "demo"]).as_deref(), Some("demo"));
    assert_eq!(label(&["demo", "capture"]).as_deref(), Some("capture and demo"));
}

#[test]
fn answer_without_anything_is_still_an_answer() {
    let search = read(&json!({"hits": {"hits": []}}));
    assert_eq!(search, Search { reachable: true, ..Search::default() });
}

#[test]
fn age_counts_from_the_end_of_the_newest_window() {
    let following = Following { newest: Some(60_000), ..Following::default() };
    assert_eq!(live(&following, 0, None, 65_500).age_seconds, Some(5));
    assert_eq!(live(&following, 0, None, 1_000).age_seconds, Some(0));
    assert_eq!(live(&Following::default(), 0, Some(3), 1_000).age_seconds, None);
}
