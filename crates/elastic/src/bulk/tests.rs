use super::*;
use proptest::prelude::*;

const TARGET: Target<'_> = Target { index: "a-write", id: "x\"1", version: 3 };

#[test]
fn a_body_holds_its_operations_line_by_line_and_knows_its_size() {
    let operations = [Operation::index(TARGET, br#"{"a":1}"#).unwrap(), Operation::delete(TARGET)];
    let body = Body::of(operations.iter());
    let text = String::from_utf8(body.bytes().to_vec()).unwrap();
    assert_eq!(
        text,
        concat!(
            r#"{"index":{"_index":"a-write","_id":"x\"1","version":3,"version_type":"external_gte"}}"#,
            "\n{\"a\":1}\n",
            r#"{"delete":{"_index":"a-write","_id":"x\"1","version":3,"version_type":"external_gte"}}"#,
            "\n"
        )
    );
    assert_eq!((body.items(), body.size()), (2, text.len()));
}

#[test]
fn a_document_with_a_line_break_is_refused() {
    assert_eq!(Operation::index(TARGET, b"{\n}"), Err(OperationError::LineBreak));
}

#[test]
fn an_operation_on_another_document_differs_in_nothing_else() {
    let other = Target { id: "y", ..TARGET };
    let write = Operation::index(TARGET, br#"{"a":1}"#).unwrap();
    assert_eq!(write.on(other), Operation::index(other, br#"{"a":1}"#).unwrap());
    assert_eq!(Operation::delete(TARGET).on(other), Operation::delete(other));
}

#[test]
fn a_batch_is_its_body_and_its_operations_share_the_bodys_memory() {
    let (one, other) = (Operation::index(TARGET, br#"{"a":1}"#).unwrap(), Operation::delete(TARGET));
    let mut batch =
        Batch::within(BytesMut::from("what was there before, which is longer than one operation".repeat(9).as_str()));
    let write = |text: &'static [u8]| {
        move |line: &mut Vec<u8>| {
            line.extend_from_slice(text);
            Ok::<_, OperationError>(())
        }
    };
    let first = batch.index(TARGET, write(br#"{"a":1}"#)).unwrap();
    let refused = batch.index(TARGET, write(b"{\n}"));
    assert_eq!(refused, Err(OperationError::LineBreak));
    let (second, third) = (batch.delete(TARGET), batch.append(&one));
    assert_eq!((first.len(), batch.size()), (one.len(), 2 * one.len() + other.len()));
    let body = batch.finish();
    assert_eq!([first, second, third].map(|place| body.operation(place)), [one.clone(), other.clone(), one.clone()]);
    assert_eq!(body, Body::of([one.clone(), other, one].iter()));
}

#[test]
fn a_bodys_memory_is_had_back_when_nobody_reads_it_any_more() {
    let mut batch = Batch::default();
    let place = batch.delete(TARGET);
    let body = batch.finish();
    let operation = body.operation(place);
    assert!(body.clone().into_memory().is_none());
    drop(operation);
    assert!(body.into_memory().is_some_and(|memory| memory.capacity() >= place.len()));
}

#[test]
fn each_item_keeps_its_own_status_and_cause() {
    let body = br#"{"errors":true,"took":7,"items":[
        {"index":{"_index":"a","_id":"1","status":201,"result":"created"}},
        {"index":{"_id":"2","status":400,"error":{"type":"document_parsing_exception","reason":"bad","caused_by":{"type":"x","reason":"not an IP"}}}},
        {"delete":{"status":404,"result":"not_found"}},
        {"index":{"status":429,"error":"busy"}}]}"#;
    let answer = response(body, 4).unwrap();
    assert_eq!(answer.took, 7);
    assert_eq!(answer.items.iter().map(|i| i.status).collect::<Vec<_>>(), [201, 400, 404, 429]);
    assert_eq!(answer.items[0].error, None);
    let cause = answer.items[1].error.clone().unwrap();
    assert_eq!((cause.code.as_str(), cause.reason.as_str()), ("document_parsing_exception", "bad: not an IP"));
    assert_eq!(answer.items[3].error.clone().unwrap().reason, "busy");
}

#[test]
fn a_wrong_count_is_an_error_for_the_whole_bulk() {
    let body = br#"{"errors":false,"items":[{"index":{"status":201}}]}"#;
    assert!(matches!(response(body, 2), Err(AnswerError::Count { expected: 2, found: 1 })));
    assert!(matches!(response(body, 0), Err(AnswerError::Count { expected: 0, found: 1 })));
}

#[test]
fn an_item_without_a_status_or_operation_is_an_error() {
    assert!(response(br#"{"items":[{"index":{}}]}"#, 1).is_err());
    assert!(matches!(response(br#"{"items":[{}]}"#, 1), Err(AnswerError::Item(0))));
    assert!(matches!(response(br#"{"items":[{"index":{"status":7}}]}"#, 1), Err(AnswerError::Item(0))));
}

fn answer_text(statuses: &[u16]) -> String {
    let items: Vec<_> = statuses
        .iter()
        .map(|status| {
            if *status < 300 {
                format!(r#"{{"index":{{"status":{status}}}}}"#)
            } else {
                format!(r#"{{"index":{{"status":{status},"error":{{"type":"t","reason":"r"}}}}}}"#)
            }
        })
        .collect();
    format!(r#"{{"errors":true,"items":[{}]}}"#, items.join(","))
}

/// An answer as engines write it, or nearly so.
fn nearly_plain() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        r#""took":7,"#,
        r#""took":07,"#,
        r#""took":-1,"#,
        r#""took":99999999999999999999,"#,
        r#""errors":false,"#,
        r#""errors":true,"#,
        r#""errors":1,"#,
        r#""ingest_took":3,"#,
        " ",
    ]);
    let item = prop::sample::select(vec![
        r#"{"index":{"status":201}}"#,
        r#"{"delete":{"status":404}}"#,
        r#"{"create":{"status":200}}"#,
        r#"{"update":{"status":599}}"#,
        r#"{"index":{"status":600}}"#,
        r#"{"index":{"status":020}}"#,
        r#"{"index":{"status":2010}}"#,
        r#"{"index":{"status":20.}}"#,
        r#"{"index":{"status":201,"error":"busy"}}"#,
        r#"{"other":{"status":201}}"#,
        r#"{"index":{"status":201}} "#,
        "{}",
        "",
    ]);
    let end = prop::sample::select(vec!["]}", "]}", "]}", "]", "],}", r#"],"took":3}"#, "]}\n", "]}}"]);
    // Mostly as engines do.
    let pieces = prop_oneof![Just(vec![r#""took":7,"#, r#""errors":false,"#]), prop::collection::vec(piece, 0..4)];
    let items = prop_oneof![
        (1_usize..20).prop_map(|count| vec![r#"{"index":{"status":201}}"#; count]),
        prop::collection::vec(item, 0..6)
    ];
    (pieces, items, end)
        .prop_map(|(pieces, items, end)| format!(r#"{{{}"items":[{}{end}"#, pieces.concat(), items.join(",")))
}

#[test]
fn an_answer_as_engines_write_it_is_read_at_once() {
    for text in [r#"{"errors":false,"took":7,"items":["#, r#"{"took":7,"errors":false,"items":["#] {
        let body = format!(r#"{text}{{"index":{{"status":201}}}},{{"delete":{{"status":404}}}}]}}"#);
        let items = [201, 404].map(|status| Item { status, error: None }).to_vec();
        assert_eq!(plain::read(body.as_bytes(), 2), Some(Answer { items, took: 7 }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// An answer that is read at once says what the reader of JSON says.
    #[test]
    fn plain_answers_mean_what_json_means(text in nearly_plain()) {
        if let Some(plain) = plain::read(text.as_bytes(), 3) {
            prop_assert_eq!(plain, json(text.as_bytes()).unwrap());
        }
    }
}

proptest! {
    #[test]
    fn what_is_answered_is_read(statuses in prop::collection::vec(200u16..600, 0..50)) {
        let answer = response(answer_text(&statuses).as_bytes(), statuses.len()).unwrap();
        let read: Vec<_> = answer.items.iter().map(|i| i.status).collect();
        prop_assert_eq!(read, statuses);
    }

    #[test]
    fn an_answer_cut_anywhere_is_never_believed(statuses in prop::collection::vec(200u16..600, 0..10), cut in any::<prop::sample::Index>()) {
        let text = answer_text(&statuses);
        let end = cut.index(text.len());
        prop_assert!(response(&text.as_bytes()[..end], statuses.len()).is_err());
    }

    #[test]
    fn any_bytes_give_an_answer_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300), expected in 0usize..5) {
        if let Ok(answer) = response(&bytes, expected) {
            prop_assert_eq!(answer.items.len(), expected);
        }
    }
}
