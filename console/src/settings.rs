//! Settings of the console.

use std::net::SocketAddr;

use clap::{Args, Parser};
use serde::Serialize;
use weir_elastic::ElasticSettings;
use weir_service::{HintExt as _, ProcessSettings, ServiceSettings};
use weir_stream::KafkaSettings;

/// What the console itself can be told.
#[derive(Clone, Debug, PartialEq, Eq, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ConsoleSettings {
    /// Serve the page and the API on this address
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub console_listen: SocketAddr,
    /// Host names, besides localhost and plain addresses, under which browsers reach the console
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub console_host: Vec<String>,
    /// Listen on an address that other machines reach. The console asks nobody who they are: put a proxy in front that does
    #[arg(long)]
    pub console_allow_remote: bool,
    /// Aggregation level that is shown unless another is asked for
    #[arg(long, value_name = "LEVEL", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=3))]
    pub console_level: u8,
    /// Live streams that may be open at once
    #[arg(long, value_name = "COUNT", default_value_t = 64)]
    pub console_streams: usize,
    /// Flows that wait for one slow live stream before the next are dropped and counted
    #[arg(long, value_name = "COUNT", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub console_stream_queue: u32,
    /// Seconds that a preview of policies may take, of which one runs at a time; 0 turns previews off
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub console_preview_seconds: u32,
}

impl Default for ConsoleSettings {
    fn default() -> Self {
        Self {
            console_listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            console_host: Vec::new(),
            console_allow_remote: false,
            console_level: 1,
            console_streams: 64,
            console_stream_queue: 1024,
            console_preview_seconds: 60,
        }
    }
}

impl ConsoleSettings {
    /// Validates what the command line parser cannot.
    ///
    /// # Errors
    /// If the address is reachable from other machines and nobody said that it may be.
    pub fn validate(&self) -> anyhow::Result<()> {
        let address = self.console_listen;
        if self.console_allow_remote || address.ip().is_loopback() {
            return Ok(());
        }
        Err(anyhow::anyhow!("console address {address} can be reached from other machines"))
            .hint("the console has no login: listen on 127.0.0.1, or put a proxy with a login in front and give --console-allow-remote")
    }
}

/// Settings of the process `weir-console`.
#[derive(Clone, Debug, Parser)]
#[command(name = "weir-console", version, about = "The query API, the live stream and the web page")]
pub struct Settings {
    /// The console.
    #[command(flatten)]
    pub console: ConsoleSettings,
    /// Where enriched flows are read from.
    #[command(flatten)]
    pub elastic: ElasticSettings,
    /// Where live flows are read from.
    #[command(flatten)]
    pub kafka: KafkaSettings,
    /// The process.
    #[command(flatten)]
    pub process: ProcessSettings,
}

impl ServiceSettings for Settings {
    fn process(&self) -> &ProcessSettings {
        &self.process
    }

    fn validate(&self) -> anyhow::Result<()> {
        self.console.validate()
    }
}
