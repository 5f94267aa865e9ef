//! The settings of the client library, in one place.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::{
    Assignor, Compression, GroupSettings, KafkaSecurity, KafkaSettings, ProducerSettings, Result, StreamError,
    TransactionSettings,
};

/// The environment variable that may hold the SASL password in place of a file.
const PASSWORD_VARIABLE: &str = "WEIR_KAFKA_PASSWORD";

/// Bytes of one answer to a fetch, over all partitions of a broker; one larger batch comes alone.
const FETCHED: usize = 16 << 20;

/// The most bytes of an answer, and of a batch that zstd unpacks: the library takes one for the other. It unpacks an answer
/// whole, and what other codecs unpack has no limit.
const UNPACKED: usize = 32 << 20;

/// What every client of a cluster has in common. Never printed, for it holds secrets.
pub(super) struct Connection {
    base: ClientConfig,
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bootstrap = self.base.get("bootstrap.servers").unwrap_or_default();
        write!(formatter, "Connection({bootstrap})")
    }
}

fn milliseconds(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// The most of one partition that is asked for at once, packed bytes.
const PARTITION_ANSWER: usize = 1 << 20;

/// How large an answer of a broker may be of a member that fetches so many bytes ahead, packed bytes.
fn answer_limit(max_bytes: usize) -> usize {
    (max_bytes / 16).clamp(32 << 10, FETCHED)
}

fn kilobytes(bytes: usize) -> String {
    (bytes / 1024).clamp(1, 2_000_000).to_string()
}

impl Connection {
    pub(super) fn new(settings: &KafkaSettings) -> Result<Self> {
        let mut base = ClientConfig::new();
        base.set("bootstrap.servers", &settings.kafka)
            .set("socket.keepalive.enable", "true")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "2000")
            // Each client's are a text of many kilobytes, of which a few numbers are read: no more often than they are looked at.
            .set("statistics.interval.ms", "30000")
            .set("log.connection.close", "false")
            .set_log_level(RDKafkaLogLevel::Info);
        let (protocol, tls, sasl) = match settings.kafka_security {
            KafkaSecurity::Plaintext => ("plaintext", false, false),
            KafkaSecurity::Tls => ("ssl", true, false),
            KafkaSecurity::SaslPlaintext => ("sasl_plaintext", false, true),
            KafkaSecurity::SaslTls => ("sasl_ssl", true, true),
        };
        base.set("security.protocol", protocol);
        if tls {
            set_tls(&mut base, settings)?;
        } else if settings.kafka_ca_file.is_some() || settings.kafka_certificate_file.is_some() {
            return Err(StreamError::Configuration(
                "a Kafka CA or certificate file is given, but --kafka-security is not tls or sasl-tls".into(),
            ));
        }
        if sasl {
            set_sasl(&mut base, settings)?;
        } else if settings.kafka_username.is_some() {
            return Err(StreamError::Configuration(
                "a Kafka user is given, but --kafka-security is not sasl-plaintext or sasl-tls".into(),
            ));
        }
        Ok(Self { base })
    }

    /// A client that only asks.
    pub(super) fn client(&self, client_id: &str) -> ClientConfig {
        let mut config = self.base.clone();
        config.set("client.id", client_id);
        config
    }

    fn consumer(&self, client_id: &str, group: &str) -> ClientConfig {
        let mut config = self.client(client_id);
        config
            .set("group.id", group)
            .set("group.protocol", "classic")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("isolation.level", "read_committed")
            .set("allow.auto.create.topics", "false")
            .set("check.crcs", "true")
            // By itself the library leaves a full queue alone for a second, in which a quick owner empties it and waits.
            .set("fetch.queue.backoff.ms", "20")
            .set("fetch.max.bytes", FETCHED.to_string())
            .set("receive.message.max.bytes", UNPACKED.to_string());
        config
    }

    /// A consumer that never joins its group: it fetches positions, or partitions that it is told.
    pub(super) fn lone_consumer(&self, client_id: &str, group: &str) -> ClientConfig {
        let mut config = self.consumer(client_id, group);
        config
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            .set("queued.max.messages.kbytes", "16384");
        config
    }

    /// As [`lone_consumer`](Self::lone_consumer), to see what stands at a position of a member.
    pub(super) fn probe(&self, settings: &GroupSettings) -> ClientConfig {
        let mut config = self.lone_consumer(&settings.client_id, &settings.group);
        config.set("queued.min.messages", "1").set("queued.max.messages.kbytes", "1");
        config
    }

    pub(super) fn member(&self, settings: &GroupSettings) -> ClientConfig {
        let assignor = match settings.assignor {
            Assignor::Range => "range",
            Assignor::RoundRobin => "roundrobin",
        };
        let heartbeat = (settings.session_timeout / 3).min(Duration::from_secs(3));
        let mut config = self.consumer(&settings.client_id, &settings.group);
        config
            .set("auto.offset.reset", "error")
            .set("partition.assignment.strategy", assignor)
            .set("session.timeout.ms", milliseconds(settings.session_timeout))
            .set("heartbeat.interval.ms", milliseconds(heartbeat))
            .set("max.poll.interval.ms", milliseconds(settings.max_poll_interval.max(settings.session_timeout)))
            .set("topic.metadata.refresh.interval.ms", "30000")
            .set("queued.max.messages.kbytes", kilobytes(settings.max_bytes));
        // What is in the queue counts unpacked, and one more answer may come when it is all but full: so an answer is to be small
        // beside it, packed as it is. A batch that is larger comes all the same, alone.
        let answer = answer_limit(settings.max_bytes);
        config
            .set("fetch.max.bytes", answer.to_string())
            .set("fetch.message.max.bytes", answer.min(PARTITION_ANSWER).to_string())
            // The library wants no answer to be smaller; a consumer has no other use for it.
            .set("message.max.bytes", answer.to_string());
        if let Some(instance) = &settings.instance_id {
            config.set("group.instance.id", instance);
        }
        config
    }

    pub(super) fn producer(&self, settings: &ProducerSettings) -> ClientConfig {
        let mut config = self.client(&settings.client_id);
        let timeout = milliseconds(settings.delivery_timeout);
        set_producer(&mut config, settings.compression, settings.linger);
        config.set("message.timeout.ms", timeout).set("message.max.bytes", message_limit(settings.max_record_bytes));
        config
    }

    pub(super) fn transactional(&self, settings: &TransactionSettings) -> ClientConfig {
        let mut config = self.client(&settings.client_id);
        let timeout = milliseconds(settings.transaction_timeout);
        set_producer(&mut config, settings.compression, settings.linger);
        config
            .set("transactional.id", &settings.transactional_id)
            .set("transaction.timeout.ms", &timeout)
            .set("message.timeout.ms", timeout)
            .set("message.max.bytes", message_limit(settings.max_record_bytes));
        config
    }
}

/// Room for the frame around a record of the largest size.
fn message_limit(max_record_bytes: usize) -> String {
    max_record_bytes.saturating_add(64 * 1024).to_string()
}

fn set_producer(config: &mut ClientConfig, compression: Compression, linger: Duration) {
    let codec = match compression {
        Compression::None => "none",
        Compression::Lz4 => "lz4",
        Compression::Zstd => "zstd",
    };
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", codec)
        .set("linger.ms", milliseconds(linger))
        .set("partitioner", "murmur2_random")
        // The limit in bytes is kept by this crate; the library's own only has to be above it.
        .set("queue.buffering.max.messages", "0")
        .set("queue.buffering.max.kbytes", "2097151");
    if compression == Compression::Zstd {
        config.set("compression.level", "1");
    }
}

fn set_tls(base: &mut ClientConfig, settings: &KafkaSettings) -> Result<()> {
    if !cfg!(feature = "tls") {
        return Err(StreamError::Configuration(
            "this build has no TLS to Kafka; build with the cargo feature `tls`, or use --kafka-security plaintext"
                .into(),
        ));
    }
    let files = [
        ("ssl.ca.location", &settings.kafka_ca_file),
        ("ssl.certificate.location", &settings.kafka_certificate_file),
        ("ssl.key.location", &settings.kafka_key_file),
    ];
    for (name, file) in files {
        if let Some(file) = file {
            readable(file)?;
            base.set(name, file.to_string_lossy());
        }
    }
    if settings.kafka_certificate_file.is_some() != settings.kafka_key_file.is_some() {
        return Err(StreamError::Configuration(
            "a Kafka client certificate needs both --kafka-certificate-file and --kafka-key-file".into(),
        ));
    }
    Ok(())
}

fn set_sasl(base: &mut ClientConfig, settings: &KafkaSettings) -> Result<()> {
    let mechanism = settings.kafka_sasl_mechanism.as_deref().unwrap_or("PLAIN");
    if !["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"].contains(&mechanism) {
        return Err(StreamError::Configuration(format!(
            "SASL mechanism {mechanism} is not supported; use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
        )));
    }
    if mechanism != "PLAIN" && !cfg!(feature = "tls") {
        return Err(StreamError::Configuration(format!(
            "SASL mechanism {mechanism} needs a build with the cargo feature `tls`"
        )));
    }
    let Some(user) = &settings.kafka_username else {
        return Err(StreamError::Configuration("SASL needs a user; give --kafka-username".into()));
    };
    let password = match &settings.kafka_password_file {
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|error| unreadable(file, &error))?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        }
        None => std::env::var(PASSWORD_VARIABLE).map_err(|_| {
            StreamError::Configuration(format!(
                "SASL needs a password; give --kafka-password-file or set {PASSWORD_VARIABLE}"
            ))
        })?,
    };
    base.set("sasl.mechanism", mechanism).set("sasl.username", user).set("sasl.password", password);
    Ok(())
}

fn readable(file: &Path) -> Result<()> {
    let opened = std::fs::File::open(file);
    opened.map(drop).map_err(|error| unreadable(file, &error))
}

fn unreadable(file: &Path, error: &std::io::Error) -> StreamError {
    StreamError::Configuration(format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests;
