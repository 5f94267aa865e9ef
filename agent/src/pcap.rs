//! Capture files: any number of them, merged by time, counted as the kernel programs count.

mod file;

pub use file::{CaptureFile, Captured, FileError};

use crate::accounting::{Accounting, Identity};
use crate::aggregate::Aggregator;
use crate::dns::{self, Seen, Tracker};
use crate::packet::{self, Packet, Unread};
use crate::publish::{self, Published};
use crate::stats::Stats;
use crate::tick::Tick;
use anyhow::Context;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use weir_flow::time::floor_to;
use weir_flow::{Millis, RecordSettings};
use weir_schemas::raw::{DnsSample, End, Origin, Point, RawBatch};
use weir_schemas::topics;
use weir_service::{Health, Metrics};
use weir_stream::{Log, Partitions, Start};

#[cfg(test)]
mod tests;

/// The most connections that are remembered while reading.
const CONNECTIONS: usize = 1 << 20;
/// The most DNS questions that wait for an answer while reading, and the most different ones in a tick.
const QUESTIONS: usize = 1 << 18;
/// The node's name in batches from files.
const NODE: &str = "capture";
/// How long an answer of Kafka is awaited.
const ANSWER: Duration = Duration::from_secs(30);
/// Ticks between the reader's thread and the publisher; it waits when they are full.
const CHANNEL: usize = 4;

/// Capture files, ready to be read.
pub struct Capture {
    /// The cluster's id, a function of the files' contents.
    pub cluster: String,
    /// What the batches say of their writer, likewise.
    boot: String,
    ticks: Ticks,
}

/// Opens files and derives the cluster's id from their contents.
///
/// # Errors
/// The first file that cannot be read, or is not a capture file.
pub fn read(files: &[impl AsRef<Path>], settings: &RecordSettings) -> Result<Capture, FileError> {
    let mut hashes = files.iter().map(|file| hash(file.as_ref())).collect::<Result<Vec<_>, _>>()?;
    hashes.sort_unstable();
    let digest = Sha256::digest(hashes.concat());
    let hex: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let mut sources = Vec::with_capacity(files.len());
    for file in files {
        let mut file = CaptureFile::open(file.as_ref())?;
        if let Some(head) = file.next_packet()? {
            sources.push(Source { file, head });
        }
    }
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    Ok(Capture {
        cluster: format!("capture-{hex}"),
        boot: uuid::Builder::from_custom_bytes(id).into_uuid().to_string(),
        ticks: Ticks {
            sources,
            aggregator: Aggregator::new(settings.tick, CONNECTIONS),
            dns: Tracker::new(QUESTIONS),
            waiting: None,
            settings: settings.clone(),
            not_ip: 0,
            last: None,
            state: State::Reading,
            failed: None,
        },
    })
}

impl Capture {
    /// The ticks, in order, and at the end one empty one after the grace of the last window, so that it is complete. What is
    /// before the place from which a file cannot be read counts; the first such error comes after all ticks.
    #[must_use]
    pub fn ticks(self) -> Ticks {
        self.ticks
    }

    /// The same as batches.
    pub fn batches(self) -> impl Iterator<Item = Result<RawBatch, FileError>> {
        let mut accounting = Accounting::new(self.identity());
        self.ticks.map(move |tick| tick.map(|tick| accounting.batch(&tick)))
    }

    fn identity(&self) -> Identity {
        Identity {
            cluster: self.cluster.clone(),
            node: NODE.to_owned(),
            boot: self.boot.clone(),
            tick_length: self.ticks.settings.tick,
            origin: Origin::Capture,
        }
    }
}

struct Source {
    file: CaptureFile,
    head: Captured,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Closing,
    Done,
}

/// The ticks of capture files.
pub struct Ticks {
    sources: Vec<Source>,
    aggregator: Aggregator,
    dns: Tracker,
    /// A packet of the tick after the one that was given out.
    waiting: Option<Captured>,
    settings: RecordSettings,
    not_ip: u64,
    last: Option<Millis>,
    state: State,
    /// Why a file was not read to its end.
    failed: Option<FileError>,
}

impl Ticks {
    /// Packets that are not IP, so far.
    #[must_use]
    pub fn not_ip(&self) -> u64 {
        self.not_ip
    }

    /// Packets whose time was before the tick they were counted in, so far.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.aggregator.late()
    }

    /// The earliest packet of all files; among equals that of the file named first. A file that cannot be read on has ended.
    fn take(&mut self) -> Option<Captured> {
        let place = (0..self.sources.len()).min_by_key(|place| self.sources[*place].head.time)?;
        let source = &mut self.sources[place];
        match source.file.next_packet() {
            Ok(Some(next)) => return Some(std::mem::replace(&mut source.head, next)),
            Ok(None) => {}
            Err(error) => {
                self.failed.get_or_insert(error);
            }
        }
        Some(self.sources.remove(place).head)
    }

    fn count(&mut self, captured: &Captured) {
        match packet::read(captured.link, &captured.data, captured.length) {
            Ok(packet) => {
                self.aggregator.add(captured.time, &packet);
                if let Some(seen) = question_or_answer(captured, &packet) {
                    self.dns.observe(&seen, u64::MAX);
                }
            }
            Err(Unread::NotIp) => self.not_ip += 1,
            Err(Unread::Broken { bytes }) => self.aggregator.lose("parse", bytes),
        }
    }

    fn step(&mut self) -> Option<Tick> {
        if let Some(captured) = self.waiting.take() {
            self.count(&captured);
        }
        while let Some(captured) = self.take() {
            if let Some(ended) = self.aggregator.advance(millis(captured.time)) {
                self.waiting = Some(captured);
                let end = i128::from(ended.start.saturating_add(self.settings.tick)) * 1_000_000;
                let dns = named(self.dns.end_tick(u64::try_from(end).unwrap_or(u64::MAX)));
                return Some(Tick { dns, ..ended });
            }
            self.count(&captured);
        }
        let dns = named(self.dns.finish());
        self.aggregator.finish().map(|ended| Tick { dns, ..ended })
    }

    /// An empty tick late enough for the last window to be complete.
    fn closing(&self) -> Option<Tick> {
        let RecordSettings { tick, window, grace, .. } = self.settings;
        let start = floor_to(self.last?, window).saturating_add(window).saturating_add(grace);
        Some(Tick { start: floor_to(start, tick), ticks: 1, ..Tick::default() })
    }
}

impl Iterator for Ticks {
    type Item = Result<Tick, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state == State::Reading {
            if let Some(tick) = self.step() {
                self.last = Some(tick.start);
                return Some(Ok(tick));
            }
            self.state = State::Closing;
        }
        if self.state == State::Closing {
            self.state = State::Done;
            if let Some(tick) = self.closing() {
                return Some(Ok(tick));
            }
        }
        self.failed.take().map(Err)
    }
}

/// What a packet from or to the port of DNS servers carries, as far as it was captured.
fn question_or_answer<'a>(captured: &'a Captured, packet: &Packet) -> Option<Seen<'a>> {
    let ports = [packet.source_port, packet.destination_port];
    if packet.payload == 0 || !dns::PORTS.iter().any(|port| ports.contains(port)) {
        return None;
    }
    let payload = captured.data.get(packet.payload..packet.end.min(captured.data.len()))?;
    (!payload.is_empty()).then(|| Seen {
        time: u64::try_from(captured.time).unwrap_or(0),
        point: Point::Capture,
        end: End::Source,
        interface: 0,
        source: (packet.source, packet.source_port),
        destination: (packet.destination, packet.destination_port),
        protocol: packet.protocol,
        sampling: 1,
        payload,
        position: 0,
    })
}

fn named(samples: Vec<dns::Unnamed>) -> Vec<DnsSample> {
    samples.into_iter().map(|unnamed| unnamed.sample).collect()
}

fn millis(nanos: i128) -> Millis {
    Millis::try_from(nanos.div_euclid(1_000_000)).unwrap_or(Millis::MAX)
}

fn hash(path: &Path) -> Result<Vec<u8>, FileError> {
    let io = |source| FileError::Io { file: path.to_owned(), source };
    let mut file = std::fs::File::open(path).map_err(io)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(io)? {
            0 => return Ok(hasher.finalize().to_vec()),
            read => hasher.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

/// What became of some capture files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The cluster's id that they were published under.
    pub cluster: String,
    /// What was published.
    pub published: Published,
    /// Packets that are not IP.
    pub not_ip: u64,
    /// Packets older than the tick that they were counted in.
    pub late: u64,
}

/// How many batches of a capture its raw topic holds already; batches are sent in order, each after the one before.
async fn already(log: &Log, cluster: &str, boot: &str) -> anyhow::Result<u64> {
    let topic = topics::raw(cluster);
    let mut reader = log.reader(&topic, Partitions::All, Start::Beginning).await?;
    let mut next = 0;
    while let Some(records) = reader.next_before_end(ANSWER).await? {
        for record in records {
            let Some(value) = &record.value else { continue };
            let batch: RawBatch =
                weir_schemas::decode(value).with_context(|| format!("topic {topic} offset {}", record.offset))?;
            if batch.boot == boot {
                next = next.max(batch.sequence.saturating_add(1));
            }
        }
    }
    Ok(next)
}

/// Reads capture files and publishes them to their own cluster's raw topic, which must exist; see [`read`] for its id.
/// Waits for Kafka as long as it takes. The same files make the same batches, so what an earlier start has published is
/// passed over: a complete capture is not published again, an interrupted one is completed.
///
/// # Errors
/// A file that cannot be read to its end: what is before is published. When there can be no producer.
pub async fn publish(
    files: &[impl AsRef<Path>],
    log: &Log,
    record: &RecordSettings,
    metrics: &Metrics,
    health: &Health,
) -> anyhow::Result<Summary> {
    let paths: Vec<PathBuf> = files.iter().map(|file| file.as_ref().to_owned()).collect();
    let settings = record.clone();
    let capture = tokio::task::spawn_blocking(move || read(&paths, &settings)).await??;
    let cluster = capture.cluster.clone();
    let already = already(log, &cluster, &capture.boot).await?;
    // Nothing is pressing: the reader waits, and nothing is ever dropped.
    let publishing = publish::Settings {
        lossless: true,
        already,
        ..publish::Settings::new(capture.identity(), record, usize::MAX, Duration::from_secs(24 * 3600))
    };
    let (sender, receiver) = tokio::sync::mpsc::channel(CHANNEL);
    let reading = tokio::task::spawn_blocking(move || {
        let mut ticks = capture.ticks();
        for tick in ticks.by_ref() {
            if sender.blocking_send(tick?).is_err() {
                break;
            }
        }
        Ok::<_, FileError>((ticks.not_ip(), ticks.late()))
    });
    let published = publish::publish(log, publishing, receiver, None, &Stats::new(metrics), health).await?;
    let (not_ip, late) = reading.await?.context("what was read before this is published")?;
    Ok(Summary { cluster, published, not_ip, late })
}
