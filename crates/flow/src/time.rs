//! Ticks, windows, generations, the watermark and the frontier.
//!
//! All times are milliseconds since the Unix epoch. A *tick* is `[t, t + tick)`, a *window* `[w, w + window)`, both
//! aligned to the epoch and named by their start. A *generation* is the window in which a sample is written.

use crate::RecordSettings;

#[cfg(test)]
mod tests;

/// Milliseconds since the Unix epoch (UTC); negative before 1970.
pub type Millis = i64;

/// "Nothing yet": the T and M of a partition that has never been written.
pub const NEVER: Millis = i64::MIN;

/// "For ever": the H of a source that can learn nothing more, and the end of a revision that is still valid.
pub const FOR_EVER: Millis = i64::MAX;

/// The greatest multiple of `length` that is not greater than `time`.
///
/// # Panics
/// Never for `length > 0`, which [`RecordSettings::validate`] guarantees.
#[must_use]
pub fn floor_to(time: Millis, length: Millis) -> Millis {
    time.saturating_sub(time.rem_euclid(length))
}

/// Where a batch's samples are placed: `min(tick, floor(append time + tolerance))` for live sources, else the tick.
///
/// The broker's append time bounds the agents' clocks: an agent that runs ahead cannot push the watermark into the
/// future. It says nothing of a capture file, whose last, empty batch may well be of a time that is still to come. The
/// second value says whether the tick was clamped.
#[must_use]
pub fn placed_tick(tick: Millis, append_time: Millis, settings: &RecordSettings) -> (Millis, bool) {
    if !settings.live {
        return (floor_to(tick, settings.tick), false);
    }
    let bound = floor_to(append_time.saturating_add(settings.tolerance), settings.tick);
    if tick > bound { (bound, true) } else { (floor_to(tick, settings.tick), false) }
}

/// The watermark M and the frontier F of one raw partition, as functions of the log prefix read so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frontier {
    /// M: the highest placed tick's end among the batches read; [`NEVER`] before the first.
    pub watermark: Millis,
}

impl Default for Frontier {
    fn default() -> Self {
        Self { watermark: NEVER }
    }
}

impl Frontier {
    /// A frontier that continues at watermark M, as read from an offset commit's metadata.
    #[must_use]
    pub fn at(watermark: Millis) -> Self {
        Self { watermark }
    }

    /// Takes a batch placed at tick `e` into account.
    pub fn observe(&mut self, placed: Millis, settings: &RecordSettings) {
        self.watermark = self.watermark.max(placed.saturating_add(settings.tick));
    }

    /// F: the start of the last window with `end + grace <= M`; [`NEVER`] when there is none yet.
    #[must_use]
    pub fn last_complete_window(&self, settings: &RecordSettings) -> Millis {
        if self.watermark == NEVER {
            return NEVER;
        }
        let end = floor_to(self.watermark.saturating_sub(settings.grace), settings.window);
        end.saturating_sub(settings.window)
    }

    /// The closing generation of a sample of window `window`: the window itself, or the next one after the frontier
    /// when it came late.
    #[must_use]
    pub fn closing_generation(&self, window: Millis, settings: &RecordSettings) -> Millis {
        let last = self.last_complete_window(settings);
        if last == NEVER { window } else { window.max(last.saturating_add(settings.window)) }
    }
}

/// The earliest heartbeat H (metadata complete up to H) with which generation `generation` may be written:
/// its end plus grace.
#[must_use]
pub fn metadata_needed(generation: Millis, settings: &RecordSettings) -> Millis {
    generation.saturating_add(settings.window).saturating_add(settings.grace)
}
