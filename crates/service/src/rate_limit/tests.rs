//! How many lines pass, and what the next one says.

use super::*;

#[test]
fn lines_beyond_the_limit_wait_for_the_next_minute_and_are_counted() {
    let limit = RateLimit::new(2);
    assert_eq!(limit.admit_at(0), Some(0));
    assert_eq!(limit.admit_at(10), Some(0));
    let before = suppressed_total();
    for now in [20, 30, 59_999] {
        assert_eq!(limit.admit_at(now), None);
    }
    assert!(suppressed_total() >= before + 3);
    assert_eq!(limit.admit_at(60_000), Some(3));
    assert_eq!(limit.admit_at(60_001), Some(0));
    assert_eq!(limit.admit_at(60_002), None);
}

#[test]
fn macro_takes_what_tracing_takes() {
    let (topic, error) = ("t", "refused");
    for _ in 0..20 {
        crate::rate_limited!(warn, topic, %error, "message {topic}");
        crate::rate_limited!(error, per_minute = 1, "plain");
    }
}
