//! The log that commands ask.

use anyhow::{Context as _, Result};
use std::time::Duration;
use weir_service::HintExt as _;
use weir_stream::{KafkaSettings, Log};

/// The log, when it answers.
pub(crate) async fn log(kafka: &KafkaSettings) -> Result<Log> {
    let log = Log::kafka(kafka)?;
    let hint = "is `weir up` running? give the address of your Kafka with --kafka BROKERS";
    log.check(Duration::from_secs(10)).await.with_context(|| format!("kafka at {}", kafka.kafka)).hint(hint)?;
    Ok(log)
}
