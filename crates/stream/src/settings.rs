//! How to reach a Kafka cluster. Secrets come from files, never from a flag's value, and are never
//! printed.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How the connection to the brokers is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KafkaSecurity {
    /// Neither encryption nor a user.
    #[default]
    Plaintext,
    /// TLS; with a client certificate where one is given.
    Tls,
    /// A user, no encryption.
    SaslPlaintext,
    /// A user over TLS.
    SaslTls,
}

/// The connection to Kafka. Holds paths of secrets, never the secrets themselves.
#[derive(clap::Args, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct KafkaSettings {
    /// Bootstrap brokers, host:port, separated by commas
    #[arg(long = "kafka", env = "WEIR_KAFKA", default_value = "127.0.0.1:9092", value_name = "HOST:PORT,..")]
    pub kafka: String,
    /// How the connection is protected
    #[arg(long, env = "WEIR_KAFKA_SECURITY", value_enum, default_value_t = KafkaSecurity::Plaintext)]
    pub kafka_security: KafkaSecurity,
    /// Certificate authorities to trust (PEM); the system's without it
    #[arg(long, env = "WEIR_KAFKA_CA_FILE", value_name = "FILE")]
    pub kafka_ca_file: Option<PathBuf>,
    /// Client certificate (PEM)
    #[arg(long, env = "WEIR_KAFKA_CERTIFICATE_FILE", value_name = "FILE")]
    pub kafka_certificate_file: Option<PathBuf>,
    /// Key of the client certificate (PEM)
    #[arg(long, env = "WEIR_KAFKA_KEY_FILE", value_name = "FILE")]
    pub kafka_key_file: Option<PathBuf>,
    /// SASL mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
    #[arg(long, env = "WEIR_KAFKA_SASL_MECHANISM", value_name = "NAME")]
    pub kafka_sasl_mechanism: Option<String>,
    /// SASL user
    #[arg(long, env = "WEIR_KAFKA_USERNAME", value_name = "USER")]
    pub kafka_username: Option<String>,
    /// File that holds the SASL password
    #[arg(long, env = "WEIR_KAFKA_PASSWORD_FILE", value_name = "FILE")]
    pub kafka_password_file: Option<PathBuf>,
}

impl Default for KafkaSettings {
    fn default() -> Self {
        Self::at("127.0.0.1:9092")
    }
}

impl KafkaSettings {
    /// A plaintext connection to these bootstrap brokers.
    pub fn at(bootstrap: impl Into<String>) -> Self {
        Self {
            kafka: bootstrap.into(),
            kafka_security: KafkaSecurity::Plaintext,
            kafka_ca_file: None,
            kafka_certificate_file: None,
            kafka_key_file: None,
            kafka_sasl_mechanism: None,
            kafka_username: None,
            kafka_password_file: None,
        }
    }
}

#[cfg(test)]
mod tests;
