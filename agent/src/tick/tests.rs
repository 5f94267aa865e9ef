#![allow(clippy::unwrap_used, reason = "tests")]

use super::{Tick, totals};
use crate::testing::sample;
use weir_schemas::raw::{Drop, DropClass, Totals};

#[test]
fn merging_keeps_sums_and_extremes_and_joins_samples_of_one_flow() {
    let mut earlier =
        Tick { start: 1_000, ticks: 1, samples: vec![sample(1, 10, 1_000), sample(2, 5, 500)], ..Tick::default() };
    let mut again = sample(1, 7, 700);
    again.first_seen = 2_100;
    again.last_seen = 2_900;
    again.tcp_flags = 0x10;
    again.drops = vec![Drop { reason: "NETFILTER_DROP".to_owned(), class: DropClass::Policy, packets: 1, bytes: 60 }];
    let mut lost = std::collections::BTreeMap::new();
    lost.insert("parse".to_owned(), Totals { packets: 1, bytes: 9, samples: 0 });
    earlier.merge(Tick { start: 2_000, ticks: 1, samples: vec![again, sample(3, 1, 40)], lost, ..Tick::default() });
    assert_eq!((earlier.start, earlier.ticks, earlier.samples.len()), (1_000, 2, 3));
    assert_eq!(totals(&earlier.samples), Totals { packets: 23, bytes: 2_240, samples: 3 });
    let joined = &earlier.samples[0];
    assert_eq!((joined.packets, joined.bytes, joined.last_seen), (17, 1_700, 2_900));
    assert_eq!(joined.drops.len(), 1);
    assert_eq!(earlier.lost["parse"].packets, 1);
}
