use super::*;

fn iso(text: &str) -> i64 {
    Formats::default().read(text).unwrap().millis
}

#[test]
fn dates_survive_printing_and_reading() {
    for text in
        ["1970-01-01T00:00:00.000Z", "2026-02-28T23:59:59.999Z", "2024-02-29T12:00:00.001Z", "1969-12-31T23:59:59.999Z"]
    {
        assert_eq!(print_iso(iso(text)), text);
    }
    assert_eq!(iso("2026-01-01T01:00:00+01:00"), iso("2026-01-01"));
    assert_eq!(iso("2026-01-01T00:00:00.123456789Z"), iso("2026-01-01T00:00:00.123Z"));
    assert_eq!(Formats::default().read("1700000000000").unwrap().millis, 1_700_000_000_000);
}

#[test]
fn what_is_no_date_is_refused() {
    for text in [
        "",
        "yesterday",
        "2026-13-01",
        "2026-02-30",
        "2026-01-01T25:00:00Z",
        "2026-01-01 00:00:00",
        "2026-01-01T00:00:00Zx",
        "2026-1-1",
    ] {
        assert_eq!(Formats::default().read(text), None, "{text}");
    }
}

#[test]
fn mathematics_rounds_towards_the_side_asked_for() {
    let formats = Formats::default();
    let now = iso("2026-05-17T10:20:30.400Z");
    let at = |text: &str, up: bool| read_math(text, &formats, now, up, 0).map(print_iso).unwrap();
    assert_eq!(at("now-1h", false), "2026-05-17T09:20:30.400Z");
    assert_eq!(at("now/d", false), "2026-05-17T00:00:00.000Z");
    assert_eq!(at("now/d", true), "2026-05-17T23:59:59.999Z");
    assert_eq!(at("2026-01-31||+1M", false), "2026-02-28T00:00:00.000Z");
    assert_eq!(at("2026-01-01", true), "2026-01-01T23:59:59.999Z");
    assert_eq!(at("now/w", false), "2026-05-11T00:00:00.000Z");
}
