use super::*;
use weir_elastic::Mark;

/// Of a disk of 10 000 bytes 1 000 are free at the high watermark, 500 at flood stage.
fn held(available: u64, held_back: bool) -> bool {
    let marks =
        Watermarks { low: Mark::Used(8_500, None), high: Mark::Used(9_000, None), flood: Mark::Used(9_500, None) };
    let disks = [disk(9_999), disk(available)];
    too_full(&disks, &marks, held_back).is_some()
}

fn disk(available: u64) -> NodeDisk {
    NodeDisk { node: "n".into(), total: 10_000, available, ..NodeDisk::default() }
}

#[test]
fn bulks_are_held_back_before_flood_stage_and_pass_again_a_good_way_off() {
    assert_eq!([held(625, false), held(624, false), held(0, false)], [false, true, true]);
    assert_eq!([held(749, true), held(750, true)], [true, false]);
}

#[test]
fn watermarks_in_the_wrong_order_still_hold_back_at_flood_stage() {
    let marks = Watermarks { low: Mark::Free(1), high: Mark::Free(1), flood: Mark::Free(700) };
    assert!(too_full(&[disk(699)], &marks, false).is_some());
    assert!(too_full(&[disk(700)], &marks, false).is_none());
}

#[test]
fn what_is_held_back_says_why_as_an_engine_that_is_not_available() {
    let guard = Guard::default();
    guard.pass().unwrap();
    *guard.why.write().unwrap() = Some("full".into());
    let error = guard.pass().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.to_string().contains("full"));
}
