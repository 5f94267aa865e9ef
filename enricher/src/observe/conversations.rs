//! What samples of one batch have in common: most of them speak of ends that a sample before has spoken of. What decides
//! who the ends were is compared, and they are asked for once.

use super::{Asker, EndFound};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use weir_flow::Address;
use weir_schemas::ledger::Reporter;
use weir_schemas::raw::{Point, Tuple};

/// All of a sample that decides who its ends were, in one tick of one node. Samples of a batch share their texts, so that
/// those are told apart by where they are; the same text at two places makes two conversations, of which the same is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spoken {
    initiator: (Address, u16),
    responder: (Address, u16),
    protocol: u8,
    point: Point,
    local_is_initiator: bool,
    /// Where addresses were translated: both ends as seen, and the responder as in the other tuple.
    translated: Option<[(Address, u16); 3]>,
    pod_uid: Option<usize>,
    container: Option<usize>,
    process: Option<usize>,
}

impl Spoken {
    /// Of a sample; `port` is whether the initiator's port decides anything.
    pub(super) fn of(asker: &Asker<'_>, port: bool) -> Self {
        let place = |text: &Option<Arc<str>>| text.as_ref().map(|text| text.as_ptr().addr());
        let sample = asker.sample;
        let (initiator, initiator_port) = asker.ends_of(&asker.tuple, true);
        let without_port = |(address, number)| (address, if port { number } else { 0 });
        let translated = sample.translated.map(|other| {
            let seen = Tuple {
                source: sample.source,
                destination: sample.destination,
                source_port: sample.source_port,
                destination_port: sample.destination_port,
            };
            [without_port(asker.ends_of(&seen, true)), asker.ends_of(&seen, false), asker.ends_of(&other, false)]
        });
        Self {
            initiator: without_port((initiator, initiator_port)),
            responder: asker.ends_of(&asker.tuple, false),
            protocol: sample.protocol,
            point: sample.point,
            local_is_initiator: asker.local_is_initiator(),
            translated,
            pod_uid: place(&sample.pod_uid),
            container: place(&sample.container),
            process: place(&sample.process),
        }
    }
}

/// What was found out about a conversation.
#[derive(Clone, Debug)]
pub(super) struct Ends<'a> {
    pub(super) initiator: EndFound<'a>,
    pub(super) responder: EndFound<'a>,
    pub(super) reporter: Reporter,
    pub(super) authority: bool,
    pub(super) untranslated: bool,
}

/// The numbers of what was spoken of in one batch. What it holds is void with the next; its room is used again.
#[derive(Debug, Default)]
pub(crate) struct Conversations {
    numbers: HashTable<u32>,
    spoken: Vec<(u64, Spoken)>,
    hasher: RandomState,
}

impl Conversations {
    /// Begins with another batch.
    pub(super) fn begin(&mut self) {
        self.numbers.clear();
        self.spoken.clear();
    }

    /// The number of a conversation, and whether nobody has spoken of it before. Numbers count from 0.
    pub(super) fn number(&mut self, of: &Spoken) -> (usize, bool) {
        let Self { numbers, spoken, hasher } = self;
        let hash = hasher.hash_one((of.initiator, of.responder, of.protocol));
        let index = |number: &u32| usize::try_from(*number).unwrap_or(usize::MAX);
        let same = |number: &u32| spoken.get(index(number)).is_some_and(|(known, is)| *known == hash && is == of);
        if let Some(number) = numbers.find(hash, same) {
            return (index(number), false);
        }
        let new = spoken.len();
        spoken.push((hash, *of));
        let hash_of = |number: &u32| spoken.get(index(number)).map_or(0, |(hash, _)| *hash);
        numbers.insert_unique(hash, u32::try_from(new).unwrap_or(u32::MAX), hash_of);
        (new, true)
    }
}
