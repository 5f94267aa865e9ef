//! `weir-ledger-*`: where everything that was seen has gone, one document a line.

use super::{
    DocumentError, ECS, Ecs, Named, Notice, OBSERVER, Observer, Orchestrator, Placed, Prepared, Time, check_times,
    id_of, is_zero, sum,
};
use crate::index::IndexKind;
use crate::periods::Periods;
use serde::Serialize;
use weir_schemas::ledger::{Ledger, Received, Reporter, Stored};
use weir_schemas::raw::{Loss, Totals};

#[cfg(test)]
mod tests;

/// Makes a ledger line ready to be sent. The id is a function of what the line is about, so that a line that is written
/// again is the same document.
///
/// # Errors
/// When the line can never be written.
pub fn prepare(line: &Ledger, periods: &Periods) -> Result<Prepared, DocumentError> {
    let (cluster, generation, id) = match line {
        Ledger::Received(r) => {
            let (partition, generation) = (r.partition.to_string(), r.generation.to_string());
            let id = id_of(&["received", &r.cluster, &partition, &generation, &r.node, &r.boot]);
            (&r.cluster, r.generation, id)
        }
        Ledger::Stored(s) => {
            let (partition, generation) = (s.partition.to_string(), s.generation.to_string());
            let level = s.level.to_string();
            let id = id_of(&["stored", &s.cluster, &partition, &generation, &level, reporter(s.reporter)]);
            (&s.cluster, s.generation, id)
        }
    };
    check_times(&id, &[("generation", generation)])?;
    let placed = Placed { kind: IndexKind::Ledger, level: 0, cluster, window: generation, id: &id, correction: 0 };
    placed.write(&Document::of(line), periods)
}

fn reporter(reporter: Reporter) -> &'static str {
    match reporter {
        Reporter::Initiator => "initiator",
        Reporter::Responder => "responder",
    }
}

#[derive(Serialize)]
pub(super) struct Document<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: Time,
    ecs: Ecs,
    event: Notice<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Named<'a>>,
    orchestrator: Orchestrator<'a>,
    observer: Observer,
    weir: Weir<'a>,
}

#[derive(Serialize)]
struct Weir<'a> {
    generation: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<u8>,
    ledger: Line<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Received(ReceivedLine<'a>),
    Stored(StoredLine),
}

#[derive(Serialize)]
struct ReceivedLine<'a> {
    partition: i32,
    boot: &'a str,
    first_sequence: u64,
    last_sequence: u64,
    received: Totals,
    seen: Totals,
    lost: Totals,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lost_reasons: Vec<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    losses: &'a [Loss],
    agent_lost: Totals,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    agent_lost_reasons: Vec<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    agent_losses: &'a [Loss],
    #[serde(skip_serializing_if = "is_zero")]
    clamped: u64,
}

#[derive(Serialize)]
struct StoredLine {
    partition: i32,
    reporter: &'static str,
    stored: Totals,
    filtered: Totals,
    outside: Totals,
}

impl<'a> Document<'a> {
    pub(super) fn of(line: &'a Ledger) -> Self {
        let (cluster, generation, action) = match line {
            Ledger::Received(r) => (&r.cluster, r.generation, "received"),
            Ledger::Stored(s) => (&s.cluster, s.generation, "stored"),
        };
        let (node, level, line) = match line {
            Ledger::Received(r) => (Some(Named { name: &r.node }), None, Line::Received(ReceivedLine::of(r))),
            Ledger::Stored(s) => (None, Some(s.level), Line::Stored(StoredLine::of(s))),
        };
        Self {
            timestamp: Time(generation),
            ecs: ECS,
            event: Notice {
                kind: "metric",
                category: ["network"],
                types: ["info"],
                action,
                outcome: None,
                reason: None,
                dataset: "weir.ledger",
            },
            host: node,
            orchestrator: Orchestrator::of(cluster, false),
            observer: OBSERVER,
            weir: Weir { generation: Time(generation), level, ledger: line },
        }
    }
}

impl<'a> ReceivedLine<'a> {
    fn of(line: &'a Received) -> Self {
        let reasons = |losses: &'a [Loss]| losses.iter().map(|l| l.reason.as_str()).collect();
        Self {
            partition: line.partition,
            boot: &line.boot,
            first_sequence: line.first_sequence,
            last_sequence: line.last_sequence,
            received: line.received,
            seen: line.seen,
            lost: total(&line.lost),
            lost_reasons: reasons(&line.lost),
            losses: &line.lost,
            agent_lost: total(&line.agent_lost),
            agent_lost_reasons: reasons(&line.agent_lost),
            agent_losses: &line.agent_lost,
            clamped: line.clamped,
        }
    }
}

impl StoredLine {
    fn of(line: &Stored) -> Self {
        Self {
            partition: line.partition,
            reporter: reporter(line.reporter),
            stored: line.stored,
            filtered: line.filtered,
            outside: line.outside,
        }
    }
}

/// All losses together, so that they can be queried without the list.
fn total(losses: &[Loss]) -> Totals {
    losses.iter().fold(Totals::default(), |all, loss| Totals {
        packets: sum(all.packets, loss.lost.packets),
        bytes: sum(all.bytes, loss.lost.bytes),
        samples: sum(all.samples, loss.lost.samples),
    })
}
