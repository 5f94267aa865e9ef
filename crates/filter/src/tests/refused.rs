//! What is refused, with the place and what to write.

use super::*;

fn error(text: &str, place: Place) -> ParseError {
    parse(text, place).expect_err(text)
}

#[test]
fn an_error_points_at_the_place_and_says_what_was_meant() {
    assert_eq!(
        error(r#"action == deny and src.namespce == "shop""#, Place::Record).to_string(),
        "there is no field src.namespce\n  action == deny and src.namespce == \"shop\"\n                     ^^^^^^^^^^^^\n  did you mean src.namespace?"
    );
    assert_eq!(
        error("action == alow", Place::Record).to_string(),
        "action is never alow\n  action == alow\n            ^^^^\n  did you mean allow?"
    );
}

#[test]
fn what_fits_nothing_is_refused_where_it_stands() {
    for (text, place, hint) in [
        ("", "", "for example"),
        ("   ", "", "for example"),
        ("src.namespace = 'shop'", "=", "write =="),
        ("src.namespace == shop", "shop", "write \"shop\""),
        ("src.namespace == ''", "''", "not has(src.namespace)"),
        ("src.namespace > 'a'", ">", "==, != or in"),
        ("dst.port == '443'", "'443'", "without quotes"),
        ("dst.port == 443MB", "443MB", "digits only"),
        ("dst.port == 65536", "65536", ""),
        ("bytes > 99999999999999999999999", "99999999999999999999999", ""),
        ("bytes > 9999999TiB", "9999999TiB", ""),
        ("bytes > 10X", "10X", "10MB"),
        ("protocol == tpc", "tpc", "tcp"),
        ("protocol < 6", "<", "==, != or in"),
        ("src.labels['app'] < 'x'", "<", "==, != or in"),
        ("src.labels == 'app=x'", "src.labels", "in src.labels"),
        ("src.labels[app] == 'x'", "app", "src.labels[\"app\"]"),
        ("src.labels['a=b'] == 'x'", "'a=b'", "src.labels[\"app\"]"),
        ("src.pod['app'] == 'x'", "src.pod", "only labels"),
        ("'x' in src.pod", "src.pod", "=="),
        ("'x' == src.pod", "'x'", "in src.labels"),
        ("src.address == 10.0.0.0/8", "10.0.0.0/8", "in 10.0.0.0/8"),
        ("src.address == 10.0.0", "10.0.0", "10.0.0.1"),
        ("src.address in 10.0.0.0/33", "10.0.0.0/33", "10.0.0.1"),
        ("coarsened == true", "==", "write coarsened"),
        ("has(coarsened)", "coarsened", "write coarsened"),
        ("has src.pod", "src.pod", "has(src.pod)"),
        ("src.pod.startswith('x')", "startswith", "startsWith"),
        ("startsWith(src.pod, 'x')", "startsWith", "field.startsWith"),
        ("action.startsWith('d')", "startsWith", "=="),
        ("src.pod.matches('(')", "'('", "unclosed group"),
        ("src.pod.matches('(a{1000}){1000}')", "'(a{1000}){1000}'", ""),
        ("src.pod.contains('')", "''", ""),
        ("(true", "(", ""),
        ("true)", ")", ""),
        ("(true true)", "true)", "and, or"),
        ("true true", "true", "and, or"),
        ("true and", "", "dst.port == 443"),
        ("src.port in 80", "80", "in [1, 2]"),
        ("src.port in [80 443]", "443]", ""),
        ("src.port == [80]", "[80]", "in"),
        ("src.port not [80]", "[80]", "not in"),
        ("src.port", "", "=="),
        ("src.pod == 'x", "'x", "'"),
        (r"src.pod == 'x\d'", r"\d'", r"\\"),
        ("src.pod == “x”", "“x”", "quotes"),
        ("rtt > 5", "rtt", ""),
    ] {
        let error = error(text, Place::Record);
        assert_eq!(text.get(error.offset()..).map(|rest| rest.starts_with(place)), Some(true), "{text}: {error}");
        assert!(error.hint().contains(hint), "{text}: {error}");
        assert!(error.to_string().contains('^'), "{text}");
    }
}

#[test]
fn a_field_is_refused_where_it_is_not_known() {
    for (text, place) in [
        ("arrival == never", Place::Sample),
        ("src.country == 'DE'", Place::Sample),
        ("point == pod", Place::Record),
        ("point == pod", Place::Search),
        ("policy in drop_class", Place::Search),
        ("src.pod.matches('x')", Place::Search),
    ] {
        let error = error(text, place);
        assert!(
            error.to_string().contains("not known of") || error.to_string().contains("cannot be searched"),
            "{error}"
        );
    }
    parse("point == pod and policy in drop_class and src.pod.matches('x')", Place::Sample).unwrap();
}

#[test]
fn length_and_depth_are_bounded() {
    let nested = |levels: usize| format!("{}true{}", "(".repeat(levels), ")".repeat(levels));
    parse(&nested(DEPTH_MOST), Place::Record).unwrap();
    assert!(error(&nested(DEPTH_MOST + 1), Place::Record).message().contains("too deeply"));
    assert!(error(&"(".repeat(LENGTH_MOST), Place::Record).message().contains("too deeply"));
    assert!(error(&"not ".repeat(LENGTH_MOST / 4), Place::Record).message().contains("too deeply"));
    assert!(error(&" ".repeat(LENGTH_MOST + 1), Place::Record).hint().contains("4096"));
}

#[test]
fn a_long_or_broken_line_is_shown_around_the_place() {
    let text = format!("{}\n\ttrue and {} or nonsense == 1 {}", "true or", "true or ".repeat(100), " ".repeat(300));
    let text = text.replace("or  or", "or");
    let shown = error(&text, Place::Record).to_string();
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[1].len() < 140 && !shown.contains('\t'), "{shown}");
    let column = lines[2].find('^').unwrap();
    assert!(lines[1][column..].starts_with("nonsense"), "{shown}");
}

#[test]
fn every_name_means_one_field() {
    for field in Field::all() {
        assert_eq!(Field::find(&field.to_string()), Some(field));
        let long = match field {
            Field::End(End::Source, _) => format!("source.{}", field.ecs()),
            Field::End(End::Destination, _) => format!("destination.{}", field.ecs()),
            Field::Flow(_) => field.ecs().to_owned(),
        };
        assert_eq!(Field::find(&long), Some(field), "{long}");
        assert!(Place::Record == Place::Record && !field.meaning().is_empty());
    }
}
