use super::*;

#[test]
fn sizes_have_one_decimal_and_never_round_up_to_the_next_unit() {
    for (bytes, text) in [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (999_999, "999.9 kB"),
        (1_500_000, "1.5 MB"),
        (u64::MAX, "18446744.0 TB"),
    ] {
        assert_eq!(size(bytes), text);
    }
}

#[test]
fn an_empty_list_says_what_to_do() {
    assert_eq!(render(&[], true), "");
    assert!(footer(0, None).contains("no flows match"));
    assert!(footer(50, Some("1_2")).contains("--cursor 1_2"));
}
