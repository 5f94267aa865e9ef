use super::*;
use crate::document::{prepare, samples::maximal};
use crate::periods::Periods;
use weir_schemas::enriched::Enriched;

fn prepared(cluster: &str, level: u8, window: Millis) -> Prepared {
    prepare(&Enriched { cluster: cluster.into(), level, window, ..maximal() }, &Periods::default()).unwrap()
}

fn horizon(kind: &str, level: u8, cluster: &str, before: Millis) -> Horizon {
    Horizon { kind: kind.into(), level, cluster: cluster.into(), before }
}

#[test]
fn only_what_is_of_that_kind_level_and_cluster_and_older_is_below() {
    let horizons = Horizons::default();
    horizons.set(horizon("flows", 1, "", 1_000));
    horizons.set(horizon("flows", 2, "a", 2_000));
    let below = |cluster, level, window| horizons.is_below(&prepared(cluster, level, window));
    assert!(below("a", 1, 999) && below("b", 1, 0));
    assert!(!below("a", 1, 1_000));
    assert!(below("a", 2, 1_999) && !below("b", 2, 1_999));
    assert!(!below("a", 3, 0));
    horizons.set(horizon("capture", 3, "", 5_000));
    assert!(!below("a", 3, 0), "another kind");
}

#[test]
fn the_last_word_stands_and_a_tombstone_takes_a_horizon_back() {
    let horizons = Horizons::default();
    let record = |horizon: &Horizon, value: bool| Record {
        topic: topics::HORIZON.into(),
        partition: 0,
        offset: 0,
        timestamp: 0,
        key: Some(horizon.key().into_bytes().into()),
        value: value.then(|| weir_schemas::encode(horizon).unwrap().into()),
        headers: vec![],
    };
    let (first, second) = (horizon("flows", 1, "", 1_000), horizon("flows", 1, "", 500));
    horizons.apply(&[record(&first, true)]);
    assert!(horizons.is_below(&prepared("a", 1, 700)));
    horizons.apply(&[record(&second, true)]);
    assert!(!horizons.is_below(&prepared("a", 1, 700)) && horizons.is_below(&prepared("a", 1, 499)));
    horizons.apply(&[record(&second, false)]);
    assert!(!horizons.is_below(&prepared("a", 1, 0)));
}
