#![allow(clippy::unwrap_used, reason = "tests")]

use super::{CaptureRule, RuleError, parse_all, read};
use crate::abi::Rule;
use proptest::prelude::*;
use std::net::IpAddr;
use weir_filter::{Action, End, EndField, Facts, Field, FlowField, Rules, Value, parse_rule};

fn kernel(text: &str) -> Vec<Rule> {
    read(text).unwrap().iter().map(CaptureRule::kernel).collect()
}

/// As many numbers.
fn list(length: u8) -> String {
    format!("{:?}", (1..=length).collect::<Vec<_>>())
}

#[test]
fn rules_are_read_into_what_the_kernel_compares() {
    let all = kernel(
        "drop: addresses in 10.1.2.3/8 and protocol == tcp and (src.port >= 8000 and src.port <= 8080 or dst.port >= 8000 and dst.port < 8081)",
    );
    let [all] = all[..] else { panic!("{all:?}") };
    assert_eq!(all.network, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 0]);
    assert_eq!(all.mask, [[0xff; 13].as_slice(), &[0; 3]].concat().as_slice());
    assert_eq!((all.port_low, all.port_high, all.protocol, all.factor), (8000, 8080, 6, 0));
    let any = kernel("sample 100: true")[0];
    assert_eq!((any.network, any.mask, any.factor), ([0; 16], [0; 16], 100));
    assert_eq!((any.port_low, any.port_high, any.protocol), (0, u16::MAX, 0));
    let six = kernel("keep: addresses in fd00:1::/32 and protocol == 47")[0];
    assert_eq!((six.network[..4].to_vec(), six.mask[..5].to_vec()), (vec![0xfd, 0, 0, 1], vec![255, 255, 255, 255, 0]));
    assert_eq!((six.protocol, six.factor), (47, 1));
    assert_eq!(kernel("keep: addresses == 192.0.2.1")[0].mask, [0xff; 16]);
    assert_eq!(kernel("drop: protocol == tcp and protocol == udp"), [], "it holds for nothing");
}

#[test]
fn a_list_is_one_rule_for_each_of_it() {
    let ports = |text: &str| kernel(text).iter().map(|rule| (rule.port_low, rule.port_high)).collect::<Vec<_>>();
    assert_eq!(ports("drop: src.port in [53, 123] or dst.port in [53, 123]"), [(53, 53), (123, 123)]);
    assert_eq!(kernel("keep: protocol in [udp, tcp] and addresses in [10.0.0.0/8, fd00::/8]").len(), 4);
    let error = parse_all(&[format!("keep: protocol in {}", list(33))]).unwrap_err();
    assert!(error.contains("33 cases") && error.contains("at most 32"), "{error}");
    let product = format!("keep: protocol in {0} and (src.port in {0} or dst.port in {0})", list(12));
    assert_eq!(read(&product), Err(RuleError::Cases));
}

#[test]
fn what_is_wrong_is_named() {
    for (text, error) in [
        ("drop: not protocol == tcp", RuleError::Opposite("opposites")),
        ("drop: protocol != tcp", RuleError::Opposite("opposites")),
        ("drop: has(src.port)", RuleError::Opposite("presence")),
        ("drop: src.namespace == \"shop\"", RuleError::Unseen("src.namespace".to_owned())),
        ("drop: src.address in 10.0.0.0/8", RuleError::Unseen("src.address".to_owned())),
        ("drop: dst.port == 53", RuleError::OneEnd("53".to_owned())),
        ("drop: dst.port == 53 or src.port == 54", RuleError::OneEnd("53".to_owned())),
        ("drop: protocol == udp and dst.port == 53 or src.port == 53", RuleError::OneEnd("53".to_owned())),
        ("drop: dst.port == 53 and src.port == 53", RuleError::OneEnd("53".to_owned())),
        ("drop: addresses in 10.0.0.0/8 and addresses in 10.1.0.0/16", RuleError::Networks),
        ("drop: addresses in ::/0", RuleError::Mapped("::/0".parse().unwrap())),
        ("redact src.pod: true", RuleError::Redact),
    ] {
        assert_eq!(read(text), Err(error), "{text}");
    }
    let carets = parse_all(&["drop: dst.prot == 53".to_owned()]).unwrap_err();
    assert!(carets.contains("^^^") && carets.contains("did you mean dst.port"), "{carets}");
    assert!(parse_all(&["keep: true".to_owned(), "no".to_owned()]).unwrap_err().contains("\"no\""));
}

/// What the programs answer: `weir_meets` and `weir_rule_of` in `bpf/kinds.h`.
fn decided(rules: &[Rule], flow: &Flow) -> u32 {
    let within = |address: &IpAddr, rule: &Rule| {
        let octets = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        octets.iter().zip(rule.mask).zip(rule.network).all(|((octet, mask), network)| octet & mask == network)
    };
    let meets = |rule: &&Rule| {
        (rule.protocol == 0 || rule.protocol == flow.protocol)
            && flow.ports.iter().any(|port| (rule.port_low..=rule.port_high).contains(port))
            && flow.addresses.iter().any(|address| within(address, rule))
    };
    rules.iter().find(meets).map_or(1, |rule| rule.factor)
}

/// Of the end that opened the connection, then of the other.
#[derive(Debug)]
struct Flow {
    addresses: [IpAddr; 2],
    ports: [u16; 2],
    protocol: u8,
}

impl Facts for Flow {
    fn any(&self, field: Field, mut test: impl FnMut(Value<'_>) -> bool) -> bool {
        match field {
            Field::Flow(FlowField::Protocol) => test(Value::Number(u64::from(self.protocol))),
            Field::Flow(FlowField::Addresses) => {
                self.addresses.into_iter().any(|address| test(Value::Address(address)))
            }
            Field::End(End::Source, EndField::Port) => test(Value::Number(u64::from(self.ports[0]))),
            Field::End(End::Destination, EndField::Port) => test(Value::Number(u64::from(self.ports[1]))),
            Field::End(..) | Field::Flow(_) => false,
        }
    }
}

/// Expressions, of which many have a meaning for the kernel.
fn expression() -> impl Strategy<Value = String> {
    let port = prop_oneof![
        (0..6_u16).prop_map(|n| format!("== {n}")),
        (0..6_u16, 0..6_u16).prop_map(|(a, b)| format!("in [{a}, {b}]")),
        (0..6_u16, 0..4_usize).prop_map(|(n, which)| format!("{} {n}", ["<", "<=", ">", ">="][which])),
    ];
    let network = prop_oneof![
        Just("10.0.0.1".to_owned()),
        Just("10.0.0.0/31".to_owned()),
        Just("0.0.0.0/0".to_owned()),
        Just("fd00::/16".to_owned()),
        Just("fd00::1".to_owned()),
    ];
    let leaf = prop_oneof![
        4 => port.prop_map(|test| format!("(src.port {test} or dst.port {test})")),
        1 => (0..6_u16).prop_map(|n| format!("dst.port == {n}")),
        2 => network.prop_map(|network| format!("addresses in {network}")),
        2 => prop_oneof![Just("tcp"), Just("udp"), Just("1"), Just("47")].prop_map(|name| format!("protocol == {name}")),
        1 => Just("true".to_owned()),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        let parts = prop::collection::vec(inner, 1..4);
        (parts, any::<bool>()).prop_map(|(parts, all)| format!("({})", parts.join(if all { " and " } else { " or " })))
    })
}

fn flow() -> impl Strategy<Value = Flow> {
    let address = || prop_oneof![Just("10.0.0.1"), Just("10.0.0.2"), Just("fd00::1"), Just("fe80::1")];
    let protocol = prop_oneof![Just(6_u8), Just(17), Just(1), Just(47)];
    ((address(), address()), (0..7_u16, 0..7_u16), protocol).prop_map(|((a, b), (from, to), protocol)| Flow {
        addresses: [a.parse().unwrap(), b.parse().unwrap()],
        ports: [from, to],
        protocol,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// What is understood means to the kernel what it means to everybody else, in both directions of a connection.
    #[test]
    fn the_kernel_decides_as_the_language_says(
        rules in prop::collection::vec((expression(), 0..3_usize), 1..4),
        flows in prop::collection::vec(flow(), 1..20),
    ) {
        let texts: Vec<String> =
            rules.iter().map(|(text, action)| format!("{}: {text}", ["keep", "drop", "sample 7"][*action])).collect();
        let Ok(kernel) = parse_all(&texts) else { return Ok(()) };
        let kernel: Vec<Rule> = kernel.iter().map(CaptureRule::kernel).collect();
        let written: Vec<_> = texts.iter().map(|text| parse_rule(text).unwrap()).collect();
        let rules = Rules::compile(&written).unwrap();
        for flow in flows {
            let says = match rules.decide(&flow) {
                Action::Keep => 1,
                Action::Drop => 0,
                Action::Sample(factor) => *factor,
                Action::Redact(_) => unreachable!(),
            };
            prop_assert_eq!(decided(&kernel, &flow), says, "{:?} of {:?}", texts, flow);
            let back = Flow { addresses: [flow.addresses[1], flow.addresses[0]], ports: [flow.ports[1], flow.ports[0]], ..flow };
            prop_assert_eq!(decided(&kernel, &back), says);
        }
    }

    #[test]
    fn whatever_is_written_is_a_rule_or_an_error(text in ".{0,60}", address: IpAddr, length in 0..=128_u32) {
        let _ = parse_all(&[text]);
        let most = if address.is_ipv4() { 32 } else { 128 };
        if let Ok(rules) = read(&format!("drop: addresses in {address}/{}", length.min(most))) {
            let rule = rules[0].kernel();
            prop_assert!(rule.network.iter().zip(&rule.mask).all(|(network, mask)| network & !mask == 0));
        }
    }
}
