use super::*;
use crate::fixtures::{Fake, address, answer, arriving, pod, sample};
use std::sync::Arc;
use weir_schemas::enriched::IdentifiedBy;

/// One sample alone.
pub(crate) fn observe<'a>(sample: &'a Sample, place: &Place<'a>, join: &'a impl Join) -> Observation<'a, 'a> {
    let mut found = None;
    observe_all(std::iter::once(sample), place, join, true, &mut Conversations::default(), |heard| {
        let Some(observation) = heard.observations().next() else { return };
        let own = |end: &EndFound<'a>| EndSeen::Own(Box::new(end.clone()));
        let (initiator, responder) = (own(&observation.initiator), own(&observation.responder));
        found = Some(Observation { initiator, responder, ..observation });
    });
    found.unwrap()
}

const PLACE: Place<'static> = Place { tick: 100_000, tick_length: 1_000, node: "node-a" };

#[test]
fn four_samples_of_a_connection_have_one_orientation_and_two_reporters() {
    let join = Fake::default();
    let expect = [
        (sample(1), true, Reporter::Initiator),
        (arriving(sample(1)), true, Reporter::Responder),
        (answer(sample(1)), false, Reporter::Responder),
        (arriving(answer(sample(1))), false, Reporter::Initiator),
    ];
    for (sample, forward, reporter) in expect {
        let o = observe(&sample, &PLACE, &join);
        assert_eq!((o.forward, o.reporter, o.guessed), (forward, reporter, false));
        assert_eq!((o.initiator.ask.address, o.responder.ask.address), (address("10.0.0.1"), address("10.0.0.2")));
        assert_eq!((o.initiator.ask.port, o.responder.ask.port), (Some(40_000), Some(80)));
        assert_eq!(o.authority, reporter == Reporter::Initiator, "the initiator's end is covered");
    }
}

#[test]
fn the_responder_has_the_authority_where_the_initiator_is_not_covered() {
    let mut join = Fake { covered: vec!["node-b".to_owned()], ..Fake::default() };
    assert!(!observe(&sample(1), &PLACE, &join).authority);
    assert!(observe(&arriving(sample(1)), &PLACE, &join).authority);
    join.covered.clear();
    assert!(observe(&arriving(sample(1)), &PLACE, &join).authority, "else the responder's, covered or not");
}

#[test]
fn authority_does_not_depend_on_what_only_one_reporter_knows() {
    let mut join = Fake::default();
    let uncovered = pod("shop", "old-1", "old", "node-x");
    join.ambiguous.insert(address("10.0.0.1"), vec![join.pods[&address("10.0.0.1")].clone(), uncovered]);
    let mut own = sample(1);
    own.pod_uid = Some("uid-web-1".into());
    let own_view = observe(&own, &PLACE, &join);
    let far = arriving(sample(1));
    let far_view = observe(&far, &PLACE, &join);
    assert_eq!(own_view.initiator.found.by, IdentifiedBy::Uid);
    assert_eq!(far_view.initiator.found.attribution, Attribution::Ambiguous);
    assert!(own_view.authority != far_view.authority, "exactly one of the two is counted");
}

#[test]
fn a_capture_is_one_observer() {
    let join = Fake::default();
    for mut sample in [sample(1), arriving(sample(1)), answer(sample(1)), arriving(answer(sample(1)))] {
        sample.point = Point::Capture;
        let o = observe(&sample, &PLACE, &join);
        assert_eq!((o.reporter, o.authority), (Reporter::Initiator, true));
    }
    let o = arriving(sample(1));
    let join = Fake { one_observer: true, ..join };
    assert!(observe(&o, &PLACE, &join).authority);
}

#[test]
fn the_lower_port_is_guessed_to_be_the_responders() {
    let join = Fake::default();
    let mut unknown = sample(1);
    unknown.opened_by = OpenedBy::Unknown;
    let o = observe(&unknown, &PLACE, &join);
    assert_eq!((o.forward, o.guessed), (true, true));
    let mut back = answer(sample(1));
    back.opened_by = OpenedBy::Unknown;
    assert!(!observe(&back, &PLACE, &join).forward);
    unknown.destination_port = unknown.source_port;
    assert!(!observe(&unknown, &PLACE, &join).forward, "equal ports: the lower address is the responder");
    let mut ping = sample(1);
    (ping.protocol, ping.source_port, ping.destination_port) = (protocol::ICMP, 0, 2048);
    ping.opened_by = OpenedBy::Unknown;
    let o = observe(&ping, &PLACE, &join);
    assert_eq!((o.forward, o.responder.ask.port), (false, None));
}

#[test]
fn behind_a_services_address_stands_the_pod() {
    let mut join = Fake::default();
    join.services.insert((address("10.96.0.7"), 5432), "shop/db".to_owned());
    let mut sent = sample(1);
    sent.destination = address("10.96.0.7");
    sent.destination_port = 5432;
    let real = sample(1);
    sent.translated = Some(Tuple {
        source: real.source,
        destination: real.destination,
        source_port: real.source_port,
        destination_port: real.destination_port,
    });
    let o = observe(&sent, &PLACE, &join);
    assert_eq!((o.responder.ask.address, o.responder.ask.port), (address("10.0.0.2"), Some(80)));
    assert_eq!(o.responder.found.service.as_deref().map(|name| &**name), Some("shop/db"));
    assert!(!o.untranslated);
    let mut got = arriving(sample(1));
    got.translated = Some(Tuple {
        source: real.source,
        destination: address("10.96.0.7"),
        source_port: real.source_port,
        destination_port: 5432,
    });
    let o = observe(&got, &PLACE, &join);
    assert_eq!(o.responder.ask.address, address("10.0.0.2"), "the pod's own end is as seen");
    assert_eq!(o.responder.found.service.as_deref().map(|name| &**name), Some("shop/db"));
}

#[test]
fn candidates_of_one_workload_are_that_workload() {
    let mut join = Fake::default();
    let pods: Vec<Arc<weir_join::Identity>> =
        vec![pod("shop", "web-1", "web", "node-a"), pod("shop", "web-2", "web", "node-a")];
    join.ambiguous.insert(address("10.0.0.1"), pods);
    let sample = sample(1);
    let o = observe(&sample, &PLACE, &join);
    assert_eq!(o.initiator.key(false).workload, "web");
    assert_eq!(o.initiator.side(false).workload.as_deref(), Some("web"));
    assert_eq!(o.initiator.key(true).workload, "");
}

/// Samples of every kind of question: known and unknown pods, own ends by UID and on the host, who came within the tick,
/// services before translation.
fn mixed() -> Vec<Sample> {
    let uids = [None, Some("uid-a"), Some("uid-c"), Some("uid-unknown")];
    let points = [Point::Pod, Point::Host, Point::Capture];
    (0u8..240)
        .map(|n| {
            let mut sample = if n % 2 == 0 { sample(1) } else { arriving(sample(1)) };
            sample.source = address(&format!("10.0.0.{}", n % 7));
            sample.destination = address(if n % 5 == 0 { "10.96.0.7" } else { "10.0.0.3" });
            sample.point = points[usize::from(n / 2 % 3)];
            sample.pod_uid = uids[usize::from(n / 3 % 4)].map(Arc::from);
            if n % 11 == 0 {
                sample.opened_by = OpenedBy::Destination;
            }
            sample
        })
        .collect()
}

#[test]
fn samples_side_by_side_are_joined_as_each_alone() {
    let table = crate::fixtures::table(PLACE.tick);
    let (places, samples) = (crate::join::Places::new(), mixed());
    let (policies, judge) = (crate::policies::Policies::new(crate::fixtures::CLUSTER), crate::judge::Judge::default());
    let join = crate::join::Joined { table: &table, places: &places, policies: (&policies, &judge) };
    let alone: Vec<String> = samples.iter().map(|sample| format!("{:?}", observe(sample, &PLACE, &join))).collect();
    let mut together = Vec::new();
    observe_all(samples.iter(), &PLACE, &join, true, &mut Conversations::default(), |heard| {
        let some = heard.observations().map(|o| format!("{:?}", Observation { conversation: Some(0), ..o }));
        together.extend(some);
    });
    assert_eq!(together, alone);
    let (exact, ambiguous) = (Attribution::Exact, Attribution::Ambiguous);
    for kind in [exact, ambiguous, Attribution::None] {
        assert!(together.iter().any(|seen| seen.contains(&format!("attribution: {kind:?}"))), "{kind:?} is among them");
    }
}

#[test]
fn who_came_within_the_tick_is_named() {
    let table = crate::fixtures::table(PLACE.tick);
    let places = crate::join::Places::new();
    let (policies, judge) = (crate::policies::Policies::new(crate::fixtures::CLUSTER), crate::judge::Judge::default());
    let join = crate::join::Joined { table: &table, places: &places, policies: (&policies, &judge) };
    let mut sample = sample(1);
    sample.source = address("10.0.0.4");
    let seen = observe(&sample, &PLACE, &join);
    assert_eq!(seen.initiator.found.identity.as_deref().map(|pod| &*pod.name), Some("pod-d"));
}
