use super::*;
use crate::fixtures::{Fake, address};
use crate::join::Join as _;
use weir_join::Ask;
use weir_schemas::enriched::NoneReason;

fn end(text: &'static str) -> EndFound<'static> {
    let ask = Ask { port: Some(80), ..Ask::address(0, address(text)) };
    EndFound { ask, found: Resolution::none(Some(NoneReason::Outside)), covered: false, without_address: false }
}

#[test]
fn ends_of_which_the_same_is_known_are_one_whatever_their_ports() {
    let mut ends = Ends::default();
    let first = end("10.0.0.1");
    let number = ends.number(&first);
    let mut other_port = first.clone();
    other_port.ask.port = None;
    assert_eq!(ends.number(&other_port), number);
    let changes: [fn(&mut EndFound<'static>); 5] = [
        |end| end.ask.address = address("10.0.0.2"),
        |end| end.ask.container = Some("server"),
        |end| end.ask.process = Some("nginx"),
        |end| end.found.reason = Some(NoneReason::NotYetReported),
        |end| end.without_address = true,
    ];
    let mut numbers = vec![number];
    for change in changes {
        let mut other = first.clone();
        change(&mut other);
        numbers.push(ends.number(&other));
        assert_eq!(ends.number(&other), numbers.last().copied().unwrap());
    }
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), changes.len() + 1);
}

#[test]
fn a_number_is_never_given_to_another_end() {
    let mut ends = Ends::default();
    let number = |n: u32| Address::new(std::net::Ipv4Addr::from(n).into());
    let of = |n: u32| EndFound { ask: Ask::address(0, number(n)), ..end("10.0.0.1") };
    for n in 0..=u32::try_from(LIMIT).unwrap() {
        ends.make_place();
        assert_eq!(ends.number(&of(n)), u64::from(n), "each is new");
    }
    assert!(ends.kept.len() < LIMIT, "all were forgotten once");
    let again = ends.number(&of(0));
    assert_eq!(again, u64::try_from(LIMIT).unwrap() + 1, "what was forgotten gets another number");
}

#[test]
fn other_labels_are_said_anew() {
    let mut ends = Ends::default();
    let mut of_pod = end("10.0.0.1");
    let table = Fake::default();
    of_pod.found = table.resolve(&of_pod.ask).keep();
    let all = ends.known(&of_pod).said.at(Level::One).labels.len();
    assert!(all > 0);
    ends.begin(&["other".to_owned()]);
    assert_eq!(ends.known(&of_pod).said.at(Level::One).labels.len(), 0);
    ends.begin(&[]);
    assert_eq!(ends.known(&of_pod).said.at(Level::One).labels.len(), all);
}

#[test]
fn what_records_say_of_an_end_depends_on_the_level_and_not_on_the_port() {
    let mut ends = Ends::default();
    let end = end("10.0.0.1");
    let number = ends.number(&end);
    for (level, address) in [(Level::One, Some(end.ask.address)), (Level::Two, None)] {
        let known = ends.known(&end);
        let side = &known.said.at(level).side;
        assert_eq!((known.number, side.address, side.port()), (number, address, None));
    }
}
