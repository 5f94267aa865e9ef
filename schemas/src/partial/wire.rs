//! The wire form of partial records: the ends of all records of a message and what policies say of them once, and records
//! that name both by number.
//!
//! Two ends are most of a record's bytes, and those of busy services and their clients are in many records; policies say the
//! same of most.

use super::{Answer, Behind, Judged, Partial, PartialBatch, Sets};
use crate::enriched::{Counters, Report, SharedSide, Side};
use crate::raw::Origin;
use foldhash::HashMap;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use std::hash::BuildHasher as _;
use std::sync::Arc;
use thiserror::Error;
use weir_flow::{Address, Millis};

/// Partial records as they stand on the topic.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WireBatch {
    cluster: String,
    partition: i32,
    generation: Millis,
    sides: Vec<Side>,
    answers: Vec<Answer>,
    partials: Vec<WirePartial>,
}

/// A partial record as it stands on the topic.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct WirePartial {
    window: Millis,
    level: u8,
    origin: Origin,
    cluster_known: bool,
    initiator: u32,
    initiator_port: Option<u16>,
    responder: u32,
    responder_port: Option<u16>,
    initiator_addresses: Vec<Address>,
    responder_addresses: Vec<Address>,
    initiator_pods: Vec<String>,
    responder_pods: Vec<String>,
    initiator_labels: Vec<String>,
    responder_labels: Vec<String>,
    initiator_domains: Vec<String>,
    responder_domains: Vec<String>,
    protocol: u8,
    orientation_guessed: bool,
    untranslated: bool,
    first_seen: Millis,
    last_seen: Millis,
    totals: Counters,
    by_initiator: Option<Report>,
    by_responder: Option<Report>,
    initiator_covered: bool,
    responder_covered: bool,
    judgements: Vec<WireJudged>,
    coarsened: bool,
    samples: u64,
}

/// Of how many samples the answer of a number is.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct WireJudged {
    answer: u32,
    samples: u64,
    against: u64,
    otherwise: u64,
}

/// A record names an end that its message does not have.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a record's end is number {0} of {1} sides")]
pub(crate) struct NoSuchSide(u32, usize);

/// A record names an answer that its message does not have.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a record's answer is number {0} of {1} answers")]
pub(crate) struct NoSuchAnswer(u32, usize);

/// A record names what its message does not have.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum NoSuch {
    #[error(transparent)]
    Side(#[from] NoSuchSide),
    #[error(transparent)]
    Answer(#[from] NoSuchAnswer),
}

/// The ends of a message, each once, in the order of first use.
pub(crate) struct Dictionary<'a> {
    pub(crate) sides: Vec<&'a SharedSide>,
    /// Of each record the initiator and the responder.
    pub(crate) numbers: Vec<[u32; 2]>,
    pub(crate) answers: Answers<'a>,
}

/// What policies say of a message's records, each answer once, in the order of first use.
pub(crate) struct Answers<'a> {
    pub(crate) list: Vec<&'a Answer>,
    /// By where they are, since most are shared.
    places: HashMap<usize, u32>,
    /// By what they say, with their hashes: they are long, and are not to be read again when the table grows.
    known: HashTable<(u64, u32)>,
    hasher: RandomState,
}

impl<'a> Answers<'a> {
    fn with_room(answers: usize) -> Self {
        let places = HashMap::with_capacity_and_hasher(answers, RandomState::default());
        Self { list: Vec::new(), places, known: HashTable::with_capacity(answers), hasher: RandomState::default() }
    }

    fn take(&mut self, answer: &'a Arc<Answer>) {
        let Self { list, places, known, hasher } = self;
        let place = Arc::as_ptr(answer).addr();
        if places.contains_key(&place) {
            return;
        }
        let hash = hasher.hash_one(answer);
        let is = |(other, number): &(u64, u32)| {
            let known = usize::try_from(*number).ok().and_then(|number| list.get(number));
            *other == hash && known.is_some_and(|known| **known == **answer)
        };
        let found = known.find(hash, is).map(|(_, number)| *number);
        let number = found.unwrap_or_else(|| {
            let new = u32::try_from(list.len()).unwrap_or(u32::MAX);
            list.push(answer);
            known.insert_unique(hash, (hash, new), |(hash, _)| *hash);
            new
        });
        places.insert(place, number);
    }

    /// The number of an answer that was taken.
    pub(crate) fn number(&self, answer: &Arc<Answer>) -> u32 {
        self.places.get(&Arc::as_ptr(answer).addr()).copied().unwrap_or(u32::MAX)
    }
}

/// The answer of a number.
pub(crate) fn answer(answers: &[Arc<Answer>], number: u32) -> Result<Arc<Answer>, NoSuchAnswer> {
    let answer = usize::try_from(number).ok().and_then(|number| answers.get(number));
    answer.cloned().ok_or(NoSuchAnswer(number, answers.len()))
}

impl<'a> Dictionary<'a> {
    /// Of these records. What decides is what ends say, not whether their bytes are shared.
    pub(crate) fn of(partials: &'a [Partial]) -> Self {
        let mut sides: Vec<&SharedSide> = Vec::new();
        // With what is compared, so that it need not be read where it was not found.
        let mut known: HashTable<(u64, u32)> = HashTable::with_capacity(partials.len());
        let mut number = |side: &'a SharedSide| {
            let hash = side.hash();
            let is = |(other, number): &(u64, u32)| {
                let known = usize::try_from(*number).ok().and_then(|number| sides.get(number));
                *other == hash && known.is_some_and(|known| known.is(side))
            };
            if let Some((_, number)) = known.find(hash, is) {
                return *number;
            }
            let new = u32::try_from(sides.len()).unwrap_or(u32::MAX);
            sides.push(side);
            known.insert_unique(hash, (hash, new), |(hash, _)| *hash);
            new
        };
        let numbers = partials.iter().map(|partial| [number(&partial.initiator), number(&partial.responder)]).collect();
        let mut answers = Answers::with_room(partials.len());
        partials.iter().flat_map(|partial| &partial.judgements).for_each(|judged| answers.take(&judged.answer));
        Self { sides, numbers, answers }
    }
}

/// The end of a number, with a port.
pub(crate) fn end(sides: &[SharedSide], number: u32, port: Option<u16>) -> Result<SharedSide, NoSuchSide> {
    let side = usize::try_from(number).ok().and_then(|number| sides.get(number));
    side.map(|side| side.with_port(port)).ok_or(NoSuchSide(number, sides.len()))
}

impl From<PartialBatch> for WireBatch {
    fn from(batch: PartialBatch) -> Self {
        let Dictionary { sides, numbers, answers } = Dictionary::of(&batch.partials);
        let sides = sides.into_iter().map(|side| Side { port: None, ..Side::from(side) }).collect();
        let partials =
            batch.partials.iter().zip(numbers).map(|(partial, ends)| WirePartial::of(partial, ends, &answers));
        let partials = partials.collect();
        let answers = answers.list.into_iter().cloned().collect();
        let PartialBatch { cluster, partition, generation, .. } = batch;
        Self { cluster, partition, generation, sides, answers, partials }
    }
}

impl TryFrom<WireBatch> for PartialBatch {
    type Error = NoSuch;

    fn try_from(batch: WireBatch) -> Result<Self, NoSuch> {
        let sides: Vec<SharedSide> = batch.sides.iter().map(SharedSide::from).collect();
        let answers: Vec<Arc<Answer>> = batch.answers.into_iter().map(Arc::new).collect();
        let partials = batch.partials.into_iter().map(|partial| partial.with(&sides, &answers));
        let partials = partials.collect::<Result<_, _>>()?;
        let WireBatch { cluster, partition, generation, .. } = batch;
        Ok(Self { cluster, partition, generation, partials })
    }
}

macro_rules! both_ways {
    ($($same:ident),+) => {
        impl WirePartial {
            fn of(partial: &Partial, [initiator, responder]: [u32; 2], answers: &Answers<'_>) -> Self {
                let (initiator_port, responder_port) = (partial.initiator.port(), partial.responder.port());
                let judgements = partial.judgements.iter().map(|judged| {
                    let Judged { samples, against, otherwise, .. } = *judged;
                    WireJudged { answer: answers.number(&judged.answer), samples, against, otherwise }
                });
                let judgements = judgements.collect();
                let [first, second] = partial.behind.ends().map(Sets::<String>::from);
                let Sets {
                    addresses: initiator_addresses,
                    pods: initiator_pods,
                    labels: initiator_labels,
                    domains: initiator_domains,
                } = first;
                let Sets {
                    addresses: responder_addresses,
                    pods: responder_pods,
                    labels: responder_labels,
                    domains: responder_domains,
                } = second;
                Self {
                    initiator,
                    initiator_port,
                    responder,
                    responder_port,
                    initiator_addresses,
                    responder_addresses,
                    initiator_pods,
                    responder_pods,
                    initiator_labels,
                    responder_labels,
                    initiator_domains,
                    responder_domains,
                    judgements,
                    $($same: partial.$same.clone()),+
                }
            }

            fn with(self, sides: &[SharedSide], answers: &[Arc<Answer>]) -> Result<Partial, NoSuch> {
                let initiator = end(sides, self.initiator, self.initiator_port)?;
                let responder = end(sides, self.responder, self.responder_port)?;
                let judgements = self.judgements.into_iter().map(|judged| {
                    let WireJudged { samples, against, otherwise, .. } = judged;
                    Ok(Judged { answer: answer(answers, judged.answer)?, samples, against, otherwise })
                });
                let judgements = judgements.collect::<Result<_, NoSuchAnswer>>()?;
                let behind = Behind::from(&[
                    Sets {
                        addresses: self.initiator_addresses,
                        pods: self.initiator_pods,
                        labels: self.initiator_labels,
                        domains: self.initiator_domains,
                    },
                    Sets {
                        addresses: self.responder_addresses,
                        pods: self.responder_pods,
                        labels: self.responder_labels,
                        domains: self.responder_domains,
                    },
                ]);
                Ok(Partial { initiator, responder, behind, judgements, $($same: self.$same),+ })
            }
        }
    };
}

both_ways!(
    window,
    level,
    origin,
    cluster_known,
    protocol,
    orientation_guessed,
    untranslated,
    first_seen,
    last_seen,
    totals,
    by_initiator,
    by_responder,
    initiator_covered,
    responder_covered,
    coarsened,
    samples
);
