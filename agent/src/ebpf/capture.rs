//! The programs in the kernel: loaded, attached, read.

use super::links::{self, Link, Role, Selection};
use super::reasons::Reasons;
use crate::abi::{self, Boundary, COUNTERS, Connection, ConnectionKey, Count, DropKey, Dropped, Flow, Key};
use crate::abi::{Message, Tcp, TcpKey};
use crate::rules::CaptureRule;
use aya::maps::{Array, HashMap as BpfHashMap, Map, MapData, PerCpuArray, RingBuf};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::{
    BtfTracePoint, CgroupAttachMode, CgroupSock, LinkOrder, ProgramError, SchedClassifier, TcAttachType, tc,
};
use aya::util::KernelVersion;
use aya::{Btf, Ebpf, EbpfLoader};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use thiserror::Error;

/// The object that `bpf/build.sh` makes.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/flow.bpf.o");

/// Links that are gone are remembered for their last samples' names; more than this at once is not waited for.
const REMEMBERED: usize = 4096;
/// What the drop program gives.
pub(super) const DROPS: &str = "why packets are dropped";
/// What the socket program gives.
pub(super) const PROCESSES: &str = "names of host processes";
/// What a missing program of TCP statistics would give.
pub(super) const ROUND_TRIPS: &str = "round-trip times";
/// As [`ROUND_TRIPS`].
pub(super) const RETRANSMITS: &str = "retransmissions";
/// Entries fetched from a map in one system call.
const CHUNK: usize = 4096;

/// The programs at tc hooks, with what they are for in errors.
const CLASSIFIERS: [&str; 8] = [
    "weir_pod_in",
    "weir_pod_out",
    "weir_host_in",
    "weir_host_out",
    "weir_lo_in",
    "weir_lo_out",
    "weir_raw_in",
    "weir_raw_out",
];

/// How to load.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which interfaces.
    pub selection: Selection,
    /// The most flows in one tick that are counted as they are.
    pub flows_limit: u32,
    /// The most connections whose opener is remembered.
    pub connections_limit: u32,
    /// Which flows are counted.
    pub rules: Vec<CaptureRule>,
    /// Ports of DNS servers; at most [`abi::DNS_PORTS`].
    pub dns_ports: Vec<u16>,
    /// Ports of VXLAN and Geneve beside those of the node's devices.
    pub tunnel_ports: Vec<u16>,
    /// Ports of WireGuard.
    pub wireguard_ports: Vec<u16>,
}

impl Options {
    /// For the interfaces of `selection`, everything counted, nothing else read.
    #[must_use]
    pub fn new(selection: Selection, flows_limit: u32, connections_limit: u32) -> Self {
        Self {
            selection,
            flows_limit,
            connections_limit,
            rules: Vec::new(),
            dns_ports: Vec::new(),
            tunnel_ports: Vec::new(),
            wireguard_ports: Vec::new(),
        }
    }
}

/// Why capture cannot begin or go on.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// The object does not load.
    #[error("eBPF object")]
    Object(#[from] aya::EbpfError),
    /// A program does not load.
    #[error("eBPF program {program} for {hook}")]
    Program {
        /// The program.
        program: String,
        /// What it is for.
        hook: String,
        /// The kernel's answer.
        source: Box<ProgramError>,
    },
    /// A map cannot be used.
    #[error("eBPF map {map}")]
    Map {
        /// The map.
        map: &'static str,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The interfaces cannot be listed.
    #[error("list of network interfaces")]
    Links(#[source] std::io::Error),
}

/// All of one tick, as it comes from the kernel.
#[derive(Clone, Debug, Default)]
pub struct Drained {
    /// The flows.
    pub flows: Vec<(Key, Flow)>,
    /// The drops.
    pub drops: Vec<(DropKey, Dropped)>,
    /// What sockets say of their connections.
    pub tcp: Vec<(TcpKey, Tcp)>,
    /// What each counter gained since the buffer was last drained, by index.
    pub counters: [Count; COUNTERS],
}

/// A part of capture that is not available, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The part, in plain words.
    pub what: String,
    /// The reason.
    pub why: String,
}

struct Buffer {
    flows: MapData,
    drops: MapData,
    tcp: MapData,
    /// The counters' values when this buffer was last drained.
    counted: [Count; COUNTERS],
}

struct Attached {
    link: Link,
    role: Role,
    /// Dropping them detaches.
    _links: Vec<SchedClassifierLink>,
}

/// The programs in the kernel. Dropping it detaches them all.
pub struct Capture {
    ebpf: Ebpf,
    options: Options,
    boundary: Boundary,
    buffers: [Buffer; 2],
    counts: PerCpuArray<MapData, Count>,
    connections: BpfHashMap<MapData, ConnectionKey, Connection>,
    addresses: BpfHashMap<MapData, [u8; 16], u32>,
    fill: Array<MapData, u64>,
    messages: RingBuf<MapData>,
    tunnels: BpfHashMap<MapData, u32, u32>,
    known_tunnels: BTreeMap<u32, u32>,
    known_addresses: HashSet<[u8; 16]>,
    attached: BTreeMap<u32, Attached>,
    failed: HashSet<u32>,
    gone: VecDeque<(u32, String, bool)>,
    reasons: Reasons,
    missing: Vec<Missing>,
}

impl Capture {
    /// Loads the programs. Nothing is attached to an interface before [`Capture::rescan`].
    ///
    /// # Errors
    /// When the base capture cannot be loaded. Optional parts that cannot are in [`Capture::missing`].
    pub fn load(options: Options) -> Result<Self, CaptureError> {
        let mut missing = Vec::new();
        let reasons = Reasons::of_kernel();
        let numbers = reasons.as_ref().map_or((1, 2), |reasons| {
            (reasons.number("CONSUMED").unwrap_or(u32::MAX), reasons.number("NOT_SPECIFIED").unwrap_or(u32::MAX))
        });
        let namespace = std::fs::metadata("/proc/self/ns/net").map_or(0, |m| u32::try_from(m.ino()).unwrap_or(0));
        let mut ports = [0_u16; abi::DNS_PORTS];
        for (place, port) in ports.iter_mut().zip(&options.dns_ports) {
            *place = *port;
        }
        let rules = u32::try_from(options.rules.len()).unwrap_or(u32::MAX);
        let room = options.flows_limit.saturating_add(options.flows_limit / 4).saturating_add(1);
        let mut ebpf = EbpfLoader::new()
            .override_global("weir_dns_ports", ports.as_slice(), true)
            .override_global("weir_rules", &rules, true)
            .override_global("weir_flows_limit", &options.flows_limit, true)
            .override_global("weir_reason_consumed", &numbers.0, true)
            .override_global("weir_reason_not_specified", &numbers.1, true)
            .override_global("weir_own_namespace", &namespace, true)
            .map_max_entries("WEIR_FLOWS_0", room)
            .map_max_entries("WEIR_FLOWS_1", room)
            .map_max_entries("WEIR_TCP_0", options.flows_limit)
            .map_max_entries("WEIR_TCP_1", options.flows_limit)
            .map_max_entries("WEIR_CONNECTIONS", options.connections_limit)
            .load(OBJECT)?;
        for program in CLASSIFIERS {
            load_classifier(&mut ebpf, program)?;
        }
        match &reasons {
            Ok(_) => {
                if let Err(source) = attach_tracepoint(&mut ebpf, "weir_drop", "kfree_skb") {
                    missing.push(Missing { what: DROPS.to_owned(), why: chain(&source) });
                }
            }
            Err(source) => {
                missing.push(Missing { what: DROPS.to_owned(), why: source.to_string() });
            }
        }
        let statistics = [("weir_round_trip", "tcp_probe"), ("weir_retransmit", "tcp_retransmit_skb")];
        for ((program, hook), what) in statistics.into_iter().zip([ROUND_TRIPS, RETRANSMITS]) {
            if let Err(source) = attach_tracepoint(&mut ebpf, program, hook) {
                missing.push(Missing { what: what.to_owned(), why: chain(&source) });
            }
        }
        if let Err(why) = attach_sockets(&mut ebpf) {
            missing.push(Missing { what: PROCESSES.to_owned(), why });
        }
        let config = take(&mut ebpf, "WEIR_CONFIG")?;
        let boundary = match &config {
            Map::Array(data) => Boundary::map(data.fd().as_fd()),
            _ => Err(std::io::Error::other("not an array")),
        }
        .map_err(|source| CaptureError::Map { map: "WEIR_CONFIG", source })?;
        let mut table: Array<MapData, abi::Rule> = typed(&mut ebpf, "WEIR_RULES")?;
        for (index, rule) in (0..).zip(&options.rules) {
            table
                .set(index, rule.kernel(), 0)
                .map_err(|source| CaptureError::Map { map: "WEIR_RULES", source: std::io::Error::other(source) })?;
        }
        let mut buffer = |flows, drops, tcp| {
            Ok::<_, CaptureError>(Buffer {
                flows: hash(&mut ebpf, flows)?,
                drops: hash(&mut ebpf, drops)?,
                tcp: hash(&mut ebpf, tcp)?,
                counted: [Count::default(); COUNTERS],
            })
        };
        let buffers = [
            buffer("WEIR_FLOWS_0", "WEIR_DROPS_0", "WEIR_TCP_0")?,
            buffer("WEIR_FLOWS_1", "WEIR_DROPS_1", "WEIR_TCP_1")?,
        ];
        let mut capture = Self {
            counts: typed(&mut ebpf, "WEIR_COUNTS")?,
            connections: typed(&mut ebpf, "WEIR_CONNECTIONS")?,
            addresses: typed(&mut ebpf, "WEIR_ADDRESSES")?,
            fill: typed(&mut ebpf, "WEIR_FILL")?,
            messages: typed(&mut ebpf, "WEIR_MESSAGES")?,
            tunnels: typed(&mut ebpf, "WEIR_TUNNELS")?,
            known_tunnels: BTreeMap::new(),
            ebpf,
            options,
            boundary,
            buffers,
            known_addresses: HashSet::new(),
            attached: BTreeMap::new(),
            failed: HashSet::new(),
            gone: VecDeque::new(),
            reasons: reasons.unwrap_or_default(),
            missing,
        };
        capture.refresh_tunnels(&[]);
        Ok(capture)
    }

    /// Hands each payload that the programs handed on since the last call to `each`.
    pub fn messages(&mut self, mut each: impl FnMut(&Message)) {
        while let Some(entry) = self.messages.next() {
            if let Some(message) = Message::read(&entry) {
                each(&message);
            }
        }
    }

    /// How many flows a buffer holds.
    #[must_use]
    pub fn fill(&self, buffer: usize) -> u64 {
        self.fill.get(&u32::from(buffer % 2 == 1), 0).unwrap_or(0)
    }

    /// The most flows in one tick that are counted as they are.
    #[must_use]
    pub fn flows_limit(&self) -> u32 {
        self.options.flows_limit
    }

    /// Tells the programs the ports of tunnels: those of the settings and of this node's devices.
    fn refresh_tunnels(&mut self, links: &[Link]) {
        let of_devices = links.iter().filter_map(|link| link.tunnel_port);
        let to =
            self.options.tunnel_ports.iter().copied().chain(of_devices).map(|port| (u32::from(port), abi::TUNNEL_TO));
        let wireguard = self.options.wireguard_ports.iter().map(|port| (u32::from(*port), abi::TUNNEL_WIREGUARD));
        let now: BTreeMap<u32, u32> = wireguard.chain(to).collect();
        for (port, kind) in now.iter().filter(|(port, kind)| self.known_tunnels.get(port) != Some(kind)) {
            if let Err(error) = self.tunnels.insert(port, kind, 0) {
                tracing::warn!(%error, port, "port of a tunnel not noted: there are more than {}", abi::TUNNELS);
            }
        }
        for port in self.known_tunnels.keys().filter(|port| !now.contains_key(port)) {
            // It may be gone already: that is what is wanted.
            let _ = self.tunnels.remove(port);
        }
        self.known_tunnels = now;
    }

    /// What this kernel or these privileges do not allow.
    #[must_use]
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// Whether no interface is left out by choice.
    #[must_use]
    pub fn watches_all(&self) -> bool {
        self.options.selection.include.is_empty() && self.options.selection.exclude.is_empty()
    }

    /// The running kernel's drop reasons.
    #[must_use]
    pub fn reasons(&self) -> &Reasons {
        &self.reasons
    }

    /// The interfaces that are watched, and as what.
    pub fn attached(&self) -> impl Iterator<Item = (&Link, Role)> {
        self.attached.values().map(|a| (&a.link, a.role))
    }

    /// Name of the interface, and whether it is a pod's on a bridge; also of one that has just gone.
    #[must_use]
    pub fn interface(&self, index: u32) -> (&str, bool) {
        if let Some(attached) = self.attached.get(&index) {
            return (&attached.link.name, attached.role == Role::Pod { bridged: true });
        }
        self.gone.iter().find(|gone| gone.0 == index).map_or(("", false), |gone| (gone.1.as_str(), gone.2))
    }

    /// Looks for interfaces and addresses: attaches to new ones, forgets those that are gone. Interfaces that cannot be
    /// attached to are logged once and counted by the caller through the returned list.
    ///
    /// # Errors
    /// When the interfaces cannot be listed.
    pub fn rescan(&mut self) -> Result<Vec<CaptureError>, CaptureError> {
        // One that is missing in a list that was disturbed would be detached from: the next one tells.
        let Some(links) = links::list().map_err(CaptureError::Links)? else { return Ok(Vec::new()) };
        let present: HashSet<u32> = links.iter().map(|link| link.index).collect();
        let gone: Vec<u32> = self.attached.keys().filter(|index| !present.contains(index)).copied().collect();
        for index in gone {
            if let Some(attached) = self.attached.remove(&index) {
                tracing::info!(interface = attached.link.name, "interface is gone");
                self.remember(attached);
            }
        }
        self.failed.retain(|index| present.contains(index));
        let mut errors = Vec::new();
        self.refresh_tunnels(&links);
        for link in links {
            let role = links::role(&link);
            if let Some(attached) = self.attached.get_mut(&link.index) {
                if attached.role == role {
                    attached.link = link;
                    continue;
                }
                // It joined or left a bridge, or its other end moved: it stands for something else now.
                self.attached.remove(&link.index);
            }
            if !self.options.selection.wants(&link.name) || self.failed.contains(&link.index) {
                continue;
            }
            if let Err(error) = self.attach(&link, role) {
                self.failed.insert(link.index);
                errors.push(error);
            }
        }
        self.refresh_addresses();
        Ok(errors)
    }

    fn remember(&mut self, attached: Attached) {
        if self.gone.len() == REMEMBERED {
            self.gone.pop_front();
        }
        let bridged = attached.role == Role::Pod { bridged: true };
        self.gone.push_back((attached.link.index, attached.link.name, bridged));
    }

    fn attach(&mut self, link: &Link, role: Role) -> Result<(), CaptureError> {
        let (ingress, egress) = match role {
            Role::Pod { .. } => ("weir_pod_in", "weir_pod_out"),
            Role::Host => ("weir_host_in", "weir_host_out"),
            Role::Raw => ("weir_raw_in", "weir_raw_out"),
            Role::Loopback => ("weir_lo_in", "weir_lo_out"),
            Role::Ignored(why) => {
                tracing::debug!(interface = link.name, why, "interface is not watched");
                return Ok(());
            }
        };
        let mut links = Vec::with_capacity(2);
        for (program, direction, word) in
            [(ingress, TcAttachType::Ingress, "ingress"), (egress, TcAttachType::Egress, "egress")]
        {
            links.push(attach_classifier(&mut self.ebpf, program, &link.name, direction).map_err(|source| {
                CaptureError::Program {
                    program: program.to_owned(),
                    hook: format!("{word} of {}", link.name),
                    source: Box::new(source),
                }
            })?);
        }
        tracing::info!(interface = link.name, ?role, "watching");
        self.attached.insert(link.index, Attached { link: link.clone(), role, _links: links });
        Ok(())
    }

    /// Detaches from all interfaces.
    pub fn detach(&mut self) {
        while let Some((_, attached)) = self.attached.pop_first() {
            self.remember(attached);
        }
    }

    /// From `boundary` (ns of the monotonic clock) on, packets go to the other buffer than `buffer`.
    pub fn set_boundary(&self, boundary: u64, buffer: usize) {
        self.boundary.set(boundary, buffer);
    }

    /// Takes all that a buffer holds. The buffer must have been idle for a moment.
    ///
    /// # Errors
    /// When a map cannot be read; what was taken before is lost and shows as such in the accounts.
    pub fn drain(&mut self, buffer: usize) -> Result<Drained, CaptureError> {
        let mut drained = Drained::default();
        let half = &self.buffers[buffer % 2];
        abi::drain_map(half.flows.fd().as_fd(), CHUNK, |key: &Key, flow: &Flow| drained.flows.push((*key, *flow)))
            .map_err(|source| CaptureError::Map { map: "WEIR_FLOWS", source })?;
        abi::drain_map(half.drops.fd().as_fd(), CHUNK, |key: &DropKey, drop: &Dropped| {
            drained.drops.push((*key, *drop));
        })
        .map_err(|source| CaptureError::Map { map: "WEIR_DROPS", source })?;
        abi::drain_map(half.tcp.fd().as_fd(), CHUNK, |key: &TcpKey, tcp: &Tcp| drained.tcp.push((*key, *tcp)))
            .map_err(|source| CaptureError::Map { map: "WEIR_TCP", source })?;
        self.fill
            .set(u32::from(buffer % 2 == 1), 0, 0)
            .map_err(|source| CaptureError::Map { map: "WEIR_FILL", source: std::io::Error::other(source) })?;
        // After the flows: the programs count a packet as seen before they touch its flow.
        for index in 0..COUNTERS {
            let entry = u32::try_from(buffer % 2 * COUNTERS + index).unwrap_or(u32::MAX);
            let values = self
                .counts
                .get(&entry, 0)
                .map_err(|source| CaptureError::Map { map: "WEIR_COUNTS", source: std::io::Error::other(source) })?;
            let now = values.iter().fold(Count::default(), |sum, value| Count {
                packets: sum.packets.wrapping_add(value.packets),
                bytes: sum.bytes.wrapping_add(value.bytes),
            });
            let before = std::mem::replace(&mut self.buffers[buffer % 2].counted[index], now);
            drained.counters[index] = Count {
                packets: now.packets.wrapping_sub(before.packets),
                bytes: now.bytes.wrapping_sub(before.bytes),
            };
        }
        Ok(drained)
    }

    /// What is known of a connection.
    #[must_use]
    pub fn connection(&self, key: &ConnectionKey) -> Option<Connection> {
        self.connections.get(key, 0).ok()
    }

    /// Whether the address (IPv4 mapped into IPv6) is the host's own.
    #[must_use]
    pub fn is_own(&self, address: &[u8; 16]) -> bool {
        self.known_addresses.contains(address)
    }

    fn refresh_addresses(&mut self) {
        let now = super::addresses::own();
        for address in now.difference(&self.known_addresses) {
            if let Err(error) = self.addresses.insert(address, 1, 0) {
                tracing::warn!(%error, "own address not noted: the host has more than 4096");
            }
        }
        for address in self.known_addresses.difference(&now) {
            // It may be gone already: that is what is wanted.
            let _ = self.addresses.remove(address);
        }
        self.known_addresses = now;
    }

    /// Runs a program at a tc hook on a given packet, for tests and benchmarks.
    ///
    /// # Errors
    /// The kernel's answer.
    #[doc(hidden)]
    pub fn test_run(
        &mut self,
        program: &str,
        packet: &[u8],
        context: Option<&[u8]>,
        repeat: u32,
    ) -> Result<(u32, std::time::Duration), ProgramError> {
        use aya::programs::{TestRun, TestRunOptions};
        let program = classifier(&mut self.ebpf, program)?;
        if program.fd().is_err() {
            program.load()?;
        }
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet);
        options.ctx_in = context;
        options.repeat = repeat;
        let result = program.test_run(options)?;
        Ok((result.return_value, result.duration))
    }
}

fn classifier<'a>(ebpf: &'a mut Ebpf, program: &str) -> Result<&'a mut SchedClassifier, ProgramError> {
    ebpf.program_mut(program).ok_or(ProgramError::NotLoaded)?.try_into()
}

fn load_classifier(ebpf: &mut Ebpf, program: &str) -> Result<(), CaptureError> {
    classifier(ebpf, program)
        .and_then(SchedClassifier::load)
        .inspect_err(|error| {
            // The verifier's reason is at the end of its log, which no one line can hold.
            tracing::debug!(program, "{error}");
        })
        .map_err(|source| CaptureError::Program {
            program: program.to_owned(),
            hook: "tc".to_owned(),
            source: Box::new(source),
        })
}

fn attach_classifier(
    ebpf: &mut Ebpf,
    program: &str,
    interface: &str,
    direction: TcAttachType,
) -> Result<SchedClassifierLink, ProgramError> {
    let program = classifier(ebpf, program)?;
    let id = if KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0)) {
        // First, so that a packet that another program drops is still seen.
        program.attach_with_options(interface, direction, TcAttachOptions::TcxOrder(LinkOrder::first()))?
    } else {
        // It may exist already, and be another's: it is left in place at exit.
        let _ = tc::qdisc_add_clsact(interface);
        program.attach_with_options(
            interface,
            direction,
            TcAttachOptions::Netlink(tc::NlOptions { priority: 1, ..tc::NlOptions::default() }),
        )?
    };
    program.take_link(id)
}

fn attach_tracepoint(ebpf: &mut Ebpf, name: &str, hook: &str) -> Result<(), CaptureError> {
    let failed = |source: ProgramError| CaptureError::Program {
        program: name.to_owned(),
        hook: format!("tracepoint {hook}"),
        source: Box::new(source),
    };
    let btf = Btf::from_sys_fs().map_err(|error| failed(error.into()))?;
    let program = ebpf.program_mut(name).ok_or(ProgramError::NotLoaded).map_err(failed)?;
    let program: &mut BtfTracePoint = program.try_into().map_err(failed)?;
    program.load(hook, &btf).map_err(failed)?;
    program.attach().map_err(failed)?;
    Ok(())
}

fn attach_sockets(ebpf: &mut Ebpf) -> Result<(), String> {
    let mounts = std::fs::read_to_string("/proc/mounts").map_err(|error| error.to_string())?;
    let path = cgroup2(&mounts).ok_or("no cgroup2 file system is mounted")?;
    let cgroup = std::fs::File::open(path).map_err(|error| format!("{path}: {error}"))?;
    let program = ebpf.program_mut("weir_socket").ok_or("no such program")?;
    let program: &mut CgroupSock = program.try_into().map_err(|error: ProgramError| chain(&error))?;
    program.load().map_err(|error| chain(&error))?;
    program
        .attach(&cgroup, CgroupAttachMode::AllowMultiple)
        .or_else(|_| program.attach(&cgroup, CgroupAttachMode::Single))
        .map_err(|error| chain(&error))?;
    Ok(())
}

fn cgroup2(mounts: &str) -> Option<&str> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let path = fields.nth(1)?;
        (fields.next()? == "cgroup2").then_some(path)
    })
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, CaptureError> {
    ebpf.take_map(name)
        .ok_or_else(|| CaptureError::Map { map: name, source: std::io::Error::other("not in the object") })
}

fn hash(ebpf: &mut Ebpf, name: &'static str) -> Result<MapData, CaptureError> {
    match take(ebpf, name)? {
        Map::HashMap(data) => Ok(data),
        _ => Err(CaptureError::Map { map: name, source: std::io::Error::other("not a hash map") }),
    }
}

fn typed<T: TryFrom<Map, Error = aya::maps::MapError>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, CaptureError> {
    T::try_from(take(ebpf, name)?)
        .map_err(|source| CaptureError::Map { map: name, source: std::io::Error::other(source) })
}

/// An error with its causes, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    // The verifier's log belongs in a debug log, not on a line.
    text.lines().next().unwrap_or_default().to_owned()
}
