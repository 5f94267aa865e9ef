use super::raw::Cost;
use super::{Read, level_one_begins};
use std::time::Duration;
use weir_flow::Millis;

#[test]
fn the_cost_is_told_from_the_beginning_and_said_in_words() {
    let cost = Cost::of_whole(120_000, (1_000, 2 << 20), Duration::from_secs(1));
    assert_eq!(cost, Cost { messages: 120_000, bytes: 240 << 20, time: Duration::from_secs(120) });
    assert_eq!(cost.to_come(), "about 120000 messages, 240.0 MiB, which takes about 2 min");
    assert_eq!(cost.done(), "120000 messages, 240.0 MiB, in 120.0 s");
    let nothing = Cost::of_whole(0, (0, 0), Duration::from_millis(3));
    assert_eq!(nothing.to_come(), "about 0 messages, 0 B, which takes about a second");
    let day = Cost::of_whole(90_000, (1, 1), Duration::from_secs(1));
    assert!(day.to_come().ends_with("about 25 h"), "{}", day.to_come());
}

#[test]
fn what_may_be_missing_is_said() {
    let took = Duration::from_secs(1);
    let words = |read: &Read| read.words(7, (0, 5_000), 1_000);
    let whole = Read::Stored { kept_from: Millis::MIN, took };
    assert_eq!(words(&whole), "7 records of level 1 from 1970-01-01T00:00:00Z to 1970-01-01T00:00:05Z, in 1.0 s\n");
    assert_eq!(whole.json(1_000)["kept_from"], serde_json::Value::Null);
    let later = Read::Stored { kept_from: 3_000, took };
    assert!(words(&later).ends_with("records of level 1 may not be all there before 1970-01-01T00:00:03Z\n"));
    assert_eq!(later.json(1_000)["kept_from"], "1970-01-01T00:00:03Z");
    let gone = Read::Stored { kept_from: Millis::MAX, took };
    assert!(words(&gone).contains("some are gone, or were never kept"), "{}", words(&gone));
    let raw = Read::Raw { kept_from: None, cost: Cost { messages: 9, bytes: 0, time: took } };
    assert_eq!(raw.json(1_000)["source"], "raw");
    assert!(words(&raw).contains("made again from 9 messages, 0 B, in 1.0 s"), "{}", words(&raw));
    assert_eq!(level_one_begins(0), "may not be all there before 1970-01-01T00:00:00Z");
}
