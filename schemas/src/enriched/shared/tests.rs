use super::*;
use crate::enriched::{Attribution, IdentifiedBy, NoneReason};
use proptest::prelude::*;
use weir_flow::AddressScope;

fn side(texts: &[String], port: Option<u16>, more: u64) -> Side {
    let text = |n: usize| texts.get(n).cloned();
    Side {
        attribution: if more == 0 { Attribution::Exact } else { Attribution::Ambiguous },
        by: IdentifiedBy::Address,
        reason: (more == 1).then_some(NoneReason::Outside),
        candidates: texts.to_vec(),
        always_valid: more == 2,
        scope: AddressScope::Private,
        address: Some("10.0.0.1".parse().unwrap()),
        addresses: vec!["2001:db8::1".parse().unwrap()],
        addresses_more: more,
        port,
        namespace: text(0),
        pod: text(1),
        pod_uid: text(2),
        pods: Vec::new(),
        pods_more: 0,
        workload_kind: text(3),
        workload: None,
        node: text(4),
        zone: None,
        service: text(5),
        service_account: None,
        labels: texts.to_vec(),
        labels_some: Vec::new(),
        labels_more: more,
        domains: Vec::new(),
        domains_more: 0,
        country: None,
        as_number: Some(64_496),
        as_organization: text(6),
        container: None,
        process: text(7),
        host: None,
        network_set: None,
    }
}

proptest! {
    #[test]
    fn a_shared_side_is_the_side(
        texts in prop::collection::vec(".{0,40}", 0..9),
        port in any::<Option<u16>>(),
        other in any::<Option<u16>>(),
        more in 0..4_u64,
    ) {
        let side = side(&texts, port, more);
        let mut shared = SharedSide::from(&side);
        prop_assert_eq!(&*shared, &side);
        prop_assert_eq!((shared.attribution(), shared.port()), (side.attribution, port));
        prop_assert_eq!(SharedSide::from(&shared.view()), shared.clone());
        let (mut a, mut b) = (Output::default(), Output::default());
        side.put(&mut a);
        shared.put(&mut b);
        prop_assert_eq!(&a.bytes, &b.bytes);
        let mut input = Input::new(&b.bytes, 100);
        prop_assert_eq!(SharedSide::take(&mut input).unwrap(), shared.clone());
        prop_assert_eq!(input.left(), 0);
        let elsewhere = shared.with_port(other);
        prop_assert_eq!(elsewhere.port, other);
        prop_assert!(elsewhere.is(&shared));
        prop_assert_eq!(elsewhere == shared, other == port);
        shared.change(|side| side.pods_more += 1);
        prop_assert_eq!(shared.pods_more, side.pods_more + 1);
        prop_assert!(!shared.is(&elsewhere));
    }
}
