use super::*;

fn keep(text: &str) -> Keep {
    text.parse().unwrap()
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn a_rule_says_what_it_is_about_and_reads_back() {
    let rule = keep("flows/1:budget=20GB,max-age=30d,min-age=1d");
    assert_eq!((rule.kind, rule.level, rule.budget), (Kind::Flows, Some(1), Some(Amount::Bytes(20_000_000_000))));
    assert_eq!((rule.max_age, rule.min_age), (Some(30 * DAY), Some(DAY)));
    for text in ["flows/1:budget=20GB,max-age=30d,min-age=1d", "dns:budget=10%", "audit:max-age=365d"] {
        assert_eq!(keep(&keep(text).to_string()), keep(text));
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_its_reason() {
    for (text, reason) in [
        ("flows", "names no rule"),
        ("flow:budget=1GB", "no kind"),
        ("flows/4:budget=1GB", "0, 1, 2 or 3"),
        ("dns/1:budget=1GB", "no levels"),
        ("audit:budget=1GB", "by age alone"),
        ("flows:size=1GB", "is no rule"),
        ("flows:max-age", "KIND[/LEVEL]"),
        ("flows:budget=101%", "no share"),
    ] {
        let error = text.parse::<Keep>().unwrap_err();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn the_most_special_age_holds() {
    let policy = Policy {
        budget: Amount::Bytes(1),
        reserve: Amount::Bytes(0),
        max_age: Some(9 * DAY),
        min_age: DAY,
        keeps: vec![keep("flows:max-age=5d"), keep("flows/2:max-age=90d"), keep("flows/1:budget=1GB")],
    };
    let max = |text| policy.max_age(&name(text)).unwrap().as_secs() / DAY.as_secs();
    assert_eq!(max("weir-flows-l2-2026.11.22"), 90);
    assert_eq!(max("weir-flows-l1-2026.11.22"), 5);
    assert_eq!(max("weir-dns-2026.11.22"), 9);
    assert_eq!(policy.min_age(&name("weir-flows-l2-2026.11.22")), DAY);
}
