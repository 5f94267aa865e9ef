//! Both stages in one memory: what stage 1 writes, stage 2 reads at once. Without IO and without a clock.
//!
//! The raw partition that is furthest behind is always read next, so that generations close, and are let go, as early as
//! they can.

use super::plan::Windows;
use crate::history::SettingsHistory;
use crate::join::Join;
use crate::pipeline::meters::Meters;
use crate::pipeline::stages::{First, Most, Second};
use crate::position::{Stage1Position, Stage2Position};
use crate::stage2::Enriched;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_flow::Millis;
use weir_flow::time::NEVER;
use weir_schemas::dns::Dns;
use weir_schemas::topics;
use weir_stream::Record;

/// Both stages over all raw partitions that are in force.
pub(in crate::pipeline) struct Lockstep {
    first: First,
    second: Second,
    partial_topic: String,
    /// The next offset of each internal partition, had its messages been written.
    offsets: BTreeMap<i32, i64>,
    windows: Windows,
    until: Millis,
    ended: BTreeSet<i32>,
}

/// Records of closed generations, each kind in the order of generation and id.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Closed {
    /// Of flows.
    pub(in crate::pipeline) flows: Vec<Enriched>,
    /// Of DNS questions.
    pub(in crate::pipeline) dns: Vec<Dns>,
}

impl Lockstep {
    /// Begins with each raw partition at its position. Records of `windows` are complete with generation `until`.
    pub(in crate::pipeline) fn new(
        cluster: &str,
        history: &Arc<SettingsHistory>,
        meters: &Meters,
        windows: Windows,
        until: Millis,
        starts: &[Stage1Position],
    ) -> Self {
        let mut first = First::new(cluster, history.clone(), meters.clone());
        for (number, start) in (0..).zip(starts) {
            first.take_over(number, *start);
        }
        let mut second = Second::new(cluster, history.clone(), meters.clone());
        for number in 0..history.latest().internal_partitions {
            second.take_over(number, Stage2Position::START);
        }
        let partial_topic = topics::partial(cluster);
        Self { first, second, partial_topic, offsets: BTreeMap::new(), windows, until, ended: BTreeSet::new() }
    }

    /// Whether more of a raw partition is needed: neither has it written generation `until` nor has it ended.
    pub(super) fn reads(&self, number: i32) -> bool {
        let written = self.first.owned.get(&number).map(|owned| owned.partition.written());
        written.is_some_and(|written| written < self.until) && !self.ended.contains(&number)
    }

    /// The raw partition to read next; nothing when no more is needed of any.
    pub(super) fn wanted(&self) -> Option<i32> {
        let open = self.first.owned.iter().filter(|(number, _)| self.reads(**number));
        open.min_by_key(|(_, owned)| owned.partition.watermark()).map(|(number, _)| *number)
    }

    /// Takes the next message of a raw partition.
    pub(in crate::pipeline) fn read(&mut self, record: &Record) {
        self.first.read(record, || {});
    }

    /// A raw partition has no more messages.
    pub(super) fn end(&mut self, partition: i32) {
        self.ended.insert(partition);
    }

    /// Closes what can be closed: records of the windows. What an earlier call gave is of earlier generations.
    pub(in crate::pipeline) fn close(&mut self, join: &impl Join) -> anyhow::Result<Closed> {
        loop {
            let closed = self.first.close(join, Most { generations: 1, ..Most::ALL })?;
            if closed.positions.is_empty() {
                break;
            }
            for message in closed.records.iter().filter(|message| *message.topic == *self.partial_topic) {
                let partition = message.partition.unwrap_or(0);
                let offset = self.offsets.entry(partition).or_insert(0);
                self.second.read(partition, *offset, message.value.as_deref().unwrap_or_default())?;
                *offset += 1;
            }
        }
        let mut records = Closed::default();
        for (_, closed, _) in self.second.close(Most::ALL) {
            records.flows.extend(closed.records.into_iter().filter(|record| self.windows.contains(record.window)));
            records.dns.extend(closed.dns.into_iter().filter(|record| self.windows.contains(record.window)));
        }
        records.flows.sort_unstable_by(|a, b| (a.generation, &a.id).cmp(&(b.generation, &b.id)));
        records.dns.sort_unstable_by(|a, b| (a.generation, &a.id).cmp(&(b.generation, &b.id)));
        self.first.count();
        self.second.count();
        Ok(records)
    }

    /// The last generation that every raw partition has written; [`NEVER`] when one has written none.
    pub(super) fn complete(&self) -> Millis {
        self.first.owned.values().map(|owned| owned.partition.written()).min().unwrap_or(NEVER)
    }

    /// The lowest watermark of the raw partitions that are still read.
    pub(super) fn watermark(&self) -> Millis {
        let wanted = self.wanted().and_then(|number| self.first.owned.get(&number));
        wanted.map_or(Millis::MAX, |owned| owned.partition.watermark())
    }

    /// Bytes held, roughly.
    pub(super) fn memory(&self) -> usize {
        self.first.memory().saturating_add(self.second.memory())
    }
}
