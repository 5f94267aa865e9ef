//! Verdicts as of a tick of one second that begins at 100 s.

use super::*;
use crate::fixtures::{self, address, settings};
use crate::policies::tests::{at, between, from_pods, namespace, pod, policies, policy, staged};
use serde_json::json;
use std::borrow::Cow;
use weir_schemas::enriched::IdentifiedBy;
use weir_schemas::metadata::Revision;

const TICK: (Millis, Millis) = (100_000, 100_999);

fn end(name: &str, app: &str) -> Identity {
    Identity::clone(&fixtures::pod("shop", name, app, "node-a"))
}

/// A connection by TCP.
fn to_port_80<'a, 'p>(
    initiator: &'a Resolution<'p>,
    responder: &'a Resolution<'p>,
    tick: (Millis, Millis),
    settings: &'a RecordSettings,
) -> Connection<'a, 'p> {
    Connection {
        initiator: (initiator, address("10.0.0.1")),
        responder: (responder, address("10.0.0.2")),
        translated: None,
        protocol: 6,
        port: 80,
        tick,
        settings,
    }
}

/// From web-1 to port 80 of db-1.
fn judge_with(
    judge: &Judge,
    policies: &Policies,
    tick: (Millis, Millis),
    change: impl FnOnce(&mut RecordSettings),
) -> Option<Judged> {
    let mut settings = settings(1, 1);
    change(&mut settings);
    let (web, db) = (end("web-1", "web"), end("db-1", "db"));
    let [web, db] = [&web, &db].map(|who| Resolution::exact(Cow::Borrowed(who), IdentifiedBy::Address));
    judge.judge(policies, &to_port_80(&web, &db, tick, &settings), &mut Parties::default())
}

fn judge(more: &[Revision]) -> Judged {
    judge_with(&Judge::default(), &policies(more), TICK, |_| ()).unwrap()
}

fn outcome(judged: &Judged) -> (Verdict, &str) {
    (judged.answer.verdict, &judged.answer.reason)
}

/// Policy `db`: from pods of this app only.
fn db(
    number: u64,
    app: &str,
    from: weir_schemas::metadata::Bound,
    to: Option<weir_schemas::metadata::Bound>,
) -> Revision {
    policy(number, "db", &from_pods(&json!({"app": app})), from, to)
}

const CHANGED: &str = "policies or labels changed within the tick";

#[test]
fn the_rule_that_allows_is_named_and_the_end_of_a_tier_that_denies() {
    let allowed = judge(&[db(1, "web", at(0), None)]);
    assert_eq!(outcome(&allowed), (Verdict::Allow, ""));
    assert_eq!(
        allowed.answer.trace,
        ["0|__PROFILE__|__PROFILE__.kns.shop|allow|0", "1|default|shop/knp.default.db|allow|0"]
    );
    assert_eq!(allowed.answer.selecting, Vec::<String>::new());
    let denied = judge(&[db(1, "other", at(0), None)]);
    assert_eq!(outcome(&denied), (Verdict::Deny, ""));
    assert_eq!(denied.answer.trace[1], "1|default|end of tier|deny|-1");
    assert_eq!(denied.answer.selecting, ["NetworkPolicy shop/db"]);
    assert_eq!(denied.answer.pending, None);
    // And a port by the name that the pod gives it.
    let mut named = from_pods(&json!({"app": "web"}));
    named["ingress"][0]["ports"] = json!([{"port": "sql"}]);
    assert_eq!(judge(&[policy(1, "db", &named, at(0), None)]).answer.verdict, Verdict::Allow);
}

#[test]
fn staged_policies_are_pending() {
    let judged = judge(&[staged(db(1, "other", at(0), None))]);
    assert_eq!(judged.answer.verdict, Verdict::Allow);
    let pending = judged.answer.pending.as_ref().unwrap();
    assert_eq!((pending.verdict, pending.trace[1].as_str()), (Verdict::Deny, "1|default|end of tier|deny|-1"));
    let nameless = judged.without_names();
    assert_eq!((nameless.answer.trace.len(), nameless.answer.pending.as_ref().unwrap().trace.len()), (0, 0));
}

#[test]
fn each_tick_has_the_policies_of_its_time() {
    let world =
        policies(&[db(1, "other", at(50_000), Some(at(100_500))), db(2, "web", at(100_500), Some(at(200_000)))]);
    let judge = Judge::default();
    let at = |tick| judge_with(&judge, &world, (tick, tick + 999), |_| ()).unwrap();
    // In whatever order it is asked, as when partitions are behind each other.
    for _ in 0..2 {
        assert_eq!(outcome(&at(49_000)), (Verdict::Allow, ""));
        assert_eq!(outcome(&at(99_000)), (Verdict::Deny, ""));
        assert_eq!(outcome(&at(100_000)), (Verdict::Unknown, CHANGED));
        assert_eq!(outcome(&at(101_000)), (Verdict::Allow, ""));
        assert_eq!(at(101_000).answer.trace[1], "1|default|shop/knp.default.db|allow|0");
        assert_eq!(at(200_000).answer.trace[1], "1|__PROFILE__|__PROFILE__.kns.shop|allow|0");
    }
    assert_eq!((at(99_000).since, at(101_000).since, at(200_000).since), (50_000, 100_500, 200_000));
}

#[test]
fn a_change_in_doubt_makes_a_verdict_unknown_only_where_it_matters() {
    let doubt = between(90_000, 110_000);
    assert_eq!(outcome(&judge(&[db(1, "other", doubt, None)])), (Verdict::Unknown, CHANGED));
    assert_eq!(outcome(&judge(&[db(1, "web", doubt, None)])), (Verdict::Allow, ""));
    let relabelled = pod(2, "web-1", &["app=other"], doubt);
    assert_eq!(outcome(&judge(&[db(1, "web", at(0), None), relabelled.clone()])), (Verdict::Unknown, CHANGED));
    assert_eq!(outcome(&judge(&[db(1, "elsewhere", at(0), None), relabelled])), (Verdict::Deny, ""));
    // A pod that came only within the tick is what it was then.
    let mut world = policies(&[db(1, "new", at(0), None)]);
    world.forget("local/Pod/uid-web-1/1");
    world.take(&weir_schemas::metadata::Metadata::Revision(pod(2, "web-1", &["app=new"], between(100_200, 100_400))));
    let judged = judge_with(&Judge::default(), &world, TICK, |_| ()).unwrap();
    assert_eq!((outcome(&judged), judged.since), ((Verdict::Allow, ""), 100_400));
}

#[test]
fn what_may_decide_says_since_when_it_is_as_it_is() {
    let none = |more: &[Revision]| judge(more).since;
    assert_eq!(none(&[]), 0);
    assert_eq!(none(&[pod(2, "db-1", &["app=db", "x=y"], between(60_000, 61_000))]), 61_000);
    assert_eq!(none(&[namespace(2, &["x=y"], at(62_000))]), 62_000);
    assert_eq!(
        none(&[policy(
            1,
            "gone",
            &json!({"podSelector": {}, "ingress": [{}]}),
            at(1_000),
            Some(between(63_000, 64_000))
        )]),
        64_000
    );
    // A policy of another namespace is no matter.
    let mut far = policy(1, "far", &json!({"podSelector": {}}), at(65_000), None);
    far.namespace = "elsewhere".to_owned();
    assert_eq!(none(&[far]), 0);
    // The one that may have been last counts, which need not be the one that may have been first.
    let later = policy(1, "later", &json!({"podSelector": {}, "ingress": [{}]}), at(70_000), None);
    assert_eq!(none(&[db(1, "web", between(60_000, 90_000), None), later]), 90_000);
    // Nor is what comes later; a change that may have been within the tick is.
    assert_eq!(none(&[db(1, "web", at(101_000), None)]), 0);
    assert_eq!(none(&[db(1, "web", between(100_999, 200_000), None)]), 200_000);
}

#[test]
fn a_policy_made_anew_under_its_name_is_the_new_one() {
    let mut new = db(1, "web", between(80_000, 82_000), None);
    new.uid = "another".to_owned();
    // The old one's end may have been later than the new one's beginning.
    let old = db(1, "other", at(0), Some(between(80_000, 120_000)));
    for order in [[old.clone(), new.clone()], [new, old]] {
        assert_eq!(outcome(&judge(&order)), (Verdict::Allow, ""));
    }
}

#[test]
fn an_end_that_is_not_certain_is_not_judged_about() {
    let world = policies(&[]);
    let (judge, settings) = (Judge::default(), settings(1, 1));
    let (web, db) = (end("web-1", "web"), end("db-1", "db"));
    let exact = Resolution::exact(Cow::Borrowed(&web), IdentifiedBy::Uid);
    let ask = |a: &Resolution<'_>, b: &Resolution<'_>| {
        let (from, to) = (address("10.0.0.1"), address("8.8.8.8"));
        let port = 80;
        judge.judge(
            &world,
            &Connection {
                initiator: (a, from),
                responder: (b, to),
                translated: None,
                protocol: 6,
                port,
                tick: TICK,
                settings: &settings,
            },
            &mut Parties::default(),
        )
    };
    let outside = Resolution::none(Some(NoneReason::Outside));
    let ambiguous = Resolution::ambiguous(vec![Cow::Borrowed(&db)]);
    assert_eq!(ask(&exact, &outside).unwrap().answer.verdict, Verdict::Allow);
    assert_eq!(outcome(&ask(&exact, &ambiguous).unwrap()), (Verdict::Unknown, "who had the address is not certain"));
    assert_eq!(ask(&outside, &outside), None);
    assert_eq!(ask(&exact, &Resolution::none(Some(NoneReason::NoCluster))), None);
    let stranger = end("stranger", "x");
    let stranger = Resolution::exact(Cow::Borrowed(&stranger), IdentifiedBy::Uid);
    assert_eq!(ask(&exact, &stranger).unwrap().answer.reason, "the metadata no longer has a pod or its namespace");
}

#[test]
fn the_settings_decide_what_is_left_to_the_plugin_and_whether_records_are_judged() {
    let block = json!({"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/24"}}]}]});
    let world = policies(&[policy(1, "db", &block, at(0), None)]);
    let judge = Judge::default();
    let of =
        |name: &str| judge_with(&judge, &world, TICK, |settings| name.clone_into(&mut settings.cni_profile)).unwrap();
    assert_eq!(
        (of("").answer.verdict, of("calico").answer.verdict, of("cilium").answer.verdict),
        (Verdict::Unknown, Verdict::Allow, Verdict::Deny)
    );
    assert_eq!(of("").answer.reason, "implementation-defined: whether ipBlock matches pod addresses");
    assert_eq!(judge_with(&judge, &world, TICK, |settings| settings.semantics = 1), None);
}

#[test]
fn many_changes_are_each_compiled_from_what_was_there() {
    // More sets of policies than are kept, asked for to and fro.
    let apps = ["web", "other"];
    let revisions: Vec<Revision> = (0..40_u64)
        .map(|number| {
            let begin = i64::try_from(number).unwrap() * 10_000;
            db(number + 1, apps[usize::try_from(number % 2).unwrap()], at(begin), Some(at(begin + 10_000)))
        })
        .collect();
    let world = policies(&revisions);
    let judge = Judge::default();
    for number in (0..40).chain((0..40).rev()).chain([3, 30, 4, 29, 3]) {
        let tick = number * 10_000 + 5_000;
        let wanted = if number % 2 == 0 { Verdict::Allow } else { Verdict::Deny };
        let judged = judge_with(&judge, &world, (tick, tick + 999), |_| ()).unwrap();
        assert_eq!((judged.answer.verdict, judged.since), (wanted, number * 10_000), "{number}");
    }
}

#[test]
fn what_was_found_out_about_an_end_holds_for_its_tick_alone() {
    let relabelled = pod(2, "web-1", &["app=other"], at(150_000));
    let mut names = vec![db(1, "web", at(0), None), relabelled];
    names.push(policy(2, "later", &from_pods(&json!({"app": "other"})), at(250_000), None));
    let world = policies(&names);
    let (judge, settings) = (Judge::default(), settings(1, 1));
    let (web, db) = (end("web-1", "web"), end("db-1", "db"));
    let [web, db] = [&web, &db].map(|who| Resolution::exact(Cow::Borrowed(who), IdentifiedBy::Uid));
    let mut shared = Parties::default();
    let mut seen = Vec::new();
    // To and fro, as when partitions are behind each other, in both directions and to itself.
    for tick in [100_000, 100_000, 200_000, 149_500, 300_000, 100_000] {
        for (initiator, responder) in [(&web, &db), (&db, &web), (&web, &web)] {
            let connection = to_port_80(initiator, responder, (tick, tick + 999), &settings);
            let alone = judge.judge(&world, &connection, &mut Parties::default());
            let together = judge.judge(&world, &connection, &mut shared);
            assert_eq!(together, alone, "{tick}");
            seen.push(together.unwrap().answer.verdict);
        }
    }
    let kinds = [Verdict::Allow, Verdict::Deny, Verdict::Unknown];
    assert!(kinds.iter().all(|kind| seen.contains(kind)), "{seen:?}");
}

#[test]
fn what_is_kept_of_a_pod_holds_until_something_is_told_of_it() {
    use weir_schemas::metadata::Metadata;
    let selecting = |number, name: &str, labels: &serde_json::Value, from| {
        let spec = json!({
            "podSelector": {},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"namespaceSelector": {"matchLabels": labels}}]}],
        });
        policy(number, name, &spec, from, None)
    };
    let mut world = policies(&[db(1, "web", at(0), None)]);
    let ended = Revision { valid_to: Some(between(170_000, 175_000)), ..pod(1, "db-1", &["app=db"], at(0)) };
    let told = [
        pod(2, "web-1", &["app=other"], at(120_000)),
        // In doubt, and then told for certain.
        pod(3, "web-1", &["app=web"], between(130_000, 150_000)),
        pod(3, "web-1", &["app=web"], at(140_000)),
        selecting(2, "teams", &json!({"team": "blue"}), at(0)),
        namespace(2, &["team=blue"], at(150_000)),
        ended,
        db(2, "other", at(160_000), None),
        pod(2, "db-1", &["app=cache"], at(180_000)),
    ];
    let (judge, settings) = (Judge::default(), settings(1, 1));
    let (web, db, host) = (end("web-1", "web"), end("db-1", "db"), end("host-1", "host"));
    let [web, db, host] = [&web, &db, &host].map(|who| Resolution::exact(Cow::Borrowed(who), IdentifiedBy::Uid));
    let mut seen = Vec::new();
    let mut compare = |world: &Policies| {
        for tick in [100_000, 119_500, 125_000, 135_000, 145_000, 155_000, 165_000, 172_000, 190_000, 100_000] {
            for (initiator, responder) in [(&web, &db), (&db, &web), (&web, &web), (&host, &db)] {
                let connection = to_port_80(initiator, responder, (tick, tick + 999), &settings);
                let ends = [connection.initiator.0, connection.responder.0];
                let (mut parties, mut again) = (Parties::default(), Parties::default());
                judge.meet(world, &ends, (connection.tick, &settings), &mut parties);
                let kept = judge.judge(world, &connection, &mut parties);
                let anew = Judge::default().judge(world, &connection, &mut again);
                assert_eq!(kept, anew, "{tick}");
                seen.extend(kept.map(|judged| (judged.answer.verdict, judged.since)));
            }
        }
    };
    compare(&world);
    for revision in told {
        world.take(&Metadata::<String>::Revision(revision));
        compare(&world);
    }
    for gone in ["Pod/uid-web-1/2", "Pod/uid-db-1/2", "Pod/uid-db-1/1", "Namespace/uid-shop/2"] {
        world.forget(&format!("{}/{gone}", fixtures::CLUSTER));
        compare(&world);
    }
    // Another one may have its number then.
    world.take(&Metadata::<String>::Revision(pod(1, "host-1", &["app=web"], at(0))));
    compare(&world);
    // And it may be a world of its own.
    compare(&policies(&[selecting(1, "teams", &json!({"team": "red"}), at(0))]));
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.len() >= 10, "{seen:?}");
}

#[test]
fn answers_that_say_the_same_are_at_one_place() {
    let world = policies(&[db(1, "web", at(0), None)]);
    let judge = Judge::default();
    let of = |tick| judge_with(&judge, &world, (tick, tick + 999), |_| ()).unwrap().answer;
    let mut changed = policies(&[db(1, "web", at(0), None)]);
    changed.take(&weir_schemas::metadata::Metadata::<String>::Revision(policy(
        2,
        "another",
        &json!({"podSelector": {"matchLabels": {"app": "none"}}}),
        at(0),
        None,
    )));
    let again = judge_with(&judge, &changed, TICK, |_| ()).unwrap().answer;
    assert!(Arc::ptr_eq(&of(100_000), &again), "of two sets of policies");
}
