//! Topic `dns.enriched.v1`: DNS questions by client, server, question, type and answer code.

use crate::enriched::{Kind, Side};
use crate::raw::{Origin, RoundTrip};
use serde::{Deserialize, Serialize};
use weir_flow::Millis;

/// A DNS record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dns {
    /// hash(cluster, window, generation, key), 32 hexadecimal digits.
    pub id: String,
    /// k: 0 = original.
    pub correction: u32,
    /// What a consumer does with it.
    pub kind: Kind,
    /// What produced the samples.
    pub origin: Origin,
    /// The cluster's id.
    pub cluster: String,
    /// w: start of the window, ms since the epoch.
    pub window: Millis,
    /// n: the generation.
    pub generation: Millis,
    /// Who asked.
    pub client: Side,
    /// Who was asked.
    pub server: Side,
    /// The question's name, lower case, without the last dot.
    pub question: String,
    /// The question's type (IANA name, e.g. `AAAA`).
    pub question_type: String,
    /// The answer's code (IANA name, e.g. `NXDOMAIN`); empty when unanswered.
    pub response_code: String,
    /// How often it was asked.
    pub count: u64,
    /// Time from question to answer, µs.
    pub latency: Option<RoundTrip>,
    /// Answers in text, sorted, bounded.
    pub answers: Vec<String>,
    /// How many answers are not listed.
    pub answers_more: u64,
}
