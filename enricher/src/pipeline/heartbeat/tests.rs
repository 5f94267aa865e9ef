use super::*;
use crate::fixtures::settings;

#[test]
fn silent_partitions_are_due_after_two_ticks_and_then_every_tick() {
    let settings = settings(2, 1);
    let (start, time) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_millis(100_500));
    let at = |milliseconds| start + Duration::from_millis(milliseconds);
    let mut silence = Silence::new("one".to_owned());
    silence.assign([0, 1].into_iter(), start);
    assert!(silence.due(&settings, at(1_900), time).is_empty());
    silence.heard(1, at(1_900));
    let due = silence.due(&settings, at(2_000), time);
    assert_eq!(due.len(), 1);
    let (partition, batch) = &due[0];
    assert_eq!((*partition, batch.node.as_str(), batch.origin), (0, "owner/0", Origin::Owner));
    assert_eq!(batch.tick, 99_000, "the last tick that is over");
    assert!(silence.due(&settings, at(2_500), time).is_empty());
    assert_eq!(silence.due(&settings, at(3_000), time).len(), 1);
    assert_eq!(silence.due(&settings, at(3_900), time).len(), 1, "the other one");
    silence.assign(std::iter::empty(), at(4_000));
    assert!(silence.due(&settings, at(9_000), time).is_empty());
}

#[test]
fn only_what_brings_the_watermark_near_the_time_is_a_sign_of_life() {
    let (tick, appended) = (5_000, 100_700);
    assert!(keeps_time(95_000, 100_000, appended, tick));
    assert!(keeps_time(Millis::MIN, 95_000, appended, tick), "the first one, two ticks behind at most");
    assert!(!keeps_time(85_000, 90_000, appended, tick), "a clock that is behind");
    assert!(keeps_time(95_000, 96_000, appended, 1_000), "a busy machine, where ticks are short");
    assert!(!keeps_time(94_000, 95_000, appended, 1_000), "a clock that is behind");
    assert!(!keeps_time(100_000, 100_000, appended, tick), "another one's watermark");
    assert!(!keeps_time(Millis::MIN, Millis::MIN, appended, tick), "no batch");
}
