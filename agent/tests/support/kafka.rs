//! A real broker for agents that are processes of their own.

use std::time::Duration;
use weir_embedded_broker::{Broker, BrokerSettings};
use weir_flow::RecordSettings;
use weir_schemas::raw::RawBatch;
use weir_schemas::settings::Settings;
use weir_schemas::{encode, topics};
use weir_stream::{KafkaSettings, Log, NewRecord, Partitions, ProducerSettings, Start, TopicSpec};

/// A broker with the topics and settings of a cluster.
pub(crate) struct Kafka {
    log: Log,
    pub(crate) address: String,
    _broker: Broker,
    _folder: tempfile::TempDir,
}

impl Kafka {
    pub(crate) async fn start(listen: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let broker = Broker::start(BrokerSettings::new(folder.path(), listen.parse().unwrap())).await.unwrap();
        let address = broker.address().to_string();
        let log = Log::kafka(&KafkaSettings::at(&address)).unwrap();
        log.check(Duration::from_secs(60)).await.unwrap();
        let topics: Vec<TopicSpec> = topics::of("local", 1, 1, 1)
            .into_iter()
            .map(|topic| TopicSpec { name: topic.name, partitions: topic.partitions, configs: topic.configs })
            .collect();
        log.ensure_topics(&topics).await.unwrap();
        let settings = encode(&Settings::from(&RecordSettings::small("local"))).unwrap();
        let producer = log.producer(&ProducerSettings::new("settings")).unwrap();
        producer.send(NewRecord::new(topics::SETTINGS, "local", settings)).unwrap().await.unwrap();
        Self { log, address, _broker: broker, _folder: folder }
    }

    pub(crate) async fn batches(&self) -> Vec<RawBatch> {
        let mut reader = self.log.reader(&topics::raw("local"), Partitions::All, Start::Beginning).await.unwrap();
        let records = reader.read_to_end(Duration::from_secs(10)).await.unwrap();
        records.iter().map(|record| weir_schemas::decode(record.value.as_ref().unwrap()).unwrap()).collect()
    }
}
