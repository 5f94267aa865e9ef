//! Every format as it was first written is still read, and is still written so.
//!
//! `WEIR_BLESS=1 cargo test -p weir-schemas --test golden` writes the golden file of a format that has none yet; an existing
//! one is never written again: a change of bytes is a new version, beside the old.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use weir_flow::settings::{FilterAction, FilterRule};
use weir_schemas::audit::Audit;
use weir_schemas::checkpoint::Checkpoint;
use weir_schemas::dead_letter::DeadLetter;
use weir_schemas::dns::Dns;
use weir_schemas::enriched::{
    Action, Arrival, Attribution, Counters, DropCounter, Enriched, Explanation, IdentifiedBy, Judgement, Kind,
    NoneReason, Pending, Report, Side, Verdict,
};
use weir_schemas::horizon::Horizon;
use weir_schemas::ledger::{Ledger, Questions, QuestionsLost, Received, Reporter, Stored, StoredQuestions};
use weir_schemas::metadata::{
    Agent, Bound, BoundSource, Container, ContainerPort, EndpointSlice, Heartbeat, Metadata, Namespace, NetworkSet,
    Node, Object, Pod, Policy, Proof, Revision, Service, ServicePort,
};
use weir_schemas::partial::{
    Behind, DnsBatch, DnsPartial, Marker, MissingTicks, Partial, PartialBatch, PartialMessage, Sets,
};
use weir_schemas::raw::{
    Coarsening, DnsSample, Drop, DropClass, End, Loss, OpenedBy, Origin, Point, RawBatch, RoundTrip, Sample, Totals,
    Tuple,
};
use weir_schemas::settings::Settings;
use weir_schemas::{Message, decode, encode};

/// Compares with the golden file, in both directions.
fn golden<T: Message + PartialEq + Debug>(name: &str, value: &T) {
    golden_version(name, 1, value);
}

/// As [`golden`], for a format whose schema has a later version.
fn golden_version<T: Message + PartialEq + Debug>(name: &str, version: u32, value: &T) {
    let path = file(name, version);
    let bytes = encode(value).unwrap();
    if !path.exists() && std::env::var_os("WEIR_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &bytes).unwrap();
    }
    let committed = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(&decode::<T>(&committed).unwrap(), value, "{name} is read differently");
    assert_eq!(bytes, committed, "{name} is written differently: that is a new version");
}

fn file(name: &str, version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.v{version}.bin"))
}

/// A golden file of a version that is no longer written is still read.
fn still_read<T: Message + PartialEq + Debug>(name: &str, version: u32, value: &T) {
    let committed = std::fs::read(file(name, version)).unwrap();
    assert_eq!(&decode::<T>(&committed).unwrap(), value, "{name} is read differently");
}

fn side(port: u16) -> Side {
    Side {
        labels_some: vec!["track=canary".to_owned()],
        domains: vec!["example.org".to_owned()],
        domains_more: 6,
        labels_more: 5,
        as_number: Some(64_496),
        as_organization: Some("Example".to_owned()),
        country: Some("NL".to_owned()),
        attribution: Attribution::Exact,
        by: IdentifiedBy::Uid,
        reason: Some(NoneReason::Outside),
        candidates: vec!["shop/a".to_owned()],
        always_valid: true,
        scope: weir_flow::AddressScope::Private,
        address: Some("10.0.0.1".parse().unwrap()),
        addresses: vec!["2001:db8::1".parse().unwrap()],
        addresses_more: 1,
        port: Some(port),
        namespace: Some("shop".to_owned()),
        pod: Some("web-1".to_owned()),
        pod_uid: Some("u".to_owned()),
        pods: vec!["shop/web-1".to_owned()],
        pods_more: 2,
        workload_kind: Some("Deployment".to_owned()),
        workload: Some("web".to_owned()),
        node: Some("n".to_owned()),
        zone: Some("z".to_owned()),
        service: Some("shop/web".to_owned()),
        service_account: Some("sa".to_owned()),
        labels: vec!["app=web".to_owned()],
        container: Some("c".to_owned()),
        process: Some("p".to_owned()),
        host: Some("h".to_owned()),
        network_set: Some("s".to_owned()),
    }
}

fn counters() -> Counters {
    Counters { forward_bytes: 1, forward_packets: 2, reverse_bytes: 3, reverse_packets: 4, started: 5, ended: 6 }
}

fn report() -> Report {
    Report {
        handshake: Some(round_trip()),
        resets: 3,
        zero_windows: 2,
        counters: counters(),
        drops: vec![DropCounter {
            reason: "NETFILTER_DROP".to_owned(),
            class: DropClass::Policy,
            forward_packets: 1,
            forward_bytes: 60,
            reverse_packets: 0,
            reverse_bytes: 0,
        }],
        forward_tcp_flags: 2,
        reverse_tcp_flags: 18,
        retransmits: 1,
        round_trip: Some(round_trip()),
        last_forward: Some(7),
        sampling: 1,
    }
}

fn round_trip() -> RoundTrip {
    RoundTrip { sum: 3, count: 2, min: 1, max: 2 }
}

fn judgement() -> Judgement {
    let trace = vec!["0|default|shop/web|allow|1".to_owned()];
    let pending =
        Pending { verdict: Verdict::Unknown, reason: "implementation-defined".to_owned(), trace: trace.clone() };
    Judgement {
        verdict: Verdict::Deny,
        reason: String::new(),
        trace,
        selecting: vec!["NetworkPolicy shop/web".to_owned()],
        pending: Some(pending),
        samples: 4,
        against: 3,
        otherwise: 5,
    }
}

/// The same as versions before it had it.
fn older_judgement() -> Judgement {
    Judgement { selecting: Vec::new(), otherwise: 0, ..judgement() }
}

fn dns_sample() -> DnsSample {
    DnsSample {
        point: Point::Pod,
        end: End::Source,
        interface: "veth0".to_owned(),
        client: "10.0.0.1".parse().unwrap(),
        server: "10.96.0.10".parse().unwrap(),
        server_port: 53,
        protocol: 17,
        question: "example.org".to_owned(),
        question_type: 28,
        response_code: Some(0),
        count: 2,
        latency: Some(round_trip()),
        answers: vec!["2001:db8::1".parse().unwrap()],
        answers_more: 1,
        pod_uid: Some("u".to_owned()),
        container: Some("c".to_owned()),
        process: Some("curl".to_owned()),
    }
}

fn totals() -> Totals {
    Totals { packets: 1, bytes: 2, samples: 3 }
}

fn loss() -> Vec<Loss> {
    vec![Loss { reason: "map_full".to_owned(), lost: totals() }]
}

#[test]
fn raw() {
    let sample = Sample {
        zero_windows: 2,
        coarsened: Coarsening::SourcePort,
        handshake: Some(round_trip()),
        resets: 3,
        point: Point::Pod,
        end: End::Destination,
        interface: "veth0".to_owned(),
        source: "10.0.0.1".parse().unwrap(),
        destination: "2001:db8::1".parse().unwrap(),
        source_port: 40_000,
        destination_port: 443,
        protocol: 6,
        translated: Some(Tuple {
            source: "10.0.0.1".parse().unwrap(),
            destination: "10.96.0.1".parse().unwrap(),
            source_port: 40_000,
            destination_port: 80,
        }),
        opened_by: OpenedBy::Source,
        first_seen: 1_700_000_000_100,
        last_seen: 1_700_000_000_900,
        bytes: 1_000,
        packets: 10,
        tcp_flags: 0x1b,
        started: 1,
        ended: 1,
        opened_at: Some(1_699_999_999_000),
        cumulative_bytes: 5_000,
        cumulative_packets: 50,
        drops: vec![Drop { reason: "NO_SOCKET".to_owned(), class: DropClass::Other, packets: 1, bytes: 60 }],
        retransmits: 2,
        round_trip: Some(round_trip()),
        pod_uid: Some("u".to_owned()),
        container: Some("c".to_owned()),
        process: Some("curl".to_owned()),
        sampling: 4,
    };
    let batch = RawBatch {
        dns: vec![dns_sample()],
        cluster: "local".to_owned(),
        node: "n".to_owned(),
        boot: "b".to_owned(),
        sequence: 3,
        tick: 1_700_000_000_000,
        tick_length: 1_000,
        ticks: 1,
        part: 0,
        parts: 1,
        origin: Origin::Ebpf,
        seen: totals(),
        published: totals(),
        lost: loss(),
        samples: vec![sample],
    };
    golden("raw", &batch);
}

fn revision(object: Object) -> Metadata {
    Metadata::Revision(Revision {
        labels_dropped: 1,
        annotations: vec!["team=a".to_owned()],
        changed_at: Some(6),
        changed_by: "kubectl".to_owned(),
        cluster: "local".to_owned(),
        uid: "u".to_owned(),
        revision: 2,
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
        labels: vec!["app=web".to_owned()],
        valid_from: Bound { earliest: 1, latest: 2, source: BoundSource::Creation },
        valid_to: Some(Bound { earliest: 3, latest: 4, source: BoundSource::Arrival }),
        object,
    })
}

#[test]
fn metadata() {
    let heartbeat =
        Heartbeat { cluster: "local".to_owned(), complete_to: 5, proof: Proof::Probed, cluster_known: true };
    golden("metadata-heartbeat", &Metadata::Heartbeat(heartbeat));
    let address = vec!["10.0.0.1".parse().unwrap()];
    golden(
        "metadata-pod",
        &revision(Object::Pod(Pod {
            owners: vec!["ReplicaSet/web-1".to_owned(), "Deployment/web".to_owned()],
            ports: vec![ContainerPort { name: "http".to_owned(), port: 8080, protocol: 6 }],
            addresses: address.clone(),
            host_network: true,
            node: "n".to_owned(),
            service_account: "sa".to_owned(),
            workload_kind: "Deployment".to_owned(),
            workload: "web".to_owned(),
            phase: "Running".to_owned(),
            containers: vec![Container { id: "c".to_owned(), name: "web".to_owned() }],
        })),
    );
    let node = Node { addresses: address.clone(), pod_networks: vec!["10.0.0.0/24".to_owned()], zone: "z".to_owned() };
    golden("metadata-node", &revision(Object::Node(node)));
    golden("metadata-namespace", &revision(Object::Namespace(Namespace { phase: "Active".to_owned() })));
    let port =
        ServicePort { name: "http".to_owned(), port: 80, protocol: 6, target: 0, target_name: "http".to_owned() };
    let service = Service { addresses: address, ports: vec![port], selector: vec!["app=web".to_owned()] };
    golden("metadata-service", &revision(Object::Service(service)));
    let agent = Agent { node: "n".to_owned(), networks: vec!["10.0.0.0/8".to_owned()], one_observer: false };
    golden("metadata-agent", &revision(Object::Agent(agent)));
    let slice = EndpointSlice {
        service: "web".to_owned(),
        addresses: vec!["10.0.0.1".parse().unwrap()],
        ports: vec![ServicePort::default()],
    };
    golden("metadata-endpoint-slice", &revision(Object::EndpointSlice(slice)));
    let policy = Policy {
        api_version: "networking.k8s.io/v1".to_owned(),
        kind: "NetworkPolicy".to_owned(),
        spec: r#"{"podSelector":{}}"#.to_owned(),
        staged: true,
    };
    golden("metadata-policy", &revision(Object::Policy(policy)));
    let set = NetworkSet { networks: vec!["192.0.2.0/24".to_owned()], domains: vec!["*.example.org".to_owned()] };
    golden("metadata-network-set", &revision(Object::NetworkSet(set)));
}

#[test]
fn enriched() {
    let record = Enriched {
        judgements_more: 1,
        community_id: Some("1:LQU9qZlK+B5F3KDmev6m5PMibrg=".to_owned()),
        explanation: Explanation::Mismatch,
        judgements: vec![judgement()],
        id: "0123456789abcdef0123456789abcdef".to_owned(),
        correction: 1,
        kind: Kind::Upsert,
        origin: Origin::Demo,
        cluster: "local".to_owned(),
        cluster_known: true,
        level: 1,
        window: 1_700_000_000_000,
        window_length: 5_000,
        generation: 1_700_000_005_000,
        semantics: 1,
        initiator: side(40_000),
        responder: side(443),
        protocol: 6,
        orientation_guessed: true,
        untranslated: true,
        first_seen: 1,
        last_seen: 2,
        totals: counters(),
        by_initiator: Some(report()),
        by_responder: None,
        arrival: Arrival::Unknown,
        arrival_reason: "late".to_owned(),
        action: Action::Mixed,
        coarsened: true,
        samples: 9,
    };
    golden_version("enriched", 2, &record);
    still_read("enriched", 1, &Enriched { judgements: vec![older_judgement()], ..record.clone() });
    let dns = Dns {
        id: record.id,
        correction: 0,
        kind: Kind::Delete,
        origin: Origin::Ebpf,
        cluster: "local".to_owned(),
        window: 1,
        generation: 2,
        client: side(1),
        server: side(53),
        question: "example.org".to_owned(),
        question_type: "AAAA".to_owned(),
        response_code: "NXDOMAIN".to_owned(),
        count: 3,
        latency: Some(round_trip()),
        answers: vec!["2001:db8::1".to_owned()],
        answers_more: 4,
    };
    golden("dns", &dns);
}

/// Since version 2 the ends of a message's records stand in it once, since version 3 what policies say of them.
fn partial_message(name: &str, message: &PartialMessage, older: &PartialMessage) {
    golden_version(name, 3, message);
    still_read(name, 2, older);
    still_read(name, 1, older);
}

#[test]
fn partial() {
    let of_both = Sets { domains: vec!["example.org"], labels: vec!["app=web"], ..Sets::default() };
    let of_initiator = Sets { addresses: vec!["10.0.0.1".parse().unwrap()], pods: vec!["shop/a"], ..of_both.clone() };
    let partial = Partial {
        behind: Behind::of(&[of_initiator, of_both]),
        judgements: vec![judgement().into()],
        window: 1,
        level: 2,
        origin: Origin::Capture,
        cluster_known: false,
        initiator: side(1).into(),
        responder: side(2).into(),
        protocol: 17,
        orientation_guessed: false,
        untranslated: false,
        first_seen: 3,
        last_seen: 4,
        totals: counters(),
        by_initiator: None,
        by_responder: Some(report()),
        initiator_covered: true,
        responder_covered: false,
        coarsened: false,
        samples: 5,
    };
    let older = Partial { judgements: vec![older_judgement().into()], ..partial.clone() };
    let [message, older] = [partial, older].map(|partial| {
        let partials = vec![partial];
        PartialMessage::Partials(PartialBatch { cluster: "local".to_owned(), partition: 1, generation: 2, partials })
    });
    partial_message("partials", &message, &older);
    let dns = DnsPartial {
        window: 1,
        origin: Origin::Ebpf,
        cluster_known: true,
        client: side(1),
        server: side(53),
        question: "example.org".to_owned(),
        question_type: "AAAA".to_owned(),
        response_code: "NOERROR".to_owned(),
        count: 2,
        latency: Some(round_trip()),
        answers: vec!["2001:db8::1".to_owned()],
    };
    let batch = DnsBatch { cluster: "local".to_owned(), partition: 1, generation: 2, dns: vec![dns] };
    let message = PartialMessage::Dns(batch);
    partial_message("partials-dns", &message, &message);
    let missing = vec![MissingTicks { node: "n".to_owned(), ticks: 2 }];
    let marker = Marker { cluster: "local".to_owned(), partition: 1, generation: 2, missing };
    let message = PartialMessage::Marker(marker);
    partial_message("marker", &message, &message);
}

#[test]
fn the_rest() {
    let checkpoint = Checkpoint { cluster: "local".to_owned(), partition: 1, generation: 2, offset: 3, watermark: 4 };
    golden("checkpoint", &checkpoint);
    let mut settings = weir_flow::RecordSettings { semantics: 1, ..weir_flow::RecordSettings::standard("local") };
    settings.filters = vec![
        FilterRule { expression: "dst.port == 22".to_owned(), action: FilterAction::Redact(vec!["src.ip".to_owned()]) },
        FilterRule { expression: "bytes > 0".to_owned(), action: FilterAction::Sample(10) },
    ];
    settings.cni_profile = "calico".to_owned();
    settings.labels_keep = vec!["app".to_owned()];
    still_read("settings", 1, &Settings::from(&settings));
    settings.geography = vec!["1d".to_owned(), "2e".to_owned()];
    golden_version("settings", 2, &Settings::from(&settings));
    let horizon = Horizon { kind: "flows".to_owned(), level: 1, cluster: "local".to_owned(), before: 2, index: None };
    still_read("horizon", 1, &horizon);
    let index = Some("weir-capture-l1-2026.01.01".to_owned());
    golden_version("horizon", 2, &Horizon { kind: "capture".to_owned(), cluster: String::new(), index, ..horizon });
    let audit = Audit {
        at: 1,
        action: "delete_index".to_owned(),
        target: "weir-flows-1-2026.01.01".to_owned(),
        reason: "budget".to_owned(),
        bytes: 2,
        documents: 3,
        by: "retention".to_owned(),
    };
    golden("audit", &audit);
    let letter = DeadLetter {
        cause: "not an Avro single-object encoding".to_owned(),
        topic: "flows.raw.v1".to_owned(),
        partition: 1,
        offset: 2,
        timestamp: 3,
        key: Some(b"n".to_vec()),
        value: None,
        length: 4,
    };
    golden("dead-letter", &letter);
}

#[test]
fn lines_of_the_ledger() {
    let received = Received {
        cluster: "local".to_owned(),
        partition: 1,
        generation: 2,
        node: "n".to_owned(),
        boot: "b".to_owned(),
        first_sequence: 3,
        last_sequence: 4,
        received: totals(),
        seen: totals(),
        agent_lost: loss(),
        lost: loss(),
        clamped: 5,
        counted: Totals::default(),
        questions: Questions::default(),
        questions_counted: 0,
        questions_lost: Vec::new(),
    };
    still_read("ledger-received", 1, &Ledger::Received(received.clone()));
    let lost = QuestionsLost { reason: "outside".to_owned(), lost: Questions { samples: 8, asked: 9 } };
    let (questions, questions_counted) = (Questions { samples: 6, asked: 7 }, 14);
    let received = Received { questions, questions_counted, questions_lost: vec![lost], ..received };
    still_read("ledger-received", 2, &Ledger::Received(received.clone()));
    golden_version("ledger-received", 3, &Ledger::Received(Received { counted: totals(), ..received }));
    let stored = Stored {
        cluster: "local".to_owned(),
        partition: 1,
        generation: 2,
        level: 1,
        reporter: Reporter::Responder,
        stored: totals(),
        filtered: totals(),
        outside: totals(),
    };
    still_read("ledger-stored", 1, &Ledger::Stored(stored.clone()));
    still_read("ledger-stored", 2, &Ledger::Stored(stored.clone()));
    golden_version("ledger-stored", 3, &Ledger::Stored(stored));
    let cluster = "local".to_owned();
    let questions = StoredQuestions { cluster, partition: 1, generation: 2, records: 3, stored: 14, coarsened: 5 };
    still_read("ledger-questions", 2, &Ledger::Questions(questions.clone()));
    golden_version("ledger-questions", 3, &Ledger::Questions(questions));
}

#[test]
fn a_field_that_a_later_version_adds_is_passed_over() {
    #[derive(serde::Serialize)]
    struct Later {
        cluster: String,
        partition: i32,
        generation: i64,
        offset: i64,
        watermark: i64,
        colour: Option<String>,
    }
    let mut json: serde_json::Value = serde_json::from_str(Checkpoint::SCHEMA).unwrap();
    let colour = serde_json::json!({"name": "colour", "type": ["null", "string"], "default": null});
    json["fields"].as_array_mut().unwrap().push(colour);
    let schema: serde_avro_fast::Schema = json.to_string().parse().unwrap();
    let later = Later {
        cluster: "c".to_owned(),
        partition: 1,
        generation: 2,
        offset: 3,
        watermark: 4,
        colour: Some("red".to_owned()),
    };
    let mut config = serde_avro_fast::ser::SerializerConfig::new(&schema);
    let bytes = serde_avro_fast::to_datum_vec(&later, &mut config).unwrap();
    let read: Checkpoint = serde_avro_fast::from_datum_slice(&bytes, &schema).unwrap();
    assert_eq!(read, Checkpoint { cluster: "c".to_owned(), partition: 1, generation: 2, offset: 3, watermark: 4 });
    // Until its schema is known it is refused by its fingerprint, never misread.
    let whole = serde_avro_fast::to_single_object_vec(&later, &mut config).unwrap();
    assert!(decode::<Checkpoint>(&whole).is_err());
}

#[test]
fn an_optional_field_that_an_earlier_version_lacks_is_absent() {
    #[derive(serde::Serialize)]
    struct Earlier {
        cause: String,
        topic: String,
        partition: i32,
        offset: i64,
        timestamp: i64,
        length: u64,
    }
    let mut json: serde_json::Value = serde_json::from_str(DeadLetter::SCHEMA).unwrap();
    json["fields"].as_array_mut().unwrap().retain(|f| f["name"] != "key" && f["name"] != "value");
    let schema: serde_avro_fast::Schema = json.to_string().parse().unwrap();
    let earlier =
        Earlier { cause: "c".to_owned(), topic: "t".to_owned(), partition: 0, offset: 0, timestamp: 0, length: 0 };
    let mut config = serde_avro_fast::ser::SerializerConfig::new(&schema);
    let bytes = serde_avro_fast::to_datum_vec(&earlier, &mut config).unwrap();
    let read: DeadLetter = serde_avro_fast::from_datum_slice(&bytes, &schema).unwrap();
    assert_eq!((read.key, read.value), (None, None));
}
