use super::*;

#[test]
fn a_few_lines_a_minute_and_the_rest_is_counted() {
    let (mut limiter, start) = (Limiter::default(), Instant::now());
    for _ in 0..LINES {
        assert_eq!(limiter.take(start), Some(0));
    }
    for second in 0..30 {
        assert_eq!(limiter.take(start + Duration::from_secs(second)), None);
    }
    assert_eq!(limiter.take(start + PERIOD), Some(30));
    assert_eq!(limiter.take(start + PERIOD), Some(0));
}
