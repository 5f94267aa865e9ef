//! What is written: flows of a level, DNS, the ledger or the audit, each as a cluster of 1 000 pods gives it.

use crate::records::{self, MIDNIGHT, Traffic, WORKLOADS, mix, side};
use clap::ValueEnum;
use weir_indexer::dataset::Dataset;
use weir_indexer::document::{prepare, prepare_audit, prepare_dns, prepare_ledger};
use weir_indexer::periods::Periods;
use weir_schemas::audit::Audit;
use weir_schemas::dns::Dns;
use weir_schemas::enriched::Kind;
use weir_schemas::ledger::{Ledger, Questions, Received, Reporter, Stored, StoredQuestions};
use weir_schemas::raw::{Origin, RoundTrip, Totals};

/// A data set, and of flows the level.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Set {
    Flows,
    Dns,
    Ledger,
    Audit,
}

/// Nodes of which the ledger has a line a window, and lines of what was stored: eight partitions, two levels, both reporters, and DNS.
const NODES: u64 = 100;
const PARTITIONS: u64 = 8;
const LINES: u64 = NODES + PARTITIONS * 5;
/// Audit entries are half a minute apart, so that 60 000 of them are of one month: 2026-11-01T00:00:00Z.
const MONTH: i64 = 1_793_491_200_000;

impl Set {
    pub(crate) fn dataset(self) -> Dataset {
        match self {
            Self::Flows => Dataset::Flows,
            Self::Dns => Dataset::Dns,
            Self::Ledger => Dataset::Ledger,
            Self::Audit => Dataset::Audit,
        }
    }

    /// The indices that it becomes.
    pub(crate) fn pattern(self, level: u8) -> String {
        match self {
            Self::Flows => format!("weir-flows-l{level}-*"),
            other => format!("weir-{}-*", other.dataset().as_str()),
        }
    }

    /// Partitions of its topic: the program wants one for the ledger and the audit.
    pub(crate) fn partitions(self) -> i32 {
        match self {
            Self::Flows | Self::Dns => 4,
            Self::Ledger | Self::Audit => 1,
        }
    }

    /// Message number `n`.
    pub(crate) fn message(self, traffic: Traffic, n: u64) -> Vec<u8> {
        match self {
            Self::Flows => weir_schemas::encode(&records::record(traffic, n)),
            Self::Dns => weir_schemas::encode(&dns(n)),
            Self::Ledger => weir_schemas::encode(&line(n)),
            Self::Audit => weir_schemas::encode(&entry(n)),
        }
        .unwrap()
    }

    /// The document of a message, as it is sent.
    pub(crate) fn document(self, message: &[u8], level: u8) -> Vec<u8> {
        let periods = Periods::default();
        let operation = match self {
            Self::Flows => {
                let record: weir_schemas::enriched::Enriched = weir_schemas::decode(message).unwrap();
                assert_eq!(record.level, level);
                prepare(&record, &periods).unwrap().operation
            }
            Self::Dns => prepare_dns(&weir_schemas::decode(message).unwrap(), &periods).unwrap().operation,
            Self::Ledger => prepare_ledger(&weir_schemas::decode(message).unwrap(), &periods).unwrap().operation,
            Self::Audit => prepare_audit(&weir_schemas::decode(message).unwrap(), &periods).unwrap().operation,
        };
        operation.as_bytes().split(|byte| *byte == b'\n').nth(1).unwrap().to_vec()
    }
}

/// A client's question in a window, of 2 000: nine in ten for a service of the cluster, one without an answer in ten.
fn dns(n: u64) -> Dns {
    let drawn = mix(n % 2_000);
    let window = MIDNIGHT + 60_000 * i64::try_from(n / 2_000).unwrap();
    let called = drawn / 1_000 % WORKLOADS;
    let question = if drawn.is_multiple_of(10) {
        format!("api-{called}.example.com")
    } else {
        format!("service-{called}.team-{}.svc.cluster.local", called % 20)
    };
    let (answered, timed) = (!mix(n).is_multiple_of(10), mix(n ^ 0xd45));
    Dns {
        id: format!("{:016x}{:016x}", mix(n), mix(n ^ 0xffff_0001)),
        correction: 0,
        kind: Kind::Upsert,
        origin: Origin::Ebpf,
        cluster: "production".to_owned(),
        window,
        generation: window,
        client: side(1, 0, drawn % 1_000, None),
        server: side(1, 0, 1_000 + drawn % 2 * WORKLOADS, Some(53)),
        question,
        question_type: if drawn.is_multiple_of(3) { "AAAA" } else { "A" }.to_owned(),
        response_code: if answered { "NOERROR" } else { "NXDOMAIN" }.to_owned(),
        count: 1 + timed % 40,
        latency: Some(RoundTrip { sum: timed % 90_000, count: 1 + timed % 40, min: 100, max: 100 + timed % 9_000 }),
        answers: if answered { vec![format!("10.96.{}.{}", called / 250, called % 250 + 1)] } else { vec![] },
        answers_more: 0,
    }
}

fn totals(seed: u64) -> Totals {
    let packets = mix(seed) % 9_000_000;
    Totals { packets, bytes: packets * 700 + mix(seed ^ 1) % 1_000_000, samples: packets / 90 }
}

/// A line of the ledger: of a window first what came of each node, then what was stored of each partition.
fn line(n: u64) -> Ledger {
    let (window, place) = (n / LINES, n % LINES);
    let generation = MIDNIGHT + 60_000 * i64::try_from(window).unwrap();
    let cluster = "production".to_owned();
    let partition = i32::try_from(place % PARTITIONS).unwrap();
    if place < NODES {
        let received = totals(n);
        let questions = Questions { samples: mix(n) % 900, asked: mix(n) % 9_000 };
        let so_far = window + 1;
        return Ledger::Received(Received {
            cluster,
            partition,
            generation,
            node: format!("node-{place}"),
            boot: format!("{:08x}-0000-4000-8000-{:012x}", mix(place) >> 32, mix(place) & 0xffff_ffff_ffff),
            first_sequence: window * 12,
            last_sequence: window * 12 + 11,
            received,
            seen: Totals {
                packets: received.packets + 4_500_000 * so_far,
                bytes: received.bytes + 3_150_000_000 * so_far,
                samples: received.samples + 50_000 * so_far,
            },
            agent_lost: vec![],
            lost: vec![],
            clamped: 0,
            counted: received,
            questions,
            questions_counted: questions.asked,
            questions_lost: vec![],
        });
    }
    let stored = place - NODES;
    if stored < PARTITIONS * 4 {
        let reporter = if (stored / PARTITIONS).is_multiple_of(2) { Reporter::Initiator } else { Reporter::Responder };
        let level = u8::try_from(1 + stored / PARTITIONS / 2).unwrap();
        let (filtered, outside) = (Totals::default(), totals(n ^ 0xf00));
        return Ledger::Stored(Stored {
            cluster,
            partition,
            generation,
            level,
            reporter,
            stored: totals(n),
            filtered,
            outside,
        });
    }
    let records = mix(n) % 90_000;
    Ledger::Questions(StoredQuestions { cluster, partition, generation, records, stored: records * 7, coarsened: 0 })
}

/// An entry of the audit: an index of an hour that was deleted.
fn entry(n: u64) -> Audit {
    let bytes = 1_000_000_000 + mix(n) % 9_000_000_000;
    Audit {
        at: MONTH + 30_000 * i64::try_from(n).unwrap() + i64::try_from(mix(n) % 1_000).unwrap(),
        action: "delete_index".to_owned(),
        target: format!(
            "weir-flows-l{}-2026.{:02}.{:02}.{:02}",
            1 + n % 2,
            1 + n / 1_344 % 12,
            1 + n / 48 % 28,
            n / 2 % 24
        ),
        reason: if n.is_multiple_of(10) { "max_age" } else { "budget" }.to_owned(),
        bytes,
        documents: bytes / 206,
        by: "weir-retention".to_owned(),
    }
}
