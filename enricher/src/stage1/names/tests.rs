use super::*;
use crate::fixtures::{address, question};

#[test]
fn a_client_knows_what_it_was_told_itself() {
    let mut names = Names::default();
    assert!(names.learn(&question("db.shop")) && names.learn(&question("db.shop")));
    assert!(names.learn(&question("www.shop")));
    let of =
        |client, told| names.of(address(client), address(told)).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(of("10.0.0.1", "10.0.0.2"), ["db.shop", "www.shop"]);
    assert!(of("10.0.0.3", "10.0.0.2").is_empty() && of("10.0.0.1", "10.0.0.4").is_empty());
}

#[test]
fn names_are_bounded() {
    let mut names = Names::default();
    let learnt: Vec<bool> = (0..20).map(|n| names.learn(&question(&format!("{n}.shop")))).collect();
    assert_eq!(learnt.iter().filter(|all| **all).count(), NAMES_OF_ADDRESS);
    let many = |n: usize| {
        let address = |n: usize| address(&format!("fd00::{:x}:{:x}", n / 60_000, n % 60_000));
        DnsSample { answers: vec![address(n)], ..question("many.shop") }
    };
    let learnt = (0..NAMES).filter(|n| names.learn(&many(*n))).count();
    assert_eq!(learnt, NAMES - NAMES_OF_ADDRESS);
}
