//! The whole path over a Kafka, real or embedded: enrichers as processes of their own, of which only the processor time counts.

use crate::cluster::Cluster;
use crate::traffic::{Expected, Timing, Window, add};
use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};
use weir_embedded_broker::{Broker, BrokerSettings};
use weir_flow::{Millis, RecordSettings, time};
use weir_schemas::enriched::Enriched;
use weir_schemas::metadata::Metadata;
use weir_schemas::raw::{Origin, RawBatch};
use weir_schemas::settings::Settings;
use weir_schemas::{decode, encode, topics};
use weir_stream::{
    KafkaSettings, Log, NewRecord, Partitions, Producer, ProducerSettings, Reader, Start, StreamError, TopicSpec,
};

/// Time to make the traffic in before it happens, ms.
const LEAD: Millis = 40_000;
/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_secs(600);

/// A broker, and what is written to it.
pub(crate) struct Stage {
    broker: Option<(Broker, tempfile::TempDir)>,
    address: String,
    log: Log,
    pub(crate) producer: Producer,
}

pub(crate) fn now() -> Millis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Millis::try_from(since.as_millis()).unwrap()
}

impl Stage {
    /// Connects to a Kafka, or starts the embedded broker.
    pub(crate) async fn new(kafka: Option<&str>) -> Self {
        let broker = if kafka.is_none() {
            let folder = tempfile::tempdir().unwrap();
            let settings = BrokerSettings::new(folder.path().to_path_buf(), "127.0.0.1:0".parse().unwrap());
            Some((Broker::start(settings).await.unwrap(), folder))
        } else {
            None
        };
        let address = match (&broker, kafka) {
            (Some((broker, _)), _) => broker.address().to_string(),
            (None, address) => address.unwrap_or_default().to_owned(),
        };
        let log = Log::kafka(&KafkaSettings::at(address.clone())).unwrap();
        log.check(Duration::from_secs(60)).await.unwrap();
        let producer = log.producer(&ProducerSettings::new("load")).unwrap();
        Self { broker, address, log, producer }
    }

    /// Creates a cluster's topics and writes its settings and metadata, which is complete up to a time.
    pub(crate) async fn prepare(&self, cluster: &Cluster, settings: &RecordSettings, complete_to: Millis) {
        let topics = topics::of(&cluster.name, settings.raw_partitions, settings.internal_partitions, 16);
        let spec =
            |topic: topics::Topic| TopicSpec { name: topic.name, partitions: topic.partitions, configs: topic.configs };
        self.log.ensure_topics(&topics.into_iter().map(spec).collect::<Vec<_>>()).await.unwrap();
        let value = encode(&Settings::from(settings)).unwrap();
        self.send(NewRecord::new(topics::SETTINGS, cluster.name.clone(), value)).await;
        let known = cluster.metadata().filter(|message| matches!(message, Metadata::Revision(_)));
        for message in known.chain([cluster.complete_to(complete_to)]) {
            self.send(NewRecord::new(topics::METADATA, message.key(0), encode(&message).unwrap())).await;
        }
        self.producer.flush(PATIENCE).await.unwrap();
    }

    pub(crate) async fn send(&self, record: NewRecord) {
        loop {
            match self.producer.send(record.clone()) {
                Ok(_) => return,
                Err(StreamError::QueueFull { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(crate) async fn records(&self, cluster: &Cluster) -> Records {
        let reader = self.log.reader(topics::ENRICHED, Partitions::All, Start::End).await.unwrap();
        Records { reader, cluster: cluster.name.clone(), sums: BTreeMap::new() }
    }

    pub(crate) async fn end(self) {
        let Self { broker, log, producer, .. } = self;
        let clients = log.clients();
        drop((producer, log));
        clients.gone(Duration::from_secs(10)).await;
        if let Some((broker, _)) = broker {
            let _ = broker.shutdown().await;
        }
    }
}

/// What enrichers write for one cluster, added up.
pub(crate) struct Records {
    reader: Reader,
    cluster: String,
    pub(crate) sums: BTreeMap<u8, Expected>,
}

impl Records {
    /// The next records, as they come.
    pub(crate) async fn next(&mut self, timeout: Duration) -> Vec<Enriched> {
        let records = self.reader.next(timeout).await.unwrap();
        let decoded = records.iter().map(|record| decode::<Enriched>(record.value.as_ref().unwrap()).unwrap());
        let ours: Vec<Enriched> = decoded.filter(|record| record.cluster == self.cluster).collect();
        for record in &ours {
            let sums = self.sums.entry(record.level).or_default();
            sums.samples += record.samples;
            add(&mut sums.totals, &record.totals);
            let [initiator, responder] = [&record.by_initiator, &record.by_responder];
            initiator.iter().for_each(|report| add(&mut sums.by_initiator, &report.counters));
            responder.iter().for_each(|report| add(&mut sums.by_responder, &report.counters));
        }
        ours
    }

    /// Whether every level has all samples. More would be an error.
    pub(crate) fn complete(&self, levels: usize, expected: &Expected) -> bool {
        let complete = self.sums.len() == levels && self.sums.values().all(|sums| sums.samples >= expected.samples);
        if complete {
            for (level, sums) in &self.sums {
                assert_eq!(sums, expected, "level {level} does not add up to what was sent");
            }
        }
        complete
    }
}

/// Enrichers as processes.
pub(crate) struct Enrichers(Vec<Child>);

impl Enrichers {
    pub(crate) fn start(stage: &Stage, cluster: &Cluster, count: u32) -> Self {
        let start = |number: u32| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_weir-enricher"));
            command.args(["--kafka", &stage.address, "--cluster", &cluster.name, "--log", "warn"]);
            // As the enricher is deployed (`k8s/base/enricher.yaml`).
            command.env("MIMALLOC_PURGE_DELAY", "150000");
            command.args(["--instance", &format!("load-{number}"), "--enricher-memory-limit", "4GiB"]);
            command.stdin(Stdio::null()).spawn().unwrap()
        };
        Self((0..count).map(start).collect())
    }

    /// Seconds of processor time of all of them, user and system.
    pub(crate) fn seconds(&self) -> f64 {
        self.user_and_system().into_iter().sum()
    }

    fn user_and_system(&self) -> [f64; 2] {
        let mut sums = [0.0, 0.0];
        for child in &self.0 {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
            let after = stat.rsplit(')').next().unwrap();
            let field = |number: usize| after.split_whitespace().nth(number).unwrap().parse::<f64>().unwrap();
            sums = [sums[0] + field(11) / 100.0, sums[1] + field(12) / 100.0];
        }
        sums
    }

    /// Waits until they have joined their groups and have nothing to do.
    pub(crate) async fn settle(&self) -> f64 {
        tokio::time::sleep(Duration::from_secs(6)).await;
        let mut before = self.seconds();
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let after = self.seconds();
            if after - before < 0.15 * f64::from(u32::try_from(self.0.len()).unwrap()) {
                return after;
            }
            before = after;
        }
    }
}

impl Drop for Enrichers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A backlog: windows one after the other from a time on, and one more that closes them.
struct Backlog {
    messages: Vec<NewRecord>,
    /// What it and all before it add up to.
    expected: Expected,
}

impl Backlog {
    fn new(
        (cluster, settings): (&Cluster, &RecordSettings),
        window: &mut Window<'_>,
        (begin, windows): (Millis, u32),
        mut expected: Expected,
    ) -> Self {
        let partitions = u32::try_from(settings.raw_partitions).unwrap();
        let mut all = Vec::new();
        for number in 0..windows {
            for index in 0..window.ticks() {
                let tick = begin + settings.window * Millis::from(number) + settings.tick * Millis::from(index);
                let batches = window.batches(index, tick, &mut expected);
                all.extend(messages(cluster, partitions, &batches));
            }
        }
        let end = begin + settings.window * Millis::from(windows) + settings.grace;
        let closing = |partition| (partition, RawBatch { origin: Origin::Owner, ..window.empty(partition, end) });
        all.extend(messages(cluster, partitions, &(0..partitions).map(closing).collect::<Vec<_>>()));
        Self { messages: all, expected }
    }

    /// Sends it and waits for all its records.
    async fn work_off(self, stage: &Stage, records: &mut Records, levels: usize) -> Expected {
        let begun = Instant::now();
        for record in self.messages {
            stage.send(record).await;
        }
        while !records.complete(levels, &self.expected) {
            assert!(begun.elapsed() < PATIENCE, "timed out with {:?} of {:?}", records.sums, self.expected);
            records.next(Duration::from_millis(500)).await;
        }
        self.expected
    }
}

/// A backlog of windows, and how much processor time enrichers take for a flow of it, after another one, of so many windows,
/// from which they have their memory.
pub(crate) async fn throughput(
    stage: &Stage,
    cluster: &Cluster,
    settings: &RecordSettings,
    window: &mut Window<'_>,
    (warm_up, windows, processes): (u32, u32, u32),
) {
    let levels = settings.levels_allowed.len();
    stage.prepare(cluster, settings, time::FOR_EVER).await;
    let mut records = stage.records(cluster).await;
    // The second begins where the closing tick of the first ends.
    let second = time::floor_to(now(), settings.window) - settings.window * Millis::from(windows + 2);
    let first = second - settings.window * Millis::from(warm_up + 1);
    let warm = Backlog::new((cluster, settings), window, (first, warm_up), Expected::default());
    let measured = Backlog::new((cluster, settings), window, (second, windows), warm.expected.clone());
    let enrichers = Enrichers::start(stage, cluster, processes);
    enrichers.settle().await;
    let mut before = enrichers.user_and_system();
    let mut done = 0;
    if warm_up > 0 {
        done = warm.work_off(stage, &mut records, levels).await.samples;
        // At once: what is not used for ten seconds goes back to the kernel.
        before = enrichers.user_and_system();
    }
    let begun = Instant::now();
    let all = measured.work_off(stage, &mut records, levels).await.samples;
    let (after, wall) = (enrichers.user_and_system(), begun.elapsed());
    let [user, system] = [after[0] - before[0], after[1] - before[1]];
    let seconds = user + system;
    let flows = f64::from(u32::try_from(all - done).unwrap());
    println!(
        "{processes} processes, {} partitions, {warm_up} windows before: {flows} flows, {:.0} flows/s a core ({:.2} s of processor time a million, of it {:.2} in the kernel), {:.1} s in all, sums exact",
        settings.raw_partitions,
        flows / seconds,
        seconds * 1e6 / flows,
        system * 1e6 / flows,
        wall.as_secs_f64(),
    );
}

/// What a tick's batches are as messages.
fn messages(cluster: &Cluster, partitions: u32, batches: &[(u32, RawBatch)]) -> Vec<NewRecord> {
    let message = |(node, batch): &(u32, RawBatch)| {
        let record = NewRecord::new(topics::raw(&cluster.name), batch.node.clone(), encode(batch).unwrap());
        record.to_partition(i32::try_from(node % partitions).unwrap())
    };
    batches.iter().map(message).collect()
}

/// Reads records until every level has all samples: when the records of each generation were seen.
async fn watch(mut records: Records, levels: usize, expected: Expected) -> Vec<(Millis, Instant)> {
    let (begun, mut seen) = (Instant::now(), Vec::new());
    while !records.complete(levels, &expected) {
        assert!(begun.elapsed() < PATIENCE, "timed out with {:?} of {expected:?}", records.sums);
        let generations: Vec<Millis> =
            records.next(Duration::from_millis(100)).await.iter().map(|record| record.generation).collect();
        let now = Instant::now();
        seen.extend(generations.into_iter().map(|generation| (generation, now)));
    }
    seen
}

/// Traffic as it happens, and how long a record takes from the last batch that completes its generation, or from the metadata
/// heartbeat where that comes so long after the batches. The traffic is made before, and records are read beside.
pub(crate) async fn latency(
    stage: &Stage,
    cluster: &Cluster,
    settings: &RecordSettings,
    window: &mut Window<'_>,
    (windows, heartbeat): (u32, Option<Duration>),
) {
    let timing = Timing { tick: settings.tick, window: settings.window };
    let complete_to = if heartbeat.is_some() { now() } else { time::FOR_EVER };
    stage.prepare(cluster, settings, complete_to).await;
    let records = stage.records(cluster).await;
    let enrichers = Enrichers::start(stage, cluster, 1);
    enrichers.settle().await;
    let (mut expected, mut ticks) = (Expected::default(), Vec::new());
    let partitions = u32::try_from(settings.raw_partitions).unwrap();
    let begin = time::floor_to(now() + LEAD, timing.window);
    let count = Millis::from(window.ticks()) * Millis::from(windows);
    for number in 0..count + (timing.window + settings.grace) / timing.tick {
        let tick = begin + timing.tick * number;
        let batches = if number < count {
            let index = u32::try_from(number % Millis::from(window.ticks())).unwrap();
            window.batches(index, tick, &mut expected)
        } else {
            (0..cluster.nodes()).map(|node| (node, window.empty(node, tick))).collect()
        };
        ticks.push((tick, messages(cluster, partitions, &batches)));
    }
    assert!(now() < begin, "the traffic took longer to make than there was time; fewer flows or windows");
    let watching = tokio::spawn(watch(records, settings.levels_allowed.len(), expected.clone()));
    let (mut completed, mut sent) = (BTreeMap::new(), 0_u64);
    let (mut before, mut begun) = (enrichers.seconds(), Instant::now());
    for (tick, messages) in ticks {
        let left = u64::try_from((tick + timing.tick - now()).max(0)).unwrap();
        tokio::time::sleep(Duration::from_millis(left)).await;
        if tick == begin {
            (before, begun) = (enrichers.seconds(), Instant::now());
        }
        for message in messages {
            stage.send(message).await;
            sent += 1;
        }
        if let Some(after) = heartbeat {
            tokio::time::sleep(after).await;
            let message = cluster.complete_to(tick + timing.tick);
            stage.send(NewRecord::new(topics::METADATA, message.key(0), encode(&message).unwrap())).await;
        }
        completed.insert(tick + timing.tick - settings.grace - timing.window, Instant::now());
    }
    let seen = watching.await.unwrap();
    let busy = (enrichers.seconds() - before) / begun.elapsed().as_secs_f64();
    let after = |(generation, at): &(Millis, Instant)| {
        completed.get(generation).map(|completed| at.saturating_duration_since(*completed))
    };
    let mut latencies: Vec<Duration> = seen.iter().filter_map(after).collect();
    latencies.sort_unstable();
    let at = |share: usize| latencies.get(latencies.len() * share / 100).copied().unwrap_or_default();
    println!(
        "{} flows in {sent} batches over {windows} windows, {:.0} % of a core; {} records visible after p50 {:?}, p99 {:?}, longest {:?}; sums exact",
        expected.samples,
        busy * 100.0,
        latencies.len(),
        at(50),
        at(99),
        latencies.last().copied().unwrap_or_default()
    );
}
