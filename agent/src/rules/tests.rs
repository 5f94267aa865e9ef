#![allow(clippy::unwrap_used, reason = "tests")]

use super::{CaptureRule, RuleError, parse};
use proptest::prelude::*;

fn rule(text: &str) -> Result<CaptureRule, RuleError> {
    text.parse()
}

#[test]
fn rules_are_read_into_what_the_kernel_compares() {
    let all = rule("drop net 10.1.2.3/8 port 8000-8080 protocol tcp").unwrap().kernel();
    assert_eq!(all.network, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 0]);
    assert_eq!(all.mask, [[0xff; 13].as_slice(), &[0; 3]].concat().as_slice());
    assert_eq!((all.port_low, all.port_high, all.protocol, all.factor), (8000, 8080, 6, 0));
    let any = rule("sample 100").unwrap().kernel();
    assert_eq!((any.network, any.mask, any.factor), ([0; 16], [0; 16], 100));
    assert_eq!((any.port_low, any.port_high, any.protocol), (0, u16::MAX, 0));
    let six = rule("keep net fd00:1::/32 protocol 47").unwrap().kernel();
    assert_eq!((six.network[..4].to_vec(), six.mask[..5].to_vec()), (vec![0xfd, 0, 0, 1], vec![255, 255, 255, 255, 0]));
    assert_eq!((six.protocol, six.factor), (47, 1));
    assert_eq!(rule("keep net 192.0.2.1").unwrap().kernel().mask, [0xff; 16]);
    assert_eq!(rule("keep net ::/0").unwrap().kernel().mask, [0; 16]);
}

#[test]
fn what_is_wrong_is_named() {
    let word = |text: &str| text.to_owned();
    for (text, error) in [
        ("", RuleError::Action(word(""))),
        ("deny", RuleError::Action(word("deny"))),
        ("sample", RuleError::Factor(word(""))),
        ("sample 1", RuleError::Factor(word("1"))),
        ("drop host 1.2.3.4", RuleError::Condition(word("host"))),
        ("drop net 10.0.0.0/33", RuleError::Network(word("10.0.0.0/33"))),
        ("drop net", RuleError::Network(word(""))),
        ("drop port 9-8", RuleError::Port(word("9-8"))),
        ("drop port 70000", RuleError::Port(word("70000"))),
        ("drop protocol 0", RuleError::Protocol(word("0"))),
        ("drop port 1 port 2", RuleError::Twice("port")),
    ] {
        assert_eq!(rule(text), Err(error), "{text}");
    }
    assert!(parse(&vec!["keep".to_owned(); 33]).unwrap_err().contains("at most 32"));
    assert!(parse(&["keep".to_owned(), "no".to_owned()]).unwrap_err().contains("\"no\""));
}

proptest! {
    #[test]
    fn a_network_has_no_bits_outside_its_mask(address: std::net::IpAddr, length in 0..=128_u32, text in ".{0,40}") {
        let most = if address.is_ipv4() { 32 } else { 128 };
        let rule = rule(&format!("drop net {address}/{}", length.min(most))).unwrap().kernel();
        prop_assert!(rule.network.iter().zip(&rule.mask).all(|(network, mask)| network & !mask == 0));
        // Whatever is written, the answer is a rule or an error.
        let _ = text.parse::<CaptureRule>();
    }
}
