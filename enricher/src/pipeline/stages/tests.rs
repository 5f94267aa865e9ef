use super::*;
use crate::fixtures::{CLUSTER, Fake, batch, history, sample, settings};
use weir_flow::time::FOR_EVER;
use weir_schemas::encode;
use weir_service::Metrics;

/// Windows of the backlog, and connections in each.
const WINDOWS: i64 = 8;
const CONNECTIONS: u16 = 50;

fn record(partition: i32, offset: i64, batch: &RawBatch) -> Record {
    Record {
        topic: Arc::from(topics::raw(CLUSTER)),
        partition,
        offset,
        timestamp: batch.tick + 1_000,
        key: None,
        value: Some(encode(batch).unwrap().into()),
        headers: Vec::new(),
    }
}

/// Stage 1 with a backlog of complete windows on two partitions.
fn backlog() -> First {
    let history = history(settings(2, 1));
    let mut first = First::new(CLUSTER, history, Meters::new(&Metrics::new()));
    for partition in 0..2 {
        first.take_over(partition, Stage1Position::START);
        for window in 0..=WINDOWS {
            let one = |port| crate::stage1::Sample { source_port: port, ..sample(100) };
            let samples = if window < WINDOWS { (0..CONNECTIONS).map(one).collect() } else { vec![sample(1)] };
            first.read(&record(partition, window, &batch("node-a", 0, 100_000 + window * 5_000, samples)), || {});
        }
        first.read(&record(partition, WINDOWS + 1, &batch("node-a", 0, 103_000 + WINDOWS * 5_000, vec![])), || {});
    }
    first
}

#[test]
fn a_backlog_is_written_in_transactions_of_a_bounded_size() {
    let join = Fake { complete_to: FOR_EVER, ..Fake::default() };
    let whole = backlog().close(&join, Most::ALL).unwrap();
    let size = |closed: &FirstClosed| closed.records.iter().map(NewRecord::size).sum::<usize>();
    let generation = size(&whole) / usize::try_from(2 * WINDOWS).unwrap();
    let (mut first, mut second) =
        (backlog(), Second::new(CLUSTER, history(settings(2, 1)), Meters::new(&Metrics::new())));
    second.take_over(0, Stage2Position::START);
    let (mut positions, mut transactions, mut offset) = (BTreeMap::new(), 0, 0);
    let most = Most { generations: 100, size: generation };
    loop {
        let closed = first.close(&join, most).unwrap();
        if closed.positions.is_empty() {
            break;
        }
        assert!(size(&closed) < 3 * generation, "{} of {generation}", size(&closed));
        transactions += 1;
        for (partition, position) in closed.positions {
            let before = positions.insert(partition, position.written);
            assert!(before.is_none_or(|before| before < position.written));
        }
        for message in closed.records.iter().filter(|message| *message.topic == *topics::partial(CLUSTER)) {
            second.read(0, offset, message.value.as_deref().unwrap()).unwrap();
            offset += 1;
        }
    }
    assert!(transactions >= WINDOWS, "{transactions}");
    let last = 100_000 + (WINDOWS - 1) * 5_000;
    assert_eq!(positions, BTreeMap::from([(0, last), (1, last)]));

    let (mut bytes, mut transactions) = (0, 0);
    let most = Most { generations: 100, size: 1 };
    loop {
        let closed = second.close(most);
        if closed.is_empty() {
            break;
        }
        assert_eq!(closed.iter().map(|(_, closed, _)| closed.generations).sum::<u64>(), 1);
        transactions += 1;
        let records = closed.into_iter().flat_map(|(_, closed, _)| closed.records);
        let of_level = records.filter(|record| record.level == 2);
        bytes +=
            of_level.map(|record| record.by_initiator.map_or(0, |report| report.counters.forward_bytes)).sum::<u64>();
    }
    assert_eq!(transactions, WINDOWS);
    assert_eq!(bytes, 2 * 100 * u64::from(CONNECTIONS) * u64::try_from(WINDOWS).unwrap(), "all is there");
}
