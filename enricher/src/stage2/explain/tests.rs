//! From samples to what a record says of policies, through both stages: who allowed, who denied, and whether it went so.

use super::super::tests::records;
use super::*;
use crate::fixtures::{Fake, address, answer, arriving, batch, dropped, sample, settings};
use crate::policies::tests::{at, from_pods, policies, policy, revision};
use crate::stage1::{RawBatch, Sample};
use crate::stage2::Enriched;
use serde_json::json;
use std::sync::Arc;
use weir_flow::Millis;
use weir_schemas::enriched::{Action, Verdict};
use weir_schemas::metadata::{Object, Policy, Revision};
use weir_schemas::partial::Answer;
use weir_schemas::raw::DropClass;

/// A tick in the middle of the window.
const TICK: Millis = 102_000;

/// web-1 at 10.0.0.1 may reach db-1 at 10.0.0.2 as these policies say.
fn under(more: &[Revision]) -> Fake {
    Fake { policies: Some(Arc::new(policies(more))), ..Fake::default() }
}

fn only_from(app: &str, from: Millis, to: Option<Millis>) -> Revision {
    policy(1, "db", &from_pods(&json!({"app": app})), at(from), to.map(at))
}

fn batches(tick: Millis, samples: Vec<Sample>) -> Vec<RawBatch> {
    vec![batch("node-a", 0, tick, samples)]
}

fn record(join: &Fake, batches: Vec<RawBatch>) -> Enriched {
    let mut records = records(settings(1, 1), join, batches);
    records.retain(|record| record.level == 1);
    assert_eq!(records.len(), 1, "one record: {records:?}");
    records.remove(0)
}

/// Attempts from ports 40 000 on, each opened at this time.
fn attempts(count: u16, opened_at: Millis) -> Vec<Sample> {
    let port = |n| Sample { source_port: 40_000 + n, opened_at: Some(opened_at), ..sample(60) };
    (0..count).map(port).collect()
}

/// The same as they leave and arrive, and what is sent back.
fn exchanges(count: u16, opened_at: Millis) -> Vec<Sample> {
    let both = |sample: Sample| [sample.clone(), arriving(sample.clone()), answer(sample)];
    attempts(count, opened_at).into_iter().flat_map(both).collect()
}

fn denied_by_netfilter(samples: Vec<Sample>) -> Vec<Sample> {
    samples.into_iter().map(|sample| dropped(sample, DropClass::Policy, 1)).collect()
}

fn verdicts(record: &Enriched) -> Vec<(Verdict, u64, u64, u64)> {
    record.judgements.iter().map(|said| (said.verdict, said.samples, said.against, said.otherwise)).collect()
}

#[test]
fn what_is_allowed_and_flows_is_as_judged_by_the_rule() {
    let record = record(&under(&[only_from("web", 0, None)]), batches(TICK, exchanges(5, TICK)));
    assert_eq!((verdicts(&record), record.explanation), (vec![(Verdict::Allow, 15, 0, 0)], Explanation::AsJudged));
    assert_eq!(record.judgements[0].trace[1], "1|default|shop/knp.default.db|allow|0");
    assert_eq!(record.action, Action::Allow);
}

#[test]
fn what_a_rule_denies_and_netfilter_drops_is_as_judged() {
    let spec = json!({
        "tier": "Admin",
        "priority": 10,
        "subject": {"namespaces": {}},
        "ingress": [{"name": "no-web", "action": "Deny", "from": [{"pods": {"podSelector": {"matchLabels": {"app": "web"}}}}]}],
    });
    let text = Policy {
        api_version: "policy.networking.k8s.io/v1alpha2".to_owned(),
        kind: "ClusterNetworkPolicy".to_owned(),
        spec: spec.to_string(),
        staged: false,
    };
    let mut admin = revision(1, "guard", &[], at(0), Object::Policy(text));
    admin.namespace = String::new();
    let record = record(&under(&[admin]), batches(TICK, denied_by_netfilter(attempts(5, TICK))));
    assert_eq!(
        (verdicts(&record), record.explanation),
        (vec![(Verdict::Deny, 5, 0, 0)], Explanation::AsJudged),
        "{record:?}"
    );
    assert_eq!(record.judgements[0].trace.last().unwrap(), "1|kube-admin|kcnp.kube-admin.guard|deny|0");
    assert_eq!(record.action, Action::Deny);
}

#[test]
fn a_default_deny_is_nobodys_rule() {
    let record = record(&under(&[only_from("other", 0, None)]), batches(TICK, denied_by_netfilter(attempts(1, TICK))));
    assert_eq!(record.judgements[0].trace[1], "1|default|end of tier|deny|-1");
    assert_eq!(record.judgements[0].selecting, ["NetworkPolicy shop/db"]);
    assert_eq!(record.explanation, Explanation::AsJudged);
}

#[test]
fn what_is_dropped_for_another_reason_is_not_the_policies_matter() {
    let full = attempts(5, TICK).into_iter().map(|sample| dropped(sample, DropClass::Other, 1)).collect();
    let record = record(&under(&[only_from("web", 0, None)]), batches(TICK, full));
    assert_eq!((verdicts(&record), record.explanation), (vec![(Verdict::Allow, 5, 0, 0)], Explanation::AsJudged));
}

#[test]
fn three_attempts_that_came_through_a_denial_are_a_mismatch() {
    let join = under(&[only_from("other", 0, None)]);
    let of = |count, opened_at| record(&join, batches(TICK, exchanges(count, opened_at)));
    let (two, three) = (of(2, TICK), of(3, TICK));
    assert_eq!((verdicts(&two), two.explanation), (vec![(Verdict::Deny, 6, 2, 4)], Explanation::Unexplained));
    assert_eq!((verdicts(&three), three.explanation), (vec![(Verdict::Deny, 9, 3, 6)], Explanation::Mismatch));
    // Of connections that are older than what was seen of them nothing is known.
    let mut old = exchanges(3, TICK);
    old.iter_mut().for_each(|sample| sample.opened_at = None);
    assert_eq!(record(&join, batches(TICK, old)).explanation, Explanation::Unexplained);
    // What the initiator's node saw leave shows nothing where the responder's is watched.
    assert_eq!(record(&join, batches(TICK, attempts(9, TICK))).explanation, Explanation::AsJudged);
}

#[test]
fn three_attempts_that_were_dropped_though_allowed_are_a_mismatch() {
    let join = under(&[only_from("web", 0, None)]);
    let of = |samples| record(&join, batches(TICK, samples)).explanation;
    assert_eq!(of(denied_by_netfilter(attempts(3, TICK))), Explanation::Mismatch);
    assert_eq!(of(denied_by_netfilter(attempts(2, TICK))), Explanation::Unexplained);
    // One packet of many: the connection is there.
    let mut some = denied_by_netfilter(attempts(3, TICK));
    some.iter_mut().for_each(|sample| sample.packets = 9);
    assert_eq!(of(some), Explanation::Unexplained);
}

#[test]
fn where_nobody_watches_the_responder_answers_show_that_it_came_through() {
    let mut join = under(&[only_from("other", 0, None)]);
    join.covered = vec!["node-a".to_owned()];
    let answered = |flags| -> Vec<Sample> {
        let both = |sample: Sample| {
            let back = arriving(answer(sample.clone()));
            let answer = Sample { tcp_flags: flags, resets: u64::from(flags & 4 > 0), ..back };
            [sample, answer]
        };
        attempts(3, TICK).into_iter().flat_map(both).collect()
    };
    let (syn_ack, rst_ack, ack) = (0x12, 0x14, 0x10);
    let of = |flags| record(&join, batches(TICK, answered(flags))).explanation;
    assert_eq!(
        [of(syn_ack), of(rst_ack), of(ack)],
        [Explanation::Mismatch, Explanation::AsJudged, Explanation::Unexplained]
    );
}

#[test]
fn a_rule_that_was_just_changed_is_not_held_against_anybody() {
    // Denied since 60 s; the settle time is 30 s.
    let join = under(&[only_from("other", 60_000, None)]);
    let of = |opened_at| record(&join, batches(TICK, exchanges(5, opened_at)));
    assert_eq!(of(89_999).explanation, Explanation::Unexplained);
    assert_eq!(of(90_000).explanation, Explanation::Mismatch);
}

/// Allowed until 101.5 s, denied from then on: the connection stays, its record says both.
#[test]
fn a_rule_changed_in_mid_connection_gives_a_verdict_to_each_tick() {
    let mut denied = policy(2, "db", &from_pods(&json!({"app": "other"})), at(101_500), None);
    denied.revision = 2;
    let join = under(&[only_from("web", 0, Some(101_500)), denied]);
    let ticks = (100_000..105_000).step_by(1_000).enumerate();
    let all = ticks.map(|(number, tick)| batch("node-a", u64::try_from(number).unwrap(), tick, exchanges(1, 99_000)));
    let record = record(&join, all.collect());
    assert_eq!(record.explanation, Explanation::Unexplained);
    assert_eq!(verdicts(&record), [(Verdict::Allow, 3, 0, 0), (Verdict::Deny, 9, 0, 6), (Verdict::Unknown, 3, 0, 0)]);
    assert_eq!(record.judgements[2].reason, "policies or labels changed within the tick");
    assert_eq!(record.samples, 15);
}

#[test]
fn without_an_answer_nothing_is_judged_and_without_a_verdict_nothing_is_known() {
    let nobody = record(&Fake::default(), batches(TICK, exchanges(1, TICK)));
    assert_eq!((nobody.judgements.len(), nobody.explanation), (0, Explanation::NotJudged));
    let mut join = under(&[]);
    let db = join.pods.get(&address("10.0.0.2")).unwrap().clone();
    join.ambiguous.insert(address("10.0.0.2"), vec![db]);
    let unknown = record(&join, batches(TICK, attempts(1, TICK)));
    assert_eq!((verdicts(&unknown)[0].0, unknown.explanation), (Verdict::Unknown, Explanation::Unknown));
}

#[test]
fn what_is_denied_goes_to_the_levels_of_what_is_denied() {
    let join = under(&[only_from("other", 0, None)]);
    let mut settings = settings(1, 1);
    settings.levels_allowed = vec![weir_flow::Level::Two];
    settings.levels_denied = vec![weir_flow::Level::Zero, weir_flow::Level::Three];
    let levels = |join: &Fake, samples| {
        let records = records(settings.clone(), join, batches(TICK, samples));
        assert!(records.iter().all(|record| record.arrival != Arrival::Never), "{records:?}");
        records.iter().map(|record| record.level).collect::<Vec<u8>>()
    };
    assert_eq!(levels(&join, attempts(1, TICK)), [0, 3]);
    assert_eq!(levels(&under(&[]), attempts(1, TICK)), [2]);
    assert_eq!(levels(&under(&[]), denied_by_netfilter(attempts(1, TICK))), [0, 2, 3]);
}

/// A record of redacted samples keeps the verdict and loses the names.
#[test]
fn a_filter_that_empties_fields_empties_traces() {
    let mut settings = settings(1, 1);
    settings.filters = vec![weir_filter::parse_rule("redact src.namespace: dst.port == 80").unwrap()];
    let records = records(settings, &under(&[only_from("web", 0, None)]), batches(TICK, exchanges(2, TICK)));
    for record in records.into_iter().filter(|record| record.level == 1) {
        assert_eq!(verdicts(&record), [(Verdict::Allow, 6, 0, 0)]);
        assert!(record.judgements[0].trace.is_empty());
    }
}

fn judged(verdict: Verdict, rule: usize, samples: u64, against: u64) -> Judged {
    let trace = vec![format!("0|default|shop/knp.default.p{rule:03}|allow|0")];
    let answer = Answer { verdict, reason: String::new(), trace, selecting: Vec::new(), pending: None };
    Judged { answer: Arc::new(answer), samples, against, otherwise: against }
}

#[test]
fn of_many_answers_those_are_listed_that_matter_most() {
    let mut many: Vec<Judged> =
        (0..10).map(|rule| judged(Verdict::Allow, rule, 10 + u64::try_from(rule).unwrap(), 0)).collect();
    many.push(judged(Verdict::Allow, 20, 1, 1));
    many.push(judged(Verdict::Deny, 21, 2, 0));
    let said = said(many);
    let samples: Vec<u64> = said.judgements.iter().map(|said| said.samples).collect();
    assert_eq!((samples, said.more, said.at_least), (vec![18, 19, 1, 2], 8, false));
    assert_eq!(said.explanation, Explanation::Unexplained);
}

#[test]
fn too_many_answers_are_one_of_each_verdict() {
    let mut many = Vec::new();
    for rule in 0..200 {
        crate::merge::add_judged(&mut many, &judged(Verdict::Allow, rule, 1, 0));
        crate::merge::add_judged(&mut many, &judged(Verdict::Deny, rule, 2, 0));
    }
    crate::merge::fold_judged(&mut many);
    assert_eq!((many.len(), many.iter().map(|judged| judged.samples).sum::<u64>()), (18, 600));
    let said = said(many);
    assert_eq!((said.judgements.len(), said.more, said.at_least), (4, 14, true));
}
