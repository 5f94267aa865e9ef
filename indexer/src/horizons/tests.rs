use super::*;
use crate::document::{prepare, samples::maximal};
use crate::periods::Periods;
use weir_schemas::enriched::Enriched;
use weir_schemas::raw::Origin;

fn prepared(cluster: &str, level: u8, window: Millis) -> Prepared {
    prepare(&Enriched { cluster: cluster.into(), level, window, ..maximal() }, &Periods::default()).unwrap()
}

fn capture(window: Millis) -> Prepared {
    prepare(&Enriched { origin: Origin::Capture, level: 1, window, ..maximal() }, &Periods::default()).unwrap()
}

fn horizon(kind: &str, level: u8, cluster: &str, before: Millis) -> Horizon {
    Horizon { kind: kind.into(), level, cluster: cluster.into(), before, index: None }
}

fn of_index(index: &str, before: Millis) -> Horizon {
    Horizon { index: Some(index.into()), ..horizon("capture", 1, "", before) }
}

fn record(offset: i64, horizon: &Horizon, value: bool) -> Record {
    Record {
        topic: topics::HORIZON.into(),
        partition: 0,
        offset,
        timestamp: 0,
        key: Some(horizon.key().into_bytes().into()),
        value: value.then(|| weir_schemas::encode(horizon).unwrap().into()),
        headers: vec![],
    }
}

#[test]
fn only_what_is_of_that_kind_level_and_cluster_and_older_is_below() {
    let horizons = Horizons::default();
    horizons.set(horizon("flows", 1, "", 1_000));
    horizons.set(horizon("flows", 2, "a", 2_000));
    let below = |cluster, level, window| horizons.is_below(&prepared(cluster, level, window), Millis::MAX);
    assert!(below("a", 1, 999) && below("b", 1, 0));
    assert!(!below("a", 1, 1_000));
    assert!(below("a", 2, 1_999) && !below("b", 2, 1_999));
    assert!(!below("a", 3, 0));
    horizons.set(horizon("dns", 3, "", 5_000));
    horizons.set(horizon("of tomorrow", 3, "", 5_000));
    assert!(!below("a", 3, 0), "another kind");
}

#[test]
fn of_a_capture_what_was_written_before_its_index_went_is_below_whatever_its_window() {
    let horizons = Horizons::default();
    let old = capture(0);
    assert!(!horizons.is_below(&old, 0));
    horizons.set(of_index(&old.index.to_string(), 5_000));
    assert!(horizons.is_below(&old, 4_999) && horizons.is_below(&capture(86_399_999), 0));
    assert!(!horizons.is_below(&old, 5_000), "published again");
    assert!(!horizons.is_below(&capture(86_400_000), 0), "another index");
    assert!(!horizons.is_below(&prepared("a", 1, 0), 0), "another kind");
    // Of such a kind no window is too old.
    horizons.set(horizon("capture", 1, "", 1_000_000));
    assert!(!horizons.is_below(&capture(86_400_000), 0));
}

#[test]
fn the_last_word_stands_and_a_tombstone_takes_a_horizon_back() {
    let horizons = Horizons::default();
    let (first, second) = (horizon("flows", 1, "", 1_000), horizon("flows", 1, "", 500));
    let below = |window| horizons.is_below(&prepared("a", 1, window), Millis::MAX);
    horizons.apply(&[record(1, &first, true)]);
    assert!(below(700));
    horizons.apply(&[record(2, &second, true)]);
    assert!(!below(700) && below(499));
    horizons.apply(&[record(1, &first, true), record(2, &second, true)]);
    assert!(!below(700) && below(499), "read again from the beginning, nothing of before holds even for a moment");
    horizons.apply(&[record(1, &first, true)]);
    assert!(!below(700));
    horizons.apply(&[record(3, &second, false)]);
    assert!(!below(0));
    let gone = of_index(&capture(0).index.to_string(), 5_000);
    horizons.apply(&[record(4, &gone, true)]);
    assert!(horizons.is_below(&capture(0), 0));
    horizons.apply(&[record(5, &gone, false)]);
    assert!(!horizons.is_below(&capture(0), 0));
}

#[test]
fn the_indices_that_went_longest_ago_are_forgotten_first() {
    let horizons = Horizons::default();
    horizons.set(of_index(&capture(0).index.to_string(), 1));
    for n in 0..INDICES {
        horizons.set(of_index(&format!("weir-capture-l1-{n}"), 2));
    }
    assert!(!horizons.is_below(&capture(0), 0));
    assert_eq!(horizons.known.read().unwrap().indices.len(), INDICES);
}
