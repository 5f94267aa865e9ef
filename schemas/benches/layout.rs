//! Row-wise against column-wise batches: bytes a flow and time a flow, at 300 and at 30 000 flows a tick.
//!
//! `cargo bench -p weir-schemas --bench layout`. The row-wise schema stands only here (`rows.avsc`).
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::net::Ipv4Addr;
use weir_flow::Address;
use weir_schemas::raw::{Coarsening, End, Loss, OpenedBy, Origin, Point, RawBatch, RoundTrip, Sample, Totals};

/// The same batch as rows.
#[derive(Clone, Serialize, Deserialize)]
struct Rows {
    cluster: String,
    node: String,
    boot: String,
    sequence: u64,
    tick: i64,
    tick_length: i64,
    ticks: u32,
    part: u32,
    parts: u32,
    origin: Origin,
    seen: Totals,
    published: Totals,
    lost: Vec<Loss>,
    samples: Vec<Sample>,
}

fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn number(value: u64) -> u16 {
    u16::try_from(value % 65_536).unwrap()
}

/// A node with 30 pods that talk to 200 others over 20 service ports; sizes spread over four decades.
fn batch(flows: u64) -> RawBatch {
    let tick = 1_700_000_000_000;
    let sample = |n: u64| {
        let random = mix(n);
        let pod = random % 30;
        let outgoing = random & 64 == 0;
        let local = Ipv4Addr::new(10, 244, 1, u8::try_from(pod + 2).unwrap());
        let other = mix(random % 200 + 7);
        let peer = Ipv4Addr::new(10, 244, u8::try_from(other % 12).unwrap(), u8::try_from(other >> 8 & 0x7f).unwrap());
        let (ephemeral, service) = (32_768 + number(random >> 20) % 28_000, 8_000 + number(random >> 9) % 20);
        let packets = 1 + (random >> 30) % 12 * (1 + (random >> 40) % 9);
        let bytes = packets * (60 + (random >> 33) % 1_400);
        let age = i64::try_from((random >> 13) % 300_000).unwrap() * i64::from(random & 3 == 0);
        let first_seen = tick + i64::try_from(random >> 50).unwrap() % 4_000;
        Sample {
            zero_windows: 0,
            coarsened: Coarsening::None,
            handshake: None,
            resets: 0,
            point: Point::Pod,
            end: if outgoing { End::Source } else { End::Destination },
            interface: format!("veth{:08x}", mix(pod) >> 32),
            source: Address::new(if outgoing { local } else { peer }.into()),
            destination: Address::new(if outgoing { peer } else { local }.into()),
            source_port: if outgoing { ephemeral } else { service },
            destination_port: if outgoing { service } else { ephemeral },
            protocol: 6,
            translated: None,
            opened_by: if outgoing { OpenedBy::Source } else { OpenedBy::Destination },
            first_seen,
            last_seen: first_seen + i64::try_from(random >> 45 & 0x3ff).unwrap(),
            bytes,
            packets,
            tcp_flags: if age > 0 { 0x18 } else { 0x1b },
            started: u64::from(age == 0),
            ended: u64::from(age == 0),
            opened_at: Some(first_seen - age),
            cumulative_bytes: bytes * (1 + u64::from(age > 0) * (random >> 17 & 7)),
            cumulative_packets: packets * (1 + u64::from(age > 0) * (random >> 17 & 7)),
            drops: Vec::new(),
            retransmits: u64::from(random.is_multiple_of(50)),
            round_trip: random.is_multiple_of(8).then_some(RoundTrip { sum: 400, count: 2, min: 180, max: 220 }),
            pod_uid: Some(format!("{:016x}-{:016x}", mix(pod), mix(pod + 99))),
            container: None,
            process: None,
            sampling: 1,
        }
    };
    RawBatch {
        dns: Vec::new(),
        cluster: "main".to_owned(),
        node: "node-1".to_owned(),
        boot: "5b0c7c2e-7a56-4ef3-9f0f-1c62a5f1a9d1".to_owned(),
        sequence: 1,
        tick,
        tick_length: 5_000,
        ticks: 1,
        part: 0,
        parts: 1,
        origin: Origin::Ebpf,
        seen: Totals::default(),
        published: Totals::default(),
        lost: Vec::new(),
        samples: (0..flows).map(sample).collect(),
    }
}

fn rows(batch: RawBatch) -> Rows {
    Rows {
        cluster: batch.cluster,
        node: batch.node,
        boot: batch.boot,
        sequence: batch.sequence,
        tick: batch.tick,
        tick_length: batch.tick_length,
        ticks: batch.ticks,
        part: batch.part,
        parts: batch.parts,
        origin: batch.origin,
        seen: batch.seen,
        published: batch.published,
        lost: batch.lost,
        samples: batch.samples,
    }
}

fn layout(criterion: &mut Criterion) {
    let schema: serde_avro_fast::Schema = include_str!("rows.avsc").parse().unwrap();
    for flows in [300, 30_000] {
        let batch = batch(flows);
        let row_batch = rows(batch.clone());
        let mut config = serde_avro_fast::ser::SerializerConfig::new(&schema);
        let row_bytes = serde_avro_fast::to_datum_vec(&row_batch, &mut config).unwrap();
        let column_bytes = weir_schemas::encode(&batch).unwrap();
        for (name, bytes) in [("rows", &row_bytes), ("columns", &column_bytes)] {
            let packed = zstd::bulk::compress(bytes, 1).unwrap();
            println!(
                "{flows} flows, {name}: {:.1} B a flow plain, {:.1} B with zstd -1",
                per_flow(bytes.len(), flows),
                per_flow(packed.len(), flows)
            );
        }
        let mut group = criterion.benchmark_group(format!("{flows} flows"));
        group.throughput(Throughput::Elements(flows)).sample_size(20);
        group.bench_function("rows encode", |b| {
            b.iter(|| serde_avro_fast::to_datum_vec(black_box(&row_batch), &mut config).unwrap());
        });
        group.bench_function("columns encode", |b| b.iter(|| weir_schemas::encode(black_box(&batch)).unwrap()));
        group.bench_function("rows decode", |b| {
            let decode = |bytes: Vec<u8>| serde_avro_fast::from_datum_slice::<Rows>(&bytes, &schema).unwrap();
            b.iter_batched(|| row_bytes.clone(), decode, BatchSize::LargeInput);
        });
        group.bench_function("columns decode", |b| {
            let decode = |bytes: Vec<u8>| weir_schemas::decode::<RawBatch>(&bytes).unwrap();
            b.iter_batched(|| column_bytes.clone(), decode, BatchSize::LargeInput);
        });
        group.finish();
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn per_flow(bytes: usize, flows: u64) -> f64 {
    bytes as f64 / flows as f64
}

criterion_group!(benches, layout);
criterion_main!(benches);
