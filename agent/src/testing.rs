//! Values for the tests of this crate.

use weir_flow::Address;
use weir_schemas::raw::{Coarsening, DnsSample, End, OpenedBy, Point, Sample};

/// A sample of flow number `flow`.
pub(crate) fn sample(flow: u16, packets: u64, bytes: u64) -> Sample {
    let address = |text: &str| text.parse::<Address>().unwrap();
    Sample {
        zero_windows: 0,
        coarsened: Coarsening::None,
        handshake: None,
        resets: 0,
        point: Point::Pod,
        end: End::Source,
        interface: "veth0".to_owned(),
        source: address("10.0.0.1"),
        destination: address("10.0.0.2"),
        source_port: flow,
        destination_port: 80,
        protocol: 6,
        translated: None,
        opened_by: OpenedBy::Source,
        first_seen: 1_000,
        last_seen: 1_500,
        bytes,
        packets,
        tcp_flags: 0x02,
        started: 1,
        ended: 0,
        opened_at: Some(1_000),
        cumulative_bytes: bytes,
        cumulative_packets: packets,
        drops: Vec::new(),
        retransmits: 0,
        round_trip: None,
        pod_uid: None,
        container: None,
        process: None,
        sampling: 1,
    }
}

/// A question that was asked `count` times, and answered.
pub(crate) fn question(count: u64) -> DnsSample {
    let address = |text: &str| text.parse::<Address>().unwrap();
    DnsSample {
        point: Point::Pod,
        end: End::Source,
        interface: String::new(),
        client: address("10.0.0.1"),
        server: address("10.0.0.2"),
        server_port: 53,
        protocol: 17,
        question: "example".to_owned(),
        question_type: 1,
        response_code: Some(0),
        count,
        latency: None,
        answers: Vec::new(),
        answers_more: 0,
        pod_uid: None,
        container: None,
        process: None,
    }
}
