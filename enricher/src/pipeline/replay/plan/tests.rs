use super::*;
use crate::fixtures::{history, settings};

const TOPIC: &str = "flows.raw.v1";

fn checkpoint(partition: i32, generation: Millis, offset: i64) -> Checkpoint {
    Checkpoint { cluster: "local".to_owned(), partition, generation, offset, watermark: generation + 7_000 }
}

fn gathered(first: Millis, log_starts: &[i64], all: &[Checkpoint]) -> Checkpoints {
    let mut checkpoints = Checkpoints::new(first, log_starts.to_vec());
    for one in all {
        checkpoints.take(one);
    }
    checkpoints
}

#[test]
fn each_partition_begins_at_its_last_checkpoint_before_the_first_window() {
    let all = [
        checkpoint(0, 90_000, 10),
        checkpoint(0, 95_000, 20),
        checkpoint(0, 100_000, 30),
        checkpoint(1, 80_000, 4),
        checkpoint(7, 95_000, 1),
    ];
    let starts = gathered(100_000, &[5, 0], &all).starts(TOPIC, 5_000).unwrap();
    let expected = [(20, 95_000), (4, 80_000)].map(|(offset, written)| Stage1Position {
        offset,
        written,
        watermark: written + 7_000,
    });
    assert_eq!(starts, expected);
}

#[test]
fn without_a_checkpoint_only_a_whole_log_is_read_from_its_start() {
    assert_eq!(gathered(100_000, &[0], &[]).starts(TOPIC, 5_000).unwrap(), [Stage1Position::START]);
    let error = gathered(100_000, &[3], &[checkpoint(0, 100_000, 9)]).starts(TOPIC, 5_000).unwrap_err();
    let expected = PlanError::NoCheckpoint {
        partition: TopicPartition::new(TOPIC, 0),
        log_start: 3,
        first: 100_000,
        earliest: Some(105_000),
    };
    assert_eq!(error, expected);
}

#[test]
fn what_was_deleted_is_named_with_the_earliest_window_that_is_left() {
    let all = [
        checkpoint(0, 95_000, 20),
        checkpoint(0, 100_000, 30),
        checkpoint(0, 105_000, 50),
        checkpoint(1, 95_000, 20),
        checkpoint(1, 110_000, 40),
    ];
    let error = gathered(100_000, &[31, 21], &all).starts(TOPIC, 5_000).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("offsets 20 to 30 of flows.raw.v1[0] were deleted"), "{text}");
    assert!(text.contains("the earliest window that can be replayed is 1970-01-01T00:01:55Z"), "{text}");
}

#[test]
fn a_log_that_is_whole_needs_no_checkpoint_that_is_within_it() {
    // The checkpoint topic may begin later than the raw topic.
    let all = [checkpoint(0, 200_000, 90)];
    assert_eq!(gathered(100_000, &[0], &all).starts(TOPIC, 5_000).unwrap(), [Stage1Position::START]);
}

#[test]
fn the_last_generation_is_the_one_that_the_latest_sample_can_be_in() {
    let mut settings = settings(1, 1);
    settings.late_bound = 20_000;
    let history = history(settings.clone());
    let last = last_generation(100_000, &history);
    // The latest sample of window 100 000: tick 104 000 when the watermark is 124 000.
    let latest = Frontier::at(104_000 + 20_000).closing_generation(100_000, &settings);
    assert_eq!(last, latest);
}

#[test]
fn append_times_bound_how_far_a_live_partition_can_be() {
    let settings = settings(1, 1);
    // Tolerance 1 s, grace 2 s: at 106 500 the highest watermark is 108 000, so window 100 000 may be complete.
    assert_eq!(at_most_complete(106_500, &settings), 100_000);
    assert_eq!(at_most_complete(104_999, &settings), 95_000);
}

#[test]
fn incomplete_windows_are_refused_with_the_time_from_which_they_are_complete() {
    let mut settings = settings(1, 1);
    settings.late_bound = 20_000;
    let history = history(settings);
    let windows = Windows { first: 100_000, last: 100_000 };
    let error = incomplete(windows, last_generation(100_000, &history), 110_000, &history);
    let expected = PlanError::Incomplete { last: 100_000, complete_at: 127_000, latest: Some(90_000) };
    assert_eq!(error, expected);
}
