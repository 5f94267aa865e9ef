use super::*;
use crate::fixtures::{Fake, address, answer, arriving, batch, dropped, history, pod, sample, settings};
use crate::position::Stage1Position;
use crate::stage1::{Content, Input, Partition};
use crate::stage1::{RawBatch, Sample};
use weir_flow::RecordSettings;
use weir_schemas::enriched::{Action, Arrival, Attribution};
use weir_schemas::partial::{Behind, Marker, Sets};
use weir_schemas::raw::DropClass;

/// Both stages over one raw partition; every node's ticks of the window 100 000 are there.
pub(super) fn records(settings: RecordSettings, join: &Fake, batches: Vec<RawBatch>) -> Vec<Enriched> {
    let history = history(settings);
    let mut first = Partition::new("local", 0, history.clone(), Stage1Position::START);
    let mut all = batches;
    for tick in 0..5 {
        all.push(batch("node-a", 50, 100_000 + tick * 1_000, vec![]));
        all.push(batch("node-b", 50, 100_000 + tick * 1_000, vec![]));
    }
    all.push(batch("node-a", 99, 200_000, vec![]));
    for (offset, batch) in all.into_iter().enumerate() {
        let offset = i64::try_from(offset).unwrap();
        first.read(Input { offset, append_time: batch.tick.max(110_000), size: 1, content: Content::Batch(batch) });
    }
    let last = first.ready(Millis::MAX, usize::MAX).unwrap();
    let closed = first.close(last, join);
    let mut second = InternalPartition::new("local", 0, history, Stage2Position::START);
    let partials = closed.partials.into_iter().map(|(_, batch)| PartialMessage::Partials(batch));
    let markers = closed.markers.into_iter().map(|(_, marker)| PartialMessage::Marker(marker));
    for (offset, message) in partials.chain(markers).enumerate() {
        second.read(i64::try_from(offset).unwrap(), message);
    }
    let last = second.ready(usize::MAX).unwrap();
    second.close(last).records
}

fn at(records: &[Enriched], level: u8) -> &Enriched {
    let mut of_level = records.iter().filter(|record| record.level == level);
    let found = of_level.next().unwrap();
    assert!(of_level.next().is_none(), "one record at level {level}");
    found
}

fn settled(list: Vec<Sample>) -> Vec<RawBatch> {
    vec![batch("node-a", 0, 101_000, list)]
}

#[test]
fn what_nobody_received_never_arrived() {
    let all = records(settings(1, 1), &Fake::default(), settled(vec![sample(60)]));
    for level in 0..4 {
        let record = at(&all, level);
        assert_eq!((record.arrival, record.arrival_reason.as_str()), (Arrival::Never, ""), "level {level}");
        assert_eq!(record.totals.forward_bytes, 60);
    }
}

#[test]
fn arrival_is_unknown_for_a_stated_reason() {
    let uncovered = Fake { covered: vec!["node-a".to_owned()], ..Fake::default() };
    let mut sampled = sample(60);
    sampled.sampling = 2;
    let cases = [
        (uncovered, settled(vec![sample(60)]), "responder not covered"),
        (Fake::default(), settled(vec![sampled]), "sampled"),
        (Fake::default(), vec![batch("node-a", 0, 104_500, vec![sample(60)])], "sent at the end of the window"),
        (Fake::default(), settled(vec![arriving(sample(60))]), "no report of the initiator"),
        (Fake::default(), settled(vec![sample(60), arriving(answer(sample(9)))]), "one direction only"),
    ];
    for (join, mut batches, reason) in cases {
        if reason.starts_with("sent") {
            batches[0].samples[0].last_seen = 104_500;
        }
        let all = records(settings(1, 1), &join, batches);
        assert_eq!((at(&all, 1).arrival, at(&all, 1).arrival_reason.as_str()), (Arrival::Unknown, reason));
    }
    let mut elsewhere = Fake::default();
    elsewhere.pods.insert(address("10.0.0.2"), pod("shop", "db-1", "db", "node-c"));
    elsewhere.covered.push("node-c".to_owned());
    let all = records(settings(1, 1), &elsewhere, settled(vec![sample(60)]));
    assert_eq!(at(&all, 1).arrival_reason, "responder's node did not report");
}

#[test]
fn both_reports_make_one_record_whose_totals_are_counted_once() {
    let list = vec![sample(60), arriving(sample(60)), answer(sample(40)), arriving(answer(sample(40)))];
    let all = records(settings(1, 1), &Fake::default(), settled(list));
    for level in 0..4 {
        let record = at(&all, level);
        assert_eq!((record.totals.forward_bytes, record.totals.reverse_bytes), (60, 40));
        assert_eq!((record.arrival, record.action), (Arrival::Ok, Action::Allow));
        assert!(record.by_initiator.is_some() && record.by_responder.is_some());
    }
}

#[test]
fn actions_follow_what_came_through() {
    let policy = |sample| dropped(sample, DropClass::Policy, 1);
    let cases = [
        (vec![sample(1)], Action::Allow),
        (vec![dropped(sample(1), DropClass::Other, 1)], Action::Allow),
        (vec![policy(sample(1))], Action::Deny),
        (vec![policy(sample(1)), arriving(sample(1))], Action::Mixed),
        (vec![policy(sample(1)), arriving(answer(sample(1)))], Action::Mixed),
    ];
    for (list, action) in cases {
        let all = records(settings(1, 1), &Fake::default(), settled(list.clone()));
        assert_eq!(at(&all, 1).action, action, "{list:?}");
    }
    let uncovered = Fake { covered: vec!["node-a".to_owned()], ..Fake::default() };
    let mut some = policy(sample(1));
    some.packets = 3;
    let all = records(settings(1, 1), &uncovered, settled(vec![some]));
    assert_eq!(at(&all, 1).action, Action::Mixed, "three sent, one dropped, and nobody to say more");
}

#[test]
fn an_end_known_by_address_joins_the_pod_that_it_may_be() {
    let mut join = Fake::default();
    let candidates = vec![pod("shop", "old-1", "old", "node-a"), join.pods[&address("10.0.0.1")].clone()];
    join.ambiguous.insert(address("10.0.0.1"), candidates);
    let mut own = sample(60);
    own.pod_uid = Some("uid-web-1".into());
    let all = records(settings(1, 1), &join, settled(vec![own, arriving(sample(60))]));
    let record = at(&all, 1);
    assert_eq!((record.initiator.attribution, record.initiator.pod.as_deref()), (Attribution::Exact, Some("web-1")));
    assert!(record.by_initiator.is_some() && record.by_responder.is_some());
    assert!(record.initiator.candidates.is_empty());
    let alone = records(settings(1, 1), &join, settled(vec![arriving(sample(60))]));
    let record = at(&alone, 1);
    assert_eq!(record.initiator.attribution, Attribution::Ambiguous);
    assert_eq!(record.initiator.candidates, ["shop/old-1", "shop/web-1"]);
}

#[test]
fn sets_are_cut_and_counted_exactly() {
    let mut settings = settings(1, 1);
    settings.set_limit = 2;
    let mut join = Fake::default();
    let list = (1..=5_u8)
        .map(|i| {
            let from = address(&format!("10.1.0.{i}"));
            join.pods.insert(from, pod("shop", &format!("web-{i}"), "web", "node-a"));
            let mut one = sample(1);
            one.source = from;
            one
        })
        .collect();
    let all = records(settings, &join, settled(list));
    let side = &at(&all, 2).initiator;
    assert_eq!(side.addresses, ["10.1.0.1", "10.1.0.2"].map(address));
    assert_eq!((side.addresses_more, side.pods.len(), side.pods_more), (3, 2, 3));
    assert_eq!(side.labels, ["app=web"]);
    assert_eq!((side.labels_some.clone(), side.labels_more), (vec!["pod=web-1".to_owned(), "pod=web-2".to_owned()], 3));
    assert!(all.iter().all(|record| !record.coarsened));
    assert!(all.iter().filter(|record| record.level < 2).all(|record| record.initiator.labels.len() == 2));
}

/// Where a partial could not carry its whole set, the count of the rest is the largest that is certain, and flagged.
#[test]
fn a_count_that_is_not_exact_is_flagged() {
    let history = history(settings(2, 1));
    let mut first = Partition::new("local", 0, history.clone(), Stage1Position::START);
    for (offset, tick) in [(0, 100_000), (1, 200_000)] {
        let content = Content::Batch(batch("node-a", 0, tick, vec![sample(1)]));
        first.read(Input { offset, append_time: tick + 1_000, size: 1, content });
    }
    let last = first.ready(Millis::MAX, usize::MAX).unwrap();
    let mut batch = first.close(last, &Fake::default()).partials.remove(0).1;
    batch.partials.retain(|partial| partial.level == 2);
    batch.partials[0].initiator.change(|side| side.pods_more = 4);
    let mut second = InternalPartition::new("local", 0, history, Stage2Position::START);
    for partition in 0..2 {
        second.read(i64::from(partition), PartialMessage::Partials(PartialBatch { partition, ..batch.clone() }));
    }
    for (offset, partition) in [(2, 0), (3, 1)] {
        let marker = Marker { cluster: "local".to_owned(), partition, generation: 100_000, missing: Vec::new() };
        second.read(offset, PartialMessage::Marker(marker));
    }
    let closed = second.close(100_000);
    assert_eq!(closed.inexact, 1);
    let records = closed.records;
    let side = &records[0].initiator;
    assert_eq!((records.len(), side.pods.len(), side.pods_more, records[0].coarsened), (1, 1, 4, true));
}

#[test]
fn a_record_of_nothing_is_not_written_but_drops_are_something() {
    let mut nothing = sample(0);
    (nothing.packets, nothing.started) = (0, 0);
    assert!(records(settings(1, 1), &Fake::default(), settled(vec![nothing.clone()])).is_empty());
    let all = records(settings(1, 1), &Fake::default(), settled(vec![dropped(nothing, DropClass::Policy, 3)]));
    assert_eq!(at(&all, 1).action, Action::Deny);
}

#[test]
fn a_generation_waits_for_every_raw_partition() {
    let mut second = InternalPartition::new("local", 0, history(settings(2, 1)), Stage2Position::START);
    let marker = |partition, generation| {
        PartialMessage::Marker(Marker { cluster: "local".to_owned(), partition, generation, missing: Vec::new() })
    };
    second.read(0, marker(0, 100_000));
    assert_eq!(second.ready(8), None);
    second.read(1, marker(1, 95_000));
    assert_eq!(second.ready(8), Some(95_000));
    second.close(95_000);
    assert_eq!(second.position(), Stage2Position { offset: 0, written: 95_000 }, "the marker of 100 000 is held");
    second.read(2, marker(1, 105_000));
    assert_eq!(second.ready(8), Some(100_000));
    second.close(100_000);
    assert_eq!(second.position().offset, 2);
}

#[test]
fn a_report_that_a_filter_may_have_left_out_is_not_said_to_be_missing() {
    let rule = weir_filter::parse_rule("drop: reporter == responder").unwrap();
    let filtered = RecordSettings { filters: vec![rule], ..settings(1, 1) };
    let all = records(filtered, &Fake::default(), settled(vec![sample(60), arriving(sample(60))]));
    for level in 0..4 {
        let record = at(&all, level);
        assert_eq!((record.arrival, record.arrival_reason.as_str()), (Arrival::Unknown, "filtered"), "level {level}");
    }
}

/// Two raw partitions, each within the cap, both together not; the internal partition's own coarsened records have their own
/// ids, because another internal partition may have coarsened the same ends.
#[test]
fn the_cap_holds_for_all_partitions_together() {
    let mut settings = settings(2, 1);
    (settings.keys_limit, settings.levels_allowed) = (30, vec![weir_flow::Level::One]);
    let history = history(settings);
    let scan = |network: u8| {
        let to = move |n: u8| Sample { destination: address(&format!("10.9.{network}.{n}")), ..sample(60) };
        let ordinary = Sample { source: address("10.0.0.3"), ..sample(1) };
        (0..20).map(to).chain([arriving(answer(ordinary))]).collect::<Vec<_>>()
    };
    let ids = |internal: i32| {
        let mut second = InternalPartition::new("local", internal, history.clone(), Stage2Position::START);
        let mut offset = 0;
        for number in 0..2 {
            let mut first = Partition::new("local", i32::from(number), history.clone(), Stage1Position::START);
            let batches = [batch("node-a", 0, 100_000, scan(number)), batch("node-a", 1, 200_000, vec![])];
            for (offset, batch) in (0..).zip(batches) {
                first.read(Input { offset, append_time: 110_000, size: 1, content: Content::Batch(batch) });
            }
            let closed = first.close(first.ready(Millis::MAX, usize::MAX).unwrap(), &Fake::default());
            assert!(closed.partials.iter().flat_map(|(_, batch)| &batch.partials).all(|partial| !partial.coarsened));
            let partials = closed.partials.into_iter().map(|(_, batch)| PartialMessage::Partials(batch));
            for message in partials.chain(closed.markers.into_iter().map(|(_, m)| PartialMessage::Marker(m))) {
                second.read(offset, message);
                offset += 1;
            }
        }
        let closed = second.close(second.ready(usize::MAX).unwrap());
        assert_eq!(closed.coarsened, 40);
        let records = closed.records;
        let found: Vec<_> = records.iter().map(|record| (record.coarsened, record.totals.forward_bytes)).collect();
        assert_eq!(found, [(false, 0), (true, 40 * 60)]);
        assert_eq!(records[1].initiator.pod.as_deref(), Some("web-1"));
        records.into_iter().map(|record| record.id).collect::<Vec<_>>()
    };
    let (here, there) = (ids(0), ids(1));
    assert_eq!(here[0], there[0]);
    assert_ne!(here[1], there[1]);
}

/// Many keys of node-b's partition, the last of which are the responder's reports of what node-a has seen.
#[test]
fn a_report_that_was_coarsened_elsewhere_is_no_report_that_never_came() {
    let mut settings = settings(2, 1);
    (settings.keys_limit, settings.levels_allowed) = (4, vec![weir_flow::Level::One]);
    let history = history(settings);
    let mut many: Vec<_> = (1..40).map(|port| arriving(Sample { destination_port: port, ..sample(60) })).collect();
    many.push(arriving(sample(60)));
    let mut second = InternalPartition::new("local", 0, history.clone(), Stage2Position::START);
    let mut offset = 0;
    for (number, node, list) in [(0, "node-a", vec![sample(60)]), (1, "node-b", many)] {
        let mut first = Partition::new("local", number, history.clone(), Stage1Position::START);
        let ticks = (0..5).map(|tick| batch(node, 0, 100_000 + tick * 1_000, vec![]));
        let all = [batch(node, 0, 100_000, list)].into_iter().chain(ticks).chain([batch(node, 9, 200_000, vec![])]);
        for (offset, batch) in (0..).zip(all) {
            first.read(Input { offset, append_time: 110_000, size: 1, content: Content::Batch(batch) });
        }
        let closed = first.close(first.ready(Millis::MAX, usize::MAX).unwrap(), &Fake::default());
        let partials = closed.partials.into_iter().map(|(_, batch)| PartialMessage::Partials(batch));
        let markers = closed.markers.into_iter().map(|(_, marker)| PartialMessage::Marker(marker));
        for message in partials.chain(markers) {
            second.read(offset, message);
            offset += 1;
        }
    }
    let records = second.close(second.ready(usize::MAX).unwrap()).records;
    let whole = records.iter().find(|record| !record.coarsened).unwrap();
    assert_eq!((whole.arrival, whole.arrival_reason.as_str()), (Arrival::Unknown, "coarsened"));
    let coarse: Vec<_> = records.iter().filter(|record| record.coarsened).collect();
    assert_eq!((coarse.len(), coarse[0].samples, coarse[0].responder.pod.as_deref()), (1, 40, Some("db-1")));
}

#[test]
fn a_record_whose_lists_no_message_would_hold_has_shorter_ones_and_counts_the_rest() {
    let history = history(RecordSettings { set_limit: 10_000, ..settings(1, 1) });
    let mut first = Partition::new("local", 0, history.clone(), Stage1Position::START);
    for (offset, batch) in
        (0..).zip([batch("node-a", 0, 100_000, vec![sample(60)]), batch("node-a", 1, 200_000, vec![])])
    {
        first.read(Input { offset, append_time: batch.tick, size: 1, content: Content::Batch(batch) });
    }
    let last = first.ready(Millis::MAX, usize::MAX).unwrap();
    let closed = first.close(last, &Fake::default());
    let names = |length: usize| (0..5_000).map(|n| format!("{n:05}{}", "n".repeat(length))).collect::<Vec<_>>();
    let mut second = InternalPartition::new("local", 0, history, Stage2Position::START);
    let batches = closed.partials.into_iter().map(|(_, mut batch)| {
        batch.partials.retain(|partial| partial.level == 2);
        let sets = || Sets { pods: names(100), domains: names(40), ..Sets::default() };
        batch.partials[0].behind = Behind::from(&[sets(), sets()]);
        PartialMessage::Partials(batch)
    });
    let markers = closed.markers.into_iter().map(|(_, marker)| PartialMessage::Marker(marker));
    for (offset, message) in (0..).zip(batches.chain(markers)) {
        second.read(offset, message);
    }
    let last = second.ready(usize::MAX).unwrap();
    let closed = second.close(last);
    assert_eq!((closed.records.len(), closed.shortened), (1, 1));
    let record = &closed.records[0];
    assert!(weir_schemas::encode(record).unwrap().len() <= 900_000);
    for side in [record.initiator.view(), record.responder.view()] {
        assert_eq!((side.pods.len(), side.pods_more), (2_500, 2_500));
        assert_eq!((side.domains.len(), side.domains_more), (2_500, 2_500));
        assert!(side.pods[0].starts_with("00000"), "those that come first are kept");
    }
}
