//! By which names clients had asked for the addresses that they talk to.
//!
//! A client's own answers say what it meant by an address; what others were told does not. Known are the answers that stand
//! before a sample in the log and belong to the same generation: a new owner reads those again and no earlier ones, so that
//! nothing else could be the same after a crash or in a replay. A name that was asked for in an earlier window is not known.

use crate::observe::Observation;
use foldhash::HashMap;
use std::sync::Arc;
use weir_flow::Address;
use weir_schemas::ledger::Reporter;
use weir_schemas::raw::DnsSample;

#[cfg(test)]
mod tests;

/// The most names of one generation.
const NAMES: usize = 100_000;
/// The most names of one address of one client.
const NAMES_OF_ADDRESS: usize = 16;

/// The names of one generation.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// By client and address.
    names: HashMap<(Address, Address), Vec<Arc<str>>>,
    count: usize,
}

impl Names {
    /// Learns from an answer; whether there was place for all of it.
    pub(super) fn learn(&mut self, sample: &DnsSample) -> bool {
        let mut name: Option<Arc<str>> = None;
        let mut all = true;
        for answer in &sample.answers {
            let known = self.names.get(&(sample.client, *answer)).map_or(&[][..], Vec::as_slice);
            if known.iter().any(|known| **known == *sample.question) {
                continue;
            }
            if known.len() >= NAMES_OF_ADDRESS || self.count >= NAMES {
                all = false;
                continue;
            }
            let name = name.get_or_insert_with(|| Arc::from(sample.question.as_str()));
            self.names.entry((sample.client, *answer)).or_default().push(name.clone());
            self.count += 1;
        }
        all
    }

    /// The names by which a client had asked for an address.
    pub(super) fn of(&self, client: Address, address: Address) -> &[Arc<str>] {
        if self.count == 0 {
            return &[];
        }
        self.names.get(&(client, address)).map_or(&[], Vec::as_slice)
    }

    pub(super) fn memory(&self) -> usize {
        self.count * 160
    }
}

/// The names by which the end that made the report had asked for the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Domains<'a> {
    of_initiator: bool,
    /// By the address behind a service and by the address that was asked for: they may be the same.
    names: [&'a [Arc<str>]; 2],
    /// The far end's address as it was asked for.
    seen: Option<Address>,
}

/// What decides, for two ends, which names the one knew the other by: those of two addresses only ever become more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Which {
    of_initiator: bool,
    seen: Option<Address>,
    counts: [usize; 2],
}

impl<'a> Domains<'a> {
    /// The names that a sample's reporter knew.
    pub(super) fn of(o: &Observation<'_, '_>, names: &'a Names) -> Self {
        let of_initiator = o.reporter == Reporter::Responder;
        let (local, far) = if of_initiator { (&o.responder, &o.initiator) } else { (&o.initiator, &o.responder) };
        let seen = if o.forward == of_initiator { o.sample.source } else { o.sample.destination };
        let real = far.ask.address;
        let of_seen = if seen == real { &[] } else { names.of(local.ask.address, seen) };
        Self { of_initiator, names: [names.of(local.ask.address, real), of_seen], seen: Some(seen) }
    }

    /// Which names these are; nothing where there are none.
    pub(super) fn which(&self) -> Option<Which> {
        let counts = self.names.map(<[_]>::len);
        (counts != [0; 2]).then_some(Which { of_initiator: self.of_initiator, seen: self.seen, counts })
    }

    pub(super) fn initiator(&self) -> impl Iterator<Item = &'a Arc<str>> {
        self.names.into_iter().flatten().filter(|_| self.of_initiator)
    }

    pub(super) fn responder(&self) -> impl Iterator<Item = &'a Arc<str>> {
        self.names.into_iter().flatten().filter(|_| !self.of_initiator)
    }
}
