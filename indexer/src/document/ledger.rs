//! `weir-ledger-*`: where everything that was seen has gone, one document a line.

use super::{
    DocumentError, ECS, Ecs, Named, Notice, OBSERVER, Observer, Orchestrator, Placed, Prepared, Time, check_times,
    id_of, is_zero, sum,
};
use crate::index::IndexKind;
use crate::periods::Periods;
use serde::Serialize;
use weir_schemas::ledger::{Ledger, Questions, QuestionsLost, Received, Reporter, Stored, StoredQuestions};
use weir_schemas::raw::{Loss, Totals};

#[cfg(test)]
mod tests;

/// Makes a ledger line ready to be sent. The id is a function of what the line is about, so that a line that is written
/// again is the same document.
///
/// # Errors
/// When the line can never be written.
pub fn prepare(line: &Ledger, periods: &Periods) -> Result<Prepared, DocumentError> {
    let (cluster, generation) = (line.cluster(), line.generation());
    let time = generation.to_string();
    let id = match line {
        Ledger::Received(r) => id_of(&["received", cluster, &r.partition.to_string(), &time, &r.node, &r.boot]),
        Ledger::Stored(s) => {
            let (partition, level) = (s.partition.to_string(), s.level.to_string());
            id_of(&["stored", cluster, &partition, &time, &level, reporter(s.reporter)])
        }
        Ledger::Questions(q) => id_of(&["questions", cluster, &q.partition.to_string(), &time]),
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
    Received(Box<ReceivedLine<'a>>),
    Stored(StoredLine),
    Questions(QuestionsLine),
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
    counted: Totals,
    questions: Questions,
    questions_counted: u64,
    questions_lost: Questions,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    questions_lost_reasons: Vec<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    questions_losses: &'a [QuestionsLost],
}

#[derive(Serialize)]
struct StoredLine {
    partition: i32,
    reporter: &'static str,
    stored: Totals,
    filtered: Totals,
    outside: Totals,
}

#[derive(Serialize)]
struct QuestionsLine {
    partition: i32,
    questions_records: u64,
    questions_stored: u64,
    questions_coarsened: u64,
}

impl<'a> Document<'a> {
    pub(super) fn of(line: &'a Ledger) -> Self {
        let (cluster, generation) = (line.cluster(), line.generation());
        let (action, node, level, line) = match line {
            Ledger::Received(r) => {
                ("received", Some(Named { name: &r.node }), None, Line::Received(Box::new(ReceivedLine::of(r))))
            }
            Ledger::Stored(s) => ("stored", None, Some(s.level), Line::Stored(StoredLine::of(s))),
            Ledger::Questions(q) => ("questions", None, None, Line::Questions(QuestionsLine::of(q))),
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
            counted: line.counted,
            questions: line.questions,
            questions_counted: line.questions_counted,
            questions_lost: line.questions_lost.iter().fold(Questions::default(), |all, loss| Questions {
                samples: sum(all.samples, loss.lost.samples),
                asked: sum(all.asked, loss.lost.asked),
            }),
            questions_lost_reasons: line.questions_lost.iter().map(|loss| loss.reason.as_str()).collect(),
            questions_losses: &line.questions_lost,
        }
    }
}

impl QuestionsLine {
    fn of(line: &StoredQuestions) -> Self {
        Self {
            partition: line.partition,
            questions_records: line.records,
            questions_stored: line.stored,
            questions_coarsened: line.coarsened,
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
