//! One open generation of a raw partition.

use super::aggregate::{Aggregate, At, Batch};
use super::dead::Dead;
use super::dns::{Booked, Questions, Taken};
use super::ends::Ends;
use super::names::{Domains, Names};
use super::routes::Room;
use super::verdicts::Verdicts;
use super::{Closed, Counts};
use crate::filter::{Decided, FILTERED, SAMPLED_OUT, Tally};
use crate::join::Join;
use crate::judge::Parties;
use crate::merge::{add_totals, product, sum};
use crate::observe::{Observation, Place, observe_all, stands_for_an_end};
use crate::stage1::{RawBatch, Sample};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use weir_filter::Rules;
use weir_flow::time::floor_to;
use weir_flow::{Level, Millis, RecordSettings};
use weir_schemas::ledger::{Ledger, Received};
use weir_schemas::partial::MissingTicks;
use weir_schemas::raw::{End, Loss, Point, Totals};

/// Reason in the ledger: below the late bound.
const TOO_LATE: &str = "too_late";
/// Reason in the ledger: seen in transit, outside totals.
const TRANSIT: &str = "outside_transit";
/// Reason in the ledger: a tunnel's outer headers, outside totals.
const UNDERLAY: &str = "outside_underlay";

/// Memory that a decoded sample takes per byte of its message, roughly.
const DECODED: usize = 8;

/// Memory of a node's line without its texts, roughly.
const LINE: usize = 1_024;
/// Memory of a reason of losses without its text, roughly.
const LOSS: usize = 64;

/// A batch that is placed and waits for metadata.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) tick: Millis,
    pub(super) window: Millis,
    pub(super) clamped: bool,
    pub(super) too_late: bool,
    pub(super) size: usize,
    pub(super) batch: RawBatch,
}

/// Which generation of which partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Of<'a> {
    pub(super) cluster: &'a str,
    pub(super) partition: i32,
    pub(super) generation: Millis,
}

/// What arrived of one start of one node's agent.
#[derive(Debug, Default)]
struct NodeLine {
    sequences: Option<(u64, u64)>,
    received: Totals,
    seen: Totals,
    agent_lost: Vec<Loss>,
    lost: BTreeMap<&'static str, Totals>,
    counted: Totals,
    clamped: u64,
    questions: Booked,
}

/// Everything of one generation that was read so far.
#[derive(Debug)]
pub(super) struct Generation {
    /// Offset of the first message that is in it.
    pub(super) first_offset: i64,
    /// M before that offset.
    pub(super) watermark_before: Millis,
    pub(super) dead: Dead,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    aggregate: Aggregate,
    /// What is known of the batch that is added up.
    known: Batch,
    verdicts: Verdicts,
    questions: Questions,
    names: Names,
    lines: BTreeMap<(String, String), NodeLine>,
    /// Memory of the lines and of what is known of their nodes' ticks, roughly.
    lines_bytes: usize,
    /// Parts that arrived by node and tick of the generation's own window.
    ticks: BTreeMap<String, BTreeMap<Millis, BTreeSet<u32>>>,
    /// The number of parts of ticks that were split.
    parts: BTreeMap<(String, Millis), u32>,
    samples: u64,
}

impl Generation {
    pub(super) fn new(first_offset: i64, watermark_before: Millis, room: Room) -> Self {
        Self {
            first_offset,
            watermark_before,
            dead: Dead::default(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            aggregate: Aggregate::with_room(room),
            known: Batch::default(),
            verdicts: Verdicts::default(),
            questions: Questions::default(),
            names: Names::default(),
            lines: BTreeMap::new(),
            lines_bytes: 0,
            ticks: BTreeMap::new(),
            parts: BTreeMap::new(),
            samples: 0,
        }
    }

    /// Takes a batch; it is added up once metadata is complete beyond its tick.
    pub(super) fn take(&mut self, waiting: Waiting, generation: Millis, settings: &RecordSettings) {
        self.book(&waiting);
        if waiting.window == generation && !waiting.too_late {
            self.note_ticks(&waiting, settings);
        }
        let batch = &waiting.batch;
        let is_empty = batch.samples.is_empty() && batch.dns.is_empty();
        if !waiting.too_late && !is_empty {
            self.waiting_bytes += waiting.size;
            self.waiting.push_back(waiting);
        }
    }

    fn book(&mut self, waiting: &Waiting) {
        let batch = &waiting.batch;
        let known = self.lines.len();
        let line = self.lines.entry((batch.node.clone(), batch.boot.clone())).or_default();
        let (first, last) = line.sequences.unwrap_or((batch.sequence, batch.sequence));
        line.sequences = Some((first.min(batch.sequence), last.max(batch.sequence)));
        if batch.sequence >= last {
            line.seen = batch.seen;
            line.agent_lost.clone_from(&batch.lost);
        }
        line.clamped += u64::from(waiting.clamped);
        for sample in &batch.samples {
            let totals = Totals { packets: sample.packets, bytes: sample.bytes, samples: 1 };
            match outside(sample, waiting.too_late) {
                None => add_totals(&mut line.received, &totals),
                Some(reason) => add_totals(line.lost.entry(reason).or_default(), &totals),
            }
        }
        if waiting.too_late {
            batch.dns.iter().for_each(|sample| line.questions.lose(TOO_LATE, sample));
        }
        if self.lines.len() > known {
            let reasons = batch.lost.iter().map(|loss| LOSS + loss.reason.len()).sum::<usize>();
            self.lines_bytes += LINE + 2 * batch.node.len() + batch.boot.len() + reasons;
        }
    }

    fn note_ticks(&mut self, waiting: &Waiting, settings: &RecordSettings) {
        let batch = &waiting.batch;
        let end = waiting.window.saturating_add(settings.window);
        let ticks = self.ticks.entry(batch.node.clone()).or_default();
        let mut tick = waiting.tick;
        for _ in 0..batch.ticks.max(1) {
            if tick >= end {
                break;
            }
            ticks.entry(tick).or_default().insert(batch.part);
            if batch.parts > 1 {
                let parts = self.parts.entry((batch.node.clone(), tick)).or_insert(1);
                *parts = (*parts).max(batch.parts);
            }
            tick = floor_to(tick.saturating_add(settings.tick), settings.tick);
        }
    }

    /// Adds up the batches whose tick metadata covers, in the order of the log: which keys are the first ones depends
    /// on it.
    pub(super) fn advance(
        &mut self,
        settings: &RecordSettings,
        rules: &Rules,
        complete_to: Millis,
        join: &impl Join,
        ends: &mut Ends,
        counts: &mut Counts,
    ) {
        ends.begin(&settings.labels_keep);
        while self.waiting.front().is_some_and(|first| first.tick.saturating_add(settings.tick) <= complete_to) {
            let Some(next) = self.waiting.pop_front() else { break };
            self.waiting_bytes = self.waiting_bytes.saturating_sub(next.size);
            let place = Place { tick: next.tick, tick_length: settings.tick, node: &next.batch.node };
            let span = settings.tick.saturating_mul(i64::from(next.batch.ticks.max(1)));
            let times = (next.tick, next.tick.saturating_add(span).saturating_sub(1));
            let at = At {
                settings,
                cluster_known: join.cluster_known(next.tick),
                window: next.window,
                origin: next.batch.origin,
                times,
                domains: Domains::default(),
            };
            self.take_questions(&next.batch, &place, &at, rules, join, counts);
            let mut tally = Tally::default();
            let mut counted = Totals::default();
            self.known.begin();
            self.verdicts.begin();
            let mut parties = Parties::default();
            let samples = next.batch.samples.iter().filter(|sample| stands_for_an_end(sample.point));
            let port = !rules.is_empty() || has_initiators_port(settings);
            let mut conversations = std::mem::take(&mut ends.conversations);
            observe_all(samples, &place, join, port, &mut conversations, |heard| {
                // Before anything is emptied by a filter.
                self.verdicts.ask_all(heard, &place, settings, join, &mut parties);
                let denied = |conversation| self.verdicts.is_denied(conversation);
                self.aggregate.fetch((heard, denied), &at, &self.names, &mut self.known, ends);
                for observation in heard.observations() {
                    let conversation = observation.conversation;
                    let taken = crate::filter::apply(rules, observation, at.origin, &mut tally);
                    let Some(observation) = taken else { continue };
                    let judged = self.verdicts.of(conversation, observation.conversation.is_some());
                    counts.judge(judged);
                    add_totals(&mut counted, &stood_for(&observation));
                    let known = &mut self.known;
                    counts.coarsened += self.aggregate.add(&observation, &at, &self.names, known, ends, judged);
                    self.samples += 1;
                }
            });
            ends.conversations = conversations;
            self.aggregate.flush(&mut self.known);
            if counted != Totals::default() {
                let line = self.lines.entry((next.batch.node.clone(), next.batch.boot.clone())).or_default();
                add_totals(&mut line.counted, &counted);
            }
            self.book_filtered(&next.batch, &tally, counts);
        }
    }

    /// What a filter left out was received, and is lost for a reason.
    fn book_filtered(&mut self, batch: &RawBatch, tally: &Tally, counts: &mut Counts) {
        counts.sampled += tally.sampled;
        counts.redacted += tally.redacted;
        if tally.left_out.is_empty() {
            return;
        }
        let samples = |reason| tally.left_out.get(reason).map_or(0, |totals| totals.samples);
        counts.filtered += samples(FILTERED);
        counts.sampled_out += samples(SAMPLED_OUT);
        let line = self.lines.entry((batch.node.clone(), batch.boot.clone())).or_default();
        for (reason, totals) in &tally.left_out {
            line.received.packets = line.received.packets.saturating_sub(totals.packets);
            line.received.bytes = line.received.bytes.saturating_sub(totals.bytes);
            line.received.samples = line.received.samples.saturating_sub(totals.samples);
            add_totals(line.lost.entry(reason).or_default(), totals);
        }
    }

    /// Questions before the flows of the same batch: who asks for a name connects to the answer.
    fn take_questions(
        &mut self,
        batch: &RawBatch,
        place: &Place<'_>,
        at: &At<'_>,
        rules: &Rules,
        join: &impl Join,
        counts: &mut Counts,
    ) {
        if batch.dns.is_empty() {
            return;
        }
        let line = self.lines.entry((batch.node.clone(), batch.boot.clone())).or_default();
        for sample in &batch.dns {
            counts.dns += 1;
            let (taken, decided) = self.questions.add(sample, place, at, rules, join);
            line.questions.book(sample, taken, decided);
            // A question that another one stands for was asked all the same.
            if decided != Decided::Dropped && (sample.end == End::Source || sample.point == Point::Capture) {
                counts.names_left_out += u64::from(!self.names.learn(sample));
            }
            match decided {
                Decided::Kept(1) => {}
                Decided::Kept(_) => counts.dns_sampled += 1,
                Decided::Redacted => counts.dns_redacted += 1,
                Decided::Dropped => counts.dns_filtered += 1,
                Decided::PassedOver => counts.dns_sampled_out += 1,
            }
            match taken {
                Taken::Whole | Taken::LeftOut => {}
                Taken::Coarsened(samples) => counts.dns_coarsened += samples,
                Taken::Outside => counts.dns_outside += 1,
            }
        }
    }

    /// Every node of which something of the window arrived in time, with the number of ticks that did not.
    pub(super) fn missing(&self, generation: Millis, settings: &RecordSettings) -> Vec<MissingTicks> {
        let whole = u32::try_from(settings.window / settings.tick).unwrap_or(u32::MAX);
        let end = generation.saturating_add(settings.window);
        let mut missing = Vec::new();
        for (node, ticks) in &self.ticks {
            let present = ticks.range(generation..end).filter(|(tick, parts)| {
                let expected = self.parts.get(&(node.clone(), **tick)).copied().unwrap_or(1);
                u32::try_from(parts.len()).unwrap_or(u32::MAX) >= expected
            });
            let present = u32::try_from(present.count()).unwrap_or(u32::MAX);
            missing.push(MissingTicks { node: node.clone(), ticks: whole.saturating_sub(present) });
        }
        missing
    }

    /// Writes everything; the answer is how much it was. Metadata must be complete beyond the generation.
    pub(super) fn close(
        mut self,
        of: &Of<'_>,
        (settings, rules): (&RecordSettings, &Rules),
        join: &impl Join,
        ends: &mut Ends,
        counts: &mut Counts,
        closed: &mut Closed,
    ) -> Room {
        self.advance(settings, rules, Millis::MAX, join, ends, counts);
        let room = self.aggregate.room();
        closed.generations += 1;
        closed.samples = sum(closed.samples, self.samples);
        closed.dead.extend(self.dead.into_letters().into_iter().map(|(_, letter)| letter));
        self.aggregate.close(of, settings, join, &mut closed.partials);
        self.questions.close(of, settings, join, &mut closed.dns);
        for ((node, boot), line) in self.lines {
            closed.ledger.push(Ledger::Received(line.into_received(of, node, boot)));
        }
        room
    }

    pub(super) fn memory(&self) -> usize {
        self.waiting_bytes.saturating_mul(DECODED)
            + self.aggregate.memory()
            + self.questions.memory()
            + self.names.memory()
            + self.dead.memory()
            + self.lines_bytes
            + 256
    }
}

/// Whether records may be of one initiator's port.
fn has_initiators_port(settings: &RecordSettings) -> bool {
    settings.levels_allowed.iter().chain(&settings.levels_denied).any(|level| *level == Level::Zero)
}

/// How much a sample is in records.
fn stood_for(o: &Observation<'_, '_>) -> Totals {
    let factor = u64::from(o.sampling);
    Totals { packets: product(o.sample.packets, factor), bytes: product(o.sample.bytes, factor), samples: 1 }
}

/// Why a sample is not taken into records; nothing when it is.
fn outside(sample: &Sample, too_late: bool) -> Option<&'static str> {
    match sample.point {
        _ if too_late => Some(TOO_LATE),
        Point::Transit => Some(TRANSIT),
        Point::Underlay => Some(UNDERLAY),
        Point::Pod | Point::Host | Point::Capture => None,
    }
}

impl NodeLine {
    fn into_received(self, of: &Of<'_>, node: String, boot: String) -> Received {
        let (first_sequence, last_sequence) = self.sequences.unwrap_or_default();
        let lost = self.lost.into_iter().map(|(reason, lost)| Loss { reason: reason.to_owned(), lost }).collect();
        Received {
            cluster: of.cluster.to_owned(),
            partition: of.partition,
            generation: of.generation,
            node,
            boot,
            first_sequence,
            last_sequence,
            received: self.received,
            seen: self.seen,
            agent_lost: self.agent_lost,
            lost,
            clamped: self.clamped,
            counted: self.counted,
            questions: self.questions.taken,
            questions_counted: self.questions.counted,
            questions_lost: self.questions.into_lost(),
        }
    }
}
