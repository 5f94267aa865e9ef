//! What expressions mean, what is refused and how, and that both directions of parsing agree.

use super::*;
use std::collections::BTreeMap;
use std::net::IpAddr;

mod page;
mod properties;
mod refused;
mod rules;

/// A flow whose fields have the values given.
#[derive(Clone, Debug, Default)]
pub(super) struct Flow(BTreeMap<Field, Vec<Held>>);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Held {
    Text(String),
    Number(u64),
    Address(IpAddr),
    Set,
}

impl Flow {
    pub(super) fn put(&mut self, name: &str, value: Held) {
        self.0.entry(Field::find(name).unwrap()).or_default().push(value);
    }

    fn text(mut self, name: &str, value: &str) -> Self {
        self.put(name, Held::Text(value.to_owned()));
        self
    }

    fn number(mut self, name: &str, value: u64) -> Self {
        self.put(name, Held::Number(value));
        self
    }

    fn address(mut self, name: &str, value: &str) -> Self {
        self.put(name, Held::Address(value.parse().unwrap()));
        self
    }
}

impl Facts for Flow {
    fn any(&self, field: Field, mut test: impl FnMut(Value<'_>) -> bool) -> bool {
        self.0.get(&field).into_iter().flatten().any(|held| {
            test(match held {
                Held::Text(text) => Value::Text(text),
                Held::Number(number) => Value::Number(*number),
                Held::Address(address) => Value::Address(*address),
                Held::Set => Value::Set,
            })
        })
    }
}

fn flow() -> Flow {
    let mut flow = Flow::default()
        .text("src.namespace", "shop")
        .text("src.pod", "web-1")
        .text("src.labels", "app=cart")
        .text("src.labels", "app.kubernetes.io/part-of=shop=main")
        .text("src.labels", "empty=")
        .text("src.tcp_flags", "syn")
        .text("src.tcp_flags", "ack")
        .text("action", "deny")
        .text("reporter", "initiator")
        .text("reporter", "responder")
        .number("dst.port", 443)
        .number("protocol", 6)
        .number("bytes", 10_000_001)
        .address("src.address", "10.1.2.3")
        .address("dst.address", "2001:db8::1");
    flow.put("orientation_guessed", Held::Set);
    flow
}

fn holds(text: &str) -> bool {
    let expression = parse(text, Place::Record).unwrap_or_else(|error| panic!("{error}"));
    let again = parse(&expression.to_string(), Place::Record).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again, expression, "{text}");
    expression.holds(&flow())
}

#[test]
fn the_example_of_the_specification_is_understood() {
    assert!(holds(r#"src.namespace == "shop" and dst.port in [80, 443] and action == deny"#));
    assert!(!holds(r#"src.namespace == "shop" and dst.port in [80, 8443] and action == deny"#));
}

#[test]
fn not_binds_tighter_than_and_and_and_than_or() {
    assert!(holds("true or true and false"));
    assert!(!holds("(true or true) and false"));
    assert!(!holds("not true or false"));
    assert!(holds("not (true and false)"));
    assert!(holds("!false && (false || true)"));
    assert!(!holds("not src.namespace == 'shop'"), "a comparison binds tighter than not");
}

#[test]
fn what_has_no_value_is_equal_to_nothing() {
    for (text, answer) in [
        ("dst.namespace == 'shop'", false),
        ("dst.namespace != 'shop'", true),
        ("dst.namespace in ['shop', 'web']", false),
        ("dst.namespace not in ['shop']", true),
        ("has(dst.namespace)", false),
        ("has(src.namespace)", true),
        ("src.port < 1024", false),
        ("not src.port >= 1024", true),
        ("dst.pod.startsWith('w')", false),
        ("dst.labels['app'] == 'cart'", false),
        ("dst.labels['app'] != 'cart'", true),
    ] {
        assert_eq!(holds(text), answer, "{text}");
    }
}

#[test]
fn addresses_are_tested_by_networks_of_their_family() {
    for (text, answer) in [
        ("src.address in 10.0.0.0/8", true),
        ("src.address in 10.99.99.99/8", true),
        ("src.address in [192.168.0.0/16, fd00::/8]", false),
        ("src.address in [192.168.0.0/16, 10.1.2.3]", true),
        ("src.address not in 10.0.0.0/8", false),
        ("src.address == 10.1.2.3", true),
        ("src.address == ::ffff:10.1.2.3", true),
        ("src.address in ::ffff:10.0.0.0/104", true),
        ("src.address in ::/0", false),
        ("dst.address in 0.0.0.0/0", false),
        ("dst.address in 2001:db8::/32", true),
        ("dst.address != 2001:db8::1", false),
        ("source.ip == '10.1.2.3'", true),
    ] {
        assert_eq!(holds(text), answer, "{text}");
    }
}

#[test]
fn labels_are_tested_by_key_and_as_a_list() {
    for (text, answer) in [
        (r#"src.labels["app"] == "cart""#, true),
        (r#"src.labels["app"] == "car""#, false),
        (r#"src.labels["ap"] == "cart""#, false),
        (r#"src.labels["app"] in ["web", "cart"]"#, true),
        (r#"has(src.labels["app"])"#, true),
        (r#"has(src.labels["tier"])"#, false),
        (r#"has(src.labels["ap"])"#, false),
        (r#"src.labels["empty"] == """#, true),
        (r#"src.labels["app.kubernetes.io/part-of"] == "shop=main""#, true),
        (r#"src.labels["app.kubernetes.io/part-of"].endsWith("main")"#, true),
        (r#""app=cart" in src.labels"#, true),
        (r#""app=web" not in source.kubernetes.labels"#, true),
        (r#"src.labels.contains("part-of")"#, true),
    ] {
        assert_eq!(holds(text), answer, "{text}");
    }
}

#[test]
fn texts_words_numbers_and_flags() {
    for (text, answer) in [
        (r#"src.pod.startsWith("web-")"#, true),
        (r#"src.pod.endsWith("-2")"#, false),
        (r#"src.pod.contains("eb")"#, true),
        (r#"src.pod.matches("^web-[0-9]+$")"#, true),
        (r#"src.pod.matches("^b")"#, false),
        ("syn in src.tcp_flags and 'ACK' in src.tcp_flags", true),
        ("rst in src.tcp_flags", false),
        ("reporter == initiator and reporter == responder", true),
        ("action in [allow, mixed]", false),
        ("protocol == tcp and protocol == 6 and network.transport in [udp, tcp]", true),
        ("bytes > 10MB", true),
        ("bytes > 10MiB", false),
        ("bytes >= 10_000_001 and bytes <= 10000001", true),
        ("orientation_guessed", true),
        ("not orientation_guessed or coarsened", false),
    ] {
        assert_eq!(holds(text), answer, "{text}");
    }
}

#[test]
fn the_canonical_text_is_short_and_plain() {
    for (text, canonical) in [
        ("source.kubernetes.namespace=='shop'", r#"src.namespace == "shop""#),
        ("(destination.port==443)", "dst.port == 443"),
        ("!(src.port == 1)", "src.port != 1"),
        ("not src.port in [1,2]", "src.port not in [1, 2]"),
        ("src.port in [1]", "src.port == 1"),
        ("a_b == 1 or true", ""),
        ("not (has(src.pod) and (true or action == DENY))", "not (has(src.pod) and (true or action == deny))"),
        ("(true and has(src.pod)) and protocol == 58", "true and has(src.pod) and protocol == ipv6-icmp"),
        ("src.address in [10.0.0.1]", "src.address == 10.0.0.1"),
        ("src.address in [10.1.1.1/8]", "src.address in 10.0.0.0/8"),
        ("bytes < 1.5", ""),
        (r#"'a"b\\' in src.labels"#, r#""a\"b\\" in src.labels"#),
        ("not not not coarsened", "not coarsened"),
        ("not startsWith", ""),
    ] {
        let written = parse(text, Place::Record).map(|expression| expression.to_string()).unwrap_or_default();
        assert_eq!(written, canonical, "{text}");
    }
}
