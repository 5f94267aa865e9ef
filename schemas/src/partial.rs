//! Topic `flows.partial.v1[.<cluster>]`: stage 1's partial records and markers, between the two stages.

use crate::enriched::{Counters, Judgement, Pending, Report, SharedSide, Side, Verdict};
use crate::raw::{Origin, RoundTrip};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_flow::Millis;

mod behind;
pub(crate) mod wire;

pub use behind::{Alone, Behind, Sets};

/// A message on the internal topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PartialMessage {
    /// Partial records of one raw partition and generation for one internal partition.
    #[serde(rename = "weir.PartialBatch")]
    Partials(PartialBatch),
    /// Partial DNS records of one raw partition and generation for one internal partition.
    #[serde(rename = "weir.DnsBatch")]
    Dns(DnsBatch),
    /// "Raw partition `partition` has written everything up to generation `generation`"; follows its partials in the transaction.
    #[serde(rename = "weir.Marker")]
    Marker(Marker),
}

/// Partial records of one (raw partition, generation), for one internal partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "wire::WireBatch", try_from = "wire::WireBatch")]
pub struct PartialBatch {
    /// The cluster's id.
    pub cluster: String,
    /// p: the raw partition.
    pub partition: i32,
    /// n: the generation.
    pub generation: Millis,
    /// The records, in the order of their keys.
    pub partials: Vec<Partial>,
}

/// The marker of rule 12.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Marker {
    /// The cluster's id.
    pub cluster: String,
    /// p: the raw partition.
    pub partition: i32,
    /// T: the last generation written.
    pub generation: Millis,
    /// Per node the ticks of the generation's window that were missing.
    pub missing: Vec<MissingTicks>,
}

/// A node's ticks that did not arrive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MissingTicks {
    /// The node.
    pub node: String,
    /// How many ticks of the window are missing.
    pub ticks: u32,
}

/// What one raw partition knows of one record.
#[derive(Clone, Debug, PartialEq)]
pub struct Partial {
    /// w: the window.
    pub window: Millis,
    /// Level, 0 to 3.
    pub level: u8,
    /// What produced the samples.
    pub origin: Origin,
    /// Whether Kubernetes names could be had at all.
    pub cluster_known: bool,
    /// The end that opened the connections.
    pub initiator: SharedSide,
    /// The other end.
    pub responder: SharedSide,
    /// What stands behind both sides: addresses, pods and labels (levels 2 and 3), and DNS names.
    pub behind: Behind,
    /// IANA protocol number.
    pub protocol: u8,
    /// Whether the orientation was guessed.
    pub orientation_guessed: bool,
    /// Whether a translated tuple was unknown.
    pub untranslated: bool,
    /// First packet, ms since the epoch.
    pub first_seen: Millis,
    /// Last packet, ms since the epoch.
    pub last_seen: Millis,
    /// Totals: the counters of those samples whose reporter was the authority at their tick.
    pub totals: Counters,
    /// The initiator's report; absent when none came.
    pub by_initiator: Option<Report>,
    /// The responder's report; absent when none came.
    pub by_responder: Option<Report>,
    /// Whether the initiator's end was covered at every tick that it was asked for.
    pub initiator_covered: bool,
    /// Whether the responder's end was covered at every tick that it was asked for.
    pub responder_covered: bool,
    /// What policy said of the samples, one entry per distinct answer, sorted by it; beyond 16 answers those of one verdict
    /// are one.
    pub judgements: Vec<Judged>,
    /// Whether keys were coarsened by a limit.
    pub coarsened: bool,
    /// How many samples were merged.
    pub samples: u64,
}

/// What policy says of a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Answer {
    /// The enforced policies' verdict.
    pub verdict: Verdict,
    /// Why it is unknown; empty otherwise.
    pub reason: String,
    /// Policies and rules passed, `index|tier|policy|action|rule`, egress then ingress, in order.
    pub trace: Vec<String>,
    /// Where the end of a tier denies or may: the policies that select the end, sorted, at most 8.
    pub selecting: Vec<String>,
    /// What it would be with the staged policies enforced; absent without staged policies that select either end.
    pub pending: Option<Pending>,
}

/// Of how many samples an answer is. Records share the answers that they have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The answer.
    pub answer: Arc<Answer>,
    /// How many samples it is of.
    pub samples: u64,
    /// Attempts that went otherwise, on connections opened after the verdict had held for the settle time.
    pub against: u64,
    /// Samples that went otherwise, at whatever time.
    pub otherwise: u64,
}

impl From<Judgement> for Judged {
    fn from(judgement: Judgement) -> Self {
        let Judgement { verdict, reason, trace, selecting, pending, samples, against, otherwise } = judgement;
        Self { answer: Arc::new(Answer { verdict, reason, trace, selecting, pending }), samples, against, otherwise }
    }
}

impl From<&Judged> for Judgement {
    fn from(judged: &Judged) -> Self {
        let Answer { verdict, reason, trace, selecting, pending } = Answer::clone(&judged.answer);
        let Judged { samples, against, otherwise, .. } = *judged;
        Self { verdict, reason, trace, selecting, pending, samples, against, otherwise }
    }
}

/// Partial DNS records of one (raw partition, generation), for one internal partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DnsBatch {
    /// The cluster's id.
    pub cluster: String,
    /// p: the raw partition.
    pub partition: i32,
    /// n: the generation.
    pub generation: Millis,
    /// The records, in the order of their keys.
    pub dns: Vec<DnsPartial>,
}

/// What one raw partition knows of one DNS record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DnsPartial {
    /// w: the window.
    pub window: Millis,
    /// What produced the samples.
    pub origin: Origin,
    /// Whether Kubernetes names could be had at all.
    pub cluster_known: bool,
    /// Who asked.
    pub client: Side,
    /// Who was asked.
    pub server: Side,
    /// The question's name, lower case, without the last dot.
    pub question: String,
    /// The question's type (IANA name, e.g. `AAAA`; `TYPE` and the number where there is none).
    pub question_type: String,
    /// The answer's code (IANA name, e.g. `NXDOMAIN`); empty when unanswered.
    pub response_code: String,
    /// How often it was asked.
    pub count: u64,
    /// Time from question to answer, µs.
    pub latency: Option<RoundTrip>,
    /// Answers in text, whole, sorted.
    pub answers: Vec<String>,
}
