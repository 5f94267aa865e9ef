use super::*;
use crate::replay::standing::take;
use weir_enricher::replay::Windows;
use weir_schemas::encode;
use weir_schemas::enriched::Enriched;
use weir_stream::Record;

const WINDOWS: Windows = Windows { first: 100_000, last: 105_000 };

fn record(id: u8, window: Millis, bytes: u64) -> Enriched {
    let mut record = crate::replay::samples::record();
    record.id = format!("{id:032x}");
    (record.window, record.generation) = (window, window);
    record.totals.forward_bytes = bytes;
    record
}

/// What consumers hold after these records, in the order of the topic.
fn standing(records: &[Enriched]) -> AllStanding {
    let mut all = AllStanding::new();
    for (offset, record) in (0..).zip(records) {
        let record = Record {
            topic: weir_schemas::topics::ENRICHED.into(),
            partition: 0,
            offset,
            timestamp: 0,
            key: None,
            value: Some(encode(record).unwrap().into()),
            headers: Vec::new(),
        };
        take::<Enriched>(&mut all, &record, "local", WINDOWS).unwrap();
    }
    all
}

fn compare(stands: &[Enriched], replayed: &[Enriched]) -> (Counts, Vec<Enriched>, Vec<Standing>) {
    let mut comparison = Comparison::new(standing(stands), None, 10);
    let upserts = comparison.judge(replayed.to_vec()).unwrap();
    let extra = comparison.finish(Millis::MAX);
    (comparison.counts, upserts, extra)
}

#[test]
fn the_same_bytes_are_identical_and_others_are_named() {
    let replayed = [record(1, 100_000, 5), record(2, 100_000, 6), record(3, 105_000, 7)];
    let other = Enriched { cluster: "other".to_owned(), ..record(9, 100_000, 1) };
    let stands = [record(1, 100_000, 5), record(2, 100_000, 66), record(4, 105_000, 8), record(5, 110_000, 1), other];
    let (counts, upserts, extra) = compare(&stands, &replayed);
    let expected = Counts { identical: 1, missing: 1, different: 1, extra: 1, not_yet_written: 0 };
    assert_eq!(counts, expected);
    let corrections: Vec<_> = upserts.iter().map(|r| (r.id.as_str(), r.correction, r.totals.forward_bytes)).collect();
    assert_eq!(corrections, [(record(2, 0, 0).id.as_str(), 1, 6), (record(3, 0, 0).id.as_str(), 0, 7)]);
    assert_eq!(extra.iter().map(|s| (s.id, s.correction)).collect::<Vec<_>>(), [(4, 0)]);
}

#[test]
fn the_highest_correction_counts_wherever_it_stands() {
    let right = record(1, 100_000, 5);
    let corrected = Enriched { correction: 2, ..right.clone() };
    let wrong = Enriched { correction: 1, ..record(1, 100_000, 99) };
    for stands in [[corrected.clone(), wrong.clone()], [wrong.clone(), corrected]] {
        assert_eq!(compare(&stands, std::slice::from_ref(&right)).0.identical, 1);
    }
    let (counts, upserts, _) = compare(&[right.clone(), wrong], std::slice::from_ref(&right));
    assert_eq!((counts.different, upserts[0].correction), (1, 2));
}

#[test]
fn what_was_deleted_is_missing_when_it_is_replayed_and_right_when_it_is_not() {
    let original = record(1, 100_000, 5);
    let deleted = Enriched { correction: 1, kind: Kind::Delete, ..original.clone() };
    let (counts, upserts, _) = compare(&[original.clone(), deleted.clone()], std::slice::from_ref(&original));
    assert_eq!((counts.missing, upserts[0].correction, upserts[0].kind), (1, 2, Kind::Upsert));
    assert_eq!(compare(&[original, deleted], &[]).0, Counts::default());
}

#[test]
fn after_its_corrections_nothing_is_left_to_correct() {
    let replayed = [record(1, 100_000, 5), record(2, 100_000, 6)];
    let mut stands = vec![record(1, 100_000, 50), record(3, 100_000, 1)];
    let (_, upserts, extra) = compare(&stands, &replayed);
    let deletes = extra.iter().map(|standing| Enriched {
        kind: Kind::Delete,
        correction: standing.correction + 1,
        ..record(3, 100_000, 1)
    });
    let written: Vec<Enriched> = upserts.into_iter().chain(deletes).collect();
    stands.extend(written);
    let (counts, upserts, extra) = compare(&stands, &replayed);
    assert_eq!(counts, Counts { identical: 2, ..Counts::default() });
    assert!(upserts.is_empty() && extra.is_empty());
}

#[test]
fn what_the_enricher_will_write_is_not_missing_and_what_it_wrote_since_is_not_extra() {
    let mut comparison = Comparison::new(standing(&[record(2, 105_000, 1)]), Some(95_000), 10);
    assert!(comparison.judge(vec![record(1, 100_000, 5)]).unwrap().is_empty());
    assert!(comparison.finish(100_000).is_empty());
    assert_eq!(comparison.counts, Counts { not_yet_written: 1, ..Counts::default() });
}
