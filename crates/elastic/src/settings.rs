//! Where the engine is and how to prove who we are.

use crate::Error;
use elasticsearch::auth::Credentials;
use elasticsearch::cert::{Certificate, CertificateValidation};
use elasticsearch::http::Url;
use elasticsearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// Where one embedded or local engine listens.
const LOCAL: &str = "http://127.0.0.1:9200";
/// The most that a secret or certificate file may hold, bytes.
const FILE_LIMIT: u64 = 1_048_576;

/// Process settings of the Elasticsearch edge. Secrets come from files, so that no command line, environment or log
/// holds them.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct ElasticSettings {
    /// Elasticsearch or OpenSearch, one or several hosts of one cluster; the next is taken when one fails
    #[arg(long, value_name = "URL", value_delimiter = ',', default_values_t = [LOCAL.to_owned()])]
    pub elasticsearch: Vec<String>,
    /// User name for basic authentication
    #[arg(long, value_name = "NAME")]
    pub elasticsearch_username: Option<String>,
    /// File that holds the password for basic authentication
    #[arg(long, value_name = "FILE")]
    pub elasticsearch_password_file: Option<PathBuf>,
    /// File that holds an encoded API key (the "encoded" value that Elasticsearch gives out)
    #[arg(long, value_name = "FILE")]
    pub elasticsearch_api_key_file: Option<PathBuf>,
    /// File with the certificate authorities (PEM) to trust in addition to the usual ones
    #[arg(long, value_name = "FILE")]
    pub elasticsearch_ca_file: Option<PathBuf>,
    /// How long one request may take
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    #[serde(with = "duration")]
    pub elasticsearch_timeout: Duration,
    /// Compress requests (gzip): fewer bytes on the network for more of the processor
    #[arg(long)]
    pub elasticsearch_gzip: bool,
}

impl Default for ElasticSettings {
    fn default() -> Self {
        Self {
            elasticsearch: vec![LOCAL.to_owned()],
            elasticsearch_username: None,
            elasticsearch_password_file: None,
            elasticsearch_api_key_file: None,
            elasticsearch_ca_file: None,
            elasticsearch_timeout: Duration::from_secs(30),
            elasticsearch_gzip: false,
        }
    }
}

impl ElasticSettings {
    /// Settings for hosts without authentication.
    #[must_use]
    pub fn of(hosts: &[&str]) -> Self {
        Self { elasticsearch: hosts.iter().map(|h| (*h).to_owned()).collect(), ..Self::default() }
    }
}

/// A duration as a person writes it, e.g. `30s`.
mod duration {
    use serde::{Deserialize, Deserializer, Serializer, de};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*value))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        humantime::parse_duration(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// One host: its name for messages (never with credentials) and a connection pool of its own, so that fail-over is ours.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) name: Arc<str>,
    pub(crate) transport: Transport,
}

/// Turns settings into hosts. Reads the named files; does not touch the network.
pub(crate) fn hosts(settings: &ElasticSettings) -> Result<Vec<Host>, Error> {
    if settings.elasticsearch.is_empty() {
        return Err(Error::settings("no host is given", "give --elasticsearch http://host:9200"));
    }
    let credentials = credentials(settings)?;
    let authorities = settings.elasticsearch_ca_file.as_deref().map(read).transpose()?;
    settings
        .elasticsearch
        .iter()
        .map(|text| {
            let url = parse(text)?;
            let name: Arc<str> = url.as_str().trim_end_matches('/').into();
            let transport = transport(url, credentials.clone(), authorities.as_deref(), settings)?;
            Ok(Host { name, transport })
        })
        .collect()
}

fn parse(text: &str) -> Result<Url, Error> {
    let url = Url::parse(text).map_err(|e| {
        Error::settings(format!("--elasticsearch {text:?}: {e}"), "write it as http://host:9200 or https://host:9200")
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::settings(
            "--elasticsearch holds a user name or password",
            "use --elasticsearch-username and --elasticsearch-password-file, which are never logged",
        ));
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Error::settings(format!("--elasticsearch {text:?}"), "write it as http://host:9200"));
    }
    Ok(url)
}

fn credentials(settings: &ElasticSettings) -> Result<Option<Credentials>, Error> {
    let secret = |path: &Path| -> Result<String, Error> {
        let bytes = read(path)?;
        let text = String::from_utf8(bytes).map_err(|_| {
            Error::settings(format!("{} is not text", path.display()), "put only the secret into the file")
        })?;
        Ok(text.trim().to_owned())
    };
    match (
        &settings.elasticsearch_api_key_file,
        &settings.elasticsearch_username,
        &settings.elasticsearch_password_file,
    ) {
        (None, None, None) => Ok(None),
        (Some(key), None, None) => Ok(Some(Credentials::EncodedApiKey(secret(key)?))),
        (None, Some(user), Some(password)) => Ok(Some(Credentials::Basic(user.clone(), secret(password)?))),
        (Some(_), ..) => Err(Error::settings(
            "both an API key and a user name or password are given",
            "give either --elasticsearch-api-key-file or --elasticsearch-username with --elasticsearch-password-file",
        )),
        _ => Err(Error::settings(
            "only one of user name and password is given",
            "give --elasticsearch-username together with --elasticsearch-password-file",
        )),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let describe =
        |e: std::io::Error| Error::settings(format!("{}: {e}", path.display()), "check path and permissions");
    let length = std::fs::metadata(path).map_err(describe)?.len();
    if length > FILE_LIMIT {
        return Err(Error::settings(format!("{} is larger than 1 MiB", path.display()), "is it the right file?"));
    }
    std::fs::read(path).map_err(describe)
}

fn transport(
    url: Url,
    credentials: Option<Credentials>,
    authorities: Option<&[u8]>,
    settings: &ElasticSettings,
) -> Result<Transport, Error> {
    let loopback = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
    let mut builder = TransportBuilder::new(SingleNodeConnectionPool::new(url))
        .timeout(settings.elasticsearch_timeout)
        .request_body_compression(settings.elasticsearch_gzip)
        .enable_meta_header(false);
    if loopback {
        // A proxy of the environment can never reach what listens on this machine only.
        builder = builder.disable_proxy();
    }
    if let Some(credentials) = credentials {
        builder = builder.auth(credentials);
    }
    if let Some(pem) = authorities {
        let certificate = Certificate::from_pem(pem).map_err(|e| {
            Error::settings(format!("--elasticsearch-ca-file: {e}"), "it must hold certificates in PEM")
        })?;
        builder = builder.cert_validation(CertificateValidation::Full(certificate));
    }
    builder.build().map_err(|e| Error::settings(e.to_string(), "check the TLS settings"))
}
