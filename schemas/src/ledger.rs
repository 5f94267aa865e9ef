//! Topic `weir.ledger.v1`: where everything that was seen has gone.

use crate::raw::{Loss, Totals};
use serde::{Deserialize, Serialize};
use weir_flow::Millis;

/// A line of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Ledger {
    /// Per (partition, generation, node, boot): seen = received + lost.
    #[serde(rename = "weir.Received")]
    Received(Received),
    /// Per (cluster, generation, level, reporter): received = stored + filtered + dead-lettered + outside totals.
    #[serde(rename = "weir.Stored")]
    Stored(Stored),
    /// Per (cluster, generation): DNS questions counted = stored.
    #[serde(rename = "weir.StoredQuestions")]
    Questions(StoredQuestions),
}

impl Ledger {
    /// The message's key on the topic: what the line is about. A line that is written again is the same, to the byte.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Received(l) => {
                format!("{}/received/{}/{}/{}/{}", l.cluster, l.partition, l.generation, l.node, l.boot)
            }
            Self::Stored(l) => {
                format!("{}/stored/{}/{}/{}/{:?}", l.cluster, l.partition, l.generation, l.level, l.reporter)
            }
            Self::Questions(l) => format!("{}/questions/{}/{}", l.cluster, l.partition, l.generation),
        }
    }

    /// The id of the line's cluster.
    #[must_use]
    pub fn cluster(&self) -> &str {
        match self {
            Self::Received(line) => &line.cluster,
            Self::Stored(line) => &line.cluster,
            Self::Questions(line) => &line.cluster,
        }
    }

    /// The line's generation, ms since the epoch.
    #[must_use]
    pub fn generation(&self) -> Millis {
        match self {
            Self::Received(line) => line.generation,
            Self::Stored(line) => line.generation,
            Self::Questions(line) => line.generation,
        }
    }
}

/// What stage 1 received of one node. A line without a node is of messages that were deleted from the topic before they were
/// read (`raw_expired`): the boot and the sequence numbers say which offsets, and how much was in them is not known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Received {
    /// The cluster's id.
    pub cluster: String,
    /// The raw partition.
    pub partition: i32,
    /// The generation.
    pub generation: Millis,
    /// The node.
    pub node: String,
    /// One start of the agent process.
    pub boot: String,
    /// First sequence number of the generation's batches.
    pub first_sequence: u64,
    /// Last sequence number of the generation's batches.
    pub last_sequence: u64,
    /// What the samples of the generation add up to.
    pub received: Totals,
    /// The agent's cumulative `seen` at the last batch.
    pub seen: Totals,
    /// The agent's cumulative losses at the last batch.
    pub agent_lost: Vec<Loss>,
    /// What stage 1 did not take, by reason (`too_late`, `clamped` is not a loss).
    pub lost: Vec<Loss>,
    /// Batches whose tick was clamped by the broker's append time.
    pub clamped: u64,
    /// How much of that is received is in records: its packets and bytes times the factors of agents' and filters' sampling;
    /// as many samples. From schema v3 on; nothing in an older line.
    #[serde(default)]
    pub counted: Totals,
    /// DNS questions of the generation that went into records. From schema v2 on, as what follows.
    #[serde(default)]
    pub questions: Questions,
    /// How often they count in records: each as often as it was asked, times the factor of the filter that sampled it.
    #[serde(default)]
    pub questions_counted: u64,
    /// DNS questions that stage 1 did not take, by reason (`too_late`, `outside`: another observer's report of the same
    /// question counts, or it was seen in transit; `filtered`, `sampled_out`).
    #[serde(default)]
    pub questions_lost: Vec<QuestionsLost>,
}

/// DNS questions, as additive counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Questions {
    /// Samples (entries of a client, a server, a question and an outcome in one tick).
    pub samples: u64,
    /// How often was asked, as the agents published it.
    pub asked: u64,
}

/// DNS questions that are in no record for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuestionsLost {
    /// The reason's name.
    pub reason: String,
    /// How many.
    pub lost: Questions,
}

/// What became of the samples received.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// The cluster's id.
    pub cluster: String,
    /// The internal partition.
    pub partition: i32,
    /// The generation.
    pub generation: Millis,
    /// The level.
    pub level: u8,
    /// Whose report.
    pub reporter: Reporter,
    /// In records.
    pub stored: Totals,
    /// Dropped by a filter.
    pub filtered: Totals,
    /// Outside totals: transit and underlay.
    pub outside: Totals,
}

/// What became of the DNS questions received: the sum of their `questions_counted` is the sum of `stored`, over all
/// partitions of a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredQuestions {
    /// The cluster's id.
    pub cluster: String,
    /// The internal partition.
    pub partition: i32,
    /// The generation.
    pub generation: Millis,
    /// DNS records written.
    pub records: u64,
    /// How often was asked, in all records together.
    pub stored: u64,
    /// How much of that is in records whose question stands for several.
    pub coarsened: u64,
}

/// Who reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reporter {
    /// The end that opened the connection.
    Initiator,
    /// The other end.
    Responder,
}
