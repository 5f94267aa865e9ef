//! The console from outside: over HTTP, against an Elasticsearch of the test's own and a log in memory.

#![allow(clippy::unwrap_used, reason = "a test program: a panic is how it fails")]

mod api;
mod browser;
mod engine;
mod http;
mod live;
mod preview;
mod samples;

use std::net::SocketAddr;

use serde_json::Value;
use weir_console::{Console, ConsoleSettings, Parts};
use weir_elastic::{Elastic, ElasticSettings};
use weir_schemas::enriched::Enriched;
use weir_schemas::topics;
use weir_service::{CancellationToken, Health, Metrics};
use weir_stream::{Log, MemoryLog, NewRecord, Producer, ProducerSettings, TopicSpec};

use engine::Engine;
use http::Answer;

/// A console and what it stands on.
struct Stage {
    address: SocketAddr,
    engine: Engine,
    producer: Producer,
    metrics: Metrics,
    health: Health,
    token: CancellationToken,
    console: Console,
}

impl Stage {
    async fn new() -> Self {
        Self::with(ConsoleSettings::default()).await
    }

    async fn with(settings: ConsoleSettings) -> Self {
        let engine = Engine::start().await;
        let memory = MemoryLog::new();
        memory.set_time(jiff::Timestamp::now().as_millisecond());
        let log = Log::from(memory);
        let topics = [topics::ENRICHED, topics::METADATA, topics::SETTINGS].map(|topic| TopicSpec::new(topic, 2));
        log.ensure_topics(&topics).await.unwrap();
        let producer = log.producer(&ProducerSettings::new("test")).unwrap();
        let (metrics, health, token) = (Metrics::new(), Health::new(), CancellationToken::new());
        let settings = ConsoleSettings { console_listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..settings };
        let parts = Parts {
            elastic: Elastic::new(&ElasticSettings::of(&[&engine.url()])).unwrap(),
            log,
            metrics: metrics.clone(),
            health: health.clone(),
        };
        let console = Console::start(&settings, parts, token.clone()).await.unwrap();
        // What is published before the topic is read would not be live.
        while health.state()["console-live"]["connected"] != true {
            tokio::task::yield_now().await;
        }
        Self { address: console.address(), engine, producer, metrics, health, token, console }
    }

    async fn get(&self, path: &str) -> Answer {
        http::get(self.address, path, "localhost").await
    }

    async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    async fn publish(&self, record: &Enriched) {
        self.publish_bytes(weir_schemas::encode(record).unwrap()).await;
    }

    async fn publish_bytes(&self, bytes: Vec<u8>) {
        let record = NewRecord::new(topics::ENRICHED, "key", bytes);
        self.producer.send(record).unwrap().await.unwrap();
    }
}
