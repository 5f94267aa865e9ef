//! What samples of one batch have in common: most of them speak of ends that a sample before has spoken of, and go to the
//! same records. What decides that is compared; making keys and merging what is known of the ends is done once.

use super::aggregate::{At, Places};
use crate::observe::{EndFound, Observation};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use weir_flow::{Level, RecordSettings};

/// Samples with the same ends, and the records that they go to.
#[derive(Debug)]
struct Conversation<'a> {
    initiator: EndFound<'a>,
    responder: EndFound<'a>,
    protocol: u8,
    policy_drops: bool,
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
        Self {
            seen: HashTable::new(),
            ports: levels.any(|level| *level == Level::Zero),
            hasher: FixedState::default(),
        }
    }

    /// The records of an observation: those of an equal one before, or what `find` finds.
    pub(super) fn places(&mut self, o: &Observation<'a>, find: impl FnOnce() -> Places) -> Places {
        let ports = self.ports;
        let port = if ports { o.initiator.ask.port } else { None };
        let ends = (o.initiator.ask.address, o.responder.ask.address, port, o.responder.ask.port, o.sample.protocol);
        let hash = self.hasher.hash_one(ends);
        let equal = |known: &Conversation<'_>| {
            known.protocol == o.sample.protocol
                && known.policy_drops == o.policy_drops
                && known.responder.ask.port == o.responder.ask.port
                && (!ports || known.initiator.ask.port == o.initiator.ask.port)
                && same(&known.initiator, &o.initiator)
                && same(&known.responder, &o.responder)
        };
        if let Some(known) = self.seen.find(hash, equal) {
            return known.places;
        }
        let places = find();
        let conversation = Conversation {
            initiator: o.initiator.clone(),
            responder: o.responder.clone(),
            protocol: o.sample.protocol,
            policy_drops: o.policy_drops,
            places,
        };
        let hasher = &self.hasher;
        self.seen.insert_unique(hash, conversation, |known| {
            let port = if ports { known.initiator.ask.port } else { None };
            let (initiator, responder) = (&known.initiator.ask, &known.responder.ask);
            hasher.hash_one((initiator.address, responder.address, port, responder.port, known.protocol))
        });
        places
    }
}

/// Whether two ends are the same but for the port.
fn same(a: &EndFound<'_>, b: &EndFound<'_>) -> bool {
    a.ask.address == b.ask.address
        && a.ask.container == b.ask.container
        && a.ask.process == b.ask.process
        && a.ask.responder == b.ask.responder
        && a.found == b.found
}

impl Places {
    /// Where an observation is counted at each of its levels.
    pub(super) fn find(
        o: &Observation<'_>,
        at: &At<'_>,
        mut find: impl FnMut(Level) -> (u32, bool),
    ) -> Self {
        let mut places = Self::default();
        for level in super::aggregate::levels(at.settings, o.policy_drops) {
            let (number, coarsened) = find(level);
            if let Some(place) = places.records.get_mut(usize::from(level.number())) {
                *place = Some(number);
            }
            places.coarsened += u64::from(coarsened);
        }
        places
    }
}
