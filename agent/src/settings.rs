//! Settings of the agent.

use crate::abi;
use crate::ebpf::Options;
use crate::ebpf::links::Selection;
use crate::rules;
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
    /// The most flows that the kernel holds as they are: when half of it is taken, flows are read before the tick ends;
    /// beyond it they lose the opener's port, then the hosts' bits of addresses, and then they are counted as lost
    #[arg(long, value_name = "NUMBER", default_value_t = 65_536, help_heading = "Agent")]
    pub flows_limit: u32,
    /// Do not keep a table of flows in front of the kernel's map of flows: less memory, more time for each packet
    #[arg(long, help_heading = "Agent")]
    pub no_flow_table: bool,
    /// The most connections whose opener the kernel remembers
    #[arg(long, value_name = "NUMBER", default_value_t = 65_536, help_heading = "Agent")]
    pub connections_limit: u32,
    /// Which flows the kernel counts: rules such as `drop: addresses in 10.0.0.0/8 and protocol == udp` or
    /// `sample 10: true`, in order; the first that a flow meets decides, and what meets none is kept
    #[arg(long = "capture-rule", value_name = "RULE", help_heading = "Agent")]
    pub capture_rules: Vec<String>,
    /// Ports of DNS servers, whose questions and answers are read; 0 for none
    #[arg(long, value_name = "PORTS", value_delimiter = ',', default_value = "53", help_heading = "Agent")]
    pub dns_ports: Vec<u16>,
    /// The most DNS questions that wait for an answer, and the most different ones in one tick
    #[arg(long, value_name = "NUMBER", default_value_t = 16_384, help_heading = "Agent")]
    pub dns_limit: u32,
    /// UDP ports of VXLAN and Geneve beside those of this node's own devices: packets to them are a tunnel's outside, which
    /// is counted apart from what is inside
    #[arg(long, value_name = "PORTS", value_delimiter = ',', default_value = "4789,8472,6081", help_heading = "Agent")]
    pub tunnel_ports: Vec<u16>,
    /// UDP ports of WireGuard: packets to or from them that begin as WireGuard's do are a tunnel's outside
    #[arg(
        long,
        value_name = "PORTS",
        value_delimiter = ',',
        default_value = "51820,51821,51871",
        help_heading = "Agent"
    )]
    pub wireguard_ports: Vec<u16>,
    /// Neither follow the kernel's connection tracking nor read it with packets: of translated connections only the side that is
    /// seen is known
    #[arg(long, help_heading = "Agent")]
    pub no_translation: bool,
    /// Folder in a BPF file system, such as `/sys/fs/bpf/weir`, where what is attached and counted outlives an agent that is
    /// stopped or killed, for the next one to take over; without it, what passes meanwhile is not seen
    #[arg(long, value_name = "DIR", help_heading = "Agent")]
    pub pin_folder: Option<PathBuf>,
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
            no_flow_table: false,
            connections_limit: 65_536,
            capture_rules: Vec::new(),
            dns_ports: crate::dns::PORTS.to_vec(),
            dns_limit: 16_384,
            tunnel_ports: vec![4_789, 8_472, 6_081],
            wireguard_ports: vec![51_820, 51_821, 51_871],
            no_translation: false,
            pin_folder: None,
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
    ///
    /// # Errors
    /// A sentence on the setting that is wrong.
    pub fn capture(&self) -> Result<Options, String> {
        let dns_ports: Vec<u16> = self.dns_ports.iter().copied().filter(|port| *port != 0).collect();
        if dns_ports.len() > abi::DNS_PORTS {
            return Err(format!("{} dns-ports; there may be at most {}", dns_ports.len(), abi::DNS_PORTS));
        }
        let ports = self.tunnel_ports.len() + self.wireguard_ports.len();
        if ports > abi::TUNNELS / 2 {
            return Err(format!("{ports} tunnel-ports and wireguard-ports; there may be at most {}", abi::TUNNELS / 2));
        }
        if let Some(both) = self.tunnel_ports.iter().find(|port| self.wireguard_ports.contains(port)) {
            return Err(format!("port {both} is in tunnel-ports and in wireguard-ports: leave it in one of them"));
        }
        Ok(Options {
            translations: !self.no_translation,
            selection: self.selection(),
            flows_limit: self.flows_limit.max(1),
            table: !self.no_flow_table,
            connections_limit: self.connections_limit.max(1),
            rules: rules::parse_all(&self.capture_rules)?,
            dns_ports,
            tunnel_ports: self.tunnel_ports.clone(),
            wireguard_ports: self.wireguard_ports.clone(),
            pins: self.pin_folder.clone(),
        })
    }
}
