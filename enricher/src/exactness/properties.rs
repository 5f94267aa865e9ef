//! Any log, any schedule.

use super::*;
use crate::fixtures::{
    address, answer, arriving, asking, batch, dropped, history, question, sample, settings, with_round_trip,
};
use crate::merge::{add_counters, add_totals};
use crate::policies::Policies;
use crate::policies::tests::{at, between, from_pods, pod, policies, policy};
use crate::stage1::{RawBatch, Sample};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use weir_flow::Level;
use weir_schemas::enriched::{Attribution, Counters};
use weir_schemas::ledger::Reporter;
use weir_schemas::raw::{DnsSample, DropClass, End, OpenedBy, Origin, Point, Totals};

fn samples() -> impl Strategy<Value = Sample> {
    let ports = prop_oneof![Just(40_000_u16), Just(40_001), Just(80)];
    (0..6_u8, 1..7_u8, 1..7_u8, ports, 0..1_000_u64, 1..3_u32).prop_map(|(kind, from, to, port, bytes, sampling)| {
        let mut one = sample(bytes);
        one.source = address(&format!("10.0.0.{from}"));
        one.destination = address(&format!("10.0.0.{to}"));
        one.source_port = port;
        one.sampling = sampling;
        one.opened_at = bytes.is_multiple_of(2).then_some(60_000);
        one.flow_variety(kind)
    })
}

trait Variety {
    fn flow_variety(self, kind: u8) -> Self;
}

impl Variety for Sample {
    fn flow_variety(mut self, kind: u8) -> Self {
        match kind {
            0 => self,
            1 => arriving(self),
            2 => arriving(answer(self)),
            3 => dropped(self, DropClass::Policy, 2),
            4 => with_round_trip(answer(self), 250),
            _ => {
                self.opened_by = OpenedBy::Unknown;
                self.point = if self.bytes.is_multiple_of(5) { Point::Transit } else { Point::Host };
                self
            }
        }
    }
}

fn questions() -> impl Strategy<Value = DnsSample> {
    let (names, codes) =
        (prop_oneof![Just("db.shop"), Just("a.x.org"), Just("b.x.org")], prop_oneof![Just(None), Just(Some(0))]);
    (names, codes, 1..4_u8, 1..5_u8, any::<bool>(), 0..3_u64).prop_map(|(name, code, client, told, here, count)| {
        DnsSample {
            response_code: code,
            client: address(&format!("10.0.0.{client}")),
            answers: if code.is_some() { vec![address(&format!("10.0.0.{told}"))] } else { vec![] },
            end: if here { End::Source } else { End::Destination },
            count,
            ..question(name)
        }
    })
}

/// How often was asked, by whom the client's node is the one to say so if it is covered, else the server's.
fn asked(raw: &[Vec<Input>], join: &Fake) -> u64 {
    let of = |input: &Input| match &input.content {
        stage1::Content::Batch(batch) => batch.dns.clone(),
        stage1::Content::Undecodable(_) => Vec::new(),
    };
    let covered = |sample: &DnsSample| join.covered.contains(&join.pods[&sample.client].node.to_string());
    let counts = raw.iter().flatten().flat_map(of).filter(|sample| (sample.end == End::Source) == covered(sample));
    counts.map(|sample| sample.count).sum()
}

/// Whether the ledger proves that each question that was published is in a record, or why it is in none.
fn assert_questions_add_up(written: &Written, raw: &[Vec<Input>]) {
    let (mut published, mut samples) = (0, 0);
    for input in raw.iter().flatten() {
        let stage1::Content::Batch(batch) = &input.content else { continue };
        published += batch.dns.iter().map(|sample| sample.count).sum::<u64>();
        samples += u64::try_from(batch.dns.len()).unwrap();
    }
    let (mut booked, mut counted, mut stored) = (weir_schemas::ledger::Questions::default(), 0, 0);
    for line in &written.ledger {
        match line {
            Ledger::Received(line) => {
                counted += line.questions_counted;
                for questions in line.questions_lost.iter().map(|loss| &loss.lost).chain([&line.questions]) {
                    booked.samples += questions.samples;
                    booked.asked += questions.asked;
                }
            }
            Ledger::Questions(line) => stored += line.stored,
            Ledger::Stored(_) => {}
        }
    }
    assert_eq!((booked.samples, booked.asked), (samples, published), "taken and lost is what was published");
    assert_eq!(counted, stored, "what was taken is stored");
    assert_eq!(stored, written.dns.iter().map(|record| record.count).sum::<u64>(), "and stands in records");
}

/// Whether the ledger proves that each packet that was published is in records, sampled ones as often as they stand for, or why
/// it is in none.
fn assert_flows_add_up(written: &Written, raw: &[Vec<Input>]) {
    let mut published = Totals::default();
    for input in raw.iter().flatten() {
        let stage1::Content::Batch(batch) = &input.content else { continue };
        for sample in &batch.samples {
            let totals = Totals { packets: sample.packets, bytes: sample.bytes, samples: 1 };
            add_totals(&mut published, &totals);
        }
    }
    let (mut booked, mut counted) = (Totals::default(), Totals::default());
    let mut stored: BTreeMap<u8, Totals> = (0..4).map(|level| (level, Totals::default())).collect();
    for line in &written.ledger {
        match line {
            Ledger::Received(line) => {
                add_totals(&mut counted, &line.counted);
                let lost = line.lost.iter().map(|loss| &loss.lost);
                lost.chain([&line.received]).for_each(|totals| add_totals(&mut booked, totals));
            }
            Ledger::Stored(line) => add_totals(stored.entry(line.level).or_default(), &line.stored),
            Ledger::Questions(_) => {}
        }
    }
    assert_eq!(booked, published, "received and lost is what was published");
    for (level, stored) in stored {
        assert_eq!(stored, counted, "level {level}");
    }
}

pub(crate) fn batches() -> impl Strategy<Value = Vec<RawBatch>> {
    let dns = prop::collection::vec(questions(), 0..3);
    let one = ((100..125_i64), 0..5_u8, prop::collection::vec(samples(), 0..4), dns);
    prop::collection::vec(one, 0..8).prop_map(|list| {
        let mut batches: Vec<RawBatch> = Vec::new();
        for (sequence, (tick, node, samples, dns)) in list.into_iter().enumerate() {
            let (sequence, tick) = (u64::try_from(sequence).unwrap(), tick * 1_000);
            batches.push(match node {
                // An enricher's own heartbeat moves the watermark and holds nothing.
                4 => RawBatch { origin: Origin::Owner, ..batch("owner/0", sequence, tick, vec![]) },
                0 | 2 => asking("node-a", sequence, tick, samples, dns),
                _ => asking("node-b", sequence, tick, samples, dns),
            });
        }
        batches.push(batch("node-a", 99, 200_000, vec![]));
        batches
    })
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Read),
        3 => Just(Step::Advance),
        2 => Just(Step::Close),
        2 => Just(Step::CloseOne),
        1 => Just(Step::Torn),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 0..24)
}

/// Runs both stages by the schedules and answers what is stored; internal logs get the partitions' transactions in
/// turns, or one partition's after the other's in reverse.
fn disturbed(
    history: &Arc<SettingsHistory>,
    join: &Fake,
    raw: &[Vec<Input>],
    first: &[Vec<Step>],
    second: &[Step],
    in_turns: bool,
) -> Stored {
    let (mut written, mut stored): (Vec<Vec<Transaction>>, _) = (Vec::new(), Stored::new());
    for (number, log) in raw.iter().enumerate() {
        let mut stage = Stage1::new(history, join, i32::try_from(number).unwrap(), log);
        for step in &first[number] {
            stage.take(*step);
        }
        let (transactions, ledger) = stage.finish_booked();
        written.push(transactions);
        book(&mut stored, &ledger);
    }
    let longest = written.iter().map(Vec::len).max().unwrap_or(0);
    let order: Vec<Transaction> = if in_turns {
        (0..longest).flat_map(|i| written.iter().filter_map(move |own| own.get(i).cloned())).collect()
    } else {
        written.into_iter().rev().flatten().collect()
    };
    for (number, log) in internal_logs(history.latest().internal_partitions, order).iter().enumerate() {
        let mut stage = Stage2::new(history, i32::try_from(number).unwrap(), log);
        for step in second {
            stage.take(*step);
        }
        store(&mut stored, &stage.finish());
    }
    stored
}

/// Rules of every action, on what both reports say alike and on what only one does.
fn filters() -> impl Strategy<Value = Vec<weir_flow::settings::FilterRule>> {
    let rules = vec![
        "keep: src.port == 40001",
        "drop: dst.namespace == \"shop\" and action == deny",
        "drop: reporter == responder and bytes < 500",
        "sample 3: src.address == 10.0.0.1",
        "redact src.address, src.pod, src.pod_uid, dst.port: dst.pod == \"db-1\"",
        "redact src.labels: not orientation_guessed",
        "drop: dns.question == \"a.x.org\" and src.address == 10.0.0.2",
        "sample 2: dns",
    ];
    prop::collection::vec(prop::sample::select(rules), 1..4)
        .prop_map(|rules| rules.into_iter().map(|rule| weir_filter::parse_rule(rule).unwrap()).collect())
}

/// Totals, the initiators' reports and the responders' reports.
#[derive(Debug, Default, PartialEq)]
struct Sums([Counters; 3]);

impl Sums {
    /// What the samples add up to.
    fn of_samples(raw: &[Vec<Input>], join: &Fake) -> Self {
        let mut sums = Self::default();
        for input in raw.iter().flatten() {
            let stage1::Content::Batch(batch) = &input.content else { continue };
            for sample in batch.samples.iter().filter(|sample| sample.point != Point::Transit) {
                let place = crate::observe::Place { tick: batch.tick, tick_length: 1_000, node: &batch.node };
                let observation = crate::observe::tests::observe(sample, &place, join);
                let times = u64::from(sample.sampling);
                let (bytes, packets) = (sample.bytes * times, sample.packets * times);
                let counters = Counters {
                    forward_bytes: if observation.forward { bytes } else { 0 },
                    forward_packets: if observation.forward { packets } else { 0 },
                    reverse_bytes: if observation.forward { 0 } else { bytes },
                    reverse_packets: if observation.forward { 0 } else { packets },
                    started: sample.started * times,
                    ended: sample.ended * times,
                };
                let report = if observation.reporter == Reporter::Initiator { 1 } else { 2 };
                if observation.authority {
                    add_counters(&mut sums.0[0], &counters);
                }
                add_counters(&mut sums.0[report], &counters);
            }
        }
        sums
    }

    /// What the records of a level add up to.
    fn of_records(records: &[Enriched], level: Level) -> Self {
        let mut sums = Self::default();
        for record in records.iter().filter(|record| record.level == level.number()) {
            add_counters(&mut sums.0[0], &record.totals);
            for (sum, report) in sums.0[1..].iter_mut().zip([&record.by_initiator, &record.by_responder]) {
                add_counters(sum, &report.as_ref().map(|report| report.counters).unwrap_or_default());
            }
        }
        sums
    }
}

fn assert_sums(records: &[Enriched], raw: &[Vec<Input>], join: &Fake) {
    let truth = Sums::of_samples(raw, join);
    for level in [Level::Zero, Level::One, Level::Two, Level::Three] {
        assert_eq!(Sums::of_records(records, level), truth, "level {level:?}");
    }
}

/// Labels of levels 2 and 3 are those of the pods behind the record: what all have, and what some have.
fn assert_labels(record: &Enriched, join: &Fake) {
    for side in [&record.initiator, &record.responder].into_iter().filter(|s| s.attribution != Attribution::Ambiguous) {
        let of = |pod: &String| join.pods.values().find(|known| known.qualified_name() == *pod).unwrap();
        let labels = |pod: &String| of(pod).labels.iter().map(ToString::to_string).collect::<BTreeSet<String>>();
        let all = side.pods.iter().map(labels).reduce(|a, b| &a & &b).unwrap_or_default();
        let some: BTreeSet<String> = side.pods.iter().flat_map(labels).filter(|label| !all.contains(label)).collect();
        assert_eq!(side.labels, Vec::from_iter(all), "{record:?}");
        assert_eq!((side.labels_some.clone(), side.labels_more), (Vec::from_iter(some), 0), "{record:?}");
    }
}

/// Policies and labels that change, or may, while samples are taken.
fn changing_policies() -> Policies {
    let from = |app: &str| from_pods(&serde_json::json!({"app": app}));
    policies(&[
        policy(1, "db", &from("other"), at(0), Some(between(102_500, 103_500))),
        policy(2, "db", &from("web"), between(102_500, 103_500), Some(at(111_000))),
        policy(3, "db", &from("web"), at(111_000), None),
        pod(2, "web-1", &["app=other"], between(106_000, 107_200)),
        pod(1, "web-2", &["app=web"], at(101_000)),
    ])
}

/// Every sample of a record that was judged is under one of the answers.
fn assert_judged(record: &Enriched) {
    let samples: u64 = record.judgements.iter().map(|judgement| judgement.samples).sum();
    let all = record.judgements_more == 0;
    assert!(record.judgements.is_empty() || !all || samples == record.samples, "{record:?}");
}

/// 128 cases, or as many as `PROPTEST_CASES` says.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").map_or(128, |text| text.parse().unwrap());
    ProptestConfig { cases, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_stored_set_is_a_function_of_the_log(
        raw in prop::collection::vec(batches(), 3),
        first in prop::collection::vec(steps(), 3),
        second in steps(),
        limit in prop_oneof![Just(1_u32), Just(3), Just(1_000)],
        in_turns in any::<bool>(),
    ) {
        let mut settings = settings(3, 2);
        settings.keys_limit = limit;
        let (history, mut join) = (history(settings), Fake::default());
        join.covered = vec!["node-a".to_owned()];
        for (of, pods) in [("10.0.0.5", ["10.0.0.1", "10.0.0.2"]), ("10.0.0.6", ["10.0.0.1", "10.0.0.3"])] {
            let candidates = pods.map(|pod| join.pods[&address(pod)].clone());
            join.ambiguous.insert(address(of), candidates.to_vec());
        }
        join.policies = Some(Arc::new(changing_policies()));
        let raw: Vec<Vec<Input>> = raw.into_iter().map(raw_log).collect();
        let (mut expected, records) = reference(&history, &join, &raw);
        book(&mut expected, &records.ledger);
        prop_assert_eq!(&disturbed(&history, &join, &raw, &first, &second, in_turns), &expected);
        prop_assert_eq!(records.dns.iter().map(|record| record.count).sum::<u64>(), asked(&raw, &join));
        assert_questions_add_up(&records, &raw);
        assert_flows_add_up(&records, &raw);
        let records = records.flows;
        records.iter().filter(|record| record.level >= 2 && !record.coarsened).for_each(|r| assert_labels(r, &join));
        records.iter().filter(|record| record.level <= 1 && !record.coarsened).for_each(assert_judged);
        assert_sums(&records, &raw, &join);
    }

    /// Two partitions of which the first sees a scan: ordinary keys keep their records whenever the scan comes, and
    /// whatever happens to the owners.
    #[test]
    fn a_scan_is_coarsened_whatever_happens(
        sizes in prop::collection::vec(0..60_u8, 1..5),
        first in prop::collection::vec(steps(), 2),
        second in steps(),
        in_turns in any::<bool>(),
    ) {
        let mut settings = settings(2, 2);
        settings.keys_limit = 24;
        let (history, join) = (history(settings), Fake::default());
        let raw = vec![raw_log(scanned(&sizes)), raw_log(vec![batch("node-b", 0, 200_000, vec![])])];
        let (mut expected, records) = reference(&history, &join, &raw);
        book(&mut expected, &records.ledger);
        prop_assert_eq!(&disturbed(&history, &join, &raw, &first, &second, in_turns), &expected);
        let records = records.flows;
        assert_sums(&records, &raw, &join);
        let ordinary = records.iter().filter(|record| record.level == 1 && record.responder.port == Some(80));
        prop_assert_eq!(ordinary.clone().count(), 4);
        prop_assert!(ordinary.into_iter().all(|record| !record.coarsened));
        let coarse = records.iter().filter(|record| record.level == 1 && record.coarsened).count();
        prop_assert!(coarse <= 4, "{} coarsened records", coarse);
    }

    #[test]
    fn with_filters_too_it_is_a_function_of_the_log(
        raw in prop::collection::vec(batches(), 3),
        first in prop::collection::vec(steps(), 3),
        second in steps(),
        filters in filters(),
        late_bound in prop_oneof![Just(8_000), Just(3_600_000)],
        in_turns in any::<bool>(),
    ) {
        let mut settings = settings(3, 2);
        settings.filters = filters;
        settings.late_bound = late_bound;
        let (history, mut join) = (history(settings), Fake::default());
        join.covered = vec!["node-a".to_owned()];
        let raw: Vec<Vec<Input>> = raw.into_iter().map(raw_log).collect();
        let (mut expected, records) = reference(&history, &join, &raw);
        book(&mut expected, &records.ledger);
        prop_assert_eq!(&disturbed(&history, &join, &raw, &first, &second, in_turns), &expected);
        assert_questions_add_up(&records, &raw);
        assert_flows_add_up(&records, &raw);
    }
}

/// A scan in as many parts, with four ordinary requests behind each; all in one window.
fn scanned(sizes: &[u8]) -> Vec<RawBatch> {
    let mut batches = Vec::new();
    for (number, size) in (0_u8..).zip(sizes) {
        let scan = (0..*size).map(|n| Sample {
            source: address("10.0.0.3"),
            destination: address(&format!("10.9.{number}.{n}")),
            destination_port: 22,
            ..sample(60)
        });
        let requests = (1..5_u8).flat_map(|n| {
            let asked = Sample { source: address(&format!("10.1.0.{n}")), ..sample(100) };
            [asked.clone(), arriving(answer(asked))]
        });
        batches.push(batch(
            "node-a",
            u64::from(number),
            100_000 + i64::from(number) * 1_000,
            scan.chain(requests).collect(),
        ));
    }
    batches.push(batch("node-a", 99, 200_000, vec![]));
    batches
}
