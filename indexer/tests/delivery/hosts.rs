//! Several hosts of one engine.

use crate::world::{World, bulks, expected, on_broken_engines};
use weir_faults::{Fault, Kind, Plan, Proxy};

/// The first host does what a bulk says and dies before it answers, and never answers again: the second takes over, also for that
/// bulk.
#[tokio::test]
async fn when_a_host_dies_in_the_midst_of_a_bulk_the_next_goes_on() {
    let dies =
        Plan::new(31).with(bulks(Fault::DropAnswer).skip(3).at_most(1)).with(bulks(Fault::Reset { within: 0 }).skip(3));
    on_broken_engines(&dies, |mut world: World| async move {
        let second = Proxy::http(&world.direct.hosts()[0], Plan::new(1)).await.unwrap();
        world.proxied.elasticsearch.push(second.url());
        let records: Vec<_> = (0..3_000).map(|n| world.record(n)).collect();
        world.produce_records(&records).await;
        let indexer = world.run();
        world.committed().await;
        indexer.stop().await;
        assert_eq!(world.proxy.counts().of(Kind::DropAnswer), 1);
        assert_eq!(world.documents().await, expected(&records));
        assert!(world.dead_letters().await.is_empty());
        assert_eq!(world.count("weir_indexer_operations_total", &[("fate", "stored")]), 3_000.0);
        assert_eq!(world.count("weir_indexer_alarms", &[]), 0.0);
    })
    .await;
}
