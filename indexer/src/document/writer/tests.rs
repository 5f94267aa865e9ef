use super::*;
use crate::document::prepare;
use crate::document::samples::{maximal, minimal};
use weir_elastic::bulk::Operation;
use weir_schemas::enriched::{Enriched, Side};
use weir_schemas::{decode_enriched, encode};

/// What one writer makes of the records, one after the other.
fn written(writer: &mut Writer, records: &[Enriched]) -> Vec<Prepared> {
    let mut batch = Batch::default();
    let mut places = Vec::new();
    for record in records {
        let message = encode(record).unwrap();
        places.push(writer.put(decode_enriched(&message).unwrap(), &Periods::default(), &mut batch).unwrap());
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
    let Met { known, new } = writer.take_met();
    assert!(new < known && known + new == 12, "{known} {new}");
    assert_eq!(written(&mut writer, &records()), alone);
    assert_eq!(writer.take_met(), Met { known: 12, new: 0 });
}

#[test]
fn ends_are_forgotten_when_they_take_too_much_memory_and_are_made_anew() {
    let mut writer = Writer { ends: Ends::within(16_384), ..Writer::default() };
    let with =
        |n: u32| Enriched { initiator: Side { namespace: Some(n.to_string()), ..maximal().initiator }, ..maximal() };
    for n in 0..200 {
        let prepared = prepare(&with(n), &Periods::default()).unwrap();
        assert_eq!(written(&mut writer, &[with(n)]), [prepared]);
        let held = |ends: &HashMap<Box<[u8]>, Arc<End>, _>| ends.values().map(|end| end.memory()).sum::<usize>();
        assert!(held(&writer.ends.young) + held(&writer.ends.old) <= 16_384);
    }
    let met = writer.take_met();
    // The one that all have in common is always known.
    assert_eq!(met, Met { known: 199, new: 201 });
    written(&mut writer, &[with(0)]);
    assert_eq!(writer.take_met().new, 1, "forgotten");
    written(&mut writer, &[with(199)]);
    assert_eq!(writer.take_met().new, 0, "known");
}

#[test]
fn an_end_that_is_none_is_refused_and_leaves_nothing_in_the_batch() {
    let record =
        Enriched { initiator: Side { namespace: Some("elsewhere".to_owned()), ..maximal().initiator }, ..maximal() };
    let mut message = encode(&record).unwrap();
    let place = message.windows(9).position(|nine| nine == b"elsewhere").unwrap();
    message[place] = 0xFF;
    let mut batch = Batch::default();
    let refused = Writer::default().put(decode_enriched(&message).unwrap(), &Periods::default(), &mut batch);
    assert!(refused.unwrap_err().to_string().ends_with("an end of the record: a text is not UTF-8"));
    assert_eq!(batch.size(), 0);
}
