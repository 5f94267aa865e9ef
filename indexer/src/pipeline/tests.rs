use super::*;

fn begin(committed: Option<i64>, log_start: i64, accept_gap: bool) -> Option<(i64, i64)> {
    start(committed, log_start, accept_gap).ok().map(|b| (b.offset, b.expired))
}

#[test]
fn a_group_without_a_position_begins_only_where_nothing_was_deleted() {
    assert_eq!(begin(None, 0, false), Some((0, 0)));
    assert_eq!(begin(None, 7, false), None);
    assert_eq!(begin(None, 7, true), Some((7, 7)));
}

#[test]
fn a_position_that_was_deleted_is_a_loss_with_a_number() {
    assert_eq!(begin(Some(3), 7, false), Some((7, 4)));
    assert_eq!(begin(Some(7), 7, false), Some((7, 0)));
    assert_eq!(begin(Some(9), 7, false), Some((9, 0)));
}
