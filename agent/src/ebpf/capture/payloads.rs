//! Payloads that the programs handed on, in a ring buffer that outlives the process where the maps do.
//!
//! Room is given back only once what was read there is told of on the topic, so that whoever comes after a kill reads it again; or when
//! half of the ring is taken by what was read, so that the programs always find the other half.

use super::ledger::{Ledger, Settled};
use super::{Capture, CaptureError};
use crate::abi::{Message, RING, Ring};
use aya::maps::MapData;
use std::os::fd::AsFd;

/// So much of the ring may be taken by what was read, in bytes.
const KEPT: u64 = RING as u64 / 2;

/// The ring's reader.
pub(super) struct Payloads {
    ring: Ring,
    /// Where the ring outlives the process.
    kept: Option<Kept>,
    /// Read since the ring was made.
    read: u64,
}

struct Kept {
    settled: Settled,
    ledger: Ledger,
}

impl Payloads {
    pub(super) fn new(map: &MapData) -> Result<Self, CaptureError> {
        let ring = Ring::map(map.fd().as_fd()).map_err(|source| CaptureError::Map { map: "WEIR_MESSAGES", source })?;
        Ok(Self { ring, kept: None, read: 0 })
    }

    /// Keeps what is not told of yet for whoever comes next; `read` of the payloads were read before.
    pub(super) fn keep(&mut self, settled: Settled, ledger: Ledger, read: u64) {
        self.kept = Some(Kept { settled, ledger });
        self.read = read;
    }

    /// Hands each payload that was handed on since the last call to `each`, then gives back what need not be kept.
    pub(super) fn read(&mut self, mut each: impl FnMut(Message)) {
        while let Some((position, entry)) = self.ring.read() {
            self.read += 1;
            if let Some(message) = Message::read(position, entry) {
                each(message);
            }
        }
        let position = self.ring.position();
        let Some(kept) = &mut self.kept else { return self.ring.give_back(position) };
        self.ring.give_back(kept.settled.position().min(position));
        if position - self.ring.given_back() > KEPT {
            // First noted, so that a kill between the two is told of as a loss and not passed over.
            kept.ledger.passed(self.read);
            self.ring.give_back(position);
        }
    }

    /// Up to where the ring was read.
    pub(super) fn position(&self) -> u64 {
        self.ring.position()
    }
}

impl Capture {
    /// Hands each payload that the programs handed on since the last call to `each`.
    pub fn messages(&mut self, each: impl FnMut(Message)) {
        self.payloads.read(each);
    }

    /// Up to where payloads were read, as [`Message::position`].
    #[must_use]
    pub fn position(&self) -> u64 {
        self.payloads.position()
    }
}
