//! The object, loaded with its settings, and its maps.

use super::pins::{self, Pins};
use super::{CaptureError, Missing, Options, RESTARTS, TABLE};
use crate::abi::{self, Config, Table};
use crate::ebpf::reasons::Reasons;
use aya::maps::{Map, MapData};
use aya::util::KernelVersion;
use aya::{Ebpf, EbpfLoader};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// The objects that `bpf/build.sh` makes: for this kernel, and for those before Linux 5.13.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../bpf/flow.bpf.o");
static OLDER: &[u8] = aya::include_bytes_aligned!("../../../bpf/older.bpf.o");

/// How long a predecessor may take to publish its last ticks before its pins are taken over.
const PATIENCE: Duration = Duration::from_secs(20);

/// The pins, where they are wanted and can be.
pub(super) fn open_pins(options: &Options, slots: u32, missing: &mut Vec<Missing>) -> Option<Pins> {
    let root = options.pins.as_ref()?;
    let pins = pins::on_bpffs(root)
        .and_then(|()| {
            Pins::open(
                root,
                pins::Sizes { flows: options.flows_limit, connections: options.connections_limit, slots },
                PATIENCE,
            )
        })
        .map_err(|error| format!("{}: {error}", root.display()));
    pins.map_err(|why| missing.push(Missing { what: RESTARTS.to_owned(), why })).ok()
}

/// Slots of each buffer of the table: a flow's neighbours are free more often than not when half of the limit is taken.
pub(super) fn slots(flows_limit: u32) -> u32 {
    flows_limit.clamp(abi::SLOTS_MIN, abi::SLOTS_MAX).next_power_of_two()
}

/// As many where programs have the atomics that a table takes, else none.
pub(super) fn slots_here(slots: u32, missing: &mut Vec<Missing>) -> u32 {
    if slots == 0 || !is_older() {
        return slots;
    }
    missing.push(Missing { what: TABLE.to_owned(), why: "it takes Linux 5.13".to_owned() });
    0
}

pub(super) fn load_object(
    options: &Options,
    slots: u32,
    reasons: &Result<Reasons, std::io::Error>,
    pins: Option<&Pins>,
) -> Result<Ebpf, CaptureError> {
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
    let mut loader = EbpfLoader::new();
    loader
        .override_global("weir_dns_ports", ports.as_slice(), true)
        .override_global("weir_rules", &rules, true)
        .override_global("weir_flows_limit", &options.flows_limit, true)
        .override_global("weir_slots", &slots, true)
        .override_global("weir_reason_consumed", &numbers.0, true)
        .override_global("weir_reason_not_specified", &numbers.1, true)
        .override_global("weir_own_namespace", &namespace, true)
        .map_max_entries("WEIR_FLOWS_0", room)
        .map_max_entries("WEIR_FLOWS_1", room)
        .map_max_entries("WEIR_TABLE", abi::Table::entries(slots).0)
        .map_max_entries("WEIR_OCCUPIED", abi::Table::entries(slots).1)
        .map_max_entries("WEIR_TRANSLATIONS", options.flows_limit)
        .map_max_entries("WEIR_TCP_0", options.flows_limit)
        .map_max_entries("WEIR_TCP_1", options.flows_limit)
        .map_max_entries("WEIR_CONNECTIONS", options.connections_limit);
    for (map, path) in pins.into_iter().flat_map(Pins::maps) {
        loader.map_pin_path(map, path);
    }
    Ok(loader.load(if is_older() { OLDER } else { OBJECT })?)
}

/// Whether global functions take no pointers (Linux 5.13), and programs have no atomics for a table of flows (5.12).
fn is_older() -> bool {
    KernelVersion::current().is_ok_and(|version| version < KernelVersion::new(5, 13, 0))
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, CaptureError> {
    ebpf.take_map(name)
        .ok_or_else(|| CaptureError::Map { map: name, source: std::io::Error::other("not in the object") })
}

fn array(ebpf: &mut Ebpf, name: &'static str) -> Result<MapData, CaptureError> {
    match take(ebpf, name)? {
        Map::Array(data) => Ok(data),
        _ => Err(CaptureError::Map { map: name, source: std::io::Error::other("not an array") }),
    }
}

pub(super) fn config(ebpf: &mut Ebpf) -> Result<Config, CaptureError> {
    let failed = |source| CaptureError::Map { map: "WEIR_CONFIG", source };
    let config = Config::map(array(ebpf, "WEIR_CONFIG")?.fd().as_fd()).map_err(failed)?;
    config.seed(abi::random().map_err(failed)?);
    Ok(config)
}

pub(super) fn table(ebpf: &mut Ebpf, slots: u32) -> Result<Option<Table>, CaptureError> {
    let (table, occupied) = (array(ebpf, "WEIR_TABLE")?, array(ebpf, "WEIR_OCCUPIED")?);
    let mapped = (slots > 0).then(|| Table::map(table.fd().as_fd(), occupied.fd().as_fd(), slots));
    mapped.transpose().map_err(|source| CaptureError::Map { map: "WEIR_TABLE", source })
}

pub(super) fn hash(ebpf: &mut Ebpf, name: &'static str) -> Result<MapData, CaptureError> {
    match take(ebpf, name)? {
        Map::HashMap(data) => Ok(data),
        _ => Err(CaptureError::Map { map: name, source: std::io::Error::other("not a hash map") }),
    }
}

pub(super) fn ring(ebpf: &mut Ebpf) -> Result<MapData, CaptureError> {
    match take(ebpf, "WEIR_MESSAGES")? {
        Map::RingBuf(data) => Ok(data),
        _ => Err(CaptureError::Map { map: "WEIR_MESSAGES", source: std::io::Error::other("not a ring buffer") }),
    }
}

pub(super) fn typed<T: TryFrom<Map, Error = aya::maps::MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<T, CaptureError> {
    T::try_from(take(ebpf, name)?)
        .map_err(|source| CaptureError::Map { map: name, source: std::io::Error::other(source) })
}
