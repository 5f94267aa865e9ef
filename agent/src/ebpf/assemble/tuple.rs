//! Tuples, by which what different programs say of one flow comes together.

use crate::abi::{DropKey, Key};

/// A tuple as the kernel's keys have it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Tuple {
    pub(super) source: [u8; 16],
    pub(super) destination: [u8; 16],
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    pub(super) protocol: u8,
}

impl Tuple {
    pub(super) fn of_key(key: &Key) -> Self {
        Self {
            source: key.source,
            destination: key.destination,
            source_port: key.source_port,
            destination_port: key.destination_port,
            protocol: key.protocol,
        }
    }

    pub(super) fn of_drop(key: &DropKey) -> Self {
        Self {
            source: key.source,
            destination: key.destination,
            source_port: key.source_port,
            destination_port: key.destination_port,
            protocol: key.protocol,
        }
    }
}
