use super::*;
use crate::batch::tests::client_batch;
use proptest::prelude::*;
use std::fs::OpenOptions;
use std::path::Path;

const PLAIN: (i64, i16, i32) = (-1, -1, -1);
const LIMIT: ProducerLimit = ProducerLimit { count: 100, idle_ms: 1 << 40 };

fn rules(segment_bytes: u64) -> AppendRules {
    AppendRules { append_time: false, segment_bytes, segment_ms: 1 << 40, batch_bytes: 1 << 20, producers: LIMIT }
}

fn open(folder: &Path) -> PartitionLog {
    PartitionLog::open(folder, LIMIT, 0).unwrap().log
}

fn append(
    log: &mut PartitionLog,
    producer: (i64, i16, i32),
    transactional: bool,
    count: usize,
) -> Result<Appended, Code> {
    let times: Vec<i64> = (0..count).map(|_| 0).collect();
    let mut batch = client_batch(producer, transactional, 1000, &times);
    log.append(&mut batch, &rules(500), 1000, |_, _| Ok(()))
}

/// First and last offset of every batch a reader gets.
fn batches(log: &PartitionLog, isolation: Isolation) -> Vec<(i64, i64)> {
    let mut found = Vec::new();
    let mut offset = log.start_offset();
    loop {
        let read = log.plan_read(offset, isolation).unwrap().run(300, true).unwrap();
        if read.records.is_empty() {
            return found;
        }
        let mut rest = read.records.as_ref();
        while !rest.is_empty() {
            let header = BatchHeader::verify(rest).unwrap();
            found.push((header.base_offset, header.last_offset()));
            offset = header.last_offset() + 1;
            rest = &rest[header.bytes..];
        }
    }
}

fn segment_paths(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "log")).collect();
    paths.sort();
    paths
}

#[test]
fn offsets_go_on_over_segments_and_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for _ in 0..3 {
        let mut log = open(folder.path());
        for count in 1..10 {
            let base = append(&mut log, PLAIN, false, count).unwrap().base_offset;
            expected.push((base, base + i64::try_from(count).unwrap() - 1));
        }
        for work in log.take_sync_work() {
            work.run().unwrap();
        }
        assert_eq!(batches(&log, Isolation::ReadUncommitted), expected);
    }
    assert!(expected.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0));
    assert!(segment_paths(folder.path()).len() > 3);
}

#[test]
fn a_repeated_batch_gets_its_first_answer_and_a_gap_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for restart in [false, true] {
        let mut log = open(folder.path());
        if !restart {
            for sequence in [0, 2, 4] {
                append(&mut log, (9, 0, sequence), false, 2).unwrap();
            }
        }
        let again = append(&mut log, (9, 0, 2), false, 2).unwrap();
        assert_eq!((again.base_offset, again.duplicate), (2, true));
        assert_eq!(append(&mut log, (9, 0, 8), false, 1), Err(Code::OUT_OF_ORDER_SEQUENCE_NUMBER));
        assert_eq!(append(&mut log, (9, 1, 3), false, 1), Err(Code::OUT_OF_ORDER_SEQUENCE_NUMBER));
        assert_eq!(log.next_offset(), 6);
    }
    let mut log = open(folder.path());
    append(&mut log, (9, 1, 0), false, 1).unwrap();
    assert_eq!(append(&mut log, (9, 0, 6), false, 1), Err(Code::INVALID_PRODUCER_EPOCH));
}

#[test]
fn open_and_aborted_transactions_are_known_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    append(&mut log, (1, 0, 0), true, 5).unwrap();
    append(&mut log, PLAIN, false, 5).unwrap();
    append(&mut log, (2, 0, 0), true, 5).unwrap();
    assert_eq!(log.last_stable_offset(), 0);
    assert!(log.append_marker((1, 0), Marker::Abort, &rules(500), 1000).unwrap());
    for restart in [false, true] {
        if restart {
            log = open(folder.path());
        }
        assert_eq!((log.last_stable_offset(), log.next_offset()), (10, 16));
        let read = log.plan_read(0, Isolation::ReadCommitted).unwrap().run(10_000, true).unwrap();
        let expected = AbortedTransaction { producer_id: 1, first_offset: 0, last_offset: 15 };
        assert_eq!(read.aborted, [expected]);
        assert_eq!(log.open_producers(), [(2, 0)]);
    }
    log.append_marker((2, 0), Marker::Commit, &rules(500), 1000).unwrap();
    assert_eq!(log.last_stable_offset(), log.next_offset());
    assert!(!log.append_marker((2, 0), Marker::Commit, &rules(500), 1000).unwrap());
}

#[test]
fn the_brokers_time_never_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let rules = AppendRules { append_time: true, ..rules(500) };
    let mut times = Vec::new();
    for now in [100, 90, 120, 80] {
        let mut log = open(folder.path());
        let mut batch = client_batch(PLAIN, false, 5, &[0]);
        times.push(log.append(&mut batch, &rules, now, |_, _| Ok(())).unwrap().append_time);
    }
    assert_eq!(times, [100, 100, 120, 120]);
}

#[test]
fn a_summary_that_does_not_match_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    for _ in 0..20 {
        append(&mut log, PLAIN, false, 3).unwrap();
    }
    for work in log.take_sync_work() {
        work.run().unwrap();
    }
    let expected = batches(&log, Isolation::ReadUncommitted);
    for path in segment_paths(folder.path()) {
        let summary = path.with_extension("summary");
        if let Ok(mut content) = std::fs::read(&summary) {
            let middle = content.len() / 2;
            content[middle] ^= 1;
            std::fs::write(&summary, content).unwrap();
        }
    }
    assert_eq!(batches(&open(folder.path()), Isolation::ReadUncommitted), expected);
}

#[test]
fn deleting_keeps_the_start_over_restarts_and_offsets_unique() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    for _ in 0..20 {
        append(&mut log, PLAIN, false, 3).unwrap();
    }
    let before = segment_paths(folder.path()).len();
    assert_eq!(log.delete_before(31).unwrap(), 31);
    assert!(segment_paths(folder.path()).len() < before);
    assert_eq!(log.plan_read(30, Isolation::ReadUncommitted).unwrap_err(), Code::OFFSET_OUT_OF_RANGE);
    drop(log);
    // Everything that is left is lost: no offset may come again.
    for path in segment_paths(folder.path()) {
        std::fs::write(path, []).unwrap();
    }
    let mut log = open(folder.path());
    assert_eq!(log.start_offset(), 31);
    assert!(append(&mut log, PLAIN, false, 1).unwrap().base_offset >= 31);
}

#[test]
fn retention_by_age_closes_and_deletes_even_the_last_segment() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    for _ in 0..5 {
        append(&mut log, PLAIN, false, 3).unwrap();
    }
    assert_eq!(log.apply_retention(-1, -1, i64::MAX).unwrap(), 0);
    assert_eq!(log.apply_retention(500, -1, 1400).unwrap(), 0);
    assert!(log.apply_retention(500, -1, 2000).unwrap() > 0);
    assert_eq!((log.start_offset(), log.next_offset()), (15, 15));
    drop(log);
    let log = open(folder.path());
    assert_eq!((log.start_offset(), log.next_offset()), (15, 15));
}

/// What a damaged log must recover to: the batches acknowledged before the damage, and appending goes on.
fn check_prefix(folder: &Path, acknowledged: &[(i64, i64)], least: usize) {
    let mut log = open(folder);
    let found = batches(&log, Isolation::ReadUncommitted);
    assert!(found.len() >= least, "{} of {least}", found.len());
    assert_eq!(found, acknowledged[..found.len()]);
    let next = found.last().map_or(0, |last| last.1 + 1);
    assert_eq!(append(&mut log, PLAIN, false, 1).unwrap().base_offset, next);
    drop(log);
    assert_eq!(open(folder).next_offset(), next + 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_prefix_of_the_last_segment_recovers_to_a_prefix(
        counts in prop::collection::vec(1_usize..8, 1..30),
        synced in 0_usize..30,
        cut in 0.0_f64..1.0,
        flip in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut log = open(folder.path());
        let mut acknowledged = Vec::new();
        for (at, count) in counts.iter().enumerate() {
            let base = append(&mut log, PLAIN, false, *count).unwrap().base_offset;
            acknowledged.push((base, base + i64::try_from(*count).unwrap() - 1));
            if at == synced {
                for work in log.take_sync_work() {
                    work.run().unwrap();
                }
            }
        }
        drop(log);
        let path = segment_paths(folder.path()).pop().unwrap();
        let base: i64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let content = std::fs::read(&path).unwrap();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a position within a short file")]
        let position = (content.len() as f64 * cut) as usize;
        if flip {
            let mut damaged = content;
            // The leader epoch is neither used nor covered by the checksum.
            damaged[position] ^= 0x40;
            std::fs::write(&path, damaged).unwrap();
        } else {
            OpenOptions::new().write(true).open(&path).unwrap().set_len(u64::try_from(position).unwrap()).unwrap();
        }
        let in_earlier = acknowledged.iter().filter(|(first, _)| *first < base).count();
        check_prefix(folder.path(), &acknowledged, in_earlier);
    }
}
