//! Settings of the agent.

use crate::ebpf::Options;
use crate::ebpf::links::Selection;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;
use weir_service::settings::{parse_duration, parse_size};

/// Settings of the agent, as flags and as keys of a settings file. What decides records (tick, window, partitions) is
/// not here: it is in the record settings.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AgentSettings {
    /// Name of this node; the host name without it
    #[arg(long, value_name = "NAME", help_heading = "Agent")]
    pub node: Option<String>,
    /// Watch these interfaces only (names, `*` for any text)
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help_heading = "Agent")]
    pub interfaces: Vec<String>,
    /// Do not watch these interfaces (names, `*` for any text)
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help_heading = "Agent")]
    pub exclude_interfaces: Vec<String>,
    /// The most flows that the kernel holds in one tick; what is more is counted as lost
    #[arg(long, value_name = "NUMBER", default_value_t = 65_536, help_heading = "Agent")]
    pub flows_limit: u32,
    /// The most connections whose opener the kernel remembers
    #[arg(long, value_name = "NUMBER", default_value_t = 65_536, help_heading = "Agent")]
    pub connections_limit: u32,
    /// Memory for ticks that wait for Kafka
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_size, help_heading = "Agent")]
    pub buffer_bytes: u64,
    /// Folder at which the node's own files are seen, for the names of its containers: where the agent is a container
    /// itself, that at which the node's root is mounted
    #[arg(long, value_name = "DIR", default_value = "/", help_heading = "Agent")]
    pub host_root: PathBuf,
    /// How long the last batches may take when the agent stops
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration, help_heading = "Agent")]
    pub agent_drain: Duration,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self {
            node: None,
            interfaces: Vec::new(),
            exclude_interfaces: Vec::new(),
            flows_limit: 65_536,
            connections_limit: 65_536,
            buffer_bytes: 64 << 20,
            host_root: PathBuf::from("/"),
            agent_drain: Duration::from_secs(10),
        }
    }
}

impl AgentSettings {
    /// The node's name.
    #[must_use]
    pub fn node_name(&self) -> String {
        self.node.clone().unwrap_or_else(|| {
            std::fs::read_to_string("/proc/sys/kernel/hostname")
                .map(|name| name.trim().to_owned())
                .ok()
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| "localhost".to_owned())
        })
    }

    /// Which interfaces are watched.
    #[must_use]
    pub fn selection(&self) -> Selection {
        Selection { include: self.interfaces.clone(), exclude: self.exclude_interfaces.clone() }
    }

    /// How the kernel programs are loaded.
    #[must_use]
    pub fn capture(&self) -> Options {
        Options {
            selection: self.selection(),
            flows_limit: self.flows_limit.max(1),
            connections_limit: self.connections_limit.max(1),
        }
    }
}
