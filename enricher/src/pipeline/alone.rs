//! Both stages over one log that is in memory: what capture files hold becomes records without Kafka, and nothing is stored.

use super::metadata::Known;
use super::meters::Meters;
use super::replay::lockstep::Lockstep;
use super::replay::{Records, Windows};
use crate::history::SettingsHistory;
use crate::join::{Joined, Places};
use crate::judge::Judge;
use crate::policies::Policies;
use crate::position::Stage1Position;
use std::sync::Arc;
use weir_flow::{Level, Millis, RecordSettings};
use weir_join::Table;
use weir_schemas::enriched::Enriched;
use weir_schemas::metadata::Metadata;
use weir_schemas::raw::RawBatch;
use weir_schemas::{encode, topics};
use weir_service::Metrics;
use weir_stream::Record;

/// Both stages of one cluster with one raw partition. They are those of live processing and of a replay, so that records are
/// the same as if the batches had gone over Kafka.
pub struct Alone {
    lockstep: Lockstep,
    known: Known,
    judge: Judge,
    places: Places,
    topic: Arc<str>,
    next: i64,
}

impl std::fmt::Debug for Alone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alone").field("topic", &self.topic).field("next", &self.next).finish_non_exhaustive()
    }
}

impl Alone {
    /// Begins with a cluster's settings and all of its metadata; records are of one level.
    ///
    /// # Errors
    /// Settings that do not fit together, or of more than one raw partition.
    pub fn new(
        settings: RecordSettings,
        level: Level,
        metadata: &[Metadata],
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        anyhow::ensure!(settings.raw_partitions == 1, "{} raw partitions in memory; give one", settings.raw_partitions);
        let cluster = settings.cluster.clone();
        let history = Arc::new(SettingsHistory::new(&cluster, vec![settings])?.only(level));
        let mut known = Known { table: Table::new(&cluster, 1), policies: Policies::new(&cluster) };
        for message in metadata {
            known.policies.take(message);
            known.table.apply(0, message);
        }
        let always = Windows { first: Millis::MIN, last: Millis::MAX };
        let start = [Stage1Position::START];
        let lockstep = Lockstep::new(&cluster, &history, &Meters::new(metrics), always, Millis::MAX, &start);
        let topic = Arc::from(topics::raw(&cluster));
        Ok(Self { lockstep, known, judge: Judge::default(), places: Places::new(), topic, next: 0 })
    }

    /// Takes the next batch, as if it were appended when its tick ended, and hands back the records of all windows that are
    /// complete with it. A window is complete once a batch of its end and the grace, or later, was taken.
    ///
    /// # Errors
    /// A batch that cannot be encoded.
    pub fn read(&mut self, batch: &RawBatch) -> anyhow::Result<Records> {
        let record = Record {
            topic: Arc::clone(&self.topic),
            partition: 0,
            offset: self.next,
            timestamp: batch.tick.saturating_add(batch.tick_length),
            key: None,
            value: Some(encode(batch)?.into()),
            headers: Vec::new(),
        };
        self.next += 1;
        self.lockstep.read(&record);
        let policies = (&self.known.policies, &self.judge);
        let closed = self.lockstep.close(&Joined { table: &self.known.table, places: &self.places, policies })?;
        Ok(Records { flows: closed.flows.into_iter().map(Enriched::from).collect(), dns: closed.dns })
    }
}
