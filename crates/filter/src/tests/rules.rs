//! Rules: how they are written, which decides, and whether both reports are decided alike.

use super::*;
use weir_flow::settings::{FilterAction, FilterRule};

fn rule(text: &str) -> FilterRule {
    parse_rule(text).unwrap_or_else(|error| panic!("{error}"))
}

fn rules(texts: &[&str]) -> Rules {
    Rules::compile(&texts.iter().map(|text| rule(text)).collect::<Vec<_>>()).unwrap()
}

#[test]
fn rules_are_written_as_action_colon_expression() {
    assert_eq!(rule("drop: true"), FilterRule { expression: "true".to_owned(), action: FilterAction::Drop });
    assert_eq!(rule(" keep :dst.port == 53 ").action, FilterAction::Keep);
    assert_eq!(rule("sample 10: dst.address in fd00::/8").action, FilterAction::Sample(10));
    let redact = rule(r#"redact source.ip, src.labels["a:b"], dst.pod: src.scope == public"#);
    let fields = ["src.address", r#"src.labels["a:b"]"#, "dst.pod"].map(ToOwned::to_owned).to_vec();
    assert_eq!(
        redact,
        FilterRule { expression: "src.scope == public".to_owned(), action: FilterAction::Redact(fields) }
    );
}

#[test]
fn what_is_no_rule_is_refused_at_its_place() {
    for (text, place) in [
        ("true", "true"),
        ("drpo: true", "drpo"),
        ("drop it: true", "drop it"),
        ("sample: true", "sample"),
        ("sample 0: true", "sample 0"),
        ("sample 1000001: true", "sample 1000001"),
        ("redact: true", ":"),
        ("redact src.scope: true", "src.scope"),
        ("redact src.pod dst.pod: true", "dst.pod"),
        ("redact bytes: true", "bytes"),
        ("drop: src.prot == 1", "src.prot"),
        ("drop: arrival == never", "arrival"),
        ("drop:", ""),
    ] {
        let error = parse_rule(text).expect_err(text);
        assert!(text[error.offset()..].starts_with(place), "{text}: {error}");
        assert!(error.to_string().contains(text), "the whole rule is shown: {error}");
    }
    let broken = FilterRule { expression: "src.prot == 1".to_owned(), action: FilterAction::Drop };
    let error = Rules::compile(&[rule("drop: true"), broken]).unwrap_err();
    assert!(error.to_string().starts_with("filter 2: there is no field src.prot\n"), "{error}");
    assert!(error.to_string().contains("did you mean src.port?"), "{error}");
}

#[test]
fn the_first_rule_that_selects_decides() {
    let rules = rules(&["keep: src.namespace == 'shop' and dst.port == 80", "drop: action == deny", "sample 5: true"]);
    assert_eq!(*rules.decide(&flow()), Action::Drop);
    assert_eq!(*rules.decide(&Flow::default()), Action::Sample(5));
    assert_eq!(*rules.decide(&Flow::default().text("src.namespace", "shop").number("dst.port", 80)), Action::Keep);
    assert_eq!(*Rules::default().decide(&flow()), Action::Keep);
}

#[test]
fn both_reports_are_decided_alike_by_tuples_and_by_names_that_are_known() {
    for (texts, answer) in [
        (&[][..], None),
        (&["keep: action == deny"], None),
        (&["redact src.pod: has(src.process)"], None),
        (&["sample 1: has(src.process)"], None),
        (&["drop: dst.port == 53 or not src.address in 10.0.0.0/8"], Some(Sameness::Alike)),
        (&["drop: dst.port == 53", "keep: action == deny"], Some(Sameness::Alike)),
        (&["drop: dst.namespace == 'kube-system' and protocol == udp"], Some(Sameness::WhereKnown)),
        (&["drop: dst.namespace != 'kube-system'"], Some(Sameness::OfReport)),
        (&["drop: not (not has(src.labels['x']))"], Some(Sameness::WhereKnown)),
        (&["keep: src.namespace == 'shop'", "drop: true"], Some(Sameness::OfReport)),
        (&["keep: dst.port == 53", "drop: true"], Some(Sameness::Alike)),
        (&["sample 2: src.namespace == 'shop'"], Some(Sameness::OfReport)),
        (&["sample 2: true"], Some(Sameness::Alike)),
        (&["drop: reporter == responder"], Some(Sameness::OfReport)),
        (&["drop: bytes < 100"], Some(Sameness::OfReport)),
    ] {
        assert_eq!(rules(texts).reports(), answer, "{texts:?}");
    }
}
