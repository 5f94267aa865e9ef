//! Load on the enricher, by a seed, with every sum checked: `cargo bench -p weir-enricher --bench load -- --help`.
//!
//! A *flow* is one sample: one direction of one connection, seen by one reporter in one tick.
#![allow(clippy::unwrap_used, reason = "a benchmark stops at the first error")]

mod cluster;
mod kafka;
mod path;
mod peer;
mod traffic;

use clap::{Args, Parser, Subcommand};
use cluster::Cluster;
use path::{Outcome, PHASES, Path};
use std::path::PathBuf;
use std::time::Duration;
use traffic::{Mix, Timing, Window};
use weir_flow::{Level, RecordSettings};

/// As the enricher's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Load on the enricher, with every sum checked", disable_help_subcommand = true)]
struct Arguments {
    /// Given by cargo
    #[arg(long, hide = true, global = true)]
    bench: bool,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// The path without Kafka on one thread: flows a second, and where the time goes
    Path(Load),
    /// Bytes of the records of levels 0 to 3 over several mixes
    Storage(Load),
    /// The records themselves, encoded, for the indexer's load driver: a file for each level
    Records {
        #[command(flatten)]
        load: Load,
        /// The folder for the files
        #[arg(long)]
        folder: PathBuf,
    },
    /// Enrichers over a Kafka: processor time for each flow of a backlog
    Kafka {
        #[command(flatten)]
        load: Load,
        /// A real Kafka, host:port; the embedded broker without it
        #[arg(long)]
        kafka: Option<String>,
        /// Enricher processes
        #[arg(long, default_value_t = 1)]
        processes: u32,
        /// Windows before, whose processor time does not count: what processes do once for their memory is over then
        #[arg(long, default_value_t = 0)]
        warm_up: u32,
    },
    /// One enricher over a Kafka, in real time (tick 1 s, window 5 s): from the last batch that completes a generation to
    /// its records
    Latency {
        #[command(flatten)]
        load: Load,
        /// A metadata heartbeat comes so many ms after the batches of each tick, and is what completes a generation; without
        /// it metadata is complete from the start
        #[arg(long)]
        heartbeat_after: Option<u64>,
        /// A real Kafka, host:port; the embedded broker without it
        #[arg(long)]
        kafka: Option<String>,
    },
    /// The same flows for another product: a line of JSON each, with the names that `NetObserv` uses
    Flows {
        #[command(flatten)]
        load: Load,
        /// A Kafka to write to, a message each, instead of to standard output
        #[arg(long, requires = "topic")]
        kafka: Option<String>,
        /// Its topic
        #[arg(long)]
        topic: Option<String>,
    },
}

/// What is put in.
#[derive(Args, Clone)]
struct Load {
    /// Pods of the cluster; a multiple of 20
    #[arg(long, default_value_t = 1_000)]
    pods: u32,
    /// Network policies of the cluster
    #[arg(long, default_value_t = 0)]
    policies: u32,
    /// Records of level 1 in a window
    #[arg(long, default_value_t = 30_000)]
    keys: u32,
    /// Flows of each key in a window, on average; keys times this are the flows of a window
    #[arg(long, default_value_t = 30)]
    flows_a_key: u32,
    /// Flows in a window, about, whatever the keys
    #[arg(long, conflicts_with = "flows_a_key")]
    flows: Option<u64>,
    /// Exponent of the Zipf distribution of connections over keys; 0 is uniform
    #[arg(long, default_value_t = 1.0)]
    zipf: f64,
    /// Windows
    #[arg(long, default_value_t = 2)]
    windows: u32,
    /// Levels
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    levels: Vec<u8>,
    /// Seed of the traffic
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Partitions of the raw and of the internal topic
    #[arg(long, default_value_t = 16)]
    partitions: i32,
    /// How often; the best is shown
    #[arg(long, default_value_t = 1)]
    runs: u32,
}

impl Load {
    fn mix(&self) -> Mix {
        let flows = self.flows.unwrap_or_else(|| u64::from(self.keys) * u64::from(self.flows_a_key));
        Mix { keys: self.keys, flows, zipf: self.zipf, seed: self.seed }
    }

    fn cluster(&self, name: &str) -> Cluster {
        Cluster { name: name.to_owned(), pods: self.pods, namespaces: true, policies: self.policies }
    }

    fn settings(&self, cluster: &str) -> RecordSettings {
        let levels: Vec<Level> =
            self.levels.iter().map(|level| Level::from_number(i64::from(*level)).unwrap()).collect();
        RecordSettings {
            levels_allowed: levels.clone(),
            levels_denied: levels,
            raw_partitions: self.partitions,
            internal_partitions: self.partitions,
            keys_limit: 10_000_000,
            live: false,
            ..RecordSettings::standard(cluster)
        }
    }

    fn run(&self, compress: bool, keep: Option<PathBuf>) -> Outcome {
        let (cluster, settings) = (self.cluster("local"), self.settings("local"));
        let timing = Timing { tick: settings.tick, window: settings.window };
        let mut window = Window::new(&cluster, timing, &self.mix());
        let mut path = Path::new(&cluster, settings);
        path.compress = compress;
        if let Some(folder) = keep {
            path.keep(folder);
        }
        path.run(&mut window, timing, self.windows);
        path.outcome
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}

fn show(load: &Load, outcome: &Outcome) {
    let total: Duration = outcome.times.iter().sum();
    let flows = outcome.flows;
    let of = |time: Duration| ratio(u64::try_from(time.as_nanos()).unwrap(), flows);
    println!(
        "{} pods, {} policies, {} keys a window, {:.1} flows a key, {} flows in {} windows, zipf {}, levels {:?}, {} partitions, {:.1} B a flow raw",
        load.pods,
        load.policies,
        load.keys,
        ratio(flows, u64::from(load.keys) * u64::from(load.windows)),
        flows,
        load.windows,
        load.zipf,
        load.levels,
        load.partitions,
        ratio(outcome.raw_bytes, flows)
    );
    for (name, time) in PHASES.iter().zip(outcome.times) {
        println!("  {name:<26}{:8.1} ns a flow", of(time));
    }
    println!("  {:<26}{:8.1} ns a flow = {:.0} flows/s", "all", of(total), 1e9 / of(total));
    for (level, stored) in &outcome.levels {
        println!(
            "  level {level}: {} records, {:.2} % of flows are merged away, {:.0} B a record, {:.2} B a flow",
            stored.records,
            100.0 * (1.0 - ratio(stored.records, flows)),
            ratio(stored.bytes, stored.records),
            ratio(stored.bytes, flows)
        );
    }
    println!("  {} partial records; sums exact at every level; digest {:032x}", outcome.partials, outcome.digest);
}

fn storage(load: &Load) {
    println!("| mix | level | records | B a flow | zstd, B a flow | against level 0 |\n|---|---|---|---|---|---|");
    let mixes = [("uniform", 0.0), ("zipf 0.8", 0.8), ("zipf 1.0", 1.0), ("zipf 1.2", 1.2)];
    for (name, zipf) in mixes {
        let outcome = Load { zipf, levels: vec![0, 1, 2, 3], ..load.clone() }.run(true, None);
        let whole = outcome.levels[&0].compressed;
        for (level, stored) in &outcome.levels {
            println!(
                "| {name} | {level} | {} | {:.2} | {:.2} | {:+.1} % |",
                stored.records,
                ratio(stored.bytes, outcome.flows),
                ratio(stored.compressed, outcome.flows),
                100.0 * (ratio(stored.compressed, whole) - 1.0)
            );
        }
    }
}

/// A backlog with so many windows before it for so many processes, or traffic as it happens.
fn over_kafka(load: &Load, kafka: Option<&str>, backlog: Option<(u32, u32)>, heartbeat: Option<Duration>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let cluster = load.cluster(&format!("load-{}", kafka::now()));
        let mut settings = load.settings(&cluster.name);
        if backlog.is_none() {
            let small = RecordSettings::small(&cluster.name);
            settings.live = true;
            (settings.tick, settings.window, settings.grace) = (small.tick, small.window, small.grace);
            settings.tolerance = small.tolerance;
            settings.raw_partitions = settings.raw_partitions.min(i32::try_from(cluster.nodes()).unwrap());
        }
        let timing = Timing { tick: settings.tick, window: settings.window };
        let mut window = Window::new(&cluster, timing, &load.mix());
        let stage = kafka::Stage::new(kafka).await;
        match backlog {
            Some((warm_up, count)) => {
                let counts = (warm_up, load.windows, count);
                kafka::throughput(&stage, &cluster, &settings, &mut window, counts).await;
            }
            None => kafka::latency(&stage, &cluster, &settings, &mut window, (load.windows, heartbeat)).await,
        }
        stage.end().await;
    });
}

fn main() {
    match Arguments::parse().what {
        Some(What::Path(load)) => {
            let runs = (0..load.runs.max(1)).map(|_| load.run(false, None));
            let best = runs.min_by_key(|outcome| outcome.times.iter().sum::<Duration>()).unwrap();
            show(&load, &best);
        }
        Some(What::Storage(load)) => storage(&load),
        Some(What::Records { load, folder }) => show(&load, &load.run(false, Some(folder))),
        Some(What::Kafka { load, kafka, processes, warm_up }) => {
            over_kafka(&load, kafka.as_deref(), Some((warm_up, processes)), None);
        }
        Some(What::Latency { load, heartbeat_after, kafka }) => {
            over_kafka(&load, kafka.as_deref(), None, heartbeat_after.map(Duration::from_millis));
        }
        Some(What::Flows { load, kafka, topic }) => {
            let (cluster, settings) = (load.cluster("local"), load.settings("local"));
            let timing = Timing { tick: settings.tick, window: settings.window };
            let mut window = Window::new(&cluster, timing, &load.mix());
            peer::write(&mut window, timing, load.windows, kafka.as_deref().zip(topic.as_deref()));
        }
        None => println!("nothing to do without a command; see --help"),
    }
}
