use super::*;

#[test]
fn the_first_difference_is_named() {
    let found = RecordSettings::standard("c");
    assert_eq!(difference(&found, &found), None);
    let wanted = RecordSettings { window: 30_000, raw_partitions: 4, ..found.clone() };
    assert_eq!(difference(&found, &wanted).unwrap(), "window is 1m, not 30s");
}
