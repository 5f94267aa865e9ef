//! The fields of the messages that carry flows, in their schemas' order.

use super::direct::{Input, Malformed, Output, Put, Take, record, symbols};
use crate::enriched::{
    Action, Arrival, Attribution, Counters, DropCounter, Enriched, Explanation, IdentifiedBy, Judgement, Kind,
    NoneReason, Pending, Report, Side, Verdict,
};
use crate::partial::{DnsBatch, DnsPartial, Marker, MissingTicks, Partial, PartialBatch, PartialMessage};
use crate::raw::columns::{ColumnBatch, Columns, DropAt, RoundTripAt, TranslatedAt};
use crate::raw::{DnsSample, Drop, DropClass, End, Loss, Origin, Point, RawBatch, RoundTrip, Totals, Tuple};
use weir_flow::AddressScope;

impl Put for AddressScope {
    fn put(&self, output: &mut Output) {
        output.long(match self {
            Self::Private => 0,
            Self::Public => 1,
            Self::Loopback => 2,
            Self::LinkLocal => 3,
            Self::Multicast => 4,
        });
    }
}

impl<'de> Take<'de> for AddressScope {
    fn take(input: &mut Input<'de>) -> Result<Self, Malformed> {
        Ok(match input.long()? {
            0 => Self::Private,
            1 => Self::Public,
            2 => Self::Loopback,
            3 => Self::LinkLocal,
            4 => Self::Multicast,
            _ => return Err(Malformed::Member),
        })
    }
}

symbols!(Origin: Ebpf, Capture, Demo, Owner);
symbols!(Point: Pod, Host, Transit, Underlay, Capture);
symbols!(End: Source, Destination);
symbols!(DropClass: Policy, Other);
symbols!(Kind: Upsert, Delete);
symbols!(Attribution: Exact, Ambiguous, None);
symbols!(IdentifiedBy: Uid, Address, Nothing);
symbols!(NoneReason: Outside, UnknownPodAddress, BeforeHistory, NotYetReported, NoCluster);
symbols!(Arrival: Ok, Never, Unknown);
symbols!(Action: Allow, Deny, Mixed);
symbols!(Verdict: Allow, Deny, Unknown);
symbols!(Explanation: NotJudged, AsJudged, Mismatch, Unexplained, Unknown);

record!(RoundTrip: sum, count, min, max);
record!(Totals: packets, bytes, samples);
record!(Loss: reason, lost);
record!(Tuple: source, destination, source_port, destination_port);
record!(Drop: reason, class, packets, bytes);
record!(TranslatedAt: sample, tuple);
record!(DropAt: sample, drop);
record!(RoundTripAt: sample, round_trip);
record!(
    DnsSample: point, end, interface, client, server, server_port, protocol, question, question_type, response_code, count,
    latency, answers, answers_more, pod_uid, container, process
);
record!(
    Columns: place, interface, source, destination, source_port, destination_port, protocol, opened_by, first_seen,
    last_seen, bytes, packets, tcp_flags, started, ended, opened, earlier_bytes, earlier_packets, retransmits, pod_uid,
    container, process, sampling, zero_windows, resets, coarsened, translated, drops, round_trips, handshakes
);
record!(
    ColumnBatch: cluster, node, boot, sequence, tick, tick_length, ticks, part, parts, origin, seen, published, lost, count,
    strings, addresses, columns, dns
);

impl Put for RawBatch {
    fn put(&self, output: &mut Output) {
        ColumnBatch::from(self).put(output);
    }
}

impl<'de> Take<'de> for RawBatch {
    fn take(input: &mut Input<'de>) -> Result<Self, Malformed> {
        Ok(Self::try_from(ColumnBatch::take(input)?)?)
    }
}

record!(Counters: forward_bytes, forward_packets, reverse_bytes, reverse_packets, started, ended);
record!(DropCounter: reason, class, forward_packets, forward_bytes, reverse_packets, reverse_bytes);
record!(
    Report: counters, drops, forward_tcp_flags, reverse_tcp_flags, retransmits, round_trip, handshake, zero_windows, resets,
    last_forward, sampling
);
record!(Judgement: verdict, reason, trace, pending, samples, against);
record!(Pending: verdict, reason, trace);
record!(
    Side: attribution, by, reason, candidates, always_valid, scope, address, addresses, addresses_more, port, namespace,
    pod, pod_uid, pods, pods_more, workload_kind, workload, node, zone, service, service_account, labels, labels_some,
    labels_more, domains, domains_more, country, as_number, as_organization, container, process, host, network_set
);
record!(
    Enriched: id, correction, kind, origin, cluster, cluster_known, level, window, window_length, generation, semantics,
    initiator, responder, protocol, orientation_guessed, untranslated, first_seen, last_seen, totals, by_initiator,
    by_responder, arrival, arrival_reason, action, community_id, judgements, judgements_more, explanation, coarsened, samples
);
record!(
    Partial: window, level, origin, cluster_known, initiator, responder, initiator_addresses, responder_addresses,
    initiator_pods, responder_pods, initiator_labels, responder_labels, initiator_domains, responder_domains, protocol,
    orientation_guessed, untranslated, first_seen, last_seen, totals, by_initiator, by_responder, initiator_covered,
    responder_covered, judgements, coarsened, samples
);
record!(PartialBatch: cluster, partition, generation, partials);
record!(MissingTicks: node, ticks);
record!(Marker: cluster, partition, generation, missing);
record!(
    DnsPartial: window, origin, cluster_known, client, server, question, question_type, response_code, count, latency,
    answers
);
record!(DnsBatch: cluster, partition, generation, dns);

impl Put for PartialMessage {
    fn put(&self, output: &mut Output) {
        match self {
            Self::Partials(batch) => {
                output.long(0);
                batch.put(output);
            }
            Self::Dns(batch) => {
                output.long(1);
                batch.put(output);
            }
            Self::Marker(marker) => {
                output.long(2);
                marker.put(output);
            }
        }
    }
}

impl<'de> Take<'de> for PartialMessage {
    fn take(input: &mut Input<'de>) -> Result<Self, Malformed> {
        match input.long()? {
            0 => Take::take(input).map(Self::Partials),
            1 => Take::take(input).map(Self::Dns),
            2 => Take::take(input).map(Self::Marker),
            _ => Err(Malformed::Member),
        }
    }
}
