//! What a source (the kernel, a capture file) counted in one tick, on its way to the topic.

use crate::abi::{COUNTERS, Count};
use std::collections::{BTreeMap, HashMap};
use weir_flow::{Address, Millis};
use weir_schemas::raw::{Coarsening, DnsSample, End, Loss, OpenedBy, Point, RoundTrip, Sample, Totals};

#[cfg(test)]
mod tests;

/// Adds packets, bytes and samples.
pub(crate) fn add(sum: &mut Totals, more: Totals) {
    sum.packets = sum.packets.saturating_add(more.packets);
    sum.bytes = sum.bytes.saturating_add(more.bytes);
    sum.samples = sum.samples.saturating_add(more.samples);
}

/// The totals of some samples.
#[must_use]
pub fn totals(samples: &[Sample]) -> Totals {
    let mut sum = Totals::default();
    for sample in samples {
        add(&mut sum, Totals { packets: sample.packets, bytes: sample.bytes, samples: 1 });
    }
    sum
}

/// All that was counted in one tick, or in several of one window that had to be merged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tick {
    /// Start of the (first) tick, ms since the epoch.
    pub start: Millis,
    /// How many ticks this is.
    pub ticks: u32,
    /// Whether further parts of the same tick follow: only the last says what was lost.
    pub more: bool,
    /// What was counted.
    pub samples: Vec<Sample>,
    /// What clients asked DNS servers.
    pub dns: Vec<DnsSample>,
    /// What was lost in these ticks, by reason.
    pub lost: BTreeMap<String, Totals>,
    /// All that was seen and is neither in samples nor in a named loss, since the source began: normally nothing. It
    /// may fall again, when something turns up a tick later.
    pub unaccounted: Totals,
    /// The source's own counters as of this tick's end, where it keeps any.
    pub mark: Option<Mark>,
}

/// How far a source has come at a moment: what was counted until then is what is published or lost by then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The counters by index.
    pub counts: [Count; COUNTERS],
    /// The payloads.
    pub told: Told,
}

/// How far payloads that may be DNS messages are told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// What became of questions before this, ns of the kernel's clock, is told.
    pub until: u64,
    /// So many payloads were read for that since their ring buffer was made.
    pub read: u64,
    /// Where in it that begins which is needed to tell of what comes after: of questions that wait, and of what came later.
    pub position: u64,
}

impl Mark {
    /// What each counter gained until `later`; nothing where it is not later.
    #[must_use]
    pub fn until(&self, later: &Self) -> [Count; COUNTERS] {
        let mut gained = later.counts;
        for (gained, before) in gained.iter_mut().zip(&self.counts) {
            gained.packets = gained.packets.saturating_sub(before.packets);
            gained.bytes = gained.bytes.saturating_sub(before.bytes);
        }
        gained
    }

    /// The mark when these have been counted, too.
    #[must_use]
    pub fn plus(&self, gained: &[Count; COUNTERS]) -> Self {
        let mut later = *self;
        for (later, gained) in later.counts.iter_mut().zip(gained) {
            later.packets = later.packets.saturating_add(gained.packets);
            later.bytes = later.bytes.saturating_add(gained.bytes);
        }
        later
    }
}

impl Tick {
    /// About how much memory this takes, in bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        const FIXED: usize = 512;
        let text = |sample: &Sample| {
            sample.interface.len() + sample.process.as_ref().map_or(0, String::len) + sample.drops.len() * 64
        };
        let asked = |sample: &DnsSample| {
            std::mem::size_of::<DnsSample>() + sample.question.len() + std::mem::size_of_val(sample.answers.as_slice())
        };
        FIXED
            + self.samples.iter().map(|sample| std::mem::size_of::<Sample>() + text(sample)).sum::<usize>()
            + self.dns.iter().map(asked).sum::<usize>()
    }

    /// Takes in the next tick of the same window: samples of one flow at one point become one.
    pub fn merge(&mut self, later: Self) {
        if !self.more {
            self.ticks = self.ticks.saturating_add(later.ticks);
        }
        self.more = later.more;
        self.unaccounted = later.unaccounted;
        self.mark = later.mark.or(self.mark);
        let mut index: HashMap<Identity, usize> =
            self.samples.iter().enumerate().map(|(place, sample)| (Identity::of(sample), place)).collect();
        for sample in later.samples {
            if let Some(earlier) = index.get(&Identity::of(&sample)).and_then(|place| self.samples.get_mut(*place)) {
                merge_samples(earlier, sample);
                // One sample less is in circulation, and nothing of it is lost.
            } else {
                index.insert(Identity::of(&sample), self.samples.len());
                self.samples.push(sample);
            }
        }
        for (reason, lost) in later.lost {
            add(self.lost.entry(reason).or_default(), lost);
        }
        self.merge_dns(later.dns);
    }

    fn merge_dns(&mut self, later: Vec<DnsSample>) {
        let mut index: HashMap<Vec<u8>, usize> =
            self.dns.iter().enumerate().map(|(place, sample)| (asked(sample), place)).collect();
        for sample in later {
            let key = asked(&sample);
            if let Some(earlier) = index.get(&key).and_then(|place| self.dns.get_mut(*place)) {
                merge_dns_samples(earlier, sample);
            } else {
                index.insert(key, self.dns.len());
                self.dns.push(sample);
            }
        }
    }
}

/// What a DNS sample is of, as bytes.
fn asked(sample: &DnsSample) -> Vec<u8> {
    let ends = (sample.point, sample.end, sample.client, sample.server, sample.server_port, sample.protocol);
    let code = (sample.question_type, sample.response_code);
    format!("{ends:?} {code:?} {} {}", sample.interface, sample.question).into_bytes()
}

fn merge_dns_samples(earlier: &mut DnsSample, later: DnsSample) {
    earlier.count = earlier.count.saturating_add(later.count);
    earlier.latency = merge_times(earlier.latency, later.latency);
    earlier.answers_more = earlier.answers_more.saturating_add(later.answers_more);
    for answer in later.answers {
        match earlier.answers.binary_search(&answer) {
            Ok(_) => {}
            Err(place) if earlier.answers.len() < crate::dns::message::ADDRESSES => {
                earlier.answers.insert(place, answer);
            }
            Err(_) => earlier.answers_more = earlier.answers_more.saturating_add(1),
        }
    }
    earlier.pod_uid = earlier.pod_uid.take().or(later.pod_uid);
    earlier.container = earlier.container.take().or(later.container);
    earlier.process = earlier.process.take().or(later.process);
}

/// Adds times.
#[must_use]
pub(crate) fn merge_times(a: Option<RoundTrip>, b: Option<RoundTrip>) -> Option<RoundTrip> {
    match (a, b) {
        (Some(a), Some(b)) => Some(RoundTrip {
            sum: a.sum.saturating_add(b.sum),
            count: a.count.saturating_add(b.count),
            min: a.min.min(b.min),
            max: a.max.max(b.max),
        }),
        (a, b) => a.or(b),
    }
}

/// Which flow at which point a sample is of.
#[derive(PartialEq, Eq, Hash)]
struct Identity {
    point: Point,
    end: End,
    interface: String,
    addresses: (Address, Address),
    ports: (u16, u16),
    protocol: u8,
    sampling: u32,
    coarsened: Coarsening,
}

impl Identity {
    fn of(sample: &Sample) -> Self {
        Self {
            point: sample.point,
            end: sample.end,
            interface: sample.interface.clone(),
            addresses: (sample.source, sample.destination),
            ports: (sample.source_port, sample.destination_port),
            protocol: sample.protocol,
            sampling: sample.sampling,
            coarsened: sample.coarsened,
        }
    }
}

fn merge_samples(earlier: &mut Sample, later: Sample) {
    earlier.first_seen = earlier.first_seen.min(later.first_seen);
    earlier.last_seen = earlier.last_seen.max(later.last_seen);
    earlier.bytes = earlier.bytes.saturating_add(later.bytes);
    earlier.packets = earlier.packets.saturating_add(later.packets);
    earlier.tcp_flags |= later.tcp_flags;
    earlier.started = earlier.started.saturating_add(later.started);
    earlier.ended = earlier.ended.saturating_add(later.ended);
    earlier.cumulative_bytes = earlier.cumulative_bytes.max(later.cumulative_bytes);
    earlier.cumulative_packets = earlier.cumulative_packets.max(later.cumulative_packets);
    earlier.retransmits = earlier.retransmits.saturating_add(later.retransmits);
    if later.opened_by != OpenedBy::Unknown {
        earlier.opened_by = later.opened_by;
        earlier.opened_at = later.opened_at;
    }
    earlier.translated = earlier.translated.or(later.translated);
    earlier.pod_uid = earlier.pod_uid.take().or(later.pod_uid);
    earlier.container = earlier.container.take().or(later.container);
    earlier.process = earlier.process.take().or(later.process);
    earlier.round_trip = merge_times(earlier.round_trip, later.round_trip);
    earlier.handshake = merge_times(earlier.handshake, later.handshake);
    earlier.zero_windows = earlier.zero_windows.saturating_add(later.zero_windows);
    earlier.resets = earlier.resets.saturating_add(later.resets);
    for drop in later.drops {
        if let Some(same) = earlier.drops.iter_mut().find(|d| d.reason == drop.reason) {
            same.packets = same.packets.saturating_add(drop.packets);
            same.bytes = same.bytes.saturating_add(drop.bytes);
        } else {
            earlier.drops.push(drop);
        }
    }
}

/// Losses as they stand in a batch.
#[must_use]
pub fn losses(lost: &BTreeMap<String, Totals>) -> Vec<Loss> {
    lost.iter()
        .filter(|(_, lost)| **lost != Totals::default())
        .map(|(reason, lost)| Loss { reason: reason.clone(), lost: *lost })
        .collect()
}
