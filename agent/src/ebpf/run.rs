//! The capture's thread: at each tick's end takes what the kernel counted and hands it on.

use super::assemble::{Assembler, Surroundings};
use super::capture::{Capture, CaptureError, Drained};
use super::schedule::Schedule;
use crate::abi::{self, COUNTERS, ConnectionKey};
use crate::local::Local;
use crate::stats::Stats;
use crate::tick::Tick;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;
use weir_flow::Millis;

/// How long a buffer stays idle before it is read. A program that chose it before the boundary is done long before:
/// programs run for microseconds, and the coarse clock is behind by at most one timer interrupt (10 ms).
const SETTLE: Duration = Duration::from_millis(30);
/// How often new interfaces and addresses are looked for.
const RESCAN: Duration = Duration::from_secs(1);
/// The longest single sleep, which bounds how fast a stop is noticed.
const NAP: Duration = Duration::from_millis(50);
const NANOS: i128 = 1_000_000;

struct Node<'a>(&'a Capture);

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
    let Running { tick, window, remembered, mut local } = running;
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
        let drained = capture.drain(idle)?;
        note(stats, &drained.counters);
        let mut tick = assembler.tick(ended.start, ended.ticks, &drained, offset, now, &Node(&capture));
        name(&mut tick, &mut local, stats);
        stats.unwatched.set(i64::try_from(assembler.unwatched()).unwrap_or(i64::MAX));
        stats.samples.inc_by(u64::try_from(tick.samples.len()).unwrap_or(u64::MAX));
        if ticks.blocking_send(tick).is_err() {
            return Ok(());
        }
    }
    capture.detach();
    std::thread::sleep(SETTLE);
    let drained = capture.drain(active)?;
    note(stats, &drained.counters);
    let mut last = assembler.tick(schedule.start, 1, &drained, offset, abi::monotonic(), &Node(&capture));
    name(&mut last, &mut local, stats);
    // The receiver is gone only when nobody wants the rest.
    let _ = ticks.blocking_send(last);
    Ok(())
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
