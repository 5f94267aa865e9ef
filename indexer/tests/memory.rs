//! What the text of ends that were met takes in memory, in a process that does nothing else.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/records.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod records;

use bytes::BytesMut;
use records::record;
use weir_elastic::bulk::Batch;
use weir_indexer::document::Writer;
use weir_indexer::periods::Periods;

/// That of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What `docs/operate.md` says of ends and of pairs of them, bytes.
const ENDS: u64 = 16 << 20;
const PAIRS: u64 = 8 << 20;

/// Memory of this process, bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Each record has ends that no other has: nothing that is kept of them is of use again.
#[test]
fn ends_that_never_come_again_take_no_more_than_is_said() {
    let (mut writer, mut memory) = (Writer::default(), BytesMut::with_capacity(1 << 20));
    let mut write = |numbers: std::ops::Range<u64>| {
        for n in numbers {
            let message = weir_schemas::encode(&record(20_000, n)).unwrap();
            let mut batch = Batch::within(std::mem::take(&mut memory));
            writer.put(&message, &Periods::default(), &mut batch).unwrap();
            memory = batch.finish().into_memory().unwrap();
        }
        resident()
    };
    let begin = write(0..100);
    let most = (1..=40).map(|round| write(100 + 2_000 * (round - 1)..100 + 2_000 * round)).max().unwrap();
    let taken = most - begin;
    eprintln!("{} MiB for ends and pairs", taken >> 20);
    // It is used at all, and what the allocator keeps beside it is a sixteenth.
    assert!(taken > ENDS / 2, "{taken} B");
    assert!(taken < (ENDS + PAIRS) / 16 * 17, "{taken} B");
}
