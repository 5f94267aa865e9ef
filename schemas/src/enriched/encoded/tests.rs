use super::*;
use crate::{DecodeError, decode, decode_enriched, encode};

const PRESENT: &[u8] = include_bytes!("../../../tests/golden/enriched.v2.bin");
const OLDER: &[u8] = include_bytes!("../../../tests/golden/enriched.v1.bin");

fn record() -> Enriched {
    decode(PRESENT).unwrap()
}

#[test]
fn a_record_is_what_a_whole_decode_reads_and_its_ends_are_read_from_their_bytes() {
    for message in [PRESENT, OLDER] {
        let (read, record) = (decode_enriched(message).unwrap(), decode::<Enriched>(message).unwrap());
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
    let read = decode_enriched(&message).unwrap();
    assert_eq!(read.initiator.bytes(), read.responder.bytes());
    assert_ne!(read.initiator.port(), read.responder.port());
    record.responder.namespace = Some("elsewhere".to_owned());
    let message = encode(&record).unwrap();
    let read = decode_enriched(&message).unwrap();
    assert_ne!(read.initiator.bytes(), read.responder.bytes());
}

#[test]
fn a_message_that_ends_within_an_end_or_goes_on_behind_is_none() {
    for length in 0..PRESENT.len() {
        assert!(decode_enriched(&PRESENT[..length]).is_err(), "{length}");
    }
    assert!(matches!(decode_enriched(&[PRESENT, &[0]].concat()), Err(DecodeError::Trailing(..))));
}

#[test]
fn a_text_that_is_none_is_found_when_the_end_is_read() {
    let mut record = record();
    record.initiator.namespace = Some("elsewhere".to_owned());
    let mut message = encode(&record).unwrap();
    let place = message.windows(9).position(|nine| nine == b"elsewhere").unwrap();
    message[place] = 0xFF;
    let read = decode_enriched(&message).unwrap();
    assert_eq!(read.initiator.read().unwrap_err().to_string(), "an end of the record: a text is not UTF-8");
}
