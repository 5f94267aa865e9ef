//! The capture's thread: at each tick's end takes what the kernel counted and hands it on.

use super::assemble::{Assembler, Surroundings};
use super::capture::{Capture, CaptureError, Drained};
use super::conntrack::{Conntrack, Direction};
use super::held::Held;
use super::messages;
use super::schedule::Schedule;
use crate::abi::{self, COUNTERS, ConnectionKey};
use crate::dns::{Tracker, Unnamed};
use crate::local::Local;
use crate::stats::Stats;
use crate::tick::Tick;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;
use weir_flow::Millis;
use weir_schemas::raw::DnsSample;

/// How long a buffer stays idle before it is read. A program that chose it before the boundary is done long before:
/// programs run for microseconds, and the coarse clock is behind by at most one timer interrupt (10 ms).
const SETTLE: Duration = Duration::from_millis(30);
/// How often new interfaces and addresses are looked for.
const RESCAN: Duration = Duration::from_secs(1);
/// The longest single sleep, which bounds how fast a stop is noticed.
const NAP: Duration = Duration::from_millis(20);
/// So many times the kernel's limit of flows is held here when flows are read before their tick ends.
const HELD: usize = 8;
const NANOS: i128 = 1_000_000;

struct Node<'a>(&'a Capture, Option<&'a Conntrack>);

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
        self.1.and_then(|conntrack| conntrack.known().other(seen))
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

/// Captures until `stop`, then detaches and sends the last, partial tick. Blocks its thread.
///
/// # Errors
/// When the kernel's maps or the interfaces cannot be read.
pub fn run(
    mut capture: Capture,
    running: Running,
    ticks: &Sender<Tick>,
    stats: &Stats,
    stop: &CancellationToken,
) -> Result<(), CaptureError> {
    let Running { tick, window, remembered, mut local, questions, mut conntrack } = running;
    let mut dns = Tracker::new(questions);
    let most = usize::try_from(capture.flows_limit()).unwrap_or(usize::MAX).saturating_mul(HELD);
    let mut held = Held::new(most);
    let mut assembler = Assembler::new(remembered, capture.reasons().clone(), capture.watches_all());
    let mut offset = abi::wall_offset();
    let mut schedule = Schedule::new(wall(abi::monotonic(), offset), tick, window);
    let mut boundary = kernel(schedule.end, offset);
    let mut active = 0;
    capture.set_boundary(boundary, active);
    rescan(&mut capture, &mut local, stats)?;
    let mut rescanned = abi::monotonic();
    loop {
        let settled = boundary.saturating_add(nanos(SETTLE));
        let now = abi::monotonic();
        // A stop between the boundary and the reading waits for the reading: the tick is complete.
        if now < boundary && stop.is_cancelled() {
            break;
        }
        if now.saturating_sub(rescanned) >= nanos(RESCAN) {
            rescan(&mut capture, &mut local, stats)?;
            rescanned = now;
        }
        take_messages(&mut capture, &mut dns, boundary);
        follow(&mut conntrack, stats);
        let may_flush = now + 8 * nanos(SETTLE) < boundary && held.has_room();
        if may_flush && is_filling(&capture, active) {
            active = flush_early(&mut capture, &mut held, boundary, active)?;
            stats.early_flushes.inc();
            continue;
        }
        if now < settled {
            std::thread::sleep(Duration::from_nanos(settled - now).min(NAP));
            continue;
        }
        offset = abi::wall_offset();
        let ended = schedule.advance(wall(boundary, offset), wall(now, offset));
        stats.overruns.inc_by(ended.overrun);
        let idle = active;
        active = 1 - active;
        boundary = kernel(schedule.end, offset);
        capture.set_boundary(boundary, active);
        let drained = held.with(capture.drain(idle)?);
        note(stats, &drained.counters);
        let asked = dns.end_tick(kernel(schedule.start, offset));
        let mut tick =
            assembler.tick(ended.start, ended.ticks, &drained, offset, now, &Node(&capture, conntrack.as_ref()));
        name(&mut tick, &mut local, stats);
        tick.dns = name_questions(asked, &capture, &local);
        stats.dns(dns.counts());
        if let Some(conntrack) = &mut conntrack {
            conntrack.end_tick();
        }
        stats.unwatched.set(i64::try_from(assembler.unwatched()).unwrap_or(i64::MAX));
        stats.samples.inc_by(u64::try_from(tick.samples.len()).unwrap_or(u64::MAX));
        if ticks.blocking_send(tick).is_err() {
            return Ok(());
        }
    }
    capture.detach();
    std::thread::sleep(SETTLE);
    let drained = held.with(capture.drain(active)?);
    note(stats, &drained.counters);
    let mut last =
        assembler.tick(schedule.start, 1, &drained, offset, abi::monotonic(), &Node(&capture, conntrack.as_ref()));
    name(&mut last, &mut local, stats);
    take_messages(&mut capture, &mut dns, u64::MAX);
    last.dns = name_questions(dns.finish(), &capture, &local);
    stats.dns(dns.counts());
    // The receiver is gone only when nobody wants the rest.
    let _ = ticks.blocking_send(last);
    Ok(())
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
fn take_messages(capture: &mut Capture, dns: &mut Tracker, boundary: u64) {
    let mut messages = Vec::new();
    capture.messages(|message| messages.push(message.clone()));
    for message in &messages {
        let (one, other) = messages::seen(message, capture.interface(message.ifindex).1);
        dns.observe(&one, boundary);
        if let Some(other) = other {
            dns.observe(&other, boundary);
        }
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
