//! TLS and SASL on a real Kafka: `WEIR_TEST_KAFKA_SECURE=host:port` is its listener with TLS and SCRAM-SHA-512, and
//! `WEIR_TEST_KAFKA_SECRETS` the folder with `ca.pem`, `client.pem`, `client.key` and `password` of user `weir`
//! (`KAFKA_SECURE_PORT=… cargo xtask engines start kafka`). Wants the cargo feature `tls`.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::time::Duration;
use weir_stream::{
    ErrorKind, KafkaSecurity, KafkaSettings, Log, NewRecord, Partitions, Start, TopicSpec, TransactionSettings,
};

const LONG: Duration = Duration::from_secs(30);

/// The listener, and the folder of secrets.
fn secured() -> Option<(KafkaSettings, PathBuf)> {
    let (Ok(address), Ok(folder)) = (std::env::var("WEIR_TEST_KAFKA_SECURE"), std::env::var("WEIR_TEST_KAFKA_SECRETS"))
    else {
        eprintln!(
            "skipped: set WEIR_TEST_KAFKA_SECURE and WEIR_TEST_KAFKA_SECRETS to run on a Kafka with TLS and SASL"
        );
        return None;
    };
    let folder = PathBuf::from(folder);
    let settings = KafkaSettings {
        kafka_security: KafkaSecurity::SaslTls,
        kafka_ca_file: Some(folder.join("ca.pem")),
        kafka_sasl_mechanism: Some("SCRAM-SHA-512".to_owned()),
        kafka_username: Some("weir".to_owned()),
        kafka_password_file: Some(folder.join("password")),
        ..KafkaSettings::at(address)
    };
    Some((settings, folder))
}

fn name(of: &str) -> String {
    format!("secure-{of}-{}", std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros())
}

/// Writes in a transaction and reads it back: the clients of every kind but a group's.
async fn write_and_read(settings: &KafkaSettings, of: &str) {
    let log = Log::kafka(settings).unwrap();
    log.check(LONG).await.unwrap();
    let topic = name(of);
    log.ensure_topics(&[TopicSpec::new(&topic, 1)]).await.unwrap();
    let mut producer = log.transactional_producer(&TransactionSettings::new(name("id"))).await.unwrap();
    producer.begin().await.unwrap();
    producer.send(NewRecord::new(topic.as_str(), "key".to_owned(), "value".to_owned())).await.unwrap();
    producer.commit().await.unwrap();
    let mut reader = log.reader(&topic, Partitions::All, Start::Beginning).await.unwrap();
    let records = reader.read_to_end(LONG).await.unwrap();
    let values: Vec<_> = records.iter().map(|record| record.value.as_deref().unwrap()).collect();
    assert_eq!(values, [b"value"]);
}

#[tokio::test]
async fn a_user_and_an_authority_are_enough() {
    let Some((settings, _)) = secured() else { return };
    write_and_read(&settings, "user").await;
}

#[tokio::test]
async fn a_client_may_have_a_certificate_besides() {
    let Some((settings, folder)) = secured() else { return };
    let settings = KafkaSettings {
        kafka_certificate_file: Some(folder.join("client.pem")),
        kafka_key_file: Some(folder.join("client.key")),
        ..settings
    };
    write_and_read(&settings, "certificate").await;
}

/// What the first use says.
async fn refused(settings: &KafkaSettings) -> weir_stream::StreamError {
    Log::kafka(settings).unwrap().check(Duration::from_secs(5)).await.unwrap_err()
}

fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    file
}

#[tokio::test]
async fn a_wrong_password_is_said_and_not_shown() {
    let Some((settings, _)) = secured() else { return };
    let folder = tempfile::tempdir().unwrap();
    let wrong = written(folder.path(), "password", "not-the-password\n");
    let error = refused(&KafkaSettings { kafka_password_file: Some(wrong), ..settings }).await;
    let text = error.to_string();
    assert!(text.contains("uthentication"), "{text}");
    assert!(!text.contains("not-the-password"), "{text}");
    assert_ne!(error.kind(), ErrorKind::Fenced);
}

#[tokio::test]
async fn an_authority_that_signed_nothing_is_not_trusted() {
    let Some((settings, folder)) = secured() else { return };
    // The client's certificate is signed by the authority and is none itself.
    let error = refused(&KafkaSettings { kafka_ca_file: Some(folder.join("client.pem")), ..settings }).await;
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn without_tls_the_listener_answers_nobody() {
    let Some((settings, _)) = secured() else { return };
    let plain = KafkaSettings::at(settings.kafka);
    let error = refused(&plain).await;
    assert!(error.to_string().contains("timed out") || error.to_string().contains("transport"), "{error}");
}
