use super::*;

fn record(value: Vec<u8>) -> Record {
    Record {
        topic: Arc::from("flows.raw.v1"),
        partition: 3,
        offset: 41,
        timestamp: 1_700_000_000_123,
        key: Some(Bytes::from_static(b"node-1")),
        value: Some(Bytes::from(value)),
        headers: vec![("schema".into(), Bytes::from_static(b"v1"))],
    }
}

fn header<'a>(letter: &'a NewRecord, name: &str) -> Option<&'a [u8]> {
    let found = letter.headers.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_ref())
}

#[test]
fn origin_and_cause_are_kept() {
    let letter = dead_letter(&record(b"bad".to_vec()), "schema: unknown version 9");
    assert_eq!(&*letter.topic, "weir.dlq.flows.raw.v1");
    assert_eq!(header(&letter, CAUSE), Some(&b"schema: unknown version 9"[..]));
    assert_eq!(header(&letter, TOPIC), Some(&b"flows.raw.v1"[..]));
    assert_eq!(header(&letter, PARTITION), Some(&b"3"[..]));
    assert_eq!(header(&letter, OFFSET), Some(&b"41"[..]));
    assert_eq!(header(&letter, TIMESTAMP), Some(&b"1700000000123"[..]));
    assert_eq!(header(&letter, "schema"), Some(&b"v1"[..]));
    assert_eq!(header(&letter, TRUNCATED), None);
    assert_eq!(letter.value.as_deref(), Some(&b"bad"[..]));
    assert_eq!(letter.key.as_deref(), Some(&b"node-1"[..]));
}

#[test]
fn long_values_are_cut_and_say_so() {
    let letter = dead_letter(&record(vec![7; MAX_BYTES + 1]), "too long");
    assert_eq!(letter.value.as_ref().map(Bytes::len), Some(MAX_BYTES));
    assert_eq!(header(&letter, TRUNCATED), Some(&b"true"[..]));
    let whole = dead_letter(&record(vec![7; MAX_BYTES]), "fits");
    assert_eq!(header(&whole, TRUNCATED), None);
}

#[test]
fn headers_and_cause_are_bounded() {
    let mut many = record(b"x".to_vec());
    many.headers = (0..64).map(|n| (format!("h{n}"), Bytes::from(vec![1; 100_000]))).collect();
    let letter = dead_letter(&many, &"ä".repeat(MAX_CAUSE_BYTES));
    assert!(letter.size() < 2 * MAX_BYTES);
    assert_eq!(header(&letter, TRUNCATED), Some(&b"true"[..]));
    assert_eq!(header(&letter, CAUSE).map(<[u8]>::len), Some(MAX_CAUSE_BYTES));
}
