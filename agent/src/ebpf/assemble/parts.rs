//! A tick's samples, handed on in parts as they are made, so that never all of them take memory at once. Pure.

use crate::tick::{Tick, add, totals};
use weir_flow::Millis;
use weir_schemas::raw::{Sample, Totals};

/// A tick's time, and that of its reading.
#[derive(Clone, Copy, Debug)]
pub struct When {
    /// Start of the (first) tick, ms since the epoch.
    pub start: Millis,
    /// How many ticks it spans.
    pub ticks: u32,
    /// Wall clock minus the kernel's, ns.
    pub offset: i128,
    /// When it is read, ns of the kernel's clock.
    pub now: u64,
}

/// The running part.
pub(super) struct Parts<E> {
    pub(super) when: When,
    pub(super) size: usize,
    pub(super) samples: Vec<Sample>,
    /// What the parts before it hold.
    pub(super) sums: Totals,
    /// What was unaccounted before this tick.
    pub(super) before: Totals,
    pub(super) each: E,
}

impl<E: FnMut(Tick)> Parts<E> {
    /// Puts a sample into the running part; hands that on before, if it is full.
    pub(super) fn push(&mut self, sample: Sample) {
        if self.samples.len() >= self.size {
            let part = self.take();
            (self.each)(Tick { more: true, unaccounted: self.before, ..part });
            self.samples.reserve(self.size);
        }
        self.samples.push(sample);
    }

    /// The last part, of which more is to be said; and all samples are added to `drained`.
    pub(super) fn finish(mut self, drained: &mut Totals) -> (Tick, E) {
        let last = self.take();
        add(drained, self.sums);
        (last, self.each)
    }

    fn take(&mut self) -> Tick {
        let samples = std::mem::take(&mut self.samples);
        add(&mut self.sums, totals(&samples));
        Tick { start: self.when.start, ticks: self.when.ticks, samples, ..Tick::default() }
    }
}
