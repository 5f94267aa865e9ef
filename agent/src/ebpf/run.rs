//! The capture's thread: at each tick's end takes what the kernel counted and hands it on.

use super::assemble::{Assembler, Surroundings, When};
use super::capture::ledger::Inherited;
use super::capture::{Capture, CaptureError, Drained, SETTLE};
use super::conntrack::{Conntrack, Direction, Shown};
use super::held::Held;
use super::inherit;
use super::questions::Questions;
use super::schedule::Schedule;
use crate::abi::{self, COUNTERS, ConnectionKey};
use crate::dns::Unnamed;
use crate::local::Local;
use crate::stats::Stats;
use crate::tick::{Mark, Tick, Told};
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;
use weir_flow::Millis;
use weir_schemas::raw::DnsSample;

/// How often new interfaces and addresses are looked for.
const RESCAN: Duration = Duration::from_secs(1);
/// The longest single sleep, which bounds how fast a stop is noticed.
const NAP: Duration = Duration::from_millis(20);
/// How often it is looked whether the publisher has taken a part.
const TAKEN: Duration = Duration::from_millis(1);
/// So many times the kernel's limit of flows is held here when flows are read before their tick ends.
const HELD: usize = 8;
/// A tick is handed on in parts of so many samples: one takes a few MB here, and far less than a message may have.
const PART: usize = 12_288;
/// Nanoseconds in a millisecond.
pub(super) const NANOS: i128 = 1_000_000;

struct Node<'a>(&'a Capture, Option<&'a Conntrack>, &'a Shown);

impl Surroundings for Node<'_> {
    fn interface(&self, index: u32) -> (&str, bool) {
        self.0.interface(index)
    }

    fn forwarded(&self, connection: &ConnectionKey) -> bool {
        self.0.connection(connection).is_some_and(|known| known.forwarded != 0)
    }

    fn is_own(&self, address: &[u8; 16]) -> bool {
        self.0.is_own(address)
    }

    fn other_side(&self, seen: &Direction) -> Option<Direction> {
        // What packets of this tick showed is certain; what was told may be of an earlier connection.
        self.2.other(seen).or_else(|| self.1.and_then(|conntrack| conntrack.known().other(seen)))
    }
}

/// How a live node's ticks are made.
#[derive(Debug)]
pub struct Running {
    /// Length of a tick, ms.
    pub tick: Millis,
    /// Length of a window, ms.
    pub window: Millis,
    /// The most flows whose cumulative counters are remembered.
    pub remembered: usize,
    /// Who is behind the node's interfaces.
    pub local: Local,
    /// The most DNS questions that wait, and the most different ones in a tick.
    pub questions: usize,
    /// Translated connections, where they can be known.
    pub conntrack: Option<Conntrack>,
}

/// Captures until `stop`, then sends the last, partial tick; what is not pinned is detached before. Blocks its thread.
///
/// # Errors
/// When the kernel's maps or the interfaces cannot be read.
pub fn run(
    capture: Capture,
    running: Running,
    ticks: &Sender<Tick>,
    stats: &Stats,
    stop: &CancellationToken,
) -> Result<(), CaptureError> {
    let (mut cycle, inherited) = Cycle::begin(capture, running, stats)?;
    // The receiver is gone only when nobody wants the rest.
    for tick in inherited {
        if ticks.blocking_send(tick).is_err() {
            return Ok(());
        }
    }
    let mut wanted = true;
    let mut send = |part: Tick| {
        let more = part.more;
        wanted = wanted && ticks.blocking_send(part).is_ok();
        // The next part is made once this one is not in the way any more: each takes some MB.
        while more && wanted && ticks.capacity() == 0 && !ticks.is_closed() {
            std::thread::sleep(TAKEN);
        }
    };
    while cycle.until_end(stop)? {
        cycle.end_tick(&mut send)?;
        if ticks.is_closed() {
            return Ok(());
        }
    }
    cycle.finish(&mut send)
}

/// The running tick and all that outlasts it.
struct Cycle<'a> {
    capture: Capture,
    local: Local,
    conntrack: Option<Conntrack>,
    shown: Shown,
    questions: Questions,
    held: Held,
    assembler: Assembler,
    schedule: Schedule,
    /// Wall clock minus the kernel's, ns.
    offset: i128,
    /// The running tick's end, ns of the kernel's clock.
    boundary: u64,
    /// The buffer in use until then.
    active: usize,
    rescanned: u64,
    stats: &'a Stats,
}

impl<'a> Cycle<'a> {
    /// Takes over from a predecessor, if there was one, and attaches; also gives the ticks of what it left.
    fn begin(mut capture: Capture, running: Running, stats: &'a Stats) -> Result<(Self, Vec<Tick>), CaptureError> {
        let Running { tick, window, remembered, local, questions, conntrack } = running;
        let most = usize::try_from(capture.flows_limit()).unwrap_or(usize::MAX).saturating_mul(HELD);
        let inherited = capture.inherit()?;
        let offset = abi::wall_offset();
        let schedule = Schedule::new(wall(abi::monotonic(), offset), tick, window);
        let assembler = Assembler::new(remembered, capture.reasons().clone(), capture.watches_all());
        let mut cycle = Self {
            local,
            conntrack,
            shown: Shown::new(remembered),
            questions: Questions::new(questions),
            held: Held::new(most),
            assembler,
            boundary: kernel(schedule.end, offset),
            schedule,
            offset,
            active: 0,
            rescanned: abi::monotonic(),
            stats,
            capture,
        };
        cycle.capture.set_boundary(cycle.boundary, cycle.active);
        rescan(&mut cycle.capture, &mut cycle.local, stats)?;
        let grid = inherit::Grid { tick, window, offset };
        cycle.look_at_translations()?;
        let ticks = inherited.map_or_else(Vec::new, |left| cycle.inherit(left, grid));
        Ok((cycle, ticks))
    }

    /// Reads what packets showed since the last time.
    fn look_at_translations(&mut self) -> Result<(), CaptureError> {
        let shown = &mut self.shown;
        self.capture.translations(|original, reply| shown.take(original, reply))
    }

    /// The ticks of what a predecessor left.
    fn inherit(&mut self, left: Inherited, grid: inherit::Grid) -> Vec<Tick> {
        let (now, unsure) = (abi::monotonic(), left.unsure);
        self.stats.payloads_lost_at_restart.inc_by(left.lost_payloads);
        let mut payloads = Vec::new();
        self.capture.messages(|message| payloads.push(message));
        let Self { capture, questions, .. } = self;
        let is_bridged = |interface| capture.interface(interface).1;
        let answered = questions.inherit(payloads, is_bridged, left.told, capture.position(), &grid);
        let mut ticks = Vec::new();
        for part in inherit::parts(left, answered, grid, now) {
            note(self.stats, &part.drained.counters);
            self.stats.beyond_table.inc_by(part.drained.beyond_table);
            let node = Node(&self.capture, self.conntrack.as_ref(), &self.shown);
            let mut tick = self.assembler.tick(part.start, part.ticks, &part.drained, self.offset, now, &node);
            if ticks.is_empty() {
                let lost = self.assembler.restart(&mut tick, unsure);
                self.stats.lost_at_restart.inc_by(lost.packets);
            }
            name(&mut tick, &mut self.local, self.stats);
            tick.dns = name_questions(part.asked, &self.capture, &self.local);
            tick.mark = Some(part.mark);
            let found: u64 = tick.samples.iter().map(|sample| sample.packets).sum();
            self.stats.inherited.inc_by(found);
            tracing::info!(start = tick.start, ticks = tick.ticks, packets = found, "taken over from the agent before");
            ticks.push(tick);
        }
        ticks
    }

    /// Waits for the running tick's end and until its buffer may be read; false when it is time to stop.
    fn until_end(&mut self, stop: &CancellationToken) -> Result<bool, CaptureError> {
        loop {
            let settled = self.boundary.saturating_add(nanos(SETTLE));
            let now = abi::monotonic();
            // A stop between the boundary and the reading waits for the reading: the tick is complete.
            if now < self.boundary && stop.is_cancelled() {
                return Ok(false);
            }
            if now.saturating_sub(self.rescanned) >= nanos(RESCAN) {
                rescan(&mut self.capture, &mut self.local, self.stats)?;
                self.rescanned = now;
            }
            take_messages(&mut self.capture, &mut self.questions, self.boundary);
            follow(&mut self.conntrack, self.stats);
            let may_flush = now + 8 * nanos(SETTLE) < self.boundary && self.held.has_room();
            if may_flush && is_filling(&self.capture, self.active) {
                self.active = flush_early(&mut self.capture, &mut self.held, self.boundary, self.active)?;
                self.look_at_translations()?;
                self.stats.early_flushes.inc();
                continue;
            }
            if now >= settled {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_nanos(settled - now).min(NAP));
        }
    }

    /// Turns to the next tick and hands on the one that has ended, in parts.
    fn end_tick(&mut self, each: &mut dyn FnMut(Tick)) -> Result<(), CaptureError> {
        self.offset = abi::wall_offset();
        let now = abi::monotonic();
        let ended = self.schedule.advance(wall(self.boundary, self.offset), wall(now, self.offset));
        self.stats.overruns.inc_by(ended.overrun);
        let (idle, ending) = (self.active, self.boundary);
        self.active = 1 - self.active;
        self.boundary = kernel(self.schedule.end, self.offset);
        self.capture.set_boundary(self.boundary, self.active);
        let drained = self.held.with(self.capture.drain(idle)?);
        // After the flows: each was noted by the packet that made its flow.
        self.look_at_translations()?;
        let (asked, told) = self.questions.end_tick(ending, self.capture.position());
        let when = When { start: ended.start, ticks: ended.ticks, offset: self.offset, now };
        self.assemble(when, drained, (asked, told), each);
        abi::memory::give_back();
        self.stats.dns(self.questions.counts());
        if let Some(conntrack) = &mut self.conntrack {
            conntrack.end_tick();
        }
        self.stats.translations_shown.set(i64::try_from(self.shown.len()).unwrap_or(i64::MAX));
        self.stats.translations_left_out.set(i64::try_from(self.shown.full()).unwrap_or(i64::MAX));
        self.shown.end_tick();
        self.stats.unwatched.set(i64::try_from(self.assembler.unwatched()).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Hands on what is left of the running tick. What is pinned goes on counting, into the other buffer, for whoever comes
    /// next; everything else is detached first.
    fn finish(mut self, each: &mut dyn FnMut(Tick)) -> Result<(), CaptureError> {
        let end = abi::monotonic();
        if self.capture.is_pinned() {
            self.capture.set_boundary(u64::MAX, 1 - self.active);
        } else {
            self.capture.detach();
        }
        std::thread::sleep(SETTLE);
        let drained = self.held.with(self.capture.drain(self.active)?);
        self.look_at_translations()?;
        let asked = if self.capture.is_pinned() {
            // Whose answer is still to come is the next one's to tell.
            take_messages(&mut self.capture, &mut self.questions, end);
            self.questions.end_tick(end, self.capture.position())
        } else {
            take_messages(&mut self.capture, &mut self.questions, u64::MAX);
            (self.questions.finish(), Told::default())
        };
        let when = When { start: self.schedule.start, ticks: 1, offset: self.offset, now: abi::monotonic() };
        self.assemble(when, drained, asked, each);
        self.stats.dns(self.questions.counts());
        Ok(())
    }

    fn assemble(&mut self, when: When, drained: Drained, asked: (Vec<Unnamed>, Told), each: &mut dyn FnMut(Tick)) {
        note(self.stats, &drained.counters);
        self.stats.beyond_table.inc_by(drained.beyond_table);
        let (asked, told) = asked;
        let mark = Mark { told, ..self.capture.mark() };
        let Self { capture, conntrack, shown, assembler, local, stats, .. } = self;
        let mut asked = Some(asked);
        assembler.parts(when, drained, &Node(capture, conntrack.as_ref(), shown), PART, |mut part| {
            name(&mut part, local, stats);
            part.mark = Some(mark);
            stats.samples.inc_by(u64::try_from(part.samples.len()).unwrap_or(u64::MAX));
            if !part.more {
                part.dns = name_questions(asked.take().unwrap_or_default(), capture, local);
            }
            each(part);
        });
    }
}

/// Reads what connection tracking says; one that can no longer be read is given up, and said once.
fn follow(conntrack: &mut Option<Conntrack>, stats: &Stats) {
    let Some(known) = conntrack else { return };
    match known.read() {
        Ok(()) => {
            let (count, overruns) = (known.known().len(), known.overruns());
            stats.translations.set(i64::try_from(count).unwrap_or(i64::MAX));
            stats.translations_full.set(i64::try_from(known.known().full()).unwrap_or(i64::MAX));
            stats.conntrack_overruns.set(i64::try_from(overruns).unwrap_or(i64::MAX));
        }
        Err(error) => {
            tracing::warn!(%error, "connection tracking is not followed any more: translated connections are not known");
            stats.translations.set(0);
            *conntrack = None;
        }
    }
}

/// Whether the kernel's buffer is half full.
fn is_filling(capture: &Capture, buffer: usize) -> bool {
    capture.fill(buffer).saturating_mul(2) >= u64::from(capture.flows_limit())
}

/// Empties the buffer in use before the tick's end; the one in use from then on. It is the other one, and what is in use
/// after the boundary is the one that is emptied here: the word's low bit names the buffer in use until the boundary.
fn flush_early(capture: &mut Capture, held: &mut Held, boundary: u64, active: usize) -> Result<usize, CaptureError> {
    capture.set_boundary(boundary, 1 - active);
    std::thread::sleep(SETTLE);
    held.add(capture.drain(active)?);
    Ok(1 - active)
}

/// Reads what the kernel programs handed on. What came at `boundary` or later is of the next tick.
fn take_messages(capture: &mut Capture, questions: &mut Questions, boundary: u64) {
    let mut messages = Vec::new();
    capture.messages(|message| messages.push(message));
    for message in &messages {
        questions.take(message, capture.interface(message.ifindex).1, boundary);
    }
}

fn name_questions(asked: Vec<Unnamed>, capture: &Capture, local: &Local) -> Vec<DnsSample> {
    let name = |unnamed: Unnamed| {
        let mut sample = unnamed.sample;
        capture.interface(unnamed.interface).0.clone_into(&mut sample.interface);
        local.fill_question(&mut sample, unnamed.client_port);
        sample
    };
    asked.into_iter().map(name).collect()
}

fn rescan(capture: &mut Capture, local: &mut Local, stats: &Stats) -> Result<(), CaptureError> {
    for error in capture.rescan()? {
        stats.attach_failures.inc();
        tracing::warn!(error = super::capture::chain(&error), "interface is not watched");
    }
    local.set_interfaces(capture.attached().map(|(link, _)| link));
    stats.interfaces.set(i64::try_from(capture.attached().count()).unwrap_or(i64::MAX));
    Ok(())
}

fn name(tick: &mut Tick, local: &mut Local, stats: &Stats) {
    local.fill(&mut tick.samples, abi::monotonic);
    stats.evidence(local.counts());
}

fn note(stats: &Stats, counters: &[abi::Count; COUNTERS]) {
    for (name, count) in abi::COUNTER_NAMES.iter().zip(counters) {
        stats.kernel(name, count.packets, count.bytes);
    }
}

fn wall(time: u64, offset: i128) -> Millis {
    Millis::try_from((i128::from(time) + offset).div_euclid(NANOS)).unwrap_or(Millis::MAX)
}

fn kernel(time: Millis, offset: i128) -> u64 {
    u64::try_from(i128::from(time) * NANOS - offset).unwrap_or(0)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What a buffer held, for tests that drive the capture themselves.
#[doc(hidden)]
pub fn flip(capture: &mut Capture, active: &mut usize) -> Result<Drained, CaptureError> {
    let idle = *active;
    *active = 1 - idle;
    // The word's low bit names the buffer in use until the boundary, which is far away.
    capture.set_boundary(u64::MAX, *active);
    std::thread::sleep(SETTLE);
    capture.drain(idle)
}
