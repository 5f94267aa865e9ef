//! What samples of one batch have in common: most of them speak of ends that a sample before has spoken of, and go to the
//! same records. What decides that is compared; making keys and merging what is known of the ends is done once.

use super::aggregate::{Domains, Places};
use crate::observe::{EndFound, Observation};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher as _;
use weir_flow::{Level, RecordSettings};

/// Samples with the same ends, and the records that they go to.
#[derive(Debug)]
struct Conversation<'a> {
    initiator: EndFound<'a>,
    responder: EndFound<'a>,
    protocol: u8,
    policy_drops: bool,
    domains: Domains<'a>,
    places: Places,
}

/// Everything that was spoken of in one batch, and so of one window, origin and tick.
#[derive(Debug)]
pub(super) struct Conversations<'a> {
    seen: HashTable<Conversation<'a>>,
    /// Whether a record may be of one initiator's port.
    ports: bool,
    hasher: FixedState,
}

impl<'a> Conversations<'a> {
    /// For a batch to which these settings apply.
    pub(super) fn new(settings: &RecordSettings) -> Self {
        let mut levels = settings.levels_allowed.iter().chain(&settings.levels_denied);
        Self { seen: HashTable::new(), ports: levels.any(|level| *level == Level::Zero), hasher: FixedState::default() }
    }

    fn hash(&self, initiator: &EndFound<'_>, responder: &EndFound<'_>, protocol: u8) -> u64 {
        let port = if self.ports { initiator.ask.port } else { None };
        let ends = (initiator.ask.address, responder.ask.address, port, responder.ask.port, protocol);
        self.hasher.hash_one(ends)
    }

    /// The records of an observation with these ends before.
    pub(super) fn places(&self, o: &Observation<'_>, domains: &Domains<'_>) -> Option<Places> {
        let hash = self.hash(&o.initiator, &o.responder, o.sample.protocol);
        let equal = |known: &Conversation<'_>| {
            known.protocol == o.sample.protocol
                && known.policy_drops == o.policy_drops
                && known.domains == *domains
                && known.responder.ask.port == o.responder.ask.port
                && (!self.ports || known.initiator.ask.port == o.initiator.ask.port)
                && same(&known.initiator, &o.initiator)
                && same(&known.responder, &o.responder)
        };
        self.seen.find(hash, equal).map(|known| known.places)
    }

    /// Notes the records of an observation.
    pub(super) fn note(&mut self, o: &Observation<'a>, domains: Domains<'a>, places: Places) {
        let hash = self.hash(&o.initiator, &o.responder, o.sample.protocol);
        let conversation = Conversation {
            initiator: o.initiator.clone(),
            responder: o.responder.clone(),
            protocol: o.sample.protocol,
            policy_drops: o.policy_drops,
            domains,
            places,
        };
        let mut seen = std::mem::take(&mut self.seen);
        seen.insert_unique(hash, conversation, |known| self.hash(&known.initiator, &known.responder, known.protocol));
        self.seen = seen;
    }

    /// Forgets all, because records are elsewhere.
    pub(super) fn clear(&mut self) {
        self.seen.clear();
    }
}

/// Whether two ends are the same but for the port.
fn same(a: &EndFound<'_>, b: &EndFound<'_>) -> bool {
    a.ask.address == b.ask.address
        && a.ask.container == b.ask.container
        && a.ask.process == b.ask.process
        && a.ask.responder == b.ask.responder
        && a.without_address == b.without_address
        && a.found == b.found
}
