//! What is remembered with pinned maps for whoever comes next: up to where ticks are on the topic.

use super::payloads::Payloads;
use super::pins::Pins;
use super::{Capture, CaptureError, Drained, SETTLE};
use crate::abi::{self, COUNT_FILTERED, COUNT_MAP_FULL, COUNT_PARSE, COUNT_SAMPLED_OUT, COUNT_SEEN, COUNTERS, Count};
use crate::ebpf::held::Held;
use crate::tick::{Mark, Told};
use aya::maps::{Array, Map, MapData, MapError, PerCpuArray};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Up to which position in the ring buffer of payloads all is told of on the topic.
#[derive(Clone, Debug, Default)]
pub(super) struct Settled(Arc<AtomicU64>);

impl Settled {
    pub(super) fn position(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// The entries that outlive a process.
pub struct Ledger {
    map: Array<MapData, abi::Ledger>,
    settled: Settled,
    /// Whoever may still write here has the pins, and nobody else.
    _lock: Option<Arc<File>>,
}

impl Ledger {
    pub(super) fn new(map: Array<MapData, abi::Ledger>) -> Self {
        Self { map, settled: Settled::default(), _lock: None }
    }

    /// The one that is pinned in a folder.
    pub(super) fn pinned(folder: &Path) -> Result<Self, MapError> {
        let map = MapData::from_pin(folder.join("WEIR_LEDGER"))?;
        Ok(Self::new(Array::try_from(Map::Array(map))?))
    }

    /// Keeps the pins' lock as long as this is there.
    pub(super) fn with_lock(self, lock: Arc<File>) -> Self {
        Self { _lock: Some(lock), ..self }
    }

    /// What follows the settled entry.
    pub(super) fn settled(&self) -> Settled {
        self.settled.clone()
    }

    /// So many payloads were given back before they were told of.
    pub(super) fn passed(&mut self, read: u64) {
        let told = Told { read, ..Told::default() };
        self.write(abi::LEDGER_PASSED, &Mark { told, ..Mark::default() });
    }

    /// Up to where a predecessor's ticks are certainly on the topic, and may be.
    pub(super) fn marks(&self) -> Result<Marks, MapError> {
        let read = |entry: u32| {
            self.map.get(&entry, 0).map(|ledger| Mark {
                counts: ledger.counted,
                told: Told { until: ledger.until, read: ledger.read, position: 0 },
            })
        };
        Ok(Marks {
            settled: read(abi::LEDGER_SETTLED)?,
            begun: read(abi::LEDGER_BEGUN)?,
            passed: read(abi::LEDGER_PASSED)?.told.read,
        })
    }

    fn write(&mut self, entry: u32, mark: &Mark) {
        if let Err(error) = self.map.set(entry, entry_of(mark), 0) {
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
        // What is not told of by then is behind it.
        self.settled.0.fetch_max(mark.told.position, Ordering::AcqRel);
    }
}

fn entry_of(mark: &Mark) -> abi::Ledger {
    abi::Ledger { counted: mark.counts, until: mark.told.until, read: mark.told.read }
}

/// The entries, as a predecessor left them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    settled: Mark,
    begun: Mark,
    /// Payloads that were read and given back, told of or not.
    passed: u64,
}

impl Marks {
    /// How many payloads a predecessor had read that are told of, or are not there to be read again.
    pub(super) fn read(&self) -> u64 {
        self.begun.told.read.max(self.passed)
    }

    /// Of those, how many are not certainly told of.
    fn lost(&self) -> u64 {
        self.read().saturating_sub(self.settled.told.read)
    }
}

/// The ledger for whoever publishes, where maps outlive the process, and what a predecessor left in it; `payloads` are kept until
/// they are told of.
pub(super) fn pass_on(
    ledger: Ledger,
    pins: &Pins,
    payloads: &mut Payloads,
) -> Result<(Option<Ledger>, Option<Marks>), CaptureError> {
    let failed = |source: MapError| CaptureError::Map { map: "WEIR_LEDGER", source: std::io::Error::other(source) };
    let predecessor = if pins.taken_over() { Some(ledger.marks().map_err(failed)?) } else { None };
    let again = Ledger::pinned(pins.folder()).map_err(failed)?;
    payloads.keep(ledger.settled(), again, predecessor.map_or(0, |marks| marks.read()));
    Ok((Some(ledger.with_lock(pins.lock())), predecessor))
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
    let ledger = Ledger::pinned(folder)?;
    let mut seen = Count::default();
    for buffer in 0..2 {
        let entry = u32::try_from(buffer * COUNTERS + COUNT_SEEN).unwrap_or(u32::MAX);
        let half = sum(&counts, entry)?;
        seen.packets = seen.packets.wrapping_add(half.packets);
        seen.bytes = seen.bytes.wrapping_add(half.bytes);
    }
    let published = ledger.marks()?.settled.counts[COUNT_SEEN];
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
    /// What payloads tell of the time before is told, or may be.
    pub told: Told,
    /// Payloads that were read and are not certainly told of, and that nobody can read again.
    pub lost_payloads: u64,
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
        Mark { counts: sums, told: Told::default() }
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
        let Some(marks) = self.predecessor.take() else { return Ok(None) };
        let Marks { settled, begun, .. } = marks;
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
        let told = Told { read: marks.read(), ..begun.told };
        let lost_payloads = marks.lost();
        Ok(Some(Inherited { unsure: unsure(&settled, &begun), drained, settled, told, lost_payloads }))
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
