use super::*;
use crate::metadata::{Agent, Bound, BoundSource, Heartbeat, Metadata, Object, Proof, Revision};
use crate::raw::{Drop, DropClass, End, OpenedBy, Origin, Point, RawBatch, RoundTrip, Sample, Totals, Tuple};
use proptest::prelude::*;

fn sample(n: u64) -> Sample {
    Sample {
        zero_windows: 0,
        coarsened: crate::raw::Coarsening::None,
        handshake: None,
        resets: 0,
        point: Point::Pod,
        end: End::Source,
        interface: "veth1".to_owned(),
        source: "10.0.0.1".parse().unwrap(),
        destination: "2001:db8::1".parse().unwrap(),
        source_port: 65_535,
        destination_port: 443,
        protocol: 6,
        translated: Some(Tuple {
            source: "10.0.0.1".parse().unwrap(),
            destination: "10.96.0.1".parse().unwrap(),
            source_port: 1,
            destination_port: 2,
        }),
        opened_by: OpenedBy::Source,
        first_seen: 1_700_000_000_000,
        last_seen: 1_700_000_000_999,
        bytes: n,
        packets: 3,
        tcp_flags: 0x12,
        started: 1,
        ended: 0,
        opened_at: Some(-1),
        cumulative_bytes: n,
        cumulative_packets: 3,
        drops: vec![Drop { reason: "NETFILTER_DROP".to_owned(), class: DropClass::Policy, packets: 1, bytes: 60 }],
        retransmits: 0,
        round_trip: Some(RoundTrip { sum: 10, count: 1, min: 10, max: 10 }),
        pod_uid: None,
        container: None,
        process: Some("curl".to_owned()),
        sampling: 1,
    }
}

fn batch(samples: Vec<Sample>) -> RawBatch {
    RawBatch {
        dns: Vec::new(),
        cluster: "local".to_owned(),
        node: "n1".to_owned(),
        boot: "b".to_owned(),
        sequence: 7,
        tick: 1_700_000_000_000,
        tick_length: 1_000,
        ticks: 1,
        part: 0,
        parts: 1,
        origin: Origin::Ebpf,
        seen: Totals { packets: 3, bytes: 4, samples: 1 },
        published: Totals::default(),
        lost: vec![],
        samples,
    }
}

#[test]
fn every_schema_is_valid() {
    fn check<T: Message>() {
        assert!(!T::readable().is_empty(), "{}", T::NAME);
    }
    check::<raw::RawBatch>();
    check::<metadata::Metadata>();
    check::<enriched::Enriched>();
    check::<partial::PartialMessage>();
    check::<checkpoint::Checkpoint>();
    check::<ledger::Ledger>();
    check::<dns::Dns>();
    check::<settings::Settings>();
    check::<dead_letter::DeadLetter>();
    check::<horizon::Horizon>();
    check::<audit::Audit>();
}

#[test]
fn a_batch_is_read_back() {
    let written = batch(vec![sample(1), sample(u64::try_from(i64::MAX).unwrap())]);
    assert_eq!(decode::<RawBatch>(&encode(&written).unwrap()).unwrap(), written);
}

#[test]
fn unions_are_read_back() {
    let always = Bound { earliest: i64::MIN, latest: i64::MIN, source: BoundSource::Always };
    for written in [
        Metadata::Heartbeat(Heartbeat {
            cluster: "c".to_owned(),
            complete_to: i64::MAX,
            proof: Proof::Closed,
            cluster_known: false,
        }),
        Metadata::Revision(Revision {
            labels_dropped: 0,
            annotations: Vec::new(),
            changed_at: None,
            changed_by: String::new(),
            cluster: "c".to_owned(),
            uid: "u".to_owned(),
            revision: 1,
            namespace: String::new(),
            name: "a".to_owned(),
            labels: vec!["k=v".to_owned()],
            valid_from: always,
            valid_to: None,
            object: Object::Agent(Agent {
                node: "n".to_owned(),
                networks: vec!["0.0.0.0/0".to_owned()],
                one_observer: true,
            }),
        }),
    ] {
        assert_eq!(decode::<Metadata>(&encode(&written).unwrap()).unwrap(), written);
    }
}

#[test]
fn a_counter_that_does_not_fit_is_an_error_not_another_number() {
    assert!(encode(&batch(vec![sample(u64::MAX)])).is_err());
}

#[test]
fn another_topics_message_is_refused_by_its_fingerprint() {
    let bytes = encode(&batch(vec![])).unwrap();
    assert!(matches!(decode::<Metadata>(&bytes), Err(DecodeError::UnknownSchema(..))));
}

#[test]
fn what_follows_a_message_is_refused() {
    let mut bytes = encode(&batch(vec![])).unwrap();
    bytes.push(0);
    assert_eq!(decode::<RawBatch>(&bytes), Err(DecodeError::Trailing("flows.raw", 1)));
}

#[test]
fn a_length_bomb_is_refused() {
    let mut bytes = encode(&batch(vec![])).unwrap();
    bytes.pop(); // the empty array of samples
    bytes.extend([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f]); // 2^54 samples
    assert!(matches!(decode::<RawBatch>(&bytes), Err(DecodeError::Body(..))));
}

/// A message written field by field is what the encoder that goes by the schema writes, and both readers read it alike.
fn as_by_schema<T: Message + PartialEq + std::fmt::Debug>(message: &T) {
    let bytes = message.write_direct().unwrap().unwrap();
    assert_eq!(bytes, encode_by_schema(message).unwrap());
    let by_schema = decode_as::<T, T>(&bytes, Limits::default()).unwrap();
    assert_eq!(T::read_direct(&bytes[HEADER..], Limits::default()).unwrap().unwrap(), by_schema);
    assert_eq!(by_schema, *message);
}

fn report(counts: [u64; 4], text: &str, some: bool) -> enriched::Report {
    let [a, b, c, d] = counts;
    let times = RoundTrip { sum: a, count: b, min: c, max: d };
    let drop = enriched::DropCounter {
        reason: text.to_owned(),
        class: if some { DropClass::Policy } else { DropClass::Other },
        forward_packets: d,
        forward_bytes: c,
        reverse_packets: b,
        reverse_bytes: a,
    };
    enriched::Report {
        counters: enriched::Counters { forward_bytes: a, reverse_packets: b, ended: c, ..Default::default() },
        drops: if some { vec![drop.clone(), drop] } else { vec![] },
        forward_tcp_flags: u16::MAX,
        reverse_tcp_flags: 1,
        retransmits: d,
        round_trip: some.then_some(times),
        handshake: (!some).then_some(times),
        zero_windows: a,
        resets: b,
        last_forward: some.then_some(-1),
        sampling: u32::MAX,
    }
}

proptest! {
    #[test]
    fn raw_batches_are_written_as_by_schema(
        numbers in prop::collection::vec(0..=i64::MAX.unsigned_abs(), 0..70), tick in any::<i64>(), text in ".{0,9}",
    ) {
        let mut batch = batch(numbers.into_iter().map(sample).collect());
        (batch.tick_length, batch.node) = (tick, text);
        as_by_schema(&batch);
    }

    #[test]
    fn reports_are_read_back(
        counts in prop::array::uniform4(0..=i64::MAX.unsigned_abs()), text in ".{0,200}", some in any::<bool>(),
    ) {
        let report = report(counts, &text, some);
        let mut output = direct::Output::default();
        direct::Put::put(&report, &mut output);
        let mut input = direct::Input::new(&output.bytes, 100);
        let read: enriched::Report = direct::Take::take(&mut input).unwrap();
        prop_assert_eq!((read, input.left()), (report, 0));
    }

    #[test]
    fn markers_are_written_as_by_schema(nodes in prop::collection::vec((".{0,9}", any::<u32>()), 0..70), n in any::<i64>()) {
        let missing = nodes.into_iter().map(|(node, ticks)| partial::MissingTicks { node, ticks }).collect();
        let marker = partial::Marker { cluster: "c".to_owned(), partition: -1, generation: n, missing };
        as_by_schema(&partial::PartialMessage::Marker(marker));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(body in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut bytes = encode(&batch(vec![])).unwrap()[..HEADER].to_vec();
        bytes.extend(&body);
        let _ = decode::<RawBatch>(&bytes);
        let _ = decode::<RawBatch>(&body);
    }

    #[test]
    fn a_cut_or_flipped_message_never_panics(cut in 0usize..600, at in 0usize..600, bit in 0u8..8) {
        let mut bytes = encode(&batch(vec![sample(1), sample(2)])).unwrap();
        bytes.truncate(bytes.len().min(cut.max(HEADER)));
        if let Some(byte) = bytes.get_mut(at) { *byte ^= 1 << bit; }
        let _ = decode::<RawBatch>(&bytes);
    }
}
