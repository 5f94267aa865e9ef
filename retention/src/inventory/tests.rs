use super::*;
use proptest::prelude::*;
use weir_flow::settings::IndexPeriod;

#[test]
fn names_are_read_with_their_periods() {
    let name = Name::parse("weir-flows-l1-2026.11.22").unwrap();
    assert_eq!((name.kind, name.level, name.start, name.end), (Kind::Flows, 1, 1_795_305_600_000, 1_795_392_000_000));
    let month = Name::parse("weir-audit-2026.11").unwrap();
    assert_eq!((month.kind, month.end - month.start), (Kind::Audit, 30 * 86_400_000));
    let hour = Name::parse("weir-capture-l3-2026.11.22.23").unwrap();
    assert_eq!((hour.kind, hour.end - hour.start), (Kind::Capture, 3_600_000));
}

#[test]
fn only_the_exact_spelling_is_weirs() {
    for foreign in [
        "weir-flows-l1-2026.11.22-write",
        "weir-flows-l4-2026.11.22",
        "weir-flows-l1-2026.11.22-000001",
        "weir-flows-l1-*",
        "weir-flows-l1-2026.1.22",
        "weir-flows-l1-2026.11.31",
        "weir-flows-l1-2026.11.22.24",
        "weir-flows-l1-+2026.11.22",
        "weir-flows-l01-2026.11.22",
        "Weir-flows-l1-2026.11.22",
        "weir-flows-l1-2026.11.22 ",
        "weir-dns-l1-2026.11.22",
        "weir-dns-2026.11",
        "weir-audit-2026.11.22",
        "weir-flows-2026.11.22",
        "weir-flows-l1-2026.11",
        "weir-replay-2026.11.22",
        ".weir-flows-l1-2026.11.22",
        "weir-flows-l1-2026.11.22.-1",
        "weir-flows",
        "weir-flows-l1-2026.11.22.1",
        "",
    ] {
        assert_eq!(Name::parse(foreign), None, "{foreign}");
    }
}

proptest! {
    #[test]
    fn every_index_that_the_indexer_names_is_recognized(window in weir_indexer::index::TIMES, level in 0u8..=3, hourly: bool, kind in 0usize..6) {
        let kind = weir_indexer::index::IndexKind::ALL[kind];
        let level = if kind.has_levels() { level } else { 0 };
        let period = if hourly { IndexPeriod::Hour } else { IndexPeriod::Day };
        let index = weir_indexer::index::Index::of(kind, level, window, period).unwrap();
        let name = Name::parse(&index.to_string()).unwrap();
        prop_assert!(name.start <= window && window < name.end);
        prop_assert_eq!((name.kind.as_str(), name.level), (kind.as_str(), level));
        prop_assert_eq!(Name::parse(&index.write_alias()), None);
    }

    #[test]
    fn no_other_text_is_recognized(text in "weir-(flows|capture|replay|dns|ledger|audit)-(l[0-9]{1,2}-)?[0-9.+-]{0,14}") {
        if let Some(name) = Name::parse(&text) {
            prop_assert_eq!(name.to_string(), text);
        }
    }
}
