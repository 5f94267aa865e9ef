//! The programs in the kernel: loaded, attached, read.

use super::held;
use super::links::{Link, Role, Selection};
use super::reasons::Reasons;
use crate::abi::{self, COUNTERS, Config, Connection, ConnectionKey, Count, DropKey, Dropped, Flow, Key};
use crate::abi::{Table, Tcp, TcpKey, Tuple};
use crate::ebpf::conntrack::Direction;
use crate::rules::CaptureRule;
use aya::Ebpf;
use aya::maps::{Array, HashMap as BpfHashMap, MapData, PerCpuArray};
use aya::programs::ProgramError;
use ledger::Ledger;
use object::{config, hash, load_object, open_pins, ring, slots, table, typed};
use payloads::Payloads;
use pins::Pins;
pub use pins::detach;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

mod interfaces;
pub mod ledger;
mod object;
mod optional;
mod payloads;
mod pins;
mod programs;
#[cfg(test)]
mod tests;

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
/// What reading translations from packets gives.
pub(super) const SHOWN: &str = "translations that connection tracking tells too late, or not at all";
/// What the table in front of the maps of flows gives.
pub(super) const TABLE: &str = "a table of flows in front of their map, for less time a packet";
/// What pins give.
pub(super) const RESTARTS: &str = "what passes while no agent runs, from one to the next";
/// How often loading is tried again when signals interrupt it.
const INTERRUPTIONS: u32 = 5;
/// How long a buffer stays idle before it is read. A program that chose it before the boundary is done long before:
/// programs run for microseconds, and the coarse clock is behind by at most one timer interrupt (10 ms).
pub(super) const SETTLE: Duration = Duration::from_millis(30);
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
    /// Whether a table stands in front of the maps of flows.
    pub table: bool,
    /// The most connections whose opener is remembered.
    pub connections_limit: u32,
    /// Which flows are counted.
    pub rules: Vec<CaptureRule>,
    /// Ports of DNS servers; at most [`abi::DNS_PORTS`].
    pub dns_ports: Vec<u16>,
    /// Whether packets are asked how they are translated.
    pub translations: bool,
    /// Ports of VXLAN and Geneve beside those of the node's devices.
    pub tunnel_ports: Vec<u16>,
    /// Ports of WireGuard.
    pub wireguard_ports: Vec<u16>,
    /// Folder in a BPF file system where maps and links outlive the process, until [`detach`] or a successor removes them;
    /// none: they go with it.
    pub pins: Option<PathBuf>,
}

impl Options {
    /// For the interfaces of `selection`, everything counted, nothing else read.
    #[must_use]
    pub fn new(selection: Selection, flows_limit: u32, connections_limit: u32) -> Self {
        Self {
            selection,
            flows_limit,
            table: true,
            connections_limit,
            rules: Vec::new(),
            dns_ports: Vec::new(),
            translations: true,
            tunnel_ports: Vec::new(),
            wireguard_ports: Vec::new(),
            pins: None,
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
    /// How many of the flows the map held, since there was no room in the table before it.
    pub beyond_table: u64,
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
    links: Vec<programs::Attachment>,
}

impl Attached {
    fn detach(self) {
        self.links.into_iter().for_each(programs::Attachment::detach);
    }
}

/// The programs in the kernel. Dropping it detaches all that is not pinned; what is stays for a successor.
pub struct Capture {
    attached: BTreeMap<u32, Attached>,
    ebpf: Ebpf,
    options: Options,
    config: Config,
    table: Option<Table>,
    buffers: [Buffer; 2],
    counts: PerCpuArray<MapData, Count>,
    connections: BpfHashMap<MapData, ConnectionKey, Connection>,
    addresses: BpfHashMap<MapData, [u8; 16], u32>,
    fill: Array<MapData, u64>,
    payloads: Payloads,
    translations: MapData,
    /// Whether those of [`optional::TRANSLATING`] are loaded.
    translating: bool,
    tunnels: BpfHashMap<MapData, u32, u32>,
    known_tunnels: BTreeMap<u32, u32>,
    known_addresses: HashSet<[u8; 16]>,
    failed: HashSet<u32>,
    gone: VecDeque<(u32, String, bool)>,
    reasons: Reasons,
    missing: Vec<Missing>,
    ledger: Option<Ledger>,
    predecessor: Option<ledger::Marks>,
    pins: Option<Pins>,
}

impl Capture {
    /// Loads the programs. Nothing is attached to an interface before [`Capture::rescan`].
    ///
    /// # Errors
    /// When the base capture cannot be loaded. Optional parts that cannot are in [`Capture::missing`].
    pub fn load(options: Options) -> Result<Self, CaptureError> {
        abi::raise_locked_memory();
        let slots = if options.table { slots(options.flows_limit) } else { 0 };
        let mut interruptions = 0;
        loop {
            match Self::load_with(options.clone(), slots) {
                // A signal came while the verifier was at it: that says nothing about what it takes.
                Err(error) if interrupted(&error) && interruptions < INTERRUPTIONS => interruptions += 1,
                Err(error) if slots > 0 && !interrupted(&error) => {
                    let mut capture = Self::load_with(options, 0)?;
                    capture.missing.push(Missing { what: TABLE.to_owned(), why: chain(&error) });
                    return Ok(capture);
                }
                loaded => return loaded,
            }
        }
    }

    fn load_with(options: Options, slots: u32) -> Result<Self, CaptureError> {
        let mut missing = Vec::new();
        let slots = object::slots_here(slots, &mut missing);
        let pins = open_pins(&options, slots, &mut missing);
        let reasons = Reasons::of_kernel();
        let mut ebpf = load_object(&options, slots, &reasons, pins.as_ref())?;
        let translating = options.translations && optional::load_translating(&mut ebpf, &mut missing);
        for program in CLASSIFIERS {
            if !translating || optional::TRANSLATING.iter().all(|(plain, _)| *plain != program) {
                programs::load_classifier(&mut ebpf, program)?;
            }
        }
        optional::attach(&mut ebpf, &reasons, pins.as_ref(), &mut missing);
        let config = config(&mut ebpf)?;
        let table = table(&mut ebpf, slots)?;
        let mut rules: Array<MapData, abi::Rule> = typed(&mut ebpf, "WEIR_RULES")?;
        for (index, rule) in (0..).zip(&options.rules) {
            rules
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
        let mut payloads = Payloads::new(&ring(&mut ebpf)?)?;
        let ledger = Ledger::new(typed(&mut ebpf, "WEIR_LEDGER")?);
        let (ledger, predecessor) = match &pins {
            Some(pins) => ledger::pass_on(ledger, pins, &mut payloads)?,
            None => (None, None),
        };
        let mut capture = Self {
            attached: BTreeMap::new(),
            counts: typed(&mut ebpf, "WEIR_COUNTS")?,
            connections: typed(&mut ebpf, "WEIR_CONNECTIONS")?,
            addresses: typed(&mut ebpf, "WEIR_ADDRESSES")?,
            fill: typed(&mut ebpf, "WEIR_FILL")?,
            payloads,
            translations: hash(&mut ebpf, "WEIR_TRANSLATIONS")?,
            translating,
            tunnels: typed(&mut ebpf, "WEIR_TUNNELS")?,
            known_tunnels: BTreeMap::new(),
            ebpf,
            options,
            config,
            table,
            buffers,
            known_addresses: HashSet::new(),
            failed: HashSet::new(),
            gone: VecDeque::new(),
            reasons: reasons.unwrap_or_default(),
            missing,
            ledger,
            predecessor,
            pins,
        };
        capture.refresh_tunnels(&[]);
        Ok(capture)
    }

    /// Hands each translated connection that packets showed since the last call to `each`: what its opener sends, and what the
    /// answers look like where they arrive.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn translations(&mut self, mut each: impl FnMut(Direction, Direction)) -> Result<(), CaptureError> {
        abi::drain_map(self.translations.fd().as_fd(), CHUNK, |original: &Tuple, reply: &Tuple| {
            each((*original).into(), (*reply).into());
        })
        .map_err(|source| CaptureError::Map { map: "WEIR_TRANSLATIONS", source })?;
        Ok(())
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

    /// What this kernel or these privileges do not allow.
    #[must_use]
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// Whether what is attached and counted outlives this.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        self.pins.is_some()
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

    /// From `boundary` (ns of the monotonic clock) on, packets go to the other buffer than `buffer`.
    pub fn set_boundary(&self, boundary: u64, buffer: usize) {
        self.config.set(boundary, buffer);
    }

    /// Takes all that a buffer holds. The buffer must have been idle for a moment.
    ///
    /// # Errors
    /// When a map cannot be read; what was taken before is lost and shows as such in the accounts.
    pub fn drain(&mut self, buffer: usize) -> Result<Drained, CaptureError> {
        let mut drained = Drained::default();
        // Once, and not again and again with a copy of what is there.
        drained.flows.reserve_exact(usize::try_from(self.fill(buffer)).unwrap_or(0));
        let half = &self.buffers[buffer % 2];
        let flows = &mut drained.flows;
        if let Some(table) = &self.table {
            table
                .drain(buffer, |key, flow| flows.push((*key, *flow)))
                .map_err(|source| CaptureError::Map { map: "WEIR_TABLE", source })?;
        }
        let beyond = abi::drain_map(half.flows.fd().as_fd(), CHUNK, |key: &Key, flow: &Flow| flows.push((*key, *flow)))
            .map_err(|source| CaptureError::Map { map: "WEIR_FLOWS", source })?;
        held::unite(flows);
        if self.table.is_some() {
            drained.beyond_table = u64::try_from(beyond).unwrap_or(u64::MAX);
        }
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
            let now = ledger::sum(&self.counts, entry)
                .map_err(|source| CaptureError::Map { map: "WEIR_COUNTS", source: std::io::Error::other(source) })?;
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

    /// The program that is loaded in a program's place.
    fn loaded<'a>(&self, program: &'a str) -> &'a str {
        let instead = optional::TRANSLATING.iter().find(|(plain, _)| self.translating && *plain == program);
        instead.map_or(program, |(_, translating)| *translating)
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
        let program = self.loaded(program);
        let program = programs::classifier(&mut self.ebpf, program)?;
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

/// What tests and benchmarks do by themselves.
#[doc(hidden)]
impl Capture {
    /// A program at a tc hook.
    #[must_use]
    pub fn program(&self, program: &str) -> Option<&aya::programs::SchedClassifier> {
        self.ebpf.program(program).and_then(|program| program.try_into().ok())
    }

    /// The table in front of the maps of flows.
    #[must_use]
    pub fn table(&self) -> Option<&Table> {
        self.table.as_ref()
    }
}

/// Whether loading ended because a signal came: `EAGAIN` of `bpf_check` (kernel/bpf/verifier.c), or `EINTR`.
fn interrupted(error: &(dyn std::error::Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut kinds = causes.filter_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    kinds.any(|kind| matches!(kind, std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted))
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
    one_line(&text)
}

/// The first line, and of the verifier's log, which can have thousands, the one that says what it refused: its last but for
/// what it took.
fn one_line(text: &str) -> String {
    let (first, log) = text.split_once("Verifier output:").unwrap_or((text, ""));
    let first = first.lines().next().unwrap_or_default().trim_end_matches(['.', ' ']);
    let told = |line: &&str| !line.is_empty() && !line.starts_with("verification time");
    let refusal = log
        .lines()
        .map(str::trim)
        .filter(told)
        .take_while(|line| !(line.starts_with("stack depth") || line.starts_with("processed ")))
        .last();
    refusal.filter(|line| !line.starts_with(':')).map_or_else(|| first.to_owned(), |line| format!("{first}: {line}"))
}
