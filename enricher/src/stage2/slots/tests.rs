use super::*;
use crate::fixtures::address;
use proptest::prelude::*;
use std::collections::BTreeMap;
use weir_join::{Ask, Resolution};
use weir_schemas::enriched::{Counters, SharedSide};
use weir_schemas::partial::Behind;
use weir_schemas::raw::Origin;

fn partial(window: i64, level: u8, host: u8, samples: u64) -> Partial {
    let side = |host: u8| {
        let ask = Ask::address(0, address(&format!("10.0.0.{host}")));
        let mut side = Resolution::none(None).to_side(&ask);
        side.pod_uid = (host > 3).then(|| format!("uid-{host}"));
        side.workload = (host > 1).then(|| format!("w{host}"));
        SharedSide::from(side)
    };
    Partial {
        window,
        level,
        origin: Origin::Ebpf,
        cluster_known: true,
        initiator: side(1),
        responder: side(host),
        behind: Behind::default(),
        protocol: 6,
        orientation_guessed: false,
        untranslated: false,
        first_seen: 0,
        last_seen: 0,
        totals: Counters::default(),
        by_initiator: None,
        by_responder: None,
        initiator_covered: true,
        responder_covered: true,
        judgements: Vec::new(),
        coarsened: false,
        samples,
    }
}

fn key(partial: &Partial) -> Vec<u8> {
    let mut bytes = partial.window.to_be_bytes().to_vec();
    Key::with(partial, |key| key.write(&mut bytes)).unwrap();
    bytes
}

proptest! {
    #[test]
    fn partials_come_in_the_order_of_keys_and_partitions_and_repeats_replace(
        list in prop::collection::vec((0..3_i64, 0..4_u8, 0..8_u8, 0..3_i32), 0..80),
    ) {
        let mut model: BTreeMap<Vec<u8>, BTreeMap<i32, u64>> = BTreeMap::new();
        let (mut slots, mut ends) = (Slots::default(), Ends::default());
        let mut together: Vec<(i32, Vec<Partial>)> = Vec::new();
        for (number, (window, level, host, partition)) in (1..).zip(list) {
            let partial = partial(window, level, host, number);
            model.entry(key(&partial)).or_default().insert(partition, number);
            match together.last_mut().filter(|(last, _)| *last == partition) {
                Some((_, some)) => some.push(partial),
                None => together.push((partition, vec![partial])),
            }
        }
        for (partition, some) in together {
            let count = some.len();
            prop_assert_eq!(slots.insert_all(partition, some, &mut ends), vec![true; count]);
        }
        prop_assert_eq!(slots.keys(), model.len());
        prop_assert_eq!(slots.len(), model.values().map(BTreeMap::len).sum::<usize>());
        let mut found = Vec::new();
        slots.in_order(|key, _, partials| found.push((key.to_vec(), partials.map(|partial| partial.samples).collect())));
        let expected: Vec<(Vec<u8>, Vec<u64>)> =
            model.into_iter().map(|(key, twins)| (key, twins.into_values().collect())).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn what_has_no_level_has_no_place() {
    let mut slots = Slots::default();
    assert_eq!(slots.insert_all(0, vec![partial(0, 9, 1, 1)], &mut Ends::default()), [false]);
    assert_eq!((slots.len(), slots.keys()), (0, 0));
}
