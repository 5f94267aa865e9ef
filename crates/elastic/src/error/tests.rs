use super::*;

fn check(status: u16, body: &str) -> Error {
    Error::answered("bulk", &"http://a:9200".into(), status, body.as_bytes())
}

#[test]
fn a_busy_engine_is_retriable_whatever_it_calls_itself() {
    for name in ["es_rejected_execution_exception", "rejected_execution_exception", "circuit_breaking_exception"] {
        let error = check(429, &format!(r#"{{"error":{{"type":"{name}","reason":"queue full"}},"status":429}}"#));
        assert_eq!(error.kind, ErrorKind::Retriable);
        assert_eq!(error.code, name);
    }
}

#[test]
fn a_block_is_unavailable_under_any_status() {
    for status in [403, 429] {
        let error = check(status, r#"{"error":{"type":"cluster_block_exception","reason":"read-only"}}"#);
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.is_blocked());
    }
}

#[test]
fn statuses_are_sorted_by_what_to_do_next() {
    let cases = [
        (401, ErrorKind::Auth),
        (403, ErrorKind::Auth),
        (400, ErrorKind::Rejected),
        (404, ErrorKind::Rejected),
        (413, ErrorKind::Rejected),
        (500, ErrorKind::Unavailable),
        (503, ErrorKind::Unavailable),
        (302, ErrorKind::Invalid),
    ];
    for (status, kind) in cases {
        assert_eq!(check(status, "").kind, kind, "{status}");
    }
}

#[test]
fn the_message_names_host_operation_and_cause() {
    let text = check(400, r#"{"error":"no handler found"}"#).to_string();
    assert_eq!(text, "elasticsearch bulk at http://a:9200: status 400: no handler found");
}

#[test]
fn a_huge_answer_is_cut() {
    let text = check(502, &"é".repeat(100_000)).cause;
    assert!(text.chars().count() <= CAUSE_LIMIT + 1);
}
