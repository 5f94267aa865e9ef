//! The wire form of partial records: the ends of all records of a message once, and records that name them by number.
//!
//! Two ends are most of a record's bytes, and those of busy services and their clients are in many records.

use super::{Partial, PartialBatch};
use crate::enriched::{Counters, Judgement, Report, SharedSide, Side};
use crate::raw::Origin;
use foldhash::{HashMap, HashMapExt as _};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use weir_flow::{Address, Millis};

/// Partial records as they stand on the topic.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WireBatch {
    cluster: String,
    partition: i32,
    generation: Millis,
    sides: Vec<Side>,
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
    judgements: Vec<Judgement>,
    coarsened: bool,
    samples: u64,
}

/// A record names an end that its message does not have.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a record's end is number {0} of {1} sides")]
pub(crate) struct NoSuchSide(u32, usize);

/// The ends of a message, each once, in the order of first use.
pub(crate) struct Dictionary<'a> {
    pub(crate) sides: Vec<&'a SharedSide>,
    /// Of each record the initiator and the responder.
    pub(crate) numbers: Vec<[u32; 2]>,
}

impl<'a> Dictionary<'a> {
    /// Of these records. What decides is what ends say, not whether their bytes are shared.
    pub(crate) fn of(partials: &'a [Partial]) -> Self {
        let mut sides: Vec<&SharedSide> = Vec::new();
        let mut known: HashMap<&[u8], u32> = HashMap::with_capacity(partials.len());
        let mut number = |side: &'a SharedSide| {
            *known.entry(side.bytes()).or_insert_with(|| {
                sides.push(side);
                u32::try_from(sides.len() - 1).unwrap_or(u32::MAX)
            })
        };
        let numbers = partials.iter().map(|partial| [number(&partial.initiator), number(&partial.responder)]).collect();
        Self { sides, numbers }
    }
}

/// The end of a number, with a port.
pub(crate) fn end(sides: &[SharedSide], number: u32, port: Option<u16>) -> Result<SharedSide, NoSuchSide> {
    let side = usize::try_from(number).ok().and_then(|number| sides.get(number));
    side.map(|side| side.with_port(port)).ok_or(NoSuchSide(number, sides.len()))
}

impl From<PartialBatch> for WireBatch {
    fn from(batch: PartialBatch) -> Self {
        let Dictionary { sides, numbers } = Dictionary::of(&batch.partials);
        let sides = sides.into_iter().map(|side| Side { port: None, ..Side::from(side) }).collect();
        let partials = batch.partials.iter().zip(numbers).map(|(partial, ends)| WirePartial::of(partial, ends));
        let partials = partials.collect();
        let PartialBatch { cluster, partition, generation, .. } = batch;
        Self { cluster, partition, generation, sides, partials }
    }
}

impl TryFrom<WireBatch> for PartialBatch {
    type Error = NoSuchSide;

    fn try_from(batch: WireBatch) -> Result<Self, NoSuchSide> {
        let sides: Vec<SharedSide> = batch.sides.iter().map(SharedSide::from).collect();
        let partials = batch.partials.into_iter().map(|partial| partial.with(&sides)).collect::<Result<_, _>>()?;
        let WireBatch { cluster, partition, generation, .. } = batch;
        Ok(Self { cluster, partition, generation, partials })
    }
}

macro_rules! both_ways {
    ($($same:ident),+) => {
        impl WirePartial {
            fn of(partial: &Partial, [initiator, responder]: [u32; 2]) -> Self {
                let (initiator_port, responder_port) = (partial.initiator.port(), partial.responder.port());
                Self { initiator, initiator_port, responder, responder_port, $($same: partial.$same.clone()),+ }
            }

            fn with(self, sides: &[SharedSide]) -> Result<Partial, NoSuchSide> {
                let initiator = end(sides, self.initiator, self.initiator_port)?;
                let responder = end(sides, self.responder, self.responder_port)?;
                Ok(Partial { initiator, responder, $($same: self.$same),+ })
            }
        }
    };
}

both_ways!(
    window,
    level,
    origin,
    cluster_known,
    initiator_addresses,
    responder_addresses,
    initiator_pods,
    responder_pods,
    initiator_labels,
    responder_labels,
    initiator_domains,
    responder_domains,
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
    judgements,
    coarsened,
    samples
);
