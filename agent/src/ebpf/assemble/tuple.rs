//! Tuples, by which what different programs say of one flow comes together.

use crate::abi::{DropKey, Key, TcpKey};
use weir_flow::protocol::TCP;

/// A tuple as the kernel's keys have it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::ebpf) struct Tuple {
    pub(in crate::ebpf) source: [u8; 16],
    pub(in crate::ebpf) destination: [u8; 16],
    pub(in crate::ebpf) source_port: u16,
    pub(in crate::ebpf) destination_port: u16,
    pub(in crate::ebpf) protocol: u8,
}

impl Tuple {
    pub(in crate::ebpf) fn of_key(key: &Key) -> Self {
        Self {
            source: key.source,
            destination: key.destination,
            source_port: key.source_port,
            destination_port: key.destination_port,
            protocol: key.protocol,
        }
    }

    pub(in crate::ebpf) fn of_drop(key: &DropKey) -> Self {
        Self {
            source: key.source,
            destination: key.destination,
            source_port: key.source_port,
            destination_port: key.destination_port,
            protocol: key.protocol,
        }
    }

    pub(in crate::ebpf) fn of_tcp(key: &TcpKey) -> Self {
        Self {
            source: key.source,
            destination: key.destination,
            source_port: key.source_port,
            destination_port: key.destination_port,
            protocol: TCP,
        }
    }
}
