use super::*;
use crate::fixtures::{Fake, address, answer, arriving, batch, dropped, history, sample, settings};
use crate::history::{HistoryError, SettingsHistory};
use crate::observe::Place;
use crate::observe::tests::observe;
use crate::position::Stage1Position;
use crate::stage1::{Closed, Content, Input, Partition, RawBatch, Sample};
use weir_filter::{Place as Known, parse, parse_rule};
use weir_flow::{RecordSettings, time::FOR_EVER};
use weir_schemas::ledger::{Ledger, Received};
use weir_schemas::raw::OpenedBy;

const PLACE: Place<'static> = Place { tick: 100_000, tick_length: 1_000, node: "node-a" };

fn filtered(rules: &[&str]) -> RecordSettings {
    let filters = rules.iter().map(|rule| parse_rule(rule).unwrap_or_else(|error| panic!("{error}"))).collect();
    RecordSettings { filters, ..settings(1, 1) }
}

/// Reads batches and closes everything.
fn run(rules: &[&str], batches: Vec<RawBatch>) -> (Closed, Partition) {
    let mut partition = Partition::new("local", 0, history(filtered(rules)), Stage1Position::START);
    for (offset, batch) in (0..).zip(batches.into_iter().chain([batch("node-a", 99, 200_000, vec![])])) {
        let append_time = batch.tick + 1_000;
        partition.read(Input { offset, append_time, size: 100, content: Content::Batch(batch) });
    }
    let last = partition.ready(FOR_EVER, usize::MAX).unwrap();
    let closed = partition.close(last, &Fake::default());
    (closed, partition)
}

fn partials(closed: &Closed) -> Vec<&Partial> {
    closed.partials.iter().flat_map(|(_, batch)| &batch.partials).collect()
}

fn line(line: &Ledger) -> Option<&Received> {
    match line {
        Ledger::Received(received) => Some(received),
        Ledger::Stored(_) | Ledger::Questions(_) => None,
    }
}

fn received(closed: &Closed) -> Vec<&Received> {
    let says = |line: &&Received| !line.lost.is_empty() || line.received.samples > 0;
    closed.ledger.iter().filter_map(line).filter(says).collect()
}

fn holds(text: &str, sample: &Sample) -> bool {
    let join = Fake { services: [((address("10.0.0.2"), 80), "shop/db".to_owned())].into(), ..Fake::default() };
    let observation = observe(sample, &PLACE, &join);
    let seen = Seen { observation: &observation, origin: Origin::Ebpf };
    parse(text, Known::Sample).unwrap_or_else(|error| panic!("{error}")).holds(&seen)
}

#[test]
fn filters_see_what_the_join_says_of_both_ends() {
    let mut sent = dropped(sample(1_500), DropClass::Policy, 1);
    sent.process = Some("curl".into());
    sent.sampling = 2;
    for text in [
        r#"src.namespace == "shop" and src.pod == "web-1" and src.pod_uid == "uid-web-1" and src.node == "node-a""#,
        r#"dst.workload == "db" and dst.workload_kind == "Deployment" and dst.service_account == "default""#,
        r#"src.labels["app"] == "web" and "app=db" in dst.labels"#,
        "src.address == 10.0.0.1 and dst.address in 10.0.0.0/8 and src.port == 40000 and dst.port == 80",
        "addresses in [10.0.0.2] and not addresses in [10.0.0.3]",
        "src.scope == private and src.attribution == exact and direction == internal",
        "protocol == tcp and origin == ebpf and reporter == initiator and point == pod",
        "action == deny and policy in drop_class and \"NETFILTER_DROP\" in drop_reasons",
        "bytes == 3000 and src.bytes == 3kB and dst.bytes == 0 and packets == 2 and started == 2 and sampling == 2",
        "syn in src.tcp_flags and not has(dst.tcp_flags)",
        r#"src.process == "curl" and not has(dst.process)"#,
        "not orientation_guessed and not untranslated and not has(src.zone) and not has(src.host)",
    ] {
        assert!(holds(text, &sent), "{text}");
    }
    assert!(holds("action == mixed", &dropped(Sample { packets: 3, ..sample(1) }, DropClass::Policy, 1)));
    assert!(holds("action == allow", &dropped(sample(1), DropClass::Other, 1)));
    let outside = Sample { destination: address("8.8.8.8"), ..sample(1) };
    assert!(holds("dst.attribution == none and dst.reason == outside and direction == outbound", &outside));
    assert!(holds("dst.scope == public and dst.namespace != 'shop' and not has(dst.namespace)", &outside));
}

#[test]
fn a_reply_has_the_ends_of_its_connection_and_its_own_counters() {
    for text in [
        r#"src.pod == "web-1" and dst.pod == "db-1" and dst.port == 80"#,
        "reporter == responder and src.bytes == 0 and dst.bytes == 7 and bytes == 7",
        "syn in dst.tcp_flags and not has(src.tcp_flags)",
    ] {
        assert!(holds(text, &answer(sample(7))), "{text}");
    }
}

#[test]
fn the_four_samples_of_a_connection_are_chosen_together_and_one_in_n_connections_is() {
    let join = Fake::default();
    let mut chosen = 0;
    for port in 1_024..11_024 {
        let sent = Sample { source_port: port, destination_port: 50_000, ..sample(1) };
        // Who came too late to see the opening takes the lower port for the responder's.
        let late = Sample { opened_by: OpenedBy::Unknown, ..arriving(sent.clone()) };
        let all = [sent.clone(), arriving(sent.clone()), answer(sent.clone()), arriving(answer(sent.clone())), late];
        let answers = all.map(|sample| is_chosen(&observe(&sample, &PLACE, &join), 10));
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{port}: {answers:?}");
        chosen += u32::from(answers[0]);
    }
    assert!((900..1_100).contains(&chosen), "{chosen} of 10 000");
    assert!(is_chosen(&observe(&sample(1), &PLACE, &join), 1), "one in one is all");
}

#[test]
fn what_is_dropped_is_in_no_record_and_in_the_ledger() {
    let other = Sample { destination_port: 443, packets: 3, ..sample(1_000) };
    let batches = vec![batch("node-a", 0, 100_000, vec![sample(100), other.clone(), sample(10)])];
    let (closed, partition) = run(&["drop: dst.port == 80"], batches);
    let all = partials(&closed);
    assert_eq!(all.len(), 4, "one record a level");
    assert!(all.iter().all(|partial| partial.totals.forward_bytes == 1_000 && partial.samples == 1));
    let lines = received(&closed);
    assert_eq!(lines[0].received, Totals { packets: 3, bytes: 1_000, samples: 1 });
    assert_eq!(lines[0].lost.len(), 1);
    assert_eq!(lines[0].lost[0].reason, "filtered");
    assert_eq!(lines[0].lost[0].lost, Totals { packets: 2, bytes: 110, samples: 2 });
    assert_eq!((closed.samples, partition.counts().filtered), (1, 2));
}

#[test]
fn the_first_rule_that_selects_decides_about_a_sample() {
    let batches = || vec![batch("node-a", 0, 100_000, vec![sample(100)])];
    assert_eq!(partials(&run(&["keep: src.namespace == 'shop'", "drop: true"], batches()).0).len(), 4);
    assert_eq!(partials(&run(&["drop: true", "keep: src.namespace == 'shop'"], batches()).0).len(), 0);
    assert_eq!(partials(&run(&["drop: src.namespace == 'other'"], batches()).0).len(), 4);
}

#[test]
fn a_sampled_flow_stands_for_all_of_its_kind() {
    let ports = 1_024..2_024_u16;
    let samples = ports.map(|port| Sample { source_port: port, sampling: 2, ..sample(100) }).collect();
    let (closed, partition) = run(&["sample 4: dst.port == 80"], vec![batch("node-a", 0, 100_000, samples)]);
    let level_zero: Vec<_> = partials(&closed).into_iter().filter(|partial| partial.level == 0).collect();
    let taken = u64::try_from(level_zero.len()).unwrap();
    assert!((200..300).contains(&taken), "{taken} of 1000");
    for partial in level_zero {
        let report = partial.by_initiator.as_ref().unwrap();
        assert_eq!((report.sampling, report.counters.forward_bytes, report.counters.started), (8, 800, 8));
        assert_eq!(partial.totals.forward_packets, 8);
    }
    let line = received(&closed)[0];
    assert_eq!((line.received.samples, &*line.lost[0].reason), (taken, "sampled_out"));
    assert_eq!(
        line.received.bytes + line.lost[0].lost.bytes,
        100_000,
        "the ledger holds what was counted, not what it stands for"
    );
    let counts = partition.counts();
    assert_eq!((counts.sampled, counts.sampled_out), (taken, 1_000 - taken));
}

#[test]
fn what_is_redacted_is_nowhere_on_a_record() {
    let rule = r#"redact src.address, src.port, src.pod, src.pod_uid, src.node, src.labels["pod"], dst.labels, dst.workload, src.process: true"#;
    let sent = Sample { process: Some("curl".into()), ..sample(100) };
    let (closed, partition) = run(&[rule], vec![batch("node-a", 0, 100_000, vec![sent])]);
    let all = partials(&closed);
    assert_eq!(all.iter().map(|partial| partial.level).collect::<Vec<_>>(), [0, 1, 2, 3]);
    for partial in &all {
        let text = format!("{:?} {:?}", partial.initiator, partial.behind.ends()[0]);
        for secret in ["10.0.0.1", "40000", "web-1", "node-a", "curl"] {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
        assert_eq!(partial.initiator.labels, ["app=web"]);
        assert_eq!(
            (partial.initiator.workload.as_deref(), partial.initiator.namespace.as_deref()),
            (Some("web"), Some("shop"))
        );
        assert_eq!((&partial.responder.labels[..], &partial.responder.workload), (&[][..], &None));
        assert_eq!(partial.totals.forward_bytes, 100, "it is counted all the same");
    }
    assert_eq!(partition.counts().redacted, 1);
}

#[test]
fn redacted_flows_of_different_pods_share_a_record() {
    let samples = vec![sample(1), Sample { source: address("10.0.0.3"), source_port: 5, ..sample(2) }];
    let rule = "redact src.address, src.port, src.pod, src.pod_uid: true";
    let (closed, _) = run(&[rule], vec![batch("node-a", 0, 100_000, samples)]);
    assert!(
        partials(&closed).iter().all(|partial| partial.totals.forward_bytes == 3),
        "the key no longer tells them apart"
    );
}

#[test]
fn candidates_without_a_name_are_none() {
    let mut join = Fake::default();
    let pods: Vec<_> = join.pods.values().cloned().collect();
    join.ambiguous.insert(address("10.0.0.1"), pods);
    let sent = sample(1);
    let mut observation = observe(&sent, &PLACE, &join);
    let subjects = |rule: &str| match Rules::compile(&[parse_rule(rule).unwrap()])
        .unwrap()
        .decide(&Seen { observation: &observe(&sent, &PLACE, &join), origin: Origin::Ebpf })
    {
        Action::Redact(subjects) => subjects.clone(),
        other => panic!("{other:?}"),
    };
    redact::redact(&mut observation, &subjects("redact src.namespace: true"));
    assert_eq!(observation.initiator.side(true).candidates, ["db-1", "web-1", "web-2"]);
    redact::redact(&mut observation, &subjects("redact src.pod: true"));
    assert!(observation.initiator.side(true).candidates.is_empty());
}

#[test]
fn never_is_said_only_where_the_other_report_would_have_been_taken() {
    let rules = |text: &str| Rules::compile(&[parse_rule(text).unwrap()]).unwrap().reports();
    let (closed, _) = run(&[], vec![batch("node-a", 0, 100_000, vec![sample(1)])]);
    let mut partial = partials(&closed)[0].clone();
    let never = (Arrival::Never, "");
    let doubtful = (Arrival::Unknown, "filtered");
    assert_eq!(doubted(never, None, &partial), never);
    assert_eq!(doubted(never, rules("drop: dst.port == 53"), &partial), never);
    assert_eq!(doubted(never, rules("drop: dst.namespace == 'dns'"), &partial), never);
    assert_eq!(doubted(never, rules("drop: dst.namespace != 'dns'"), &partial), doubtful);
    assert_eq!(doubted(never, rules("drop: reporter == responder"), &partial), doubtful);
    partial.responder.change(|side| side.attribution = Attribution::Ambiguous);
    assert_eq!(doubted(never, rules("drop: dst.namespace == 'dns'"), &partial), doubtful);
    assert_eq!(doubted((Arrival::Ok, ""), rules("drop: reporter == responder"), &partial), (Arrival::Ok, ""));
}

#[test]
fn settings_whose_filter_has_no_meaning_are_refused_with_the_place() {
    let mut broken = filtered(&["drop: true"]);
    broken.filters[0].expression = "src.namspace == 'shop'".to_owned();
    let error = SettingsHistory::new("local", vec![broken]).unwrap_err();
    assert!(matches!(error, HistoryError::Filter { .. }));
    let text = error.to_string();
    assert!(text.starts_with("settings of cluster local: filter 1: there is no field src.namspace\n"), "{text}");
    assert!(text.contains("^^^^^^^^^^^^") && text.contains("did you mean src.namespace?"), "{text}");
}
