//! What is remembered with pinned maps for whoever comes next: up to where ticks are on the topic.

use super::{Capture, CaptureError, Drained, SETTLE};
use crate::abi::{self, COUNT_FILTERED, COUNT_MAP_FULL, COUNT_PARSE, COUNT_SAMPLED_OUT, COUNT_SEEN, COUNTERS, Count};
use crate::ebpf::held::Held;
use crate::tick::Mark;
use aya::maps::{Array, Map, MapData, MapError, PerCpuArray};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// The entries that outlive a process.
pub struct Ledger {
    map: Array<MapData, abi::Ledger>,
    /// Whoever may still write here has the pins, and nobody else.
    _lock: Option<Arc<File>>,
}

impl Ledger {
    pub(super) fn new(map: Array<MapData, abi::Ledger>) -> Self {
        Self { map, _lock: None }
    }

    /// Keeps the pins' lock as long as this is there.
    pub(super) fn with_lock(self, lock: Arc<File>) -> Self {
        Self { _lock: Some(lock), ..self }
    }

    /// Up to where a predecessor's ticks are certainly on the topic, and may be.
    pub(super) fn marks(&self) -> Result<Marks, MapError> {
        let read = |entry: u32| self.map.get(&entry, 0).map(|ledger| Mark(ledger.counted));
        Ok(Marks { settled: read(abi::LEDGER_SETTLED)?, begun: read(abi::LEDGER_BEGUN)? })
    }

    fn write(&mut self, entry: u32, mark: &Mark) {
        if let Err(error) = self.map.set(entry, abi::Ledger { counted: mark.0 }, 0) {
            weir_service::rate_limited!(warn, error = %error, "not noted what is published: after a kill it counts as lost");
        }
    }
}

impl crate::publish::Ledger for Ledger {
    fn begun(&mut self, mark: &Mark) {
        self.write(abi::LEDGER_BEGUN, mark);
    }

    fn settled(&mut self, mark: &Mark) {
        self.write(abi::LEDGER_SETTLED, mark);
    }
}

/// The two entries, as a predecessor left them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    settled: Mark,
    begun: Mark,
}

/// One counter's value over all CPUs.
pub(super) fn sum(counts: &PerCpuArray<MapData, Count>, entry: u32) -> Result<Count, MapError> {
    Ok(counts.get(&entry, 0)?.iter().fold(Count::default(), |sum, value| Count {
        packets: sum.packets.wrapping_add(value.packets),
        bytes: sum.bytes.wrapping_add(value.bytes),
    }))
}

/// What was seen by programs whose maps are pinned in a folder, and is not certainly on the topic.
pub(super) fn unpublished(folder: &Path) -> Result<Count, MapError> {
    let pinned = |name: &str| MapData::from_pin(folder.join(name));
    let counts = PerCpuArray::try_from(Map::PerCpuArray(pinned("WEIR_COUNTS")?))?;
    let ledger = Ledger::new(Array::try_from(Map::Array(pinned("WEIR_LEDGER")?))?);
    let mut seen = Count::default();
    for buffer in 0..2 {
        let entry = u32::try_from(buffer * COUNTERS + COUNT_SEEN).unwrap_or(u32::MAX);
        let half = sum(&counts, entry)?;
        seen.packets = seen.packets.wrapping_add(half.packets);
        seen.bytes = seen.bytes.wrapping_add(half.bytes);
    }
    let published = ledger.marks()?.settled.0[COUNT_SEEN];
    Ok(Count {
        packets: seen.packets.saturating_sub(published.packets),
        bytes: seen.bytes.saturating_sub(published.bytes),
    })
}

/// What a predecessor left.
#[derive(Clone, Debug, Default)]
pub struct Inherited {
    /// All that is in the maps; its counters are those since the last tick that is certainly on the topic.
    pub drained: Drained,
    /// Of what was seen since then and is in no map any more: what may be on the topic all the same.
    pub unsure: Count,
    /// The counters as of the last tick that is certainly on the topic.
    pub settled: Mark,
}

impl Capture {
    /// The counters of all that was drained so far.
    #[must_use]
    pub fn mark(&self) -> Mark {
        let mut sums = [Count::default(); COUNTERS];
        for (sum, (one, other)) in sums.iter_mut().zip(self.buffers[0].counted.iter().zip(&self.buffers[1].counted)) {
            sum.packets = one.packets.wrapping_add(other.packets);
            sum.bytes = one.bytes.wrapping_add(other.bytes);
        }
        Mark(sums)
    }

    /// Hands out the ledger, once; none where nothing outlives the process.
    pub fn take_ledger(&mut self) -> Option<Ledger> {
        self.ledger.take()
    }

    /// Empties what a predecessor left, if there was one; nothing the second time. From then on `buffer` 0 is in use. To be
    /// called before anything else is drained.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn inherit(&mut self) -> Result<Option<Inherited>, CaptureError> {
        let Some(Marks { settled, begun }) = self.predecessor.take() else { return Ok(None) };
        let mut held = Held::new(usize::MAX);
        let in_use = self.config.in_use(abi::monotonic());
        // Both buffers, and the one in use at last, so that what comes next goes to the first.
        for buffer in if in_use == 1 { [0, 1] } else { [1, 0] } {
            self.set_boundary(u64::MAX, 1 - buffer);
            std::thread::sleep(SETTLE);
            held.add(self.drain(buffer)?);
        }
        if in_use == 0 {
            // What came meanwhile is in the second one.
            self.set_boundary(u64::MAX, 0);
            std::thread::sleep(SETTLE);
            held.add(self.drain(1)?);
        }
        let mut drained = held.take();
        drained.counters = settled.until(&self.mark());
        Ok(Some(Inherited { unsure: unsure(&settled, &begun), drained, settled }))
    }
}

/// What was on its way to the topic: seen between two marks, and not lost in the kernel.
fn unsure(settled: &Mark, begun: &Mark) -> Count {
    let gained = settled.until(begun);
    let mut rest = gained[COUNT_SEEN];
    for lost in [COUNT_PARSE, COUNT_MAP_FULL, COUNT_FILTERED, COUNT_SAMPLED_OUT] {
        rest.packets = rest.packets.saturating_sub(gained[lost].packets);
        rest.bytes = rest.bytes.saturating_sub(gained[lost].bytes);
    }
    rest
}
