use super::*;
use crate::fixtures::{Fake, address, question, settings};
use weir_schemas::enriched::{Attribution, IdentifiedBy};
use weir_schemas::raw::Origin;

fn run(settings: &RecordSettings, join: &Fake, samples: &[DnsSample]) -> (Vec<DnsPartial>, Vec<Taken>) {
    let (partials, decided) = filtered(&[], settings, join, samples);
    (partials, decided.into_iter().map(|(taken, _)| taken).collect())
}

fn filtered(
    rules: &[&str],
    settings: &RecordSettings,
    join: &Fake,
    samples: &[DnsSample],
) -> (Vec<DnsPartial>, Vec<(Taken, Decided)>) {
    let rules: Vec<_> = rules.iter().map(|r| weir_filter::parse_rule(r).unwrap_or_else(|e| panic!("{e}"))).collect();
    let rules = Rules::compile(&rules).unwrap();
    let mut questions = Questions::default();
    let at = At {
        settings,
        cluster_known: true,
        window: 100_000,
        origin: Origin::Ebpf,
        times: (100_000, 100_999),
        domains: crate::stage1::names::Domains::default(),
    };
    let place = Place { tick: 100_000, tick_length: 1_000, node: "node-a" };
    let taken = samples.iter().map(|sample| questions.add(sample, &place, &at, &rules, join)).collect();
    let (of, mut batches) = (Of { cluster: "local", partition: 3, generation: 100_000 }, Vec::new());
    questions.close(&of, settings, join, &mut batches);
    (batches.into_iter().flat_map(|(_, batch)| batch.dns).collect(), taken)
}

#[test]
fn questions_are_counted_by_client_server_name_type_and_code() {
    let mut unanswered = question("db.shop");
    (unanswered.response_code, unanswered.latency, unanswered.answers) = (None, None, Vec::new());
    let mut other = DnsSample { answers: vec![address("10.0.0.9")], answers_more: 2, ..question("db.shop") };
    other.client = address("10.0.0.3");
    let (all, _) = run(&settings(1, 1), &Fake::default(), &[question("db.shop"), unanswered, other]);
    let found: Vec<_> = all.iter().map(|p| (p.response_code.as_str(), p.count, p.latency.map(|l| l.sum))).collect();
    assert_eq!(found, [("", 1, None), ("NOERROR", 2, Some(800))]);
    assert_eq!((all[1].question_type.as_str(), all[1].server.port), ("A", Some(53)));
    assert_eq!(all[1].answers, ["(more)", "10.0.0.2", "10.0.0.9"]);
    assert_eq!((all[1].client.workload.as_deref(), all[1].client.pod.as_deref()), (Some("web"), None));
    assert_eq!(all[1].client.labels, ["app=web"], "what both pods have");
}

#[test]
fn a_client_is_known_by_its_pod_first() {
    let mut one = question("db.shop");
    (one.pod_uid, one.client) = (Some("uid-db-1".to_owned()), address("10.9.9.9"));
    let join = Fake { one_observer: true, ..Fake::default() };
    let (all, _) = run(&settings(1, 1), &join, &[one]);
    assert_eq!((all[0].client.workload.as_deref(), all[0].client.by), (Some("db"), IdentifiedBy::Uid));
}

#[test]
fn the_servers_report_counts_only_where_the_client_is_not_covered() {
    let at_server = DnsSample { end: End::Destination, ..question("db.shop") };
    let both = [question("db.shop"), at_server];
    let (all, taken) = run(&settings(1, 1), &Fake::default(), &both);
    assert_eq!((all[0].count, taken), (1, vec![Taken::Whole, Taken::Outside]));
    let uncovered = Fake { covered: Vec::new(), ..Fake::default() };
    assert_eq!(run(&settings(1, 1), &uncovered, &both).1, [Taken::Outside, Taken::Whole]);
    let transit = DnsSample { point: Point::Transit, ..question("db.shop") };
    assert_eq!(run(&settings(1, 1), &Fake::default(), &[transit]).1, [Taken::Outside]);
}

#[test]
fn random_names_of_one_domain_are_coarsened_and_others_survive() {
    let settings = RecordSettings { keys_limit: 20, ..settings(1, 1) };
    let random = (0..200).map(|n| DnsSample { response_code: Some(3), ..question(&format!("{n:x}.victim.example")) });
    let ordinary = |from: u32| (from..from + 5).map(|n| question(&format!("service-{n}.shop.svc.cluster.local")));
    let all: Vec<DnsSample> = ordinary(0).chain(random).chain(ordinary(5)).collect();
    let (records, taken) = run(&settings, &Fake::default(), &all);
    let coarse: Vec<_> = records.iter().filter(|p| dns::is_coarse(&p.question)).collect();
    assert_eq!((coarse.len(), coarse[0].question.as_str(), coarse[0].count), (1, "(more).victim.example", 200));
    assert_eq!(coarse[0].client.workload.as_deref(), Some("web"), "who asked is still known");
    assert_eq!(records.len(), 11);
    let coarsened: u64 = taken.iter().map(|t| if let Taken::Coarsened(samples) = t { *samples } else { 0 }).sum();
    assert_eq!(coarsened, 200);
}

#[test]
fn what_no_domain_stands_for_goes_to_a_catch_all() {
    let settings = RecordSettings { keys_limit: 4, ..settings(1, 1) };
    let all: Vec<DnsSample> = (0..10).map(|n| question(&format!("name.of-{n}"))).collect();
    let (records, _) = run(&settings, &Fake::default(), &all);
    let rest: Vec<_> = records.iter().filter(|p| p.question == MORE).collect();
    assert_eq!((records.len(), rest.len(), rest[0].count), (5, 1, 6));
    assert_eq!((rest[0].client.attribution, rest[0].server.address), (Attribution::None, None));
}

fn by_rule(rule: &str, samples: &[DnsSample]) -> (Vec<DnsPartial>, Vec<(Taken, Decided)>) {
    filtered(&[rule], &settings(1, 1), &Fake::default(), samples)
}

#[test]
fn rules_are_asked_of_questions_as_of_a_flow_from_client_to_server() {
    let never = DnsSample { response_code: Some(3), ..question("db.secret.example") };
    for rule in [
        "drop: dns",
        "drop: src.workload == \"web\" and dst.port == 53",
        "drop: dns.question.endsWith(\".secret.example\") and dns.type == \"A\" and dns.response_code == \"NXDOMAIN\"",
        "drop: protocol == udp and origin == ebpf and reporter == initiator and src.labels[\"app\"] == \"web\"",
    ] {
        let (records, taken) = by_rule(rule, std::slice::from_ref(&never));
        assert_eq!((records.len(), taken), (0, vec![(Taken::LeftOut, Decided::Dropped)]), "{rule}");
    }
    for rule in ["drop: not dns", "drop: bytes >= 0", "drop: dns.question == \"other\"", "drop: has(src.tcp_flags)"] {
        assert_eq!(by_rule(rule, std::slice::from_ref(&never)).1, [(Taken::Whole, Decided::Kept(1))], "{rule}");
    }
}

#[test]
fn what_a_rule_redacts_is_in_no_record() {
    let rule = "redact src.workload, src.labels, dst.address: src.namespace == \"shop\"";
    let (records, taken) = by_rule(rule, &[question("db.shop")]);
    assert_eq!(taken, [(Taken::Whole, Decided::Redacted)]);
    let record = &records[0];
    assert_eq!((record.client.workload.as_deref(), record.client.namespace.as_deref()), (None, Some("shop")));
    assert_eq!((record.client.labels.len(), record.server.address, record.server.port), (0, None, Some(53)));
}

#[test]
fn a_sampled_question_stands_for_those_that_were_passed_over() {
    let all: Vec<DnsSample> = (0..400).map(|n| DnsSample { count: 3, ..question(&format!("name-{n}")) }).collect();
    let (records, taken) = by_rule("sample 4: dns", &all);
    let (again, _) = by_rule("sample 4: dns", &all);
    assert_eq!(records, again, "the choice is by what was asked");
    let kept = taken.iter().filter(|(_, decided)| *decided == Decided::Kept(4)).count();
    assert_eq!(kept + taken.iter().filter(|(_, decided)| *decided == Decided::PassedOver).count(), 400);
    assert!((60..140).contains(&kept), "{kept} of 400");
    assert!(records.iter().all(|record| record.count == 12 && record.latency.is_some_and(|l| l.count == 4)));
}

#[test]
fn before_semantics_3_rules_are_of_flows_alone() {
    let before = RecordSettings { semantics: 2, ..settings(1, 1) };
    let (records, taken) = filtered(&["drop: true"], &before, &Fake::default(), &[question("db.shop")]);
    assert_eq!((records.len(), taken), (1, vec![(Taken::Whole, Decided::Kept(1))]));
}
