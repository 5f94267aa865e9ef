//! The fields of the messages that carry flows, in their schemas' order.

use super::direct::{Checked, Element, Input, Malformed, Output, Put, Take, record, symbols};
use crate::enriched::{
    Action, Arrival, Attribution, Counters, DropCounter, Enriched, Explanation, IdentifiedBy, Judgement, Kind,
    NoneReason, Pending, Report, SharedSide, Side, Verdict,
};
use crate::partial::wire::{self, Answers, Dictionary};
use crate::partial::{
    Answer, DnsBatch, DnsPartial, Judged, Marker, MissingTicks, Partial, PartialBatch, PartialMessage, Sets,
};
use crate::raw::columns::{ColumnBatch, Columns, DropAt, RoundTripAt, TranslatedAt};
use crate::raw::{DnsSample, Drop, DropClass, End, Loss, Origin, Point, RawBatch, RoundTrip, Text, Totals, Tuple};
use std::sync::Arc;
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

impl<T: Text> Put for RawBatch<T> {
    fn put(&self, output: &mut Output) {
        ColumnBatch::from(self).put(output);
    }

    fn room(&self) -> usize {
        512 + self.samples.len() * 64 + self.dns.len() * 128
    }
}

impl<'de, T: Text> Take<'de> for RawBatch<T> {
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
record!(Judgement: verdict, reason, trace, selecting, pending, samples, against, otherwise);
record!(Pending: verdict, reason, trace);

/// What is written without its port.
pub(crate) trait PutApart {
    fn put_before_port(&self, output: &mut Output);
    fn put_behind_port(&self, output: &mut Output);
}

/// What is read with or without its port.
pub(crate) trait TakeApart<'de>: Sized {
    /// A side, and how many bytes were left before its port and behind it.
    fn take_with_port(input: &mut Input<'de>) -> Result<(Self, usize, usize), Malformed>;
    /// What was written without a port.
    fn take_without_port(input: &mut Input<'de>) -> Result<Self, Malformed>;
}

/// The fields of a side before its port, and those behind it.
macro_rules! side {
    ($($before:ident),+; port; $($behind:ident),+) => {
        impl<T: Put + Element> PutApart for Side<T> {
            fn put_before_port(&self, output: &mut Output) {
                $(self.$before.put(output);)+
            }

            fn put_behind_port(&self, output: &mut Output) {
                $(self.$behind.put(output);)+
            }
        }

        impl<'de, T: Take<'de> + Element> TakeApart<'de> for Side<T> {
            fn take_with_port(input: &mut Input<'de>) -> Result<(Self, usize, usize), Malformed> {
                $(let $before = Take::take(input)?;)+
                let before = input.left();
                let port = Take::take(input)?;
                let behind = input.left();
                $(let $behind = Take::take(input)?;)+
                Ok((Self { $($before,)+ port, $($behind),+ }, before, behind))
            }

            fn take_without_port(input: &mut Input<'de>) -> Result<Self, Malformed> {
                $(let $before = Take::take(input)?;)+
                $(let $behind = Take::take(input)?;)+
                Ok(Self { $($before,)+ port: None, $($behind),+ })
            }
        }
    };
}

side!(
    attribution, by, reason, candidates, always_valid, scope, address, addresses, addresses_more; port;
    namespace, pod, pod_uid, pods, pods_more, workload_kind, workload, node, zone, service, service_account, labels,
    labels_some, labels_more, domains, domains_more, country, as_number, as_organization, container, process, host, network_set
);

impl<T: Put + Element> Put for Side<T> {
    fn put(&self, output: &mut Output) {
        self.put_before_port(output);
        self.port.put(output);
        self.put_behind_port(output);
    }
}

impl<'de, T: Take<'de> + Element> Take<'de> for Side<T> {
    fn take(input: &mut Input<'de>) -> Result<Self, Malformed> {
        Self::take_with_port(input).map(|(side, ..)| side)
    }
}

impl Put for SharedSide {
    fn put(&self, output: &mut Output) {
        let (before, behind) = self.encoded();
        output.bytes.extend_from_slice(before);
        self.port().put(output);
        output.bytes.extend_from_slice(behind);
    }
}

impl<T> Element for Side<T> {}

impl Element for SharedSide {}

impl<'de> Take<'de> for SharedSide {
    fn take(input: &mut Input<'de>) -> Result<Self, Malformed> {
        let bytes = input.rest();
        let (side, before, behind) = Side::<Checked>::take_with_port(input)?;
        let place = |left: usize| bytes.len() - left;
        let (before, behind) = (bytes.get(..place(before)), bytes.get(place(behind)..place(input.left())));
        Ok(Self::of_encoded(before.unwrap_or_default(), behind.unwrap_or_default(), side.port))
    }
}

/// An enriched record's fields: those before its ends and those behind them.
macro_rules! enriched {
    ($($head:ident),+; initiator, responder; $($tail:ident),+) => {
        impl<S: Put + Element> Put for Enriched<S> {
            fn put(&self, output: &mut Output) {
                $(self.$head.put(output);)+
                self.initiator.put(output);
                self.responder.put(output);
                $(self.$tail.put(output);)+
            }
        }

        impl<S> Enriched<S> {
            /// A record whose ends are read like this, the initiator first.
            pub(crate) fn take_by<'de>(
                input: &mut Input<'de>,
                mut end: impl FnMut(&mut Input<'de>) -> Result<S, Malformed>,
            ) -> Result<Self, Malformed> {
                $(let $head = Take::take(input)?;)+
                let (initiator, responder) = (end(input)?, end(input)?);
                $(let $tail = Take::take(input)?;)+
                Ok(Self { $($head,)+ initiator, responder, $($tail),+ })
            }
        }
    };
}

enriched!(
    id, correction, kind, origin, cluster, cluster_known, level, window, window_length, generation, semantics; initiator, responder; protocol, orientation_guessed, untranslated, first_seen, last_seen, totals, by_initiator, by_responder,
    arrival, arrival_reason, action, community_id, judgements, judgements_more, explanation, coarsened, samples
);

impl<'de, S: Take<'de> + Element> Take<'de> for Enriched<S> {
    fn take(input: &mut Input<'de>) -> Result<Self, Malformed> {
        Self::take_by(input, S::take)
    }
}

/// A partial record's fields: those before its ends, between them and what policies say, and behind that.
macro_rules! partial {
    ($($head:ident),+; initiator, responder; $($middle:ident),+; judgements; $($tail:ident),+) => {
        impl Partial {
            fn put_with(&self, [initiator, responder]: [u32; 2], answers: &Answers<'_>, output: &mut Output) {
                $(self.$head.put(output);)+
                initiator.put(output);
                self.initiator.port().put(output);
                responder.put(output);
                self.responder.port().put(output);
                $(self.$middle.put(output);)+
                output.array(&self.judgements, |judged, output| {
                    answers.number(&judged.answer).put(output);
                    judged.samples.put(output);
                    judged.against.put(output);
                    judged.otherwise.put(output);
                });
                $(self.$tail.put(output);)+
            }

            fn take_by<'de>(
                input: &mut Input<'de>,
                mut end: impl FnMut(&mut Input<'de>) -> Result<SharedSide, Malformed>,
                judged: impl FnMut(&mut Input<'de>) -> Result<Judged, Malformed>,
            ) -> Result<Self, Malformed> {
                $(let $head = Take::take(input)?;)+
                let (initiator, responder) = (end(input)?, end(input)?);
                $(let $middle = Take::take(input)?;)+
                let judgements = input.array(judged)?;
                $(let $tail = Take::take(input)?;)+
                Ok(Self { $($head,)+ initiator, responder, judgements, $($middle,)+ $($tail),+ })
            }
        }
    };
}

partial!(
    window, level, origin, cluster_known; initiator, responder; behind, protocol, orientation_guessed, untranslated, first_seen, last_seen, totals, by_initiator, by_responder, initiator_covered, responder_covered; judgements;
    coarsened, samples
);

/// Writes what stands behind the initiator and the responder: each list of the one before that of the other.
pub(crate) fn put_sets([initiator, responder]: &[Sets<&str>; 2], output: &mut Output) {
    initiator.addresses.put(output);
    responder.addresses.put(output);
    for list in
        [&initiator.pods, &responder.pods, &initiator.labels, &responder.labels, &initiator.domains, &responder.domains]
    {
        list.put(output);
    }
}

/// Reads what [`put_sets`] writes.
pub(crate) fn take_sets<'de>(input: &mut Input<'de>) -> Result<[Sets<&'de str>; 2], Malformed> {
    let mut ends: [Sets<&str>; 2] = Default::default();
    let [initiator, responder] = &mut ends;
    (initiator.addresses, responder.addresses) = (Take::take(input)?, Take::take(input)?);
    (initiator.pods, responder.pods) = (Take::take(input)?, Take::take(input)?);
    (initiator.labels, responder.labels) = (Take::take(input)?, Take::take(input)?);
    (initiator.domains, responder.domains) = (Take::take(input)?, Take::take(input)?);
    Ok(ends)
}

/// An end that its message has once.
fn end_of(sides: &[SharedSide], input: &mut Input<'_>) -> Result<SharedSide, Malformed> {
    Ok(wire::end(sides, Take::take(input)?, Take::take(input)?)?)
}

/// What policies say, as versions 1 and 2 have it on each record.
fn judged_whole(input: &mut Input<'_>) -> Result<Judged, Malformed> {
    let (verdict, reason, trace) = (Take::take(input)?, Take::take(input)?, Take::take(input)?);
    let pending = Take::take(input)?;
    let (samples, against) = (Take::take(input)?, Take::take(input)?);
    let answer = Answer { verdict, reason, trace, selecting: Vec::new(), pending };
    Ok(Judged { answer: Arc::new(answer), samples, against, otherwise: 0 })
}

record!(Answer: verdict, reason, trace, selecting, pending);

impl Put for PartialBatch {
    fn put(&self, output: &mut Output) {
        self.cluster.put(output);
        self.partition.put(output);
        self.generation.put(output);
        let Dictionary { sides, numbers, answers } = Dictionary::of(&self.partials);
        output.array(sides, |side, output| {
            let (before, behind) = side.encoded();
            output.bytes.extend_from_slice(before);
            None::<u16>.put(output);
            output.bytes.extend_from_slice(behind);
        });
        output.array(answers.list.iter(), |answer, output| answer.put(output));
        output.array(self.partials.iter().zip(numbers), |(partial, ends), output| {
            partial.put_with(ends, &answers, output);
        });
    }
}

impl<'de> Take<'de> for PartialBatch {
    fn take(input: &mut Input<'de>) -> Result<Self, Malformed> {
        let (cluster, partition, generation) = (Take::take(input)?, Take::take(input)?, Take::take(input)?);
        let sides: Vec<SharedSide> = Take::take(input)?;
        let answers: Vec<Arc<Answer>> = input.array(|input| Take::take(input).map(Arc::new))?;
        let judged = |input: &mut Input<'de>| {
            let answer = wire::answer(&answers, Take::take(input)?)?;
            let (samples, against, otherwise) = (Take::take(input)?, Take::take(input)?, Take::take(input)?);
            Ok(Judged { answer, samples, against, otherwise })
        };
        let partials = input.array(|input| Partial::take_by(input, |input| end_of(&sides, input), judged))?;
        Ok(Self { cluster, partition, generation, partials })
    }
}

/// A message of version 2: each record has what policies say whole.
pub(super) struct Version2(pub(super) PartialMessage);

impl<'de> Take<'de> for Version2 {
    fn take(input: &mut Input<'de>) -> Result<Self, Malformed> {
        older(input, |input| {
            let sides: Vec<SharedSide> = Take::take(input)?;
            input.array(|input| Partial::take_by(input, |input| end_of(&sides, input), judged_whole))
        })
        .map(Self)
    }
}

/// A message of version 1: each record has its ends whole, too.
pub(super) struct Version1(pub(super) PartialMessage);

impl<'de> Take<'de> for Version1 {
    fn take(input: &mut Input<'de>) -> Result<Self, Malformed> {
        older(input, |input| input.array(|input| Partial::take_by(input, Take::take, judged_whole))).map(Self)
    }
}

/// A message of which only batches of records were otherwise.
fn older<'de>(
    input: &mut Input<'de>,
    partials: impl FnOnce(&mut Input<'de>) -> Result<Vec<Partial>, Malformed>,
) -> Result<PartialMessage, Malformed> {
    let of_records = input.rest().first() == Some(&0);
    if !of_records {
        return Take::take(input);
    }
    input.long()?;
    let (cluster, partition, generation) = (Take::take(input)?, Take::take(input)?, Take::take(input)?);
    let partials = partials(input)?;
    Ok(PartialMessage::Partials(PartialBatch { cluster, partition, generation, partials }))
}

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

    fn room(&self) -> usize {
        match self {
            // Sides that repeat are written once: this is more than enough.
            Self::Partials(batch) => {
                let ends = |partial: &Partial| partial.initiator.bytes().len() + partial.responder.bytes().len();
                512 + batch.partials.iter().map(|partial| 256 + ends(partial)).sum::<usize>()
            }
            Self::Dns(batch) => 512 + batch.dns.len() * 1024,
            Self::Marker(marker) => 512 + marker.missing.len() * 64,
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
