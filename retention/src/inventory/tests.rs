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

#[test]
fn an_index_without_the_write_alias_of_its_name_is_somebody_elses() {
    let info = |name: &str, aliases: &[&str]| IndexInfo {
        name: name.into(),
        docs: Some(1),
        bytes: Some(10),
        created: 1,
        open: true,
        aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
    };
    let listed = [
        info("weir-flows-l1-2026.11.20", &["weir-flows", "weir-flows-l1-2026.11.20-write"]),
        info("weir-flows-l1-2026.11.21", &["weir-flows", "weir-flows-l1-2026.11.20-write"]),
        info("weir-flows-l1-2026.11.22", &[]),
        info("weir-flows-l1-2026.11.23", &["weir-flows-l1-2026.11.23-WRITE", "weir-flows"]),
        info("weir-flows-l1-2026.11.22-copy", &["weir-flows-l1-2026.11.22-copy-write"]),
    ];
    let inventory = Inventory::of(&listed, &[], vec![], None);
    let names: Vec<String> = inventory.indices.iter().map(|index| index.name.to_string()).collect();
    let ours = ["weir-flows-l1-2026.11.20", "weir-flows-l1-2026.11.23"].map(str::to_owned);
    assert_eq!((names, inventory.foreign, inventory.bytes()), (ours.to_vec(), 2, 20));
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
