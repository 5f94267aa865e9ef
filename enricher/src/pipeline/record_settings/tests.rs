use super::*;
use crate::fixtures::{history, settings};

#[test]
fn what_was_read_is_relied_upon_for_half_the_lead() {
    let current = |ago: Duration| Current {
        history: history(settings(1, 1)),
        places: Arc::default(),
        too_late: 0,
        until: Instant::now().checked_sub(ago).unwrap() + RELIABLE,
    };
    assert!(current(Duration::ZERO).is_reliable());
    assert!(current(RELIABLE - Duration::from_secs(5)).is_reliable());
    assert!(!current(RELIABLE).is_reliable());
    assert_eq!(2 * RELIABLE.as_millis(), u128::from(LEAD.unsigned_abs()));
}
