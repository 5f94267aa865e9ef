//! Raw heartbeats for partitions in which nobody says what time it is, because nobody writes to them, or only nodes whose
//! clocks are behind, or what cannot be read: without them their windows would never close, and every generation of the
//! cluster would wait for them. This is the only place of the enricher that looks at the clock for
//! what it writes; what it writes is an ordinary message of the log.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};
use weir_flow::time::floor_to;
use weir_flow::{Millis, RecordSettings};
use weir_schemas::raw::{Origin, RawBatch, Totals};

#[cfg(test)]
mod tests;

/// How far behind the append time a watermark may be, at least, ms: agents of a busy machine may take as long to publish.
const BUSY: Millis = 5_000;

/// Whether a message that was appended at a time has moved a partition's watermark, from `before` to `after`, and to within two
/// ticks of that time, or 5 s. What does not would keep the whole cluster's windows waiting, if it were taken for a sign of life.
pub(super) fn keeps_time(before: Millis, after: Millis, appended: Millis, tick: Millis) -> bool {
    after > before && after >= appended.saturating_sub(tick.saturating_mul(2).max(BUSY))
}

/// When each owned partition was last heard of.
pub(super) struct Silence {
    heard: BTreeMap<i32, Instant>,
    boot: String,
    sequence: u64,
}

impl Silence {
    pub(super) fn new(boot: String) -> Self {
        Self { heard: BTreeMap::new(), boot, sequence: 0 }
    }

    /// Only these partitions are owned from now on.
    pub(super) fn assign(&mut self, partitions: impl Iterator<Item = i32>, now: Instant) {
        self.heard = partitions.map(|partition| (partition, now)).collect();
    }

    /// A partition had a message that [keeps the time](keeps_time).
    pub(super) fn heard(&mut self, partition: i32, now: Instant) {
        self.heard.insert(partition, now);
    }

    /// The partitions that were silent for two ticks, with the heartbeat to write; each is due again after a tick.
    pub(super) fn due(&mut self, settings: &RecordSettings, now: Instant, time: SystemTime) -> Vec<(i32, RawBatch)> {
        let tick = Duration::from_millis(u64::try_from(settings.tick).unwrap_or(1_000));
        let since = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let time = Millis::try_from(since).unwrap_or(0);
        let mut due = Vec::new();
        for (partition, heard) in &mut self.heard {
            if now.duration_since(*heard) < tick * 2 {
                continue;
            }
            *heard = now.checked_sub(tick).unwrap_or(now);
            due.push((*partition, heartbeat(settings, *partition, &self.boot, self.sequence, time)));
            self.sequence = self.sequence.saturating_add(1);
        }
        due
    }
}

fn heartbeat(settings: &RecordSettings, partition: i32, boot: &str, sequence: u64, time: Millis) -> RawBatch {
    RawBatch {
        dns: Vec::new(),
        cluster: settings.cluster.clone(),
        node: format!("owner/{partition}"),
        boot: boot.to_owned(),
        sequence,
        // The last tick that is over, as an agent would say it.
        tick: floor_to(time.saturating_sub(settings.tick), settings.tick),
        tick_length: settings.tick,
        ticks: 1,
        part: 0,
        parts: 1,
        origin: Origin::Owner,
        seen: Totals::default(),
        published: Totals::default(),
        lost: Vec::new(),
        samples: Vec::new(),
    }
}
