//! The service as a process, killed and started again.

use crate::now;
use rand::Rng;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::sync::watch;
use weir_flow::Millis;
use weir_schemas::metadata::Metadata;
use weir_schemas::{decode, topics};
use weir_stream::{Log, Partitions, Start, TopicPartition};

/// How soon a service that ended by itself is started again.
const AGAIN: Duration = Duration::from_millis(500);

/// How the service is started.
#[derive(Clone, Debug)]
pub(crate) struct HowToStart {
    pub(crate) kubeconfig: PathBuf,
    pub(crate) kafka: String,
    pub(crate) cluster: String,
    pub(crate) output: PathBuf,
    /// Where the broker keeps its topics, if it is the test's own: their files grow before a transaction ends.
    pub(crate) appended: Option<PathBuf>,
}

/// A running service.
struct Process {
    child: Child,
    started: Millis,
}

/// The last heartbeat of the topic: when it was written, and for which time.
pub(crate) type Heard = watch::Receiver<(Millis, Millis)>;

/// What the kills came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kills {
    /// How often the service ended by itself, because the API was away at its start.
    pub(crate) ended: usize,
    /// Times from a start to the first heartbeat, ms.
    pub(crate) first_heartbeats: Vec<Millis>,
    /// The most memory that any of the processes had, kB.
    pub(crate) memory: u64,
    /// When the service was killed.
    pub(crate) at: Vec<Millis>,
}

impl Kills {
    /// The median time from a start to the first heartbeat, ms.
    fn usual_start(&self) -> Millis {
        let mut times = self.first_heartbeats.clone();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or(4_000)
    }
}

/// Kills the service and starts it again.
pub(crate) struct Killer {
    command: HowToStart,
    log: Log,
    heard: Heard,
    random: SmallRng,
    pub(crate) kills: Kills,
    process: Option<Process>,
}

impl HowToStart {
    fn spawn(&self) -> Process {
        let output = File::options().create(true).append(true).open(&self.output).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_weir-metadata"))
            .args(["--kafka", &self.kafka, "--cluster", &self.cluster, "--kubeconfig"])
            .arg(&self.kubeconfig)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Process { child, started: now() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Killer {
    pub(crate) fn new(command: HowToStart, log: Log, heard: Heard, seed: u64) -> Self {
        let random = SmallRng::seed_from_u64(seed);
        Self { command, log, heard, random, kills: Kills::default(), process: None }
    }

    /// Starts the service and kills it at a random moment: while it starts, at the first sign of a transaction, or later. Which
    /// of them, and how long after the start, ms.
    pub(crate) async fn one(&mut self) -> (&'static str, Millis) {
        self.ensure_started().await;
        let point = match self.kills.at.len() % 5 {
            0 | 3 => {
                self.pause(0..self.kills.usual_start()).await;
                "starting"
            }
            1 | 4 => {
                if self.random.random_bool(0.7) {
                    self.first_heartbeat().await;
                    self.pause(0..2_000).await;
                }
                self.append().await;
                "writing"
            }
            _ => {
                self.first_heartbeat().await;
                self.pause(2_000..10_000).await;
                "running"
            }
        };
        let lived = self.process.as_ref().map_or(0, |process| now() - process.started);
        self.kill();
        self.kills.at.push(now());
        match self.random.random_range(0..10) {
            0..6 => {}
            6..9 => self.pause(0..2_000).await,
            _ => self.pause(3_000..7_000).await,
        }
        (point, lived)
    }

    /// Lets the service run until it has promised what is now. What it learnt with its first list is in doubt until that list
    /// arrived, which on a busy machine is long after what its first heartbeat promises.
    pub(crate) async fn catch_up(&mut self) {
        self.first_heartbeat().await;
        let at = now();
        let mut heard = self.heard.clone();
        let reached = tokio::time::timeout(Duration::from_secs(180), heard.wait_for(|(_, to)| *to >= at)).await;
        assert!(reached.is_ok(), "no heartbeat for {at}:\n{}", tail(&self.command.output));
        self.kill();
    }

    async fn ensure_started(&mut self) {
        if let Some(process) = &mut self.process
            && process.child.try_wait().unwrap().is_some()
        {
            self.kills.ended += 1;
            self.process = None;
            tokio::time::sleep(AGAIN).await;
        }
        if self.process.is_none() {
            self.process = Some(self.command.spawn());
        }
    }

    /// Waits for the first heartbeat after the start; a service that ended by itself is started again.
    async fn first_heartbeat(&mut self) {
        for _ in 0..1_800 {
            self.ensure_started().await;
            let started = self.process.as_ref().map_or(0, |process| process.started);
            let (written, _) = *self.heard.borrow();
            if written >= started {
                self.kills.first_heartbeats.push(written - started);
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("no heartbeat in three minutes:\n{}", tail(&self.command.output));
    }

    /// Waits until something is appended: with the test's own broker before it is committed.
    async fn append(&mut self) {
        let begun = self.appended().await;
        for _ in 0..20_000 {
            self.ensure_started().await;
            if self.appended().await > begun {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// How much has been appended: bytes, or records that are committed.
    async fn appended(&self) -> u64 {
        let place = TopicPartition::new(topics::METADATA, 0);
        match &self.command.appended {
            Some(folder) => bytes_under(folder),
            None => self.log.log_end(&place).await.ok().and_then(|end| u64::try_from(end).ok()).unwrap_or(0),
        }
    }

    async fn pause(&mut self, range: std::ops::Range<i64>) {
        let millis = self.random.random_range(range);
        tokio::time::sleep(Duration::from_millis(u64::try_from(millis).unwrap_or(0))).await;
    }

    fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            self.kills.memory = self.kills.memory.max(memory(process.child.id()));
        }
    }
}

/// The most memory that a process ever had, kB; 0 when it is gone.
fn memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// The size of all files under a folder.
fn bytes_under(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let sizes = entries.filter_map(Result::ok).map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_under(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// The end of what the service said.
fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(40)).copied().collect::<Vec<_>>().join("\n")
}

/// Follows the topic's heartbeats of a cluster until the task is aborted.
pub(crate) async fn listen(log: Log, cluster: String, sender: watch::Sender<(Millis, Millis)>) {
    loop {
        let Ok(mut reader) = log.reader(topics::METADATA, Partitions::All, Start::Beginning).await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        while let Ok(records) = reader.next(Duration::from_millis(200)).await {
            for record in records {
                if !record.key.as_deref().is_some_and(|key| key.starts_with(format!("{cluster}/heartbeat/").as_bytes()))
                {
                    continue;
                }
                if let Ok(Metadata::Heartbeat(heartbeat)) = decode(record.value.as_deref().unwrap_or_default()) {
                    sender.send_replace((record.timestamp, heartbeat.complete_to));
                }
            }
        }
    }
}
