use super::*;
use crate::fixtures::{Fake, address, answer, arriving, batch, dropped, history, question, sample, settings};
use crate::stage1::{RawBatch, Sample};
use weir_flow::Level;
use weir_schemas::enriched::Attribution;
use weir_schemas::partial::Partial;
use weir_schemas::raw::{DnsSample, DropClass, Point, RoundTrip};

fn partition(settings: RecordSettings) -> Partition {
    Partition::new("local", 0, history(settings), Stage1Position::START)
}

fn feed(partition: &mut Partition, append_time: Millis, batch: RawBatch) {
    let offset = partition.next_offset();
    partition.read(Input { offset, append_time, size: 100, content: Content::Batch(batch) });
}

/// Reads batches, each appended when its tick is over, and closes everything.
fn run(settings: RecordSettings, batches: Vec<RawBatch>) -> Closed {
    run_with(&Fake::default(), settings, batches)
}

fn run_with(join: &Fake, settings: RecordSettings, batches: Vec<RawBatch>) -> Closed {
    let mut partition = partition(settings);
    let end = batch("node-a", 99, 200_000, vec![]);
    let mut now = 0;
    for batch in batches.into_iter().chain([end]) {
        now = now.max(batch.tick + 1_000);
        feed(&mut partition, now, batch);
    }
    let last = partition.ready(FOR_EVER, usize::MAX).unwrap();
    partition.close(last, join)
}

fn partials(closed: &Closed, level: u8) -> Vec<&Partial> {
    closed.partials.iter().flat_map(|(_, batch)| &batch.partials).filter(|partial| partial.level == level).collect()
}

#[test]
fn a_generation_waits_for_frontier_and_metadata() {
    let mut partition = partition(settings(1, 1));
    feed(&mut partition, 101_000, batch("node-a", 0, 100_000, vec![sample(1)]));
    let first = partition.ready(FOR_EVER, 8).unwrap();
    assert_eq!(first, 90_000, "the last generation before the first batch, empty");
    partition.close(first, &Fake::default());
    feed(&mut partition, 106_000, batch("node-a", 1, 105_000, vec![]));
    assert_eq!(partition.ready(FOR_EVER, 8), Some(95_000), "the watermark is 106 000, grace 2 s");
    feed(&mut partition, 107_000, batch("node-a", 2, 106_000, vec![]));
    assert_eq!(partition.ready(FOR_EVER, 8), Some(100_000));
    assert_eq!(partition.ready(106_999, 8), Some(95_000), "metadata is needed up to the end plus grace");
    assert_eq!(partition.ready(107_000, 8), Some(100_000));
    assert_eq!(partition.ready(NEVER, 8), None);
}

#[test]
fn years_of_empty_generations_are_one_marker() {
    let mut partition = partition(settings(1, 2));
    feed(&mut partition, 1_000, batch("node-a", 0, 0, vec![sample(1)]));
    feed(&mut partition, 400_000_000_000, batch("node-a", 1, 400_000_000_000, vec![sample(1)]));
    let last = partition.ready(FOR_EVER, 8).unwrap();
    let closed = partition.close(last, &Fake::default());
    let markers: Vec<_> = closed.markers.iter().map(|(internal, marker)| (*internal, marker.generation)).collect();
    assert_eq!(markers, [(0, 0), (1, 0), (0, last), (1, last)]);
    assert_eq!(partition.position().written, last);
}

#[test]
fn the_number_of_generations_of_a_transaction_is_bounded() {
    let mut partition = partition(settings(1, 1));
    for window in 0..6 {
        feed(&mut partition, 500_000, batch("node-a", 0, 100_000 + window * 5_000, vec![sample(1)]));
    }
    feed(&mut partition, 500_000, batch("node-a", 0, 190_000, vec![]));
    assert_eq!(partition.ready(FOR_EVER, 2), Some(105_000));
    let closed = partition.close(105_000, &Fake::default());
    assert_eq!(closed.generations, 2);
    assert_eq!(partition.ready(FOR_EVER, 2), Some(115_000));
}

#[test]
fn late_samples_are_in_a_later_generation_and_too_late_ones_a_counted_loss() {
    let mut settings = settings(1, 1);
    settings.late_bound = 20_000;
    let closed = run(
        settings,
        vec![
            batch("node-a", 0, 130_000, vec![sample(1)]),
            batch("node-a", 1, 115_000, vec![sample(2)]),
            batch("node-a", 2, 100_000, vec![sample(4)]),
        ],
    );
    let found: Vec<_> = closed
        .partials
        .iter()
        .flat_map(|(_, batch)| batch.partials.iter().map(|partial| (batch.generation, partial)))
        .filter(|(_, partial)| partial.level == 1)
        .map(|(generation, partial)| (partial.window, generation, partial.totals.forward_bytes))
        .collect();
    assert_eq!(found, [(115_000, 125_000, 2), (130_000, 130_000, 1)]);
    let lost: Vec<_> = closed
        .ledger
        .iter()
        .filter_map(|line| if let Ledger::Received(line) = line { Some(&line.lost) } else { None })
        .flatten()
        .map(|loss| (loss.reason.as_str(), loss.lost.bytes))
        .collect();
    assert_eq!(lost, [("too_late", 4)]);
}

#[test]
fn a_clock_that_runs_ahead_is_clamped_and_counted() {
    let mut partition = partition(settings(1, 1));
    feed(&mut partition, 100_500, batch("node-a", 0, 900_000, vec![sample(1)]));
    assert_eq!(partition.watermark(), 102_000, "append time + tolerance, and a tick");
    assert_eq!(partition.counts().clamped, 1);
}

/// The last batch of a capture file is of the time at which the last window is over, which is still to come when the
/// file was written a moment ago.
#[test]
fn a_capture_of_a_moment_ago_is_complete_when_it_is_published() {
    let mut partition = partition(RecordSettings { live: false, ..settings(1, 1) });
    feed(&mut partition, 102_000, batch("capture", 0, 101_000, vec![sample(1)]));
    feed(&mut partition, 102_000, batch("capture", 1, 107_000, vec![]));
    let last = partition.ready(FOR_EVER, 8).unwrap();
    assert_eq!(last, 100_000, "the window of the only sample");
    assert_eq!(partials(&partition.close(last, &Fake::default()), 1).len(), 1);
}

#[test]
fn levels_follow_policy_like_drops_and_a_sample_is_never_twice_in_one() {
    let mut settings = settings(1, 1);
    settings.levels_allowed = vec![Level::Two, Level::Two];
    settings.levels_denied = vec![Level::One, Level::Two];
    let policy = dropped(sample(10), DropClass::Policy, 1);
    let other = dropped(sample(20), DropClass::Other, 1);
    let closed = run(settings, vec![batch("node-a", 0, 100_000, vec![policy, other])]);
    let bytes = |level| partials(&closed, level).iter().map(|partial| partial.totals.forward_bytes).sum::<u64>();
    assert_eq!([bytes(0), bytes(1), bytes(2), bytes(3)], [0, 10, 30, 0]);
}

#[test]
fn sampled_counters_are_multiplied() {
    let mut sampled = dropped(sample(100), DropClass::Policy, 2);
    sampled.sampling = 10;
    let closed = run(settings(1, 1), vec![batch("node-a", 0, 100_000, vec![sampled])]);
    for partial in closed.partials.iter().flat_map(|(_, batch)| &batch.partials) {
        let report = partial.by_initiator.as_ref().unwrap();
        assert_eq!(
            (partial.totals.forward_bytes, partial.totals.forward_packets, partial.totals.started),
            (1_000, 10, 10)
        );
        assert_eq!((report.drops[0].forward_packets, report.sampling), (20, 10));
    }
}

/// A scan of a network from 10.0.0.3, in which nobody answers.
fn scan(count: u8) -> Vec<Sample> {
    let one = |n: u8| Sample {
        source: address("10.0.0.3"),
        destination: address(&format!("10.9.0.{n}")),
        destination_port: 22,
        ..sample(60)
    };
    (0..count).map(one).collect()
}

/// A request of 10.0.0.1 to this port, and its answer.
fn answered(port: u16) -> [Sample; 2] {
    let asked = Sample { destination_port: port, ..sample(100) };
    [asked.clone(), arriving(answer(asked))]
}

#[test]
fn a_scan_is_coarsened_and_ordinary_keys_survive_it() {
    let mut settings = settings(1, 1);
    settings.keys_limit = 40;
    let before: Vec<Sample> = (80..90).flat_map(answered).chain(scan(60)).collect();
    let after: Vec<Sample> = scan(60).into_iter().chain((80..100).flat_map(answered)).collect();
    let closed = run(settings, vec![batch("node-a", 0, 100_000, before), batch("node-a", 1, 101_000, after)]);
    for level in [0, 1] {
        let all = partials(&closed, level);
        let ordinary: Vec<_> = all.iter().filter(|partial| !partial.coarsened).collect();
        assert_eq!(ordinary.len(), 20, "level {level}");
        assert!(ordinary.iter().all(|partial| partial.totals.reverse_packets > 0));
        let coarse: Vec<_> = all.iter().filter(|partial| partial.coarsened).collect();
        assert_eq!(coarse.len(), 1, "level {level}");
        let scan = coarse[0];
        assert_eq!((scan.initiator.pod.as_deref(), scan.initiator.port), (Some("web-2"), None));
        assert_eq!((scan.responder.address, scan.responder.attribution), (None, Attribution::None));
        assert_eq!((scan.samples, scan.totals.forward_bytes, scan.totals.started), (120, 7_200, 120));
    }
}

#[test]
fn what_is_forgotten_is_found_out_anew() {
    let join = Fake::default();
    let closed = |forgets: bool| {
        let mut partition = partition(settings(1, 1));
        for (sequence, tick) in (0..4).zip([100_000, 101_000, 102_000, 103_000]) {
            let samples = (80..100).flat_map(answered).chain(scan(20)).collect();
            feed(&mut partition, tick + 1_000, batch("node-a", sequence, tick, samples));
            partition.advance(&join);
            if forgets {
                partition.forget();
            }
        }
        feed(&mut partition, 201_000, batch("node-a", 99, 200_000, vec![]));
        let last = partition.ready(FOR_EVER, usize::MAX).unwrap();
        partition.close(last, &join)
    };
    assert_eq!(closed(true), closed(false));
}

#[test]
fn a_scan_of_one_hosts_ports_keeps_the_host() {
    let mut settings = settings(1, 1);
    settings.keys_limit = 8;
    let ports = (1..40).map(|port| Sample { destination_port: port, ..sample(60) }).collect();
    let closed = run(settings, vec![batch("node-a", 0, 100_000, ports)]);
    let one = partials(&closed, 1);
    assert_eq!((one.len(), one[0].coarsened, one[0].samples), (1, true, 39));
    assert_eq!((one[0].responder.pod.as_deref(), one[0].responder.port), (Some("db-1"), None));
}

/// Where every end is as noisy as the next, the first keys of the log keep their records.
#[test]
fn what_cannot_be_coarsened_by_its_ends_goes_to_a_catch_all() {
    let mut settings = settings(1, 1);
    settings.keys_limit = 10;
    let strangers = (0..30).map(|n| Sample {
        source: address(&format!("10.8.0.{n}")),
        destination: address(&format!("10.9.0.{n}")),
        ..sample(60)
    });
    let closed = run(settings, vec![batch("node-a", 0, 100_000, strangers.collect())]);
    let one = partials(&closed, 1);
    let kept: Vec<_> = one.iter().filter(|partial| !partial.coarsened).map(|p| p.initiator.address.unwrap()).collect();
    assert_eq!(kept, (0..10).map(|n| address(&format!("10.8.0.{n}"))).collect::<Vec<_>>());
    let catch_all: Vec<_> = one.iter().filter(|partial| partial.coarsened).collect();
    assert_eq!((catch_all.len(), catch_all[0].samples, catch_all[0].initiator.address), (1, 20, None));
}

/// Internal partitions without any coarsened record must hear of it, too.
#[test]
fn every_internal_partition_hears_that_keys_were_coarsened() {
    let mut settings = settings(1, 4);
    (settings.keys_limit, settings.levels_allowed) = (8, vec![Level::One]);
    let closed = run(settings, vec![batch("node-a", 0, 100_000, scan(60))]);
    let coarse = |(internal, batch): &(i32, PartialBatch)| {
        batch.partials.iter().any(|partial| partial.coarsened).then_some(*internal)
    };
    assert_eq!(closed.partials.iter().filter_map(coarse).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(partials(&closed, 1).iter().map(|partial| partial.samples).sum::<u64>(), 60);
}

#[test]
fn transit_and_underlay_are_outside_totals_and_in_the_ledger() {
    let at = |point| {
        let mut one = sample(5);
        one.point = point;
        one
    };
    let closed = run(
        settings(1, 1),
        vec![batch("node-a", 0, 100_000, vec![at(Point::Transit), at(Point::Underlay), sample(7)])],
    );
    assert_eq!(partials(&closed, 2).iter().map(|partial| partial.samples).sum::<u64>(), 1);
    let Some(Ledger::Received(line)) =
        closed.ledger.iter().find(|line| matches!(line, Ledger::Received(l) if l.received.samples > 0))
    else {
        panic!("no line")
    };
    assert_eq!(line.received.bytes, 7);
    let reasons: Vec<_> = line.lost.iter().map(|loss| (loss.reason.as_str(), loss.lost.samples)).collect();
    assert_eq!(reasons, [("outside_transit", 1), ("outside_underlay", 1)]);
}

#[test]
fn workload_records_carry_their_pods_addresses_and_common_labels() {
    let mut other = sample(1);
    other.source = address("10.0.0.3");
    let closed = run(settings(1, 1), vec![batch("node-a", 0, 100_000, vec![sample(1), other])]);
    let two = partials(&closed, 2);
    assert_eq!(two.len(), 1);
    let [initiator, _] = two[0].behind.ends();
    assert_eq!(initiator.pods, ["shop/web-1", "shop/web-2"]);
    assert_eq!(initiator.addresses, ["10.0.0.1", "10.0.0.3"].map(address));
    assert_eq!(two[0].initiator.labels, ["app=web"]);
    assert_eq!(initiator.labels, ["app=web", "pod=web-1", "pod=web-2"]);
    assert_eq!((two[0].initiator.pod.as_deref(), two[0].initiator.address), (None, None));
}

#[test]
fn records_carry_the_labels_that_the_settings_name() {
    let settings = RecordSettings { labels_keep: vec!["pod".to_owned()], ..settings(1, 1) };
    let closed = run(settings, vec![batch("node-a", 0, 100_000, vec![sample(1)])]);
    assert_eq!(partials(&closed, 1)[0].initiator.labels, ["pod=web-1"]);
    assert_eq!(partials(&closed, 2)[0].behind.ends()[0].labels, ["pod=web-1"]);
}

/// Which of the two pods it was is not known, but whichever it was had the label that both have.
#[test]
fn an_end_of_which_only_the_workload_is_known_has_the_labels_of_all_its_pods() {
    let mut join = Fake::default();
    let candidates = ["10.0.0.1", "10.0.0.3"].map(|a| join.pods[&address(a)].clone());
    join.ambiguous.insert(address("10.0.0.9"), candidates.to_vec());
    let mut unknown = sample(1);
    unknown.source = address("10.0.0.9");
    let closed = run_with(&join, settings(1, 1), vec![batch("node-a", 0, 100_000, vec![sample(1), unknown])]);
    let two = partials(&closed, 2);
    assert_eq!((two.len(), two[0].initiator.attribution), (1, Attribution::Ambiguous));
    assert_eq!(two[0].initiator.labels, ["app=web"]);
    assert_eq!(two[0].behind.ends()[0].labels, ["app=web", "pod=web-1"]);
}

#[test]
fn statistics_of_tcp_are_added_up_and_corrected_for_sampling() {
    let one = |sampling, micros| {
        let times = Some(RoundTrip { sum: micros, count: 1, min: micros, max: micros });
        let statistics = Sample { retransmits: 1, zero_windows: 2, resets: 3, handshake: times, ..sample(1) };
        Sample { sampling, round_trip: times, ..statistics }
    };
    let closed = run(settings(1, 1), vec![batch("node-a", 0, 100_000, vec![one(1, 500), one(4, 100)])]);
    for partial in closed.partials.iter().flat_map(|(_, batch)| &batch.partials) {
        let report = partial.by_initiator.as_ref().unwrap();
        assert_eq!((report.retransmits, report.zero_windows, report.resets), (5, 10, 15));
        let times = Some(RoundTrip { sum: 900, count: 5, min: 100, max: 500 });
        assert_eq!((report.round_trip, report.handshake), (times, times));
    }
}

#[test]
fn missing_ticks_are_known_per_node_also_after_a_restart() {
    let log = [100_000, 101_000, 103_000, 104_000, 120_000];
    let inputs: Vec<Input> = log
        .iter()
        .enumerate()
        .map(|(i, tick)| Input {
            offset: i64::try_from(i).unwrap(),
            append_time: tick + 1_000,
            size: 10,
            content: Content::Batch(batch("node-a", 0, *tick, vec![])),
        })
        .collect();
    let mut whole = partition(settings(1, 1));
    inputs.iter().for_each(|input| whole.read(input.clone()));
    let mut first = partition(settings(1, 1));
    inputs[..3].iter().for_each(|input| first.read(input.clone()));
    let ready = first.ready(FOR_EVER, 8).unwrap();
    first.close(ready, &Fake::default());
    let mut second = Partition::new("local", 0, history(settings(1, 1)), first.position());
    let from = usize::try_from(second.next_offset()).unwrap();
    assert_eq!(from, 0, "empty batches of agents hold the position");
    inputs[from..].iter().for_each(|input| second.read(input.clone()));
    for partition in [&mut whole, &mut second] {
        let last = partition.ready(FOR_EVER, 8).unwrap();
        let closed = partition.close(last, &Fake::default());
        let missing: Vec<_> = closed.markers.iter().filter(|(_, marker)| marker.generation == 100_000).collect();
        assert_eq!((missing.len(), missing[0].1.missing[0].ticks), (1, 1));
    }
}

/// Only names that a new owner would read again: those of the same generation, before the flow.
#[test]
fn flows_name_what_their_client_had_asked_for_in_the_same_window() {
    let external = |tick, n, dns| {
        let to = Sample { destination: address("203.0.113.40"), ..sample(1) };
        crate::fixtures::asking("node-a", n, tick, vec![to], dns)
    };
    let asked = |name| vec![DnsSample { answers: vec![address("203.0.113.40")], ..question(name) }];
    let closed = run(
        settings(1, 1),
        vec![external(100_000, 0, asked("api.example")), external(101_000, 1, vec![]), external(106_000, 2, vec![])],
    );
    for level in 0..4 {
        let names: Vec<_> =
            partials(&closed, level).iter().map(|p| (p.window, p.behind.ends()[1].domains.join(" "))).collect();
        assert_eq!(names, [(100_000, "api.example".to_owned()), (105_000, String::new())], "level {level}");
    }
    assert!(partials(&closed, 0).iter().all(|partial| partial.behind.ends()[0].domains.is_empty()));
}

/// The client asked for the service and was told its address; what it talks to is a pod behind it.
#[test]
fn a_services_name_is_known_behind_translation() {
    let mut behind = Sample { destination: address("10.96.0.1"), ..sample(1) };
    behind.translated = Some(weir_schemas::raw::Tuple {
        source: behind.source,
        destination: address("10.0.0.2"),
        source_port: behind.source_port,
        destination_port: behind.destination_port,
    });
    let told = DnsSample { answers: vec![address("10.96.0.1")], ..question("db.shop") };
    let closed = run(settings(1, 1), vec![crate::fixtures::asking("node-a", 0, 100_000, vec![behind], vec![told])]);
    let one = partials(&closed, 1);
    assert_eq!(
        (one[0].responder.address, &one[0].behind.ends()[1].domains[..]),
        (Some(address("10.0.0.2")), &["db.shop"][..])
    );
}

#[test]
fn dead_letters_count_as_memory_and_beyond_a_limit_keep_cause_and_origin_only() {
    let letter = |offset: i64, size: usize| DeadLetter {
        cause: "cause".to_owned(),
        topic: "t".to_owned(),
        partition: 0,
        offset,
        timestamp: 101_000,
        key: Some(vec![0; 10]),
        value: Some(vec![0; size]),
        length: u64::try_from(size).unwrap(),
    };
    // Before the first batch, and after it.
    for first in [0, 50] {
        let mut partition = Partition::new("local", 0, history(settings(1, 1)), Stage1Position::START);
        let mut read = |offset, content| partition.read(Input { offset, append_time: 101_000, size: 1, content });
        for offset in 0..50 {
            if offset == first {
                read(offset, Content::Batch(batch("node-a", 0, 100_000, vec![])));
            } else {
                read(offset, Content::Undecodable(letter(offset, 500_000)));
            }
        }
        assert!((15 << 20..18 << 20).contains(&partition.memory()), "{}", partition.memory());
        for (offset, tick) in [(50, 100_000), (51, 110_000)] {
            let content = Content::Batch(batch("node-a", 0, tick, vec![]));
            partition.read(Input { offset, append_time: tick, size: 1, content });
        }
        let last = partition.ready(Millis::MAX, 8).unwrap();
        let closed = partition.close(last, &Fake::default());
        let letters = if first == 0 { 49 } else { 50 };
        assert_eq!(closed.dead.len(), letters, "each has its letter");
        let whole = closed.dead.iter().filter(|letter| letter.value.is_some()).count();
        assert_eq!(whole, 33, "16 MiB of them");
        assert!(closed.dead.iter().take(whole).all(|letter| letter.value.is_some() && letter.key.is_some()));
        assert!(closed.dead.iter().all(|letter| letter.length == 500_000 && letter.cause == "cause"));
        assert_eq!(partition.counts().dead_without_bytes, u64::try_from(letters - whole).unwrap());
        assert!(partition.memory() < 1 << 20, "let go");
    }
}
