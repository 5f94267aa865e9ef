//! Decoding raw batches and stage 1: join, orientation, aggregation at the default levels. Throughput in samples.
#![allow(clippy::unwrap_used, reason = "a benchmark stops at the first error")]
#![allow(missing_docs, reason = "criterion's macros make an undocumented main")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::net::Ipv4Addr;
use std::sync::Arc;
use weir_enricher::history::SettingsHistory;
use weir_enricher::join::{Joined, Places};
use weir_enricher::judge::Judge;
use weir_enricher::policies::Policies;
use weir_enricher::position::Stage1Position;
use weir_enricher::stage1::{self, Content, Input, Partition};
use weir_flow::{Address, RecordSettings, time};
use weir_join::Table;
use weir_schemas::metadata::{Bound, BoundSource, Heartbeat, Metadata, Object, Pod, Proof, Revision};
use weir_schemas::raw::{Coarsening, End, OpenedBy, Origin, Point, RawBatch, Sample, Totals};
use weir_schemas::{decode, encode};

const PODS: u32 = 2_000;
const SAMPLES: u32 = 1_000;
const TICKS: i64 = 12;

fn pod_address(number: u32) -> Address {
    Address::new(Ipv4Addr::from(0x0A00_0001 + number % PODS).into())
}

fn table() -> (Table, Policies) {
    let (mut table, mut policies) = (Table::new("local", 1), Policies::new("local"));
    let always = Bound { earliest: time::NEVER, latest: time::NEVER, source: BoundSource::Always };
    for number in 0..PODS {
        let pod = Pod {
            addresses: vec![pod_address(number)],
            node: format!("node-{}", number / 50),
            workload_kind: "Deployment".to_owned(),
            workload: format!("app-{}", number / 10),
            ..Pod::default()
        };
        let message = Metadata::Revision(Revision {
            labels_dropped: 0,
            annotations: Vec::new(),
            changed_at: None,
            changed_by: String::new(),
            cluster: "local".to_owned(),
            uid: format!("uid-{number}"),
            revision: 1,
            namespace: format!("ns-{}", number / 100),
            name: format!("app-{number}"),
            labels: vec![format!("app=app-{}", number / 10), "tier=web".to_owned()],
            valid_from: always,
            valid_to: None,
            object: Object::Pod(pod),
        });
        table.apply(0, &message);
        policies.take(&message);
    }
    let heartbeat = Heartbeat {
        cluster: "local".to_owned(),
        complete_to: time::FOR_EVER,
        proof: Proof::Closed,
        cluster_known: true,
    };
    table.apply(0, &Metadata::Heartbeat(heartbeat));
    (table, policies)
}

fn sample(number: u32, tick: i64) -> Sample {
    let client = u16::try_from(32_768 + number % 20_000).unwrap();
    Sample {
        zero_windows: 0,
        coarsened: Coarsening::None,
        handshake: None,
        resets: 0,
        point: Point::Pod,
        end: if number.is_multiple_of(2) { End::Source } else { End::Destination },
        interface: "veth0".to_owned(),
        source: pod_address(number % 100),
        destination: pod_address(number.wrapping_mul(7)),
        source_port: client,
        destination_port: 8080,
        protocol: 6,
        translated: None,
        opened_by: OpenedBy::Source,
        first_seen: tick,
        last_seen: tick + 900,
        bytes: 1_500,
        packets: 3,
        tcp_flags: 0x18,
        started: 0,
        ended: 0,
        opened_at: None,
        cumulative_bytes: 15_000,
        cumulative_packets: 30,
        drops: Vec::new(),
        retransmits: 0,
        round_trip: None,
        pod_uid: None,
        container: None,
        process: None,
        sampling: 1,
    }
}

fn raw() -> Vec<Vec<u8>> {
    let batches = (0..TICKS).map(|index| {
        let tick = 60_000 + index * 5_000;
        RawBatch {
            dns: Vec::new(),
            cluster: "local".to_owned(),
            node: "node-1".to_owned(),
            boot: "boot".to_owned(),
            sequence: u64::try_from(index).unwrap(),
            tick,
            tick_length: 5_000,
            ticks: 1,
            part: 0,
            parts: 1,
            origin: Origin::Ebpf,
            seen: Totals::default(),
            published: Totals::default(),
            lost: Vec::new(),
            samples: (0..SAMPLES).map(|number| sample(number, tick)).collect(),
        }
    });
    batches.map(|batch| encode(&batch).unwrap()).collect()
}

fn one_window(c: &mut Criterion) {
    let ((table, policies), places, raw) = (table(), Places::new(), raw());
    let policies = (&policies, &Judge::default());
    let settings = RecordSettings { raw_partitions: 1, ..RecordSettings::standard("local") };
    let history = Arc::new(SettingsHistory::new("local", vec![settings]).unwrap());
    let mut group = c.benchmark_group("stage1");
    group.throughput(Throughput::Elements(u64::from(SAMPLES) * u64::try_from(TICKS).unwrap()));
    group.bench_function("decode", |b| {
        b.iter(|| raw.iter().map(|bytes| decode::<stage1::RawBatch>(bytes).unwrap().samples.len()).sum::<usize>());
    });
    group.bench_function("decode_join_aggregate", |b| {
        b.iter_batched(
            || Partition::new("local", 0, history.clone(), Stage1Position::START),
            |mut partition| {
                for (offset, bytes) in raw.iter().enumerate() {
                    let batch: stage1::RawBatch = decode(bytes).unwrap();
                    let (offset, append_time) = (i64::try_from(offset).unwrap(), batch.tick + 5_000);
                    partition.read(Input { offset, append_time, size: bytes.len(), content: Content::Batch(batch) });
                    partition.advance(&Joined { table: &table, places: &places, policies });
                }
                partition
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, one_window);
criterion_main!(benches);
