use super::*;
use crate::metadata::{
    Agent, Bound, BoundSource, Container, ContainerPort, EndpointSlice, Heartbeat, Metadata, Namespace, NetworkSet,
    Node, Object, Pod, Policy, Proof, Revision, Service, ServicePort,
};
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
    check::<Metadata>();
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
    let (fingerprint, body) = body_of(&bytes, Limits::default()).unwrap();
    assert_eq!(T::read_direct(fingerprint, body, Limits::default()).unwrap().unwrap(), by_schema);
    assert_eq!(by_schema, *message);
}

fn side(text: &str, port: Option<u16>) -> enriched::SharedSide {
    let some = |text: &str| Some(text.to_owned());
    let side = enriched::Side {
        attribution: enriched::Attribution::Exact,
        by: enriched::IdentifiedBy::Uid,
        reason: None,
        candidates: Vec::new(),
        always_valid: false,
        scope: weir_flow::AddressScope::Private,
        address: "10.0.0.1".parse().ok(),
        addresses: Vec::new(),
        addresses_more: 0,
        port,
        namespace: some("shop"),
        pod: some(text),
        pod_uid: None,
        pods: Vec::new(),
        pods_more: 0,
        workload_kind: None,
        workload: some(text),
        node: None,
        zone: None,
        service: None,
        service_account: None,
        labels: vec![text.to_owned()],
        labels_some: Vec::new(),
        labels_more: 0,
        domains: Vec::new(),
        domains_more: 0,
        country: None,
        as_number: None,
        as_organization: None,
        container: None,
        process: None,
        host: None,
        network_set: None,
    };
    side.into()
}

fn partial(ends: [enriched::SharedSide; 2], report: enriched::Report, samples: u64) -> partial::Partial {
    let [initiator, responder] = ends;
    partial::Partial {
        window: 60_000,
        level: 1,
        origin: Origin::Ebpf,
        cluster_known: true,
        initiator,
        responder,
        behind: partial::Behind::of(&[
            partial::Sets { addresses: vec!["10.0.0.1".parse().unwrap()], ..partial::Sets::default() },
            partial::Sets { pods: vec!["shop/web"], ..partial::Sets::default() },
        ]),
        protocol: 6,
        orientation_guessed: false,
        untranslated: true,
        first_seen: -1,
        last_seen: 1,
        totals: report.counters,
        by_initiator: Some(report),
        by_responder: None,
        initiator_covered: true,
        responder_covered: false,
        judgements: Vec::new(),
        coarsened: false,
        samples,
    }
}

/// An answer of policies.
fn judged(name: &str, number: usize) -> partial::Judged {
    let verdict = [enriched::Verdict::Allow, enriched::Verdict::Deny, enriched::Verdict::Unknown][number % 3];
    let pending = enriched::Pending { verdict, reason: name.to_owned(), trace: vec![name.to_owned(), name.to_owned()] };
    let answer = partial::Answer {
        verdict,
        reason: String::new(),
        trace: vec![name.to_owned()],
        selecting: vec![name.to_owned(); number],
        pending: (number > 0).then_some(pending),
    };
    partial::Judged { answer: std::sync::Arc::new(answer), samples: 1, against: 2, otherwise: 3 }
}

/// A record whose answer is not among those of its message.
#[test]
fn a_number_of_no_answer_is_refused() {
    let mut one = partial([side("a", None), side("b", None)], report([1; 4], "", false), 1);
    one.judgements = vec![judged("a", 0)];
    let batch = partial::PartialBatch { cluster: "c".to_owned(), partition: 0, generation: 0, partials: vec![one] };
    let bytes = encode(&partial::PartialMessage::Partials(batch)).unwrap();
    let mut broken = bytes.clone();
    // One answer: its number, samples, against and otherwise, and the array's end.
    let at = bytes.windows(6).rposition(|six| six == [2, 0, 2, 4, 6, 0]).unwrap() + 1;
    broken[at] = 2;
    assert!(decode::<partial::PartialMessage>(&bytes).is_ok());
    let error = decode::<partial::PartialMessage>(&broken).unwrap_err();
    assert!(error.to_string().contains("answer is number 1 of 1"), "{error}");
}

/// A partial record whose end is not among the sides of its message.
#[test]
fn a_number_of_no_side_is_refused() {
    let ends = || [side("a", None), side("b", None)];
    let partials = vec![partial(ends(), report([1; 4], "", false), 1)];
    let batch = partial::PartialBatch { cluster: "c".to_owned(), partition: 0, generation: 0, partials };
    let bytes = encode(&partial::PartialMessage::Partials(batch)).unwrap();
    let mut broken = bytes.clone();
    // The sides end with an empty text and the array's end; the window is 3 bytes, and then level, origin and the flag.
    let at = bytes.windows(6).position(|six| six == [0xC0, 0xA9, 0x07, 2, 0, 1]).unwrap() + 6;
    assert_eq!(bytes[at], 0, "the first side");
    broken[at] = 4;
    assert!(decode::<partial::PartialMessage>(&bytes).is_ok());
    assert!(
        matches!(decode::<partial::PartialMessage>(&broken), Err(DecodeError::Body(_, cause)) if cause.contains("number 2 of 2"))
    );
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

/// A revision of any kind.
fn revision(texts: &[String], number: u32, kind: i32, time: i64, some: bool) -> Metadata {
    let text = |n: usize| texts.get(n).cloned().unwrap_or_default();
    let small = u16::try_from(number % 65_536).unwrap();
    let address = vec![weir_flow::Address::new(std::net::Ipv4Addr::from(number).into())];
    let port = ServicePort { name: text(0), port: small, protocol: 6, target: small, target_name: text(1) };
    let object = match kind {
        0 => Object::Pod(Pod {
            addresses: address,
            host_network: some,
            node: text(0),
            service_account: text(1),
            workload_kind: text(2),
            workload: text(3),
            phase: text(4),
            containers: vec![Container { id: text(0), name: text(1) }],
            ports: vec![ContainerPort { name: text(2), port: small, protocol: 17 }],
            owners: texts.to_vec(),
        }),
        1 => Object::Node(Node { addresses: address, pod_networks: texts.to_vec(), zone: text(1) }),
        2 => Object::Namespace(Namespace { phase: text(0) }),
        3 => Object::Service(Service { addresses: address, ports: vec![port], selector: texts.to_vec() }),
        4 => Object::Agent(Agent { node: text(0), networks: texts.to_vec(), one_observer: some }),
        5 => Object::EndpointSlice(EndpointSlice { service: text(0), addresses: address, ports: vec![port] }),
        6 => Object::Policy(Policy { api_version: text(0), kind: text(1), spec: text(2), staged: some }),
        _ => Object::NetworkSet(NetworkSet { networks: texts.to_vec(), domains: texts.to_vec() }),
    };
    let bound = Bound { earliest: time, latest: time, source: BoundSource::ManagedFields };
    Metadata::Revision(Revision {
        cluster: "c".to_owned(),
        uid: text(0),
        revision: u64::from(number),
        namespace: text(1),
        name: text(2),
        labels: texts.to_vec(),
        labels_dropped: number,
        annotations: texts.to_vec(),
        changed_by: text(3),
        changed_at: some.then_some(time),
        valid_from: bound,
        valid_to: some.then_some(bound),
        object,
    })
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
    fn partials_are_written_as_by_schema(
        list in prop::collection::vec((0..4_usize, 0..4_usize, any::<Option<u16>>(), any::<u32>()), 0..20),
        counts in prop::array::uniform4(0..=i64::MAX.unsigned_abs()),
    ) {
        let names = ["", "a", "b", "web-0123456789"];
        let partials = list.into_iter().map(|(from, to, port, samples)| {
            let ends = [side(names[from], None), side(names[to], port)];
            let mut partial = partial(ends, report(counts, "x", from == to), u64::from(samples));
            partial.judgements = (0..to).map(|number| judged(names[number], from)).collect();
            partial
        });
        let partials = partials.collect();
        let batch = partial::PartialBatch { cluster: "c".to_owned(), partition: 1, generation: -1, partials };
        as_by_schema(&partial::PartialMessage::Partials(batch));
    }

    #[test]
    fn revisions_are_written_as_by_schema(
        texts in prop::collection::vec(".{0,30}", 1..6), number in any::<u32>(), kind in 0..8, time in any::<i64>(), some in any::<bool>(),
    ) {
        let revision = revision(&texts, number, kind, time, some);
        let bytes = encode(&revision).unwrap();
        as_by_schema(&revision);
        let read = decode_metadata(&bytes).unwrap();
        prop_assert_eq!(format!("{read:?}"), format!("{:?}", decode_as::<Metadata, ReadMetadata<'_>>(&bytes, Limits::default()).unwrap()));
        prop_assert_eq!(read.key(0), revision.key(0));
    }

    #[test]
    fn no_bytes_make_the_decoders_of_metadata_and_partials_panic(body in prop::collection::vec(any::<u8>(), 0..400)) {
        for schema in Metadata::<String>::readable().into_iter().chain(partial::PartialMessage::readable()) {
            let mut bytes = MAGIC.to_vec();
            bytes.extend_from_slice(schema.rabin_fingerprint());
            bytes.extend(&body);
            let _ = decode::<Metadata>(&bytes);
            let _ = decode_metadata(&bytes);
            let _ = decode::<partial::PartialMessage>(&bytes);
        }
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
