#![allow(clippy::unwrap_used, reason = "tests")]

use super::{Change, Direction, Shown, Translations, parse};
use proptest::prelude::*;
use std::net::Ipv4Addr;

fn direction(source: ([u8; 4], u16), destination: ([u8; 4], u16)) -> Direction {
    let mapped = |address: [u8; 4]| Ipv4Addr::from(address).to_ipv6_mapped().octets();
    Direction {
        source: mapped(source.0),
        destination: mapped(destination.0),
        source_port: source.1,
        destination_port: destination.1,
        protocol: 6,
    }
}

const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 7], 40_000);
const SERVICE: ([u8; 4], u16) = ([10, 96, 0, 1], 80);
const SERVER: ([u8; 4], u16) = ([10, 0, 1, 9], 8_080);

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(value.len() + 4).unwrap().to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn tuple(kind: u16, from: ([u8; 4], u16), to: ([u8; 4], u16)) -> Vec<u8> {
    let addresses = [attribute(1, &from.0), attribute(2, &to.0)].concat();
    let ports = [attribute(1, &[6]), attribute(2, &from.1.to_be_bytes()), attribute(3, &to.1.to_be_bytes())].concat();
    // Nested attributes carry a flag.
    attribute(kind | 0x8000, &[attribute(1 | 0x8000, &addresses), attribute(2 | 0x8000, &ports)].concat())
}

fn message(kind: u16) -> Vec<u8> {
    let body = [tuple(1, CLIENT, SERVICE), tuple(2, SERVER, CLIENT)].concat();
    let mut bytes = u32::try_from(body.len() + 20).unwrap().to_ne_bytes().to_vec();
    bytes.extend((1_u16 << 8 | kind).to_ne_bytes());
    bytes.extend([0; 14]);
    bytes.extend(body);
    bytes
}

fn read(bytes: &[u8]) -> Vec<Change> {
    let mut changes = Vec::new();
    parse(bytes, |change| changes.push(change));
    changes
}

#[test]
fn events_are_read_in_both_directions() {
    let (original, reply) = (direction(CLIENT, SERVICE), direction(SERVER, CLIENT));
    let both = [message(0), message(2), message(9)].concat();
    assert_eq!(read(&both), [Change::Is(original, reply), Change::Was(original, reply)]);
}

#[test]
fn each_form_leads_to_the_other_of_its_direction() {
    let mut known = Translations::new(10);
    known.take(Change::Is(direction(CLIENT, SERVICE), direction(SERVER, CLIENT)));
    for (seen, other) in [
        (direction(CLIENT, SERVICE), direction(CLIENT, SERVER)),
        (direction(CLIENT, SERVER), direction(CLIENT, SERVICE)),
        (direction(SERVER, CLIENT), direction(SERVICE, CLIENT)),
        (direction(SERVICE, CLIENT), direction(SERVER, CLIENT)),
    ] {
        assert_eq!(known.other(&seen), Some(other));
    }
    assert_eq!(known.other(&direction(SERVICE, SERVER)), None);
}

#[test]
fn what_is_not_translated_takes_no_room_and_what_ended_is_known_for_a_tick_more() {
    let mut known = Translations::new(1);
    known.take(Change::Is(direction(CLIENT, SERVER), direction(SERVER, CLIENT)));
    assert!(known.is_empty());
    let pair = (direction(CLIENT, SERVICE), direction(SERVER, CLIENT));
    known.take(Change::Is(pair.0, pair.1));
    known.take(Change::Is(direction(SERVER, SERVICE), direction(CLIENT, SERVER)));
    assert_eq!((known.len(), known.full()), (1, 1));
    known.take(Change::Was(pair.0, pair.1));
    known.end_tick();
    assert!(known.other(&pair.0).is_some(), "its last packets are in the tick that just ended");
    known.end_tick();
    assert!(known.is_empty());
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_skipped(bytes in prop::collection::vec(any::<u8>(), 0..300), places in prop::collection::vec((0..200_usize, any::<u8>()), 0..6)) {
        read(&bytes);
        let mut damaged = message(0);
        for (place, byte) in places {
            if let Some(at) = damaged.get_mut(place) {
                *at = byte;
            }
        }
        prop_assert!(read(&damaged).len() <= 1 + damaged.len() / 20);
    }
}

#[test]
fn what_a_packet_showed_is_known_for_its_tick_and_the_next_and_the_later_one_stands() {
    const ANOTHER: ([u8; 4], u16) = ([10, 0, 2, 9], 8_080);
    let mut shown = Shown::new(1);
    shown.take(direction(CLIENT, SERVER), direction(SERVER, CLIENT));
    assert!(shown.is_empty(), "it is not translated");
    shown.take(direction(CLIENT, SERVICE), direction(SERVER, CLIENT));
    shown.end_tick();
    assert_eq!(shown.other(&direction(CLIENT, SERVICE)), Some(direction(CLIENT, SERVER)));
    // The port is used again, and the service leads elsewhere.
    shown.take(direction(CLIENT, SERVICE), direction(ANOTHER, CLIENT));
    assert_eq!(shown.other(&direction(CLIENT, SERVICE)), Some(direction(CLIENT, ANOTHER)));
    assert_eq!(shown.other(&direction(SERVER, CLIENT)), Some(direction(SERVICE, CLIENT)), "its last answers");
    shown.take(direction(ANOTHER, SERVICE), direction(SERVER, ANOTHER));
    assert_eq!((shown.len(), shown.full()), (1, 1));
    shown.end_tick();
    shown.end_tick();
    assert_eq!(shown.other(&direction(CLIENT, SERVICE)), None);
}
