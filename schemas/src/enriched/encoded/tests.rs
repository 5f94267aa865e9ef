use super::*;
use crate::{DecodeError, decode, decode_enriched, encode};

const PRESENT: &[u8] = include_bytes!("../../../tests/golden/enriched.v2.bin");
const OLDER: &[u8] = include_bytes!("../../../tests/golden/enriched.v1.bin");

/// A record of which nothing is expected.
fn apart(message: &[u8]) -> Result<Enriched<EncodedSide<'_>>, DecodeError> {
    let end = |side| match side {
        ReadSide::Other(side) => side,
        ReadSide::Expected(_) => panic!("nothing was expected"),
    };
    decode_enriched(message, [None, None]).map(|record| record.map_ends(end))
}

fn record() -> Enriched {
    decode(PRESENT).unwrap()
}

#[test]
fn a_record_is_what_a_whole_decode_reads_and_its_ends_are_read_from_their_bytes() {
    for message in [PRESENT, OLDER] {
        let (read, record) = (apart(message).unwrap(), decode::<Enriched>(message).unwrap());
        for (end, side) in [(&read.initiator, &record.initiator), (&read.responder, &record.responder)] {
            assert_eq!(end.port(), side.port);
            assert_eq!(end.read().unwrap(), Side { port: None, ..side.clone() });
        }
        assert_eq!(read.map_ends(drop), record.map_ends(drop));
    }
}

#[test]
fn an_end_is_known_again_by_its_bytes_whatever_its_port() {
    let mut record = record();
    record.responder = Side { port: Some(9_000), ..record.initiator.clone() };
    let message = encode(&record).unwrap();
    let read = apart(&message).unwrap();
    assert_eq!(read.initiator.bytes(), read.responder.bytes());
    assert_ne!(read.initiator.port(), read.responder.port());
    record.responder.namespace = Some("elsewhere".to_owned());
    let message = encode(&record).unwrap();
    let read = apart(&message).unwrap();
    assert_ne!(read.initiator.bytes(), read.responder.bytes());
}

#[test]
fn ends_that_are_expected_and_there_are_read_over() {
    let mut record = record();
    record.responder.namespace = Some("elsewhere".to_owned());
    let message = encode(&record).unwrap();
    let alone = apart(&message).unwrap();
    let (initiator, responder) = (alone.initiator.bytes(), alone.responder.bytes());
    let ports = [record.initiator.port, record.responder.port];
    let both = decode_enriched(&message, [Some(initiator), Some(responder)]).unwrap();
    assert_eq!([&both.initiator, &both.responder].map(|end| end.clone()), ports.map(ReadSide::Expected));
    assert_eq!(both.map_ends(drop), alone.clone().map_ends(drop));
    let turned = decode_enriched(&message, [Some(responder), Some(initiator)]).unwrap();
    assert_eq!(turned, alone.clone().map_ends(ReadSide::Other), "others are there");
    let port = if ports[0] == Some(1) { None } else { Some(1) };
    let other_port = Enriched { initiator: Side { port, ..record.initiator.clone() }, ..record };
    let message = encode(&other_port).unwrap();
    let read = decode_enriched(&message, [Some(initiator), None]).unwrap();
    assert_eq!(read.initiator, ReadSide::Expected(port), "known whatever its port");
    assert_eq!(read.responder, ReadSide::Other(alone.responder.clone()));
}

#[test]
fn what_is_expected_changes_nothing_of_what_is_no_message() {
    let alone = apart(PRESENT).unwrap();
    let expected = [Some(alone.initiator.bytes()), Some(alone.responder.bytes())];
    for length in 0..PRESENT.len() {
        assert!(decode_enriched(&PRESENT[..length], expected).is_err(), "{length}");
    }
    assert!(matches!(decode_enriched(&[PRESENT, &[0]].concat(), expected), Err(DecodeError::Trailing(..))));
    assert!(matches!(decode_enriched(OLDER, expected).unwrap().initiator, ReadSide::Other(_)));
}

#[test]
fn a_message_that_ends_within_an_end_or_goes_on_behind_is_none() {
    for length in 0..PRESENT.len() {
        assert!(apart(&PRESENT[..length]).is_err(), "{length}");
    }
    assert!(matches!(apart(&[PRESENT, &[0]].concat()), Err(DecodeError::Trailing(..))));
}

#[test]
fn a_text_that_is_none_is_found_when_the_end_is_read() {
    let mut record = record();
    record.initiator.namespace = Some("elsewhere".to_owned());
    let mut message = encode(&record).unwrap();
    let place = message.windows(9).position(|nine| nine == b"elsewhere").unwrap();
    message[place] = 0xFF;
    let read = apart(&message).unwrap();
    assert_eq!(read.initiator.read().unwrap_err().to_string(), "an end of the record: a text is not UTF-8");
}
