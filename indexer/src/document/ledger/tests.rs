use super::*;
use crate::document::samples::NOON;
use crate::document::tests::{fitting, mapped};
use crate::template;
use serde_json::Value;
use std::collections::BTreeSet;

fn totals(n: u64) -> Totals {
    Totals { packets: n, bytes: n * 100, samples: 1 }
}

fn received() -> Received {
    let loss = |reason: &str, n| Loss { reason: reason.into(), lost: totals(n) };
    Received {
        cluster: "prod".into(),
        partition: 3,
        generation: NOON,
        node: "node-1".into(),
        boot: "b1".into(),
        first_sequence: 10,
        last_sequence: 21,
        received: totals(100),
        seen: totals(110),
        agent_lost: vec![loss("map_full", 3), loss("parse", 4)],
        lost: vec![loss("too_late", 2)],
        clamped: 1,
        counted: Totals { packets: 20, bytes: 2000, samples: 2 },
        questions: Questions { samples: 4, asked: 9 },
        questions_counted: 18,
        questions_lost: [("filtered", 2), ("outside", 3)]
            .map(|(reason, asked)| QuestionsLost { reason: reason.into(), lost: Questions { samples: 1, asked } })
            .into(),
    }
}

fn questions() -> StoredQuestions {
    StoredQuestions { cluster: "prod".into(), partition: 0, generation: NOON, records: 2, stored: 18, coarsened: 7 }
}

fn stored() -> Stored {
    Stored {
        cluster: "prod".into(),
        partition: 0,
        generation: NOON,
        level: 2,
        reporter: Reporter::Responder,
        stored: totals(90),
        filtered: totals(5),
        outside: totals(5),
    }
}

fn document(line: &Ledger) -> Value {
    serde_json::to_value(Document::of(line)).unwrap()
}

fn id(line: &Ledger) -> String {
    let prepared = prepare(line, &Periods::default()).unwrap();
    let text = String::from_utf8(prepared.operation.as_bytes().to_vec()).unwrap();
    let action: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(action["index"]["_index"], "weir-ledger-2026.11.22-WRITE");
    action["index"]["_id"].as_str().unwrap().to_owned()
}

#[test]
fn all_kinds_of_lines_together_write_exactly_the_fields_of_the_mapping() {
    let template = template::of(IndexKind::Ledger).unwrap();
    let mut fields = vec![];
    mapped(&template["template"]["mappings"]["properties"], "", &mut fields);
    let mut written = fitting(&template, &document(&Ledger::Received(received())));
    written.extend(fitting(&template, &document(&Ledger::Stored(stored()))));
    written.extend(fitting(&template, &document(&Ledger::Questions(questions()))));
    assert_eq!(written, fields.into_iter().map(|(path, _)| path).collect::<BTreeSet<_>>());
}

#[test]
fn losses_are_added_up_and_named() {
    let ledger = document(&Ledger::Received(received()))["weir"]["ledger"].clone();
    assert_eq!(ledger["agent_lost"]["packets"], 7);
    assert_eq!(ledger["agent_lost_reasons"], serde_json::json!(["map_full", "parse"]));
    assert_eq!(ledger["lost"]["bytes"], 200);
    assert_eq!(ledger["questions_lost"], serde_json::json!({"samples": 2, "asked": 5}));
    assert_eq!(ledger["questions_lost_reasons"], serde_json::json!(["filtered", "outside"]));
}

#[test]
fn a_line_keeps_its_id_whatever_it_counts_and_no_other_line_has_it() {
    let first = Ledger::Received(received());
    assert_eq!(id(&first), id(&Ledger::Received(Received { clamped: 9, ..received() })));
    let others = [
        Ledger::Received(Received { partition: 4, ..received() }),
        Ledger::Received(Received { node: "node-2".into(), ..received() }),
        Ledger::Received(Received { boot: "b2".into(), ..received() }),
        Ledger::Received(Received { generation: NOON + 60_000, ..received() }),
        Ledger::Received(Received { cluster: "test".into(), ..received() }),
        Ledger::Stored(stored()),
        Ledger::Stored(Stored { level: 1, ..stored() }),
        Ledger::Stored(Stored { reporter: Reporter::Initiator, ..stored() }),
        Ledger::Stored(Stored { partition: 1, ..stored() }),
        Ledger::Questions(questions()),
        Ledger::Questions(StoredQuestions { partition: 1, ..questions() }),
        Ledger::Questions(StoredQuestions { generation: NOON + 60_000, ..questions() }),
    ];
    let ids: BTreeSet<String> = others.iter().chain([&first]).map(id).collect();
    assert_eq!(ids.len(), others.len() + 1);
}
