use super::*;
use weir_flow::time::FOR_EVER;

#[test]
fn a_written_time_is_within_its_second() {
    assert_eq!(
        written(5_000, BoundSource::Creation),
        Bound { earliest: 5_000, latest: 5_999, source: BoundSource::Creation }
    );
}

#[test]
fn clipping_moves_to_after_the_heartbeat_and_says_so() {
    let bound = written(5_000, BoundSource::Status);
    assert_eq!(clip(bound, 4_999), bound);
    assert_eq!(clip(bound, NEVER), bound);
    assert_eq!(clip(bound, 5_500), Bound { earliest: 5_501, latest: 5_999, source: BoundSource::Clipped });
    assert_eq!(clip(bound, 9_000), Bound { earliest: 9_001, latest: 9_001, source: BoundSource::Clipped });
    assert_eq!(clip(bound, FOR_EVER).earliest, FOR_EVER);
}

#[test]
fn what_a_node_would_have_told_before_happened_later() {
    let bound = Bound { earliest: 5_000, latest: 9_000, source: BoundSource::Status };
    assert_eq!(after(bound, 6_000, 7_000), Bound { earliest: 7_001, ..bound });
    assert_eq!(after(bound, 3_000, 4_000), bound);
    assert_eq!(after(bound, 9_500, 9_600), clip(bound, 9_500), "it was told too late");
    assert_eq!(after(bound, 6_000, NEVER), clip(bound, 6_000), "nodes are not believed");
    assert_eq!(after(bound, NEVER, NEVER), bound);
}

#[test]
fn clocks_that_disagree_make_no_inverted_bound() {
    assert_eq!(between(10, 5, BoundSource::Arrival).latest, 10);
}
