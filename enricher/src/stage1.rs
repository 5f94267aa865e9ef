//! Stage 1: one raw partition, from its log to partial records.
//!
//! A [`Partition`] is a state machine without IO and without a clock. Everything that it writes is a function of the log
//! up to some offset, of the metadata as of event time and of the settings; when it writes depends on H, never what.
//!
//! Every batch gets a closing generation as it is read. A generation is written once the frontier has passed it and
//! metadata is complete beyond it. What a new owner has to read again begins at the lowest offset that holds a batch of
//! a generation not yet written; empty batches of agents hold it too, because they prove that ticks were not missing.

use crate::history::SettingsHistory;
use crate::join::Join;
use crate::judge::Judged;
use crate::position::Stage1Position;
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_flow::time::{FOR_EVER, NEVER, floor_to, metadata_needed, placed_tick};
use weir_flow::{Frontier, Millis, RecordSettings};
use weir_schemas::checkpoint::Checkpoint;
use weir_schemas::dead_letter::DeadLetter;
use weir_schemas::enriched::Verdict;
use weir_schemas::ledger::{Ledger, Questions, Received};
use weir_schemas::partial::{DnsBatch, Marker, PartialBatch};
use weir_schemas::raw::{self, Loss, Origin, Totals};

mod aggregate;
mod counts;
mod dead;
mod dns;
mod ends;
mod generation;
mod names;
mod numbers;
mod record;
mod routes;
mod verdicts;

#[cfg(test)]
mod tests;

use dead::Dead;
use ends::Ends;
use generation::{Generation, Waiting};
use routes::Room;

/// Reason in the ledger: messages that were deleted from the topic before they were read.
const EXPIRED: &str = "raw_expired";

/// A batch whose samples share their texts: it waits in memory until metadata is complete.
pub type RawBatch = raw::RawBatch<Arc<str>>;

/// A sample of such a batch.
pub type Sample = raw::Sample<Arc<str>>;

/// What a raw message was.
#[derive(Clone, Debug)]
pub enum Content {
    /// A batch of this cluster.
    Batch(RawBatch),
    /// No batch, or not of this cluster.
    Undecodable(DeadLetter),
}

/// A raw message as it stands in the log.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its offset.
    pub offset: i64,
    /// When the broker appended it, ms since the epoch.
    pub append_time: Millis,
    /// Bytes of the message, for the memory limit.
    pub size: usize,
    /// What it was.
    pub content: Content,
}

/// What is written when generations are closed, in this order: partial records, markers, then the rest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Closed {
    /// Partial records by internal partition.
    pub partials: Vec<(i32, PartialBatch)>,
    /// Partial DNS records by internal partition.
    pub dns: Vec<(i32, DnsBatch)>,
    /// Markers by internal partition, in ascending order of generation for each.
    pub markers: Vec<(i32, Marker)>,
    /// Where the partition stands.
    pub checkpoint: Option<Checkpoint>,
    /// Lines of the ledger.
    pub ledger: Vec<Ledger>,
    /// What could not be read.
    pub dead: Vec<DeadLetter>,
    /// How many samples went into partial records.
    pub samples: u64,
    /// How many generations held something.
    pub generations: u64,
}

/// Counters of a partition since it was assigned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Batches read, heartbeats included.
    pub batches: u64,
    /// Batches of generations that were written before the partition was assigned.
    pub repeated: u64,
    /// Samples below the late bound.
    pub too_late: u64,
    /// Batches whose tick was clamped by the append time.
    pub clamped: u64,
    /// Samples written in a later generation than their window.
    pub late: u64,
    /// Samples in the coarsened records of levels with too many keys.
    pub coarsened: u64,
    /// Samples that a filter dropped.
    pub filtered: u64,
    /// Samples of flows that a filter's sampling passed over.
    pub sampled_out: u64,
    /// Samples that were taken for others of their kind.
    pub sampled: u64,
    /// Samples that were taken with fields emptied.
    pub redacted: u64,
    /// DNS samples taken.
    pub dns: u64,
    /// DNS samples below the late bound.
    pub dns_too_late: u64,
    /// DNS samples that do not count, because another node's report of the same question does or they were seen in transit.
    pub dns_outside: u64,
    /// DNS samples that a filter dropped.
    pub dns_filtered: u64,
    /// DNS samples that a filter's sampling passed over.
    pub dns_sampled_out: u64,
    /// DNS samples that were taken for others of their kind.
    pub dns_sampled: u64,
    /// DNS samples that were taken with fields emptied.
    pub dns_redacted: u64,
    /// DNS samples in records whose question stands for several.
    pub dns_coarsened: u64,
    /// DNS samples whose names were left out of flow records, because there were too many.
    pub names_left_out: u64,
    /// Dead letters without the bytes of their messages, because a generation had too many.
    pub dead_without_bytes: u64,
    /// Samples that policies allow.
    pub allowed: u64,
    /// Samples that they deny.
    pub denied: u64,
    /// Samples of which it is not known.
    pub not_known: u64,
}

impl Counts {
    fn judge(&mut self, judged: Option<&Judged>) {
        match judged.map(|judged| judged.answer.verdict) {
            Some(Verdict::Allow) => self.allowed += 1,
            Some(Verdict::Deny) => self.denied += 1,
            Some(Verdict::Unknown) => self.not_known += 1,
            None => {}
        }
    }
}

/// One raw partition in memory.
#[derive(Debug)]
pub struct Partition {
    cluster: Arc<str>,
    partition: i32,
    settings: Arc<SettingsHistory>,
    next_offset: i64,
    written: Millis,
    frontier: Frontier,
    open: BTreeMap<Millis, Generation>,
    /// What came before the first batch ever, and so before there is a generation for it.
    unplaced: Dead,
    /// Messages that were deleted before they were read, first and after the last, which the ledger does not name yet.
    expired: Vec<(i64, i64)>,
    ends: Ends,
    /// How much the last generation held.
    room: Room,
    counts: Counts,
}

impl Partition {
    /// A partition as a new owner takes it over: it reads on from the position's offset.
    #[must_use]
    pub fn new(cluster: &str, partition: i32, settings: Arc<SettingsHistory>, position: Stage1Position) -> Self {
        Self {
            cluster: Arc::from(cluster),
            partition,
            settings,
            next_offset: position.offset,
            written: position.written,
            frontier: Frontier::at(position.watermark),
            open: BTreeMap::new(),
            unplaced: Dead::default(),
            expired: Vec::new(),
            ends: Ends::default(),
            room: Room::default(),
            counts: Counts::default(),
        }
    }

    /// Says that the messages `from` to before `to` were deleted before everything of them was written: the ledger names them
    /// with the next generations that are written.
    pub fn lose(&mut self, from: i64, to: i64) {
        self.expired.push((from, to));
    }

    /// What [`Partition::lose`] was told of and the ledger does not name yet.
    #[must_use]
    pub fn expired(&self) -> &[(i64, i64)] {
        &self.expired
    }

    /// Takes the next message of the log. Messages come in the order of their offsets.
    pub fn read(&mut self, input: Input) {
        self.next_offset = input.offset.saturating_add(1);
        match input.content {
            Content::Batch(batch) => self.read_batch(input.offset, input.append_time, input.size, batch),
            Content::Undecodable(letter) => self.read_undecodable(input.offset, letter),
        }
    }

    fn read_batch(&mut self, offset: i64, append_time: Millis, size: usize, batch: RawBatch) {
        let history = self.settings.clone();
        let settings = history.at(batch.tick);
        let before = self.frontier.watermark;
        let (tick, clamped) = placed_tick(batch.tick, append_time, settings);
        self.frontier.observe(tick, settings);
        if before == NEVER && self.written == NEVER {
            // Nothing can be in what the first batch has passed. Only the last generation of it is written, empty, so
            // that stage 2 hears of this partition.
            let passed = self.frontier.last_complete_window(settings);
            self.written = passed.saturating_sub(settings.window);
            self.place_unplaced(passed.saturating_add(settings.window));
        }
        self.counts.batches += 1;
        let window = floor_to(tick, settings.window);
        let generation = self.frontier.closing_generation(window, settings);
        if batch.origin == Origin::Owner {
            return;
        }
        if generation <= self.written {
            self.counts.repeated += 1;
            return;
        }
        self.counts.clamped += u64::from(clamped);
        let samples = u64::try_from(batch.samples.len()).unwrap_or(u64::MAX);
        let bound = self.frontier.watermark.max(if settings.live { append_time } else { NEVER });
        let too_late = tick < bound.saturating_sub(settings.late_bound);
        if too_late {
            self.counts.too_late += samples;
            self.counts.dns_too_late += u64::try_from(batch.dns.len()).unwrap_or(u64::MAX);
        } else if generation > window {
            self.counts.late += samples;
        }
        let open = self.open.entry(generation).or_insert_with(|| Generation::new(offset, before, self.room));
        open.take(Waiting { tick, window, clamped, too_late, size, batch }, generation, settings);
    }

    fn read_undecodable(&mut self, offset: i64, letter: DeadLetter) {
        let before = self.frontier.watermark;
        if before == NEVER {
            self.counts.dead_without_bytes += u64::from(!self.unplaced.take(offset, letter));
            return;
        }
        let settings = self.settings.at(before);
        let generation = self.frontier.last_complete_window(settings).saturating_add(settings.window);
        if generation > self.written {
            let open = self.open.entry(generation).or_insert_with(|| Generation::new(offset, before, self.room));
            self.counts.dead_without_bytes += u64::from(!open.dead.take(offset, letter));
        }
    }

    fn place_unplaced(&mut self, generation: Millis) {
        for (offset, letter) in std::mem::take(&mut self.unplaced).into_letters() {
            let open = self.open.entry(generation).or_insert_with(|| Generation::new(offset, NEVER, self.room));
            // What has no bytes by now was counted when it came.
            open.dead.take(offset, letter);
        }
    }

    /// Joins and adds up what metadata allows by now, so that closing has less to do.
    pub fn advance(&mut self, join: &impl Join) {
        let complete_to = join.complete_to();
        for (generation, open) in &mut self.open {
            let settings = self.settings.at(*generation);
            let rules = self.settings.rules_at(*generation);
            open.advance(settings, rules, complete_to, join, &mut self.ends, &mut self.counts);
        }
    }

    /// The last generation that may be written now, given H; nothing when that is already written. At most `most`
    /// generations that hold something are closed at once, and any number of empty ones.
    #[must_use]
    pub fn ready(&self, complete_to: Millis, most: usize) -> Option<Millis> {
        let (watermark, written) = (self.frontier.watermark, self.written);
        if watermark == NEVER || complete_to == NEVER {
            return None;
        }
        let settings = self.settings.at(watermark);
        let passed = self.frontier.last_complete_window(settings);
        let known =
            if complete_to == FOR_EVER { passed } else { Frontier::at(complete_to).last_complete_window(settings) };
        debug_assert!(complete_to == FOR_EVER || metadata_needed(known, settings) <= complete_to);
        let mut last = passed.min(known);
        if let Some((generation, _)) = self.open.range(..=last).nth(most.max(1)) {
            last = generation.saturating_sub(settings.window);
        }
        (last > written).then_some(last)
    }

    /// Closes all generations up to `last`, which [`Partition::ready`] has named.
    pub fn close(&mut self, last: Millis, join: &impl Join) -> Closed {
        let mut closed = Closed::default();
        let (history, cluster) = (self.settings.clone(), self.cluster.clone());
        let mut marked = self.written;
        while let Some(entry) = self.open.first_entry().filter(|entry| *entry.key() <= last) {
            let (generation, open) = entry.remove_entry();
            let settings = history.at(generation);
            let missing = open.missing(generation, settings);
            let of = generation::Of { cluster: &cluster, partition: self.partition, generation };
            let by = (settings, history.rules_at(generation));
            let held = open.close(&of, by, join, &mut self.ends, &mut self.counts, &mut closed);
            self.room = held.and(self.room);
            marked = generation;
            self.mark(generation, &missing, settings, &mut closed);
        }
        if marked < last {
            self.mark(last, &[], history.at(last), &mut closed);
        }
        for (from, to) in std::mem::take(&mut self.expired) {
            closed.ledger.push(Ledger::Received(expired(&cluster, self.partition, last, (from, to))));
        }
        self.written = last;
        let position = self.position();
        closed.checkpoint = Some(Checkpoint {
            cluster: self.cluster.to_string(),
            partition: self.partition,
            generation: position.written,
            offset: position.offset,
            watermark: position.watermark,
        });
        closed
    }

    fn mark(
        &self,
        generation: Millis,
        missing: &[weir_schemas::partial::MissingTicks],
        settings: &RecordSettings,
        closed: &mut Closed,
    ) {
        // Internal partitions that come into force later must learn of what was written before, too.
        let most = self.settings.latest().internal_partitions.max(settings.internal_partitions);
        for internal in 0..most {
            let marker = Marker {
                cluster: self.cluster.to_string(),
                partition: self.partition,
                generation,
                missing: missing.to_vec(),
            };
            closed.markers.push((internal, marker));
        }
    }

    /// Where a new owner would start: O, T and M before O.
    #[must_use]
    pub fn position(&self) -> Stage1Position {
        let held = self.open.values().map(|open| (open.first_offset, open.watermark_before)).min();
        let unplaced = self.unplaced.first_offset().map(|offset| (offset, NEVER));
        let (offset, watermark) =
            held.into_iter().chain(unplaced).min().unwrap_or((self.next_offset, self.frontier.watermark));
        Stage1Position { offset, written: self.written, watermark }
    }

    /// The next offset to read.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// M: the watermark.
    #[must_use]
    pub fn watermark(&self) -> Millis {
        self.frontier.watermark
    }

    /// T: the last generation written.
    #[must_use]
    pub fn written(&self) -> Millis {
        self.written
    }

    /// How many generations are open.
    #[must_use]
    pub fn open_generations(&self) -> usize {
        self.open.len()
    }

    /// Bytes held, roughly.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.open.values().map(Generation::memory).sum::<usize>() + self.ends.memory() + self.unplaced.memory()
    }

    /// Forgets what is kept from generation to generation only to be quicker; it is found out anew.
    pub fn forget(&mut self) {
        self.ends.forget();
    }

    /// What was counted since the partition was assigned.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

/// The ledger's line of messages that were deleted before they were read. What was in them is not known here: it shows as gaps in
/// the sequences of their nodes.
fn expired(cluster: &str, partition: i32, generation: Millis, (from, to): (i64, i64)) -> Received {
    let number = |offset: i64| u64::try_from(offset).unwrap_or(0);
    Received {
        cluster: cluster.to_owned(),
        partition,
        generation,
        node: String::new(),
        boot: format!("offsets {from} to {}", to.saturating_sub(1)),
        first_sequence: number(from),
        last_sequence: number(to.saturating_sub(1)),
        received: Totals::default(),
        seen: Totals::default(),
        agent_lost: Vec::new(),
        lost: vec![Loss { reason: EXPIRED.to_owned(), lost: Totals::default() }],
        clamped: 0,
        counted: Totals::default(),
        questions: Questions::default(),
        questions_counted: 0,
        questions_lost: Vec::new(),
    }
}
