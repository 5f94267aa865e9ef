use super::*;
use crate::replay::samples;

fn letter(value: Option<Vec<u8>>, length: u64) -> DeadLetter {
    DeadLetter {
        cause: "too large".into(),
        topic: topics::ENRICHED.into(),
        partition: 0,
        offset: 1,
        timestamp: 0,
        key: None,
        value,
        length,
    }
}

fn of(record: &weir_schemas::enriched::Enriched) -> DeadLetter {
    let value = weir_schemas::encode(record).unwrap();
    let length = u64::try_from(value.len()).unwrap();
    letter(Some(value), length)
}

#[test]
fn a_letter_that_was_cut_is_not_whole() {
    assert!(is_whole(&letter(Some(vec![1, 2]), 2)));
    assert!(!is_whole(&letter(Some(vec![1, 2]), 3)));
    assert!(!is_whole(&letter(None, 0)), "a tombstone can never be processed");
}

#[test]
fn a_letter_is_never_put_back_over_a_higher_correction() {
    let mut record = samples::record();
    record.correction = 1;
    let dead = of(&record);
    let fate = |highest: Option<u32>| {
        let standing = highest.map(|k| (record.id.clone(), k)).into_iter().collect();
        judge(&dead, is_whole(&dead), &standing)
    };
    assert_eq!([fate(None), fate(Some(0)), fate(Some(1))], [Fate::Again; 3]);
    assert_eq!(fate(Some(2)), Fate::Superseded);
}

#[test]
fn what_this_version_cannot_read_or_is_not_whole_stays() {
    let standing = std::collections::BTreeMap::new();
    let junk = letter(Some(b"junk".to_vec()), 4);
    assert_eq!(judge(&junk, true, &standing), Fate::Unreadable);
    let cut = DeadLetter { length: 1 << 20, ..of(&samples::record()) };
    assert_eq!(judge(&cut, is_whole(&cut), &standing), Fate::Cut);
}
