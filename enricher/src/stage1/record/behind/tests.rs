use super::*;
use crate::fixtures::{Fake, address};
use crate::observe::EndFound;
use crate::stage1::ends::Ends;
use proptest::prelude::*;
use std::collections::BTreeSet;
use weir_join::{Ask, Identity, Resolution};
use weir_schemas::enriched::IdentifiedBy;

/// A pod of one workload: of its labels one is its own and one is had by every second pod.
fn pod(number: u8) -> EndFound<'static> {
    let join = Fake::default();
    let like: &Identity = &join.pods[&address("10.0.0.1")];
    let mut entity = weir_join::Entity::clone(&like.entity);
    entity.name = format!("web-{number}").into();
    let labels = [format!("half={}", number % 2), format!("pod={number:03}"), "team=a".to_owned()];
    let identity = Identity::new(entity, labels.into_iter().map(Arc::from).collect());
    let ask = Ask::address(0, address(&format!("10.0.1.{number}")));
    let found = Resolution::exact(std::borrow::Cow::Owned(identity), IdentifiedBy::Address);
    EndFound { ask, found, covered: true, without_address: false }
}

fn sets(pods: &[u8]) -> [BTreeSet<String>; 3] {
    let pods = || pods.iter().copied();
    let labels = |n| [format!("half={}", n % 2), format!("pod={n:03}"), "team=a".to_owned()];
    [
        pods().map(|n| format!("10.0.1.{n}")).collect(),
        pods().map(|n| format!("shop/web-{n}")).collect(),
        pods().flat_map(labels).collect(),
    ]
}

fn written(end: End) -> [BTreeSet<String>; 3] {
    let (behind, more) = encode([end, End::default()]);
    assert_eq!(more, [[0; 4]; 2]);
    let [initiator, responder] = behind.ends();
    assert_eq!(responder, Sets::default());
    assert!(initiator.addresses.is_sorted() && initiator.pods.is_sorted() && initiator.labels.is_sorted());
    let all = initiator.addresses.len() + initiator.pods.len() + initiator.labels.len();
    let texts = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    let addresses: BTreeSet<_> = initiator.addresses.iter().map(ToString::to_string).collect();
    let sets = [addresses, texts(initiator.pods), texts(initiator.labels)];
    assert_eq!(sets.iter().map(BTreeSet::len).sum::<usize>(), all, "each once");
    sets
}

proptest! {
    /// Of one, of few and of many.
    #[test]
    fn every_end_that_was_taken_is_behind_the_record(
        pods in prop::collection::vec(0..40_u8, 0..80),
        few in 0..40_u8,
        cut in 0..80_usize,
    ) {
        let pods: Vec<u8> = pods.into_iter().map(|n| n % few.max(1)).collect();
        let mut ends = Ends::default();
        let (mut one, mut other) = (End::default(), End::default());
        let mut taken = BTreeSet::new();
        for (place, number) in pods.iter().enumerate() {
            let pod = pod(*number);
            let known = ends.known(&pod);
            let end = if place < cut { &mut one } else { &mut other };
            let is_new = taken.insert((place < cut, *number));
            prop_assert_eq!(end.take(&known) > 0, is_new);
        }
        one.add(other);
        prop_assert_eq!(written(one), sets(&pods));
    }
}

#[test]
fn names_stand_beside_ends() {
    let (web, mut ends) = (pod(1), Ends::default());
    let known = ends.known(&web);
    let mut end = End::default();
    let name: Arc<str> = Arc::from("db.shop");
    assert_eq!(end.name([&name, &name].into_iter()), 1);
    assert!(end.take(&known) > 0);
    assert_eq!(end.take(&known), 0);
    let (behind, _) = encode([End::default(), end]);
    let [_, responder] = behind.ends();
    assert_eq!((responder.domains, responder.pods), (vec!["db.shop"], vec!["shop/web-1"]));
}
