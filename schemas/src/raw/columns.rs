//! The wire form of a batch's samples: one array per field instead of one record per sample.
//!
//! Neighbouring samples share interfaces, addresses, pods and times, so that columns compress to about half of what rows
//! do, and a column that is empty in every sample costs a byte in all (`docs/benchmarks.md` has the comparison). Strings
//! are numbered in a dictionary; times are offsets from the tick; a column of optional values is left out while no sample
//! has one.

use super::{
    Coarsening, DnsSample, Drop, End, OpenedBy, Origin, Point, RawBatch, RoundTrip, Sample, Text, Totals, Tuple,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use weir_flow::{Address, Millis};

mod rows;
#[cfg(test)]
mod tests;

use rows::Rows;

/// A batch as it stands on the topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnBatch {
    /// The cluster's id.
    pub cluster: String,
    /// The node's name in the cluster; the host name where there is no cluster.
    pub node: String,
    /// One start of the agent process (a UUID in text); sequence and cumulative counters begin anew with it.
    pub boot: String,
    /// 0, 1, 2 … per boot; a gap is a lost batch.
    pub sequence: u64,
    /// Start of the (first) tick, ms since the epoch.
    pub tick: Millis,
    /// Length of a tick in ms, as the agent was told.
    pub tick_length: Millis,
    /// How many ticks were merged into this batch: 1, or more after Kafka was away; never across a window's border.
    pub ticks: u32,
    /// This part's number, 0 to `parts` − 1.
    pub part: u32,
    /// How many parts the tick was split into, as far as was known: certain in the last part, at least `part` + 2 in one before it.
    pub parts: u32,
    /// What produced the samples.
    pub origin: Origin,
    /// All that reached the agent's programs since boot, up to the end of this tick.
    pub seen: Totals,
    /// All that was put into batches since boot, this one included.
    pub published: Totals,
    /// All that was lost since boot, by reason. seen = published + the sum of these.
    pub lost: Vec<super::Loss>,
    /// How many samples the columns hold; 0 in a heartbeat.
    pub count: u32,
    /// Every string that the samples name, once, in order of first use; columns hold 1 + its index, 0 for absent.
    pub strings: Vec<String>,
    /// Every address that the samples name, once, in order of first use; columns hold its index.
    pub addresses: Vec<Address>,
    /// The columns.
    pub columns: Columns,
    /// DNS questions that clients on this node asked, with their answers.
    pub dns: Vec<DnsSample>,
}

/// One array per field of a sample; each has `count` elements, or none where every sample has the default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Columns {
    /// Observation point × 2 + end: pod 0, host 1, transit 2, underlay 3, capture 4; source 0, destination 1.
    #[serde(with = "serde_bytes")]
    pub place: Vec<u8>,
    /// Interface, a string's number.
    pub interface: Vec<u32>,
    /// Source address, an address's index.
    pub source: Vec<u32>,
    /// Destination address, an address's index.
    pub destination: Vec<u32>,
    /// Source port; 0 where the protocol has none.
    pub source_port: Vec<u16>,
    /// Destination port; for ICMP type × 256 + code.
    pub destination_port: Vec<u16>,
    /// IANA protocol number.
    #[serde(with = "serde_bytes")]
    pub protocol: Vec<u8>,
    /// Who opened the connection: unknown 0, source 1, destination 2.
    #[serde(with = "serde_bytes")]
    pub opened_by: Vec<u8>,
    /// First packet, ms after the tick's start.
    pub first_seen: Vec<i64>,
    /// Last packet, ms after the first.
    pub last_seen: Vec<i64>,
    /// L3 bytes as on the wire, before correction for sampling; a GSO/GRO super-packet counts the headers of each segment.
    pub bytes: Vec<u64>,
    /// Packets as on the wire; a GSO/GRO super-packet counts as its segments.
    pub packets: Vec<u64>,
    /// TCP flags seen, or-ed (RFC 9293). Left out while every sample has none.
    pub tcp_flags: Vec<u16>,
    /// Connections started in the tick. Left out while every sample has none.
    pub started: Vec<u64>,
    /// Connections ended in the tick. Left out while every sample has none.
    pub ended: Vec<u64>,
    /// 1 + ms from the connection's opening to the first packet of the tick; 0 when not seen. Left out while every sample has 0.
    pub opened: Vec<i64>,
    /// Bytes since the flow was first seen, less those of this tick.
    pub earlier_bytes: Vec<u64>,
    /// Packets since the flow was first seen, less those of this tick.
    pub earlier_packets: Vec<u64>,
    /// TCP segments sent again in the tick. Left out while every sample has none.
    pub retransmits: Vec<u64>,
    /// UID of the pod at this end, a string's number. Left out while no sample has one.
    pub pod_uid: Vec<u32>,
    /// Container at this end, its name or the first digits of its id, a string's number. Left out while no sample has one.
    pub container: Vec<u32>,
    /// Process name at this end, a string's number. Left out while no sample has one.
    pub process: Vec<u32>,
    /// Sampling factor less 1. Left out while nothing is sampled.
    pub sampling: Vec<u32>,
    /// TCP segments that announced a window of zero. Left out while every sample has none.
    pub zero_windows: Vec<u64>,
    /// TCP segments with RST. Left out while every sample has none.
    pub resets: Vec<u64>,
    /// What was left out of the tuple: nothing 0, source port 1, prefix 2. Left out while every sample has 0.
    #[serde(with = "serde_bytes")]
    pub coarsened: Vec<u8>,
    /// Translated tuples of the samples that have one.
    pub translated: Vec<TranslatedAt>,
    /// Drops of the samples that have some.
    pub drops: Vec<DropAt>,
    /// Round-trip times of the samples that have some.
    pub round_trips: Vec<RoundTripAt>,
    /// Times of handshakes of the samples that have some.
    pub handshakes: Vec<RoundTripAt>,
}

/// A sample's translated tuple.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TranslatedAt {
    /// The sample's index.
    pub sample: u32,
    /// The other tuple where the connection is translated, in the direction of the sample's packets.
    pub tuple: Tuple,
}

/// A sample's drop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropAt {
    /// The sample's index.
    pub sample: u32,
    /// What was dropped.
    pub drop: Drop,
}

/// A sample's round-trip or handshake times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundTripAt {
    /// The sample's index.
    pub sample: u32,
    /// The times seen in the tick.
    pub round_trip: RoundTrip,
}

/// Why columns are no batch.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ColumnError {
    /// A column's length is neither the count nor, where that is allowed, zero.
    #[error("column {0} has {1} elements for {2} samples")]
    Length(&'static str, usize, u32),
    /// A text is longer than it may be.
    #[error("{0} has {1} bytes, more than {2}")]
    Long(&'static str, usize, usize),
    /// A list is longer than it may be.
    #[error("{1} {0}, more than {2}")]
    Many(&'static str, usize, usize),
    /// A number names nothing.
    #[error("column {0}: {1} at sample {2} is out of range")]
    Range(&'static str, i64, usize),
}

/// Gives each distinct value a number in order of first use.
struct Dictionary<T> {
    values: Vec<T>,
    numbers: std::collections::HashMap<T, u32>,
}

impl<T: Clone + Eq + std::hash::Hash> Dictionary<T> {
    fn new() -> Self {
        Self { values: Vec::new(), numbers: std::collections::HashMap::new() }
    }

    fn number<Q>(&mut self, value: &Q) -> u32
    where
        T: std::borrow::Borrow<Q>,
        Q: std::hash::Hash + Eq + ToOwned<Owned = T> + ?Sized,
    {
        if let Some(number) = self.numbers.get(value) {
            return *number;
        }
        // A batch has at most some hundred thousand samples; the decoder bounds it.
        let number = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        self.values.push(value.to_owned());
        self.numbers.insert(value.to_owned(), number);
        number
    }
}

fn place(point: Point, end: End) -> u8 {
    let point = match point {
        Point::Pod => 0,
        Point::Host => 1,
        Point::Transit => 2,
        Point::Underlay => 3,
        Point::Capture => 4,
    };
    point * 2 + u8::from(end == End::Destination)
}

/// Drops a column in which every element is the default.
fn shrink<T: Default + PartialEq>(column: &mut Vec<T>) {
    if column.iter().all(|v| *v == T::default()) {
        column.clear();
    }
}

impl<T: Text> From<RawBatch<T>> for ColumnBatch {
    fn from(batch: RawBatch<T>) -> Self {
        Self::from(&batch)
    }
}

impl<T: Text> From<&RawBatch<T>> for ColumnBatch {
    fn from(batch: &RawBatch<T>) -> Self {
        let mut strings = Dictionary::new();
        let mut addresses = Dictionary::new();
        let mut columns = Columns::default();
        let count = u32::try_from(batch.samples.len()).unwrap_or(u32::MAX);
        for (index, sample) in (0u32..).zip(&batch.samples) {
            columns.push(index, sample, batch.tick, &mut strings, &mut addresses);
        }
        columns.shrink();
        Self {
            cluster: batch.cluster.clone(),
            node: batch.node.clone(),
            boot: batch.boot.clone(),
            sequence: batch.sequence,
            tick: batch.tick,
            tick_length: batch.tick_length,
            ticks: batch.ticks,
            part: batch.part,
            parts: batch.parts,
            origin: batch.origin,
            seen: batch.seen,
            published: batch.published,
            lost: batch.lost.clone(),
            count,
            strings: strings.values,
            addresses: addresses.values,
            columns,
            dns: batch.dns.clone(),
        }
    }
}

impl Columns {
    fn push<T: Text>(
        &mut self,
        index: u32,
        sample: &Sample<T>,
        tick: Millis,
        strings: &mut Dictionary<String>,
        addresses: &mut Dictionary<Address>,
    ) {
        let mut optional = |value: Option<&str>| value.map_or(0, |v| strings.number(v) + 1);
        self.place.push(place(sample.point, sample.end));
        self.interface.push(optional(Some(sample.interface.as_ref())));
        self.pod_uid.push(optional(sample.pod_uid.as_ref().map(T::as_ref)));
        self.container.push(optional(sample.container.as_ref().map(T::as_ref)));
        self.process.push(optional(sample.process.as_ref().map(T::as_ref)));
        self.source.push(addresses.number(&sample.source));
        self.destination.push(addresses.number(&sample.destination));
        self.source_port.push(sample.source_port);
        self.destination_port.push(sample.destination_port);
        self.protocol.push(sample.protocol);
        self.opened_by.push(match sample.opened_by {
            OpenedBy::Unknown => 0,
            OpenedBy::Source => 1,
            OpenedBy::Destination => 2,
        });
        self.first_seen.push(sample.first_seen.wrapping_sub(tick));
        self.last_seen.push(sample.last_seen.wrapping_sub(sample.first_seen));
        self.bytes.push(sample.bytes);
        self.packets.push(sample.packets);
        self.tcp_flags.push(sample.tcp_flags);
        self.started.push(sample.started);
        self.ended.push(sample.ended);
        // An opening after the first packet cannot be; it is kept as "at the first packet".
        self.opened
            .push(sample.opened_at.map_or(0, |at| sample.first_seen.saturating_sub(at).max(0).saturating_add(1)));
        self.earlier_bytes.push(sample.cumulative_bytes.saturating_sub(sample.bytes));
        self.earlier_packets.push(sample.cumulative_packets.saturating_sub(sample.packets));
        self.retransmits.push(sample.retransmits);
        self.sampling.push(sample.sampling.saturating_sub(1));
        self.zero_windows.push(sample.zero_windows);
        self.resets.push(sample.resets);
        self.coarsened.push(match sample.coarsened {
            Coarsening::None => 0,
            Coarsening::SourcePort => 1,
            Coarsening::Prefix => 2,
        });
        self.translated.extend(sample.translated.map(|tuple| TranslatedAt { sample: index, tuple }));
        self.drops.extend(sample.drops.iter().map(|drop| DropAt { sample: index, drop: drop.clone() }));
        self.round_trips.extend(sample.round_trip.map(|round_trip| RoundTripAt { sample: index, round_trip }));
        self.handshakes.extend(sample.handshake.map(|round_trip| RoundTripAt { sample: index, round_trip }));
    }

    fn shrink(&mut self) {
        shrink(&mut self.tcp_flags);
        shrink(&mut self.started);
        shrink(&mut self.ended);
        shrink(&mut self.opened);
        shrink(&mut self.earlier_bytes);
        shrink(&mut self.earlier_packets);
        shrink(&mut self.retransmits);
        shrink(&mut self.pod_uid);
        shrink(&mut self.container);
        shrink(&mut self.process);
        shrink(&mut self.sampling);
        shrink(&mut self.zero_windows);
        shrink(&mut self.resets);
        shrink(&mut self.coarsened);
    }

    fn check(&self, count: u32) -> Result<(), ColumnError> {
        let required = [
            ("place", self.place.len()),
            ("interface", self.interface.len()),
            ("source", self.source.len()),
            ("destination", self.destination.len()),
            ("source_port", self.source_port.len()),
            ("destination_port", self.destination_port.len()),
            ("protocol", self.protocol.len()),
            ("opened_by", self.opened_by.len()),
            ("first_seen", self.first_seen.len()),
            ("last_seen", self.last_seen.len()),
            ("bytes", self.bytes.len()),
            ("packets", self.packets.len()),
        ];
        let optional = [
            ("tcp_flags", self.tcp_flags.len()),
            ("started", self.started.len()),
            ("ended", self.ended.len()),
            ("opened", self.opened.len()),
            ("earlier_bytes", self.earlier_bytes.len()),
            ("earlier_packets", self.earlier_packets.len()),
            ("retransmits", self.retransmits.len()),
            ("pod_uid", self.pod_uid.len()),
            ("container", self.container.len()),
            ("process", self.process.len()),
            ("sampling", self.sampling.len()),
            ("zero_windows", self.zero_windows.len()),
            ("resets", self.resets.len()),
            ("coarsened", self.coarsened.len()),
        ];
        let wrong = |length: usize| u32::try_from(length) != Ok(count);
        let found = required.iter().find(|(_, l)| wrong(*l)).or(optional.iter().find(|(_, l)| *l > 0 && wrong(*l)));
        found.map_or(Ok(()), |(name, length)| Err(ColumnError::Length(name, *length, count)))
    }
}

fn sample_at<'a, T>(
    samples: &'a mut [Sample<T>],
    name: &'static str,
    index: u32,
) -> Result<&'a mut Sample<T>, ColumnError> {
    let row = usize::try_from(index).unwrap_or(usize::MAX);
    samples.get_mut(row).ok_or(ColumnError::Range(name, i64::from(index), row))
}

impl<T: Text> TryFrom<ColumnBatch> for RawBatch<T> {
    type Error = ColumnError;

    fn try_from(batch: ColumnBatch) -> Result<Self, ColumnError> {
        batch.columns.check(batch.count)?;
        super::bounds::check(&batch)?;
        let strings: Vec<T> = batch.strings.iter().map(|text| T::from(text)).collect();
        let rows = Rows::new(batch.tick, &strings, &batch.addresses, &batch.columns)?;
        // All columns have that many elements: there is no more room than bytes have come.
        let count = batch.columns.place.len();
        let mut samples: Vec<Sample<T>> = (0..count).map(|row| rows.sample(row)).collect();
        for translated in &batch.columns.translated {
            sample_at(&mut samples, "translated", translated.sample)?.translated = Some(translated.tuple);
        }
        for drop in batch.columns.drops {
            sample_at(&mut samples, "drops", drop.sample)?.drops.push(drop.drop);
        }
        for round_trip in &batch.columns.round_trips {
            sample_at(&mut samples, "round_trips", round_trip.sample)?.round_trip = Some(round_trip.round_trip);
        }
        for handshake in &batch.columns.handshakes {
            sample_at(&mut samples, "handshakes", handshake.sample)?.handshake = Some(handshake.round_trip);
        }
        Ok(Self {
            cluster: batch.cluster,
            node: batch.node,
            boot: batch.boot,
            sequence: batch.sequence,
            tick: batch.tick,
            tick_length: batch.tick_length,
            ticks: batch.ticks,
            part: batch.part,
            parts: batch.parts,
            origin: batch.origin,
            seen: batch.seen,
            published: batch.published,
            lost: batch.lost,
            samples,
            dns: batch.dns,
        })
    }
}
