//! A row from a record on the topic.

use weir_flow::protocol;
use weir_schemas::enriched::{Counters, DropCounter, Enriched, Report as Counted, Side, document_id};

use super::{Drop, End, Report, Row, TcpFlags, Times, Totals, iso, word};

/// Names of the TCP flags by bit (RFC 9293, RFC 3168).
const FLAGS: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];

/// The row of a record.
#[must_use]
pub fn from_record(record: &Enriched) -> Row {
    let reporters = [("initiator", &record.by_initiator), ("responder", &record.by_responder)];
    let counted = || reporters.iter().filter_map(|(_, report)| report.as_ref());
    let mut drop_reasons: Vec<String> =
        counted().flat_map(|report| &report.drops).map(|drop| drop.reason.clone()).collect();
    drop_reasons.sort_unstable();
    drop_reasons.dedup();
    Row {
        id: document_id(&record.id),
        correction: u64::from(record.correction),
        time: iso(record.window),
        window: record.window,
        window_length: record.window_length,
        first_seen: iso(record.first_seen),
        last_seen: iso(record.last_seen),
        generation: iso(record.generation),
        level: u64::from(record.level),
        origin: word(&record.origin),
        cluster: record.cluster.clone(),
        cluster_known: record.cluster_known,
        action: word(&record.action),
        arrival: word(&record.arrival),
        arrival_reason: record.arrival_reason.clone(),
        protocol: protocol::name(record.protocol),
        source: end(&record.initiator),
        destination: end(&record.responder),
        totals: totals(&record.totals),
        drop_reasons,
        tcp_flags: TcpFlags {
            forward: flags(counted().fold(0, |all, report| all | report.forward_tcp_flags)),
            reverse: flags(counted().fold(0, |all, report| all | report.reverse_tcp_flags)),
        },
        reports: reporters
            .iter()
            .filter_map(|(reporter, counted)| counted.as_ref().map(|counted| report(reporter, counted)))
            .collect(),
        coarsened: record.coarsened,
        orientation_guessed: record.orientation_guessed,
        untranslated: record.untranslated,
        samples: record.samples,
        policy: super::policy::of_record(record),
    }
}

fn end(side: &Side) -> End {
    End {
        attribution: word(&side.attribution),
        identified_by: word(&side.by),
        reason: side.reason.as_ref().map(word),
        candidates: side.candidates.clone(),
        always_valid: side.always_valid,
        scope: word(&side.scope),
        address: side.address.map(|address| address.to_string()),
        addresses: side.addresses.iter().map(ToString::to_string).collect(),
        addresses_more: side.addresses_more,
        port: side.port.map(u64::from),
        namespace: side.namespace.clone(),
        pod: side.pod.clone(),
        pod_uid: side.pod_uid.clone(),
        pods: side.pods.clone(),
        pods_more: side.pods_more,
        workload_kind: side.workload_kind.clone(),
        workload: side.workload.clone(),
        node: side.node.clone(),
        zone: side.zone.clone(),
        service: side.service.clone(),
        service_account: side.service_account.clone(),
        labels: side.labels.clone(),
        container: side.container.clone(),
        process: side.process.clone(),
        host: side.host.clone(),
        network_set: side.network_set.clone(),
        ..End::default()
    }
    .named()
}

fn totals(counters: &Counters) -> Totals {
    Totals {
        forward_bytes: counters.forward_bytes,
        forward_packets: counters.forward_packets,
        reverse_bytes: counters.reverse_bytes,
        reverse_packets: counters.reverse_packets,
        started: counters.started,
        ended: counters.ended,
    }
}

fn report(reporter: &'static str, counted: &Counted) -> Report {
    Report {
        reporter,
        counters: totals(&counted.counters),
        retransmits: counted.retransmits,
        round_trip: counted.round_trip.and_then(|times| Times::new(times.sum, times.count, times.min, times.max)),
        last_forward: counted.last_forward.map(iso),
        sampling: u64::from(counted.sampling),
        drops: counted.drops.iter().map(drop_of).collect(),
    }
}

fn drop_of(drop: &DropCounter) -> Drop {
    Drop {
        reason: drop.reason.clone(),
        class: word(&drop.class),
        forward_packets: drop.forward_packets,
        forward_bytes: drop.forward_bytes,
        reverse_packets: drop.reverse_packets,
        reverse_bytes: drop.reverse_bytes,
    }
}

fn flags(bits: u16) -> Vec<String> {
    let set = FLAGS.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0);
    set.map(|(_, name)| (*name).to_owned()).collect()
}
