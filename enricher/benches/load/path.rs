//! The path without Kafka, on one thread: encoded raw batches → decode → stage 1 → encoded partials → decode → stage 2 →
//! encoded records, as the pipeline moves them between its topics.

use crate::cluster::Cluster;
use crate::traffic::{Expected, Timing, Window, add};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use weir_enricher::history::SettingsHistory;
use weir_enricher::join::{Joined, Places};
use weir_enricher::judge::Judge;
use weir_enricher::policies::Policies;
use weir_enricher::position::{Stage1Position, Stage2Position};
use weir_enricher::stage1::{self, Content, Input, Partition};
use weir_enricher::stage2::{Enriched, InternalPartition};
use weir_flow::time::FOR_EVER;
use weir_flow::{Millis, RecordSettings};
use weir_join::Table;
use weir_schemas::partial::PartialMessage;
use weir_schemas::raw::{Origin, RawBatch};
use weir_schemas::{decode, encode};
use xxhash_rust::xxh3::xxh3_128;

/// The first window's start, ms since the epoch.
const BEGIN: Millis = 1_760_000_040_000;

/// Generations that one transaction closes, as the pipeline's default.
const GENERATIONS: usize = 8;

/// What the time goes to, in the order of the path.
pub(crate) const PHASES: [&str; 8] = [
    "raw: decode",
    "stage 1: read",
    "stage 1: join, aggregate",
    "stage 1: close",
    "partials: encode",
    "partials: decode",
    "stage 2: read, close",
    "records: encode",
];

/// How long this thread has been on a processor: what other processes take does not count.
fn on_processor() -> Duration {
    Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime)).unwrap()
}

/// What came out of one level.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    pub(crate) records: u64,
    /// Bytes of the encoded records.
    pub(crate) bytes: u64,
    /// Bytes when 500 records are compressed together as a producer does (zstd, level 1).
    pub(crate) compressed: u64,
    pub(crate) sums: Expected,
    waiting: Vec<u8>,
    waiting_records: u32,
}

/// All that was measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) flows: u64,
    pub(crate) raw_bytes: u64,
    pub(crate) partials: u64,
    pub(crate) times: [Duration; PHASES.len()],
    pub(crate) levels: BTreeMap<u8, Stored>,
    /// One number for every byte of partial records and markers, in order.
    pub(crate) partials_digest: u128,
    /// One number for every byte of records, in order.
    pub(crate) digest: u128,
}

/// Files of encoded records, one a level: `0.records` …; each message after its length (u32, little-endian).
#[derive(Debug)]
pub(crate) struct Kept {
    folder: PathBuf,
    files: BTreeMap<u8, BufWriter<File>>,
}

impl Kept {
    fn write(&mut self, level: u8, bytes: &[u8]) {
        let create = || BufWriter::new(File::create(self.folder.join(format!("{level}.records"))).unwrap());
        let file = self.files.entry(level).or_insert_with(create);
        file.write_all(&u32::try_from(bytes.len()).unwrap().to_le_bytes()).unwrap();
        file.write_all(bytes).unwrap();
    }
}

/// A run of the path.
pub(crate) struct Path {
    table: Table,
    policies: Policies,
    judge: Judge,
    places: Places,
    raw: Vec<(Partition, i64)>,
    internal: Vec<(InternalPartition, i64)>,
    /// Whether records are compressed to see how small they get.
    pub(crate) compress: bool,
    /// Where records are kept, if they are. The counters of each window are others then, as in nature.
    kept: Option<Kept>,
    pub(crate) outcome: Outcome,
}

/// The table of a cluster.
pub(crate) fn table(cluster: &Cluster) -> Table {
    let mut table = Table::new(&cluster.name, 1);
    for message in cluster.metadata() {
        table.apply(0, &message);
    }
    table
}

/// The policies of a cluster, and whom they may select.
fn policies(cluster: &Cluster) -> Policies {
    let mut policies = Policies::new(&cluster.name);
    for message in cluster.metadata() {
        policies.take(&message);
    }
    policies
}

impl Path {
    pub(crate) fn new(cluster: &Cluster, settings: RecordSettings) -> Self {
        let (p, r) = (settings.raw_partitions, settings.internal_partitions);
        let history = Arc::new(SettingsHistory::new(&cluster.name, vec![settings]).unwrap());
        let raw = |p| (Partition::new(&cluster.name, p, history.clone(), Stage1Position::START), 0);
        let internal = |r| (InternalPartition::new(&cluster.name, r, history.clone(), Stage2Position::START), 0);
        Self {
            table: table(cluster),
            policies: policies(cluster),
            judge: Judge::default(),
            places: Places::new(),
            raw: (0..p).map(raw).collect(),
            internal: (0..r).map(internal).collect(),
            compress: false,
            kept: None,
            outcome: Outcome::default(),
        }
    }

    /// Keeps the encoded records in a folder.
    pub(crate) fn keep(&mut self, folder: PathBuf) {
        self.kept = Some(Kept { folder, files: BTreeMap::new() });
    }

    /// Runs windows of one kind of traffic to their end and checks what came out.
    pub(crate) fn run(&mut self, window: &mut Window<'_>, timing: Timing, windows: u32) {
        let mut expected = Expected::default();
        for number in 0..windows {
            let begin = BEGIN + timing.window * Millis::from(number);
            if self.kept.is_some() {
                window.vary(number);
            }
            for index in 0..window.ticks() {
                let tick = begin + timing.tick * Millis::from(index);
                for (node, batch) in window.batches(index, tick, &mut expected) {
                    self.outcome.flows += u64::try_from(batch.samples.len()).unwrap();
                    self.feed(node, &batch);
                }
                self.write();
            }
        }
        let after = BEGIN + timing.window * Millis::from(windows + 1);
        for partition in 0..u32::try_from(self.raw.len()).unwrap() {
            self.feed(partition, &RawBatch { origin: Origin::Owner, ..window.empty(partition, after) });
        }
        self.write();
        for (level, stored) in &mut self.outcome.levels {
            stored.compress();
            assert_eq!(stored.sums, expected, "level {level} does not add up to what was sent");
        }
    }

    fn timed<T>(&mut self, phase: usize, work: impl FnOnce(&mut Self) -> T) -> T {
        let begun = on_processor();
        let done = work(self);
        self.outcome.times[phase] += on_processor().saturating_sub(begun);
        done
    }

    fn feed(&mut self, node: u32, batch: &RawBatch) {
        let bytes = encode(batch).unwrap();
        self.outcome.raw_bytes += u64::try_from(bytes.len()).unwrap();
        let number = usize::try_from(node).unwrap() % self.raw.len();
        let batch: stage1::RawBatch = self.timed(0, |_| decode(&bytes).unwrap());
        let append_time = batch.tick + batch.tick_length;
        self.timed(1, |path| {
            let (partition, offset) = &mut path.raw[number];
            partition.read(Input { offset: *offset, append_time, size: bytes.len(), content: Content::Batch(batch) });
            *offset += 1;
        });
        self.timed(2, |path| {
            let policies = (&path.policies, &path.judge);
            path.raw[number].0.advance(&Joined { table: &path.table, places: &path.places, policies });
        });
    }

    /// Closes what may be closed.
    fn write(&mut self) {
        for number in 0..self.raw.len() {
            while let Some(last) = self.raw[number].0.ready(FOR_EVER, GENERATIONS) {
                let closed = self.timed(3, |path| {
                    let policies = (&path.policies, &path.judge);
                    path.raw[number].0.close(last, &Joined { table: &path.table, places: &path.places, policies })
                });
                for (internal, batch) in closed.partials {
                    self.outcome.partials += u64::try_from(batch.partials.len()).unwrap();
                    let message = PartialMessage::Partials(batch);
                    let bytes = self.timed(4, |_| {
                        let bytes = encode(&message).unwrap();
                        drop(message);
                        bytes
                    });
                    self.merge(internal, &bytes);
                }
                for (internal, marker) in closed.markers {
                    self.merge(internal, &encode(&PartialMessage::Marker(marker)).unwrap());
                }
            }
        }
        for number in 0..self.internal.len() {
            while let Some(last) = self.internal[number].0.ready(GENERATIONS) {
                let closed = self.timed(6, |path| path.internal[number].0.close(last));
                let encoded: Vec<Vec<u8>> =
                    self.timed(7, |_| closed.records.iter().map(|record| encode(record).unwrap()).collect());
                for (record, bytes) in closed.records.iter().zip(&encoded) {
                    self.store(record, bytes);
                }
                self.timed(7, |_| drop((closed, encoded)));
            }
        }
    }

    fn merge(&mut self, internal: i32, bytes: &[u8]) {
        note(&mut self.outcome.partials_digest, bytes);
        let message: PartialMessage = self.timed(5, |_| decode(bytes).unwrap());
        self.timed(6, |path| {
            let (partition, offset) = &mut path.internal[usize::try_from(internal).unwrap()];
            partition.read(*offset, message);
            *offset += 1;
        });
    }

    fn store(&mut self, record: &Enriched, bytes: &[u8]) {
        note(&mut self.outcome.digest, bytes);
        if let Some(kept) = &mut self.kept {
            kept.write(record.level, bytes);
        }
        let compress = self.compress;
        let stored = self.outcome.levels.entry(record.level).or_default();
        stored.records += 1;
        stored.bytes += u64::try_from(bytes.len()).unwrap();
        stored.sums.samples += record.samples;
        add(&mut stored.sums.totals, &record.totals);
        for (sum, report) in [
            (&mut stored.sums.by_initiator, &record.by_initiator),
            (&mut stored.sums.by_responder, &record.by_responder),
        ] {
            if let Some(report) = report {
                add(sum, &report.counters);
            }
        }
        if compress {
            stored.waiting.extend_from_slice(bytes);
            stored.waiting_records += 1;
            if stored.waiting_records == 500 {
                stored.compress();
            }
        }
    }
}

fn note(digest: &mut u128, bytes: &[u8]) {
    let mut both = digest.to_le_bytes().to_vec();
    both.extend_from_slice(&xxh3_128(bytes).to_le_bytes());
    *digest = xxh3_128(&both);
}

impl Stored {
    fn compress(&mut self) {
        if self.waiting_records > 0 {
            let small = zstd::bulk::compress(&self.waiting, 1).unwrap().len();
            self.compressed += u64::try_from(small).unwrap();
            self.waiting.clear();
            self.waiting_records = 0;
        }
    }
}
