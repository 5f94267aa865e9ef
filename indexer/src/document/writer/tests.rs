use super::*;
use crate::document::prepare;
use crate::document::samples::{maximal, minimal};
use weir_elastic::bulk::Operation;
use weir_schemas::encode;
use weir_schemas::enriched::{Enriched, Side};

/// What one writer makes of the records, one after the other.
fn written(writer: &mut Writer, records: &[Enriched]) -> Vec<Prepared> {
    let mut batch = Batch::default();
    let mut places = Vec::new();
    for record in records {
        let message = encode(record).unwrap();
        places.push(writer.put(&message, &Periods::default(), &mut batch).unwrap());
    }
    let body = batch.finish();
    assert_eq!(body.items(), records.len());
    let prepared: Vec<Prepared> = places.into_iter().map(|p| p.map(|place| body.operation(place))).collect();
    let operations: Vec<&Operation> = prepared.iter().map(|prepared| &prepared.operation).collect();
    assert_eq!(operations.iter().flat_map(|o| o.as_bytes()).copied().collect::<Vec<_>>(), body.bytes());
    prepared
}

fn records() -> Vec<Enriched> {
    let deleted = Enriched { kind: Kind::Delete, ..maximal() };
    let turned = Enriched { initiator: maximal().responder, responder: maximal().initiator, level: 1, ..maximal() };
    let mut otherwise = maximal();
    otherwise.initiator.port = None;
    otherwise.totals.forward_bytes += 1;
    otherwise.responder = Side { port: Some(53), ..minimal().responder };
    vec![maximal(), minimal(), deleted, turned, otherwise, maximal(), minimal()]
}

#[test]
fn a_document_does_not_depend_on_what_was_written_before() {
    let alone: Vec<_> = records().iter().map(|record| prepare(record, &Periods::default()).unwrap()).collect();
    let mut writer = Writer::default();
    assert_eq!(written(&mut writer, &records()), alone);
    let Met { known, new, .. } = writer.take_met();
    assert!(new < known && known + new == 12, "{known} {new}");
    assert_eq!(written(&mut writer, &records()), alone);
    let met = writer.take_met();
    assert_eq!((met.known, met.new, met.pairs_new), (12, 0, 0));
    let turned_round: Vec<_> = records().into_iter().rev().collect();
    let alone: Vec<_> = alone.into_iter().rev().collect();
    assert_eq!(written(&mut writer, &turned_round), alone, "whatever was expected");
}

#[test]
fn an_end_that_is_none_is_refused_and_leaves_nothing_in_the_batch() {
    let record =
        Enriched { initiator: Side { namespace: Some("elsewhere".to_owned()), ..maximal().initiator }, ..maximal() };
    let mut message = encode(&record).unwrap();
    let place = message.windows(9).position(|nine| nine == b"elsewhere").unwrap();
    message[place] = 0xFF;
    let mut batch = Batch::default();
    let refused = Writer::default().put(&message, &Periods::default(), &mut batch);
    assert!(refused.unwrap_err().to_string().ends_with("an end of the record: a text is not UTF-8"));
    assert_eq!(batch.size(), 0);
}
