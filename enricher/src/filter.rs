//! Filters: what of the joined samples is taken, and as what.
//!
//! A rule is decided by one report of one direction in one tick. Who is thinned out is decided by the hash of the tuple, so
//! that both reporters take the same flows, and nothing is left to chance.

use crate::merge::add_totals;
use crate::observe::{EndFound, Observation};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_filter::{Action, End, EndField, Facts, Field, FlowField, Rules, Sameness, Subject, Value};
use weir_flow::dns::{code_name, type_name};
use weir_flow::{Address, protocol};
use weir_join::{Identity, IdentityKind};
use weir_schemas::enriched::{self, Arrival, Attribution, NoneReason};
use weir_schemas::ledger::Reporter;
use weir_schemas::partial::Partial;
use weir_schemas::raw::{DnsSample, DropClass, Origin, Point, Totals};
use xxhash_rust::xxh3::xxh3_64_with_seed;

mod redact;
#[cfg(test)]
mod tests;

/// The version of semantics from which on filters are asked of DNS questions.
pub(crate) const QUESTIONS: i32 = 3;

/// Reason in the ledger: dropped by a filter.
pub(crate) const FILTERED: &str = "filtered";
/// Reason in the ledger: of a flow that a filter's sampling passed over.
pub(crate) const SAMPLED_OUT: &str = "sampled_out";

/// Makes the choice of flows another one than that of internal partitions, which is by hash too.
const SEED: u64 = 0x5765_6972_2066_696c;

/// The largest sampling factor that an index holds.
const SAMPLING_MOST: u32 = i32::MAX.unsigned_abs();

/// What filters did to the samples of a batch.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// What was left out, by reason.
    pub(crate) left_out: BTreeMap<&'static str, Totals>,
    /// Samples that were taken for others of their kind.
    pub(crate) sampled: u64,
    /// Samples that were taken with fields emptied.
    pub(crate) redacted: u64,
}

/// Decides an observation. The answer is what is added up; nothing when that is nothing.
pub(crate) fn apply<'o, 'a>(
    rules: &Rules,
    mut observation: Observation<'o, 'a>,
    origin: Origin,
    tally: &mut Tally,
) -> Option<Observation<'o, 'a>> {
    if rules.is_empty() {
        return Some(observation);
    }
    let left_out = match rules.decide(&Seen { observation: &observation, origin }) {
        Action::Keep => return Some(observation),
        Action::Drop => FILTERED,
        Action::Sample(factor) if !is_chosen(&observation, *factor) => SAMPLED_OUT,
        Action::Sample(factor) => {
            observation.sampling = observation.sampling.saturating_mul(*factor).min(SAMPLING_MOST);
            tally.sampled += 1;
            return Some(observation);
        }
        Action::Redact(subjects) => {
            redact::redact(&mut observation, subjects);
            tally.redacted += 1;
            return Some(observation);
        }
    };
    let sample = observation.sample;
    let totals = Totals { packets: sample.packets, bytes: sample.bytes, samples: 1 };
    add_totals(tally.left_out.entry(left_out).or_default(), &totals);
    None
}

/// Decides a DNS question, which is asked like a flow from the client to the server. What is redacted is emptied there.
pub(crate) fn apply_to_question<'a>(
    rules: &Rules,
    sample: &DnsSample,
    (client, server): (&mut EndFound<'a>, &mut EndFound<'a>),
    origin: Origin,
) -> Decided {
    match rules.decide(&Asked { sample, client, server, origin }) {
        Action::Keep => Decided::Kept(1),
        Action::Drop => Decided::Dropped,
        Action::Sample(factor) if is_question_chosen(sample, *factor) => Decided::Kept((*factor).min(SAMPLING_MOST)),
        Action::Sample(_) => Decided::PassedOver,
        Action::Redact(subjects) => {
            for subject in subjects {
                let Field::End(end, field) = subject.field() else { continue };
                redact::redact_end(if end == End::Source { client } else { server }, subject, field);
            }
            Decided::Redacted
        }
    }
}

/// What filters make of a DNS question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decided {
    /// It is taken for so many of its kind.
    Kept(u32),
    /// It is taken with fields emptied.
    Redacted,
    /// It is left out.
    Dropped,
    /// Another one of its kind stands for it.
    PassedOver,
}

impl Decided {
    /// For how many of its kind a question that is taken counts.
    pub(crate) fn factor(self) -> u32 {
        match self {
            Self::Kept(factor) => factor,
            Self::Redacted | Self::Dropped | Self::PassedOver => 1,
        }
    }
}

/// Whether a question is the one in `factor` that is taken: by who asks whom for what, in every tick.
fn is_question_chosen(sample: &DnsSample, factor: u32) -> bool {
    let mut bytes = Vec::with_capacity(40 + sample.question.len());
    for (address, port) in [(sample.client, 0), (sample.server, sample.server_port)] {
        push_end(&mut bytes, address, port);
    }
    bytes.extend_from_slice(sample.question.as_bytes());
    xxh3_64_with_seed(&bytes, SEED).is_multiple_of(u64::from(factor.max(1)))
}

fn push_end(bytes: &mut Vec<u8>, address: Address, port: u16) {
    match address.ip() {
        std::net::IpAddr::V4(a) => bytes.extend_from_slice(&a.octets()),
        std::net::IpAddr::V6(a) => bytes.extend_from_slice(&a.octets()),
    }
    bytes.extend_from_slice(&port.to_le_bytes());
}

/// Whether a flow is the one in `factor` that is taken: by its tuple after translation, whichever way its packets go and
/// whoever is thought to have opened it.
fn is_chosen(o: &Observation<'_, '_>, factor: u32) -> bool {
    let end = |end: &EndFound<'_>| (end.ask.address, end.ask.port.unwrap_or(0));
    let mut ends = [end(&o.initiator), end(&o.responder)];
    ends.sort_unstable();
    let mut bytes = Vec::with_capacity(40);
    bytes.push(o.sample.protocol);
    for (address, port) in ends {
        push_end(&mut bytes, address, port);
    }
    xxh3_64_with_seed(&bytes, SEED).is_multiple_of(u64::from(factor.max(1)))
}

/// `Never` is said only where the other report would have been taken: rules may have left it out where they speak of what
/// only one reporter knows, or of names and an end is not known for certain.
pub(crate) fn doubted(
    (arrival, reason): (Arrival, &'static str),
    reports: Option<Sameness>,
    partial: &Partial,
) -> (Arrival, &'static str) {
    let certain = [&partial.initiator, &partial.responder].iter().all(|side| side.attribution() == Attribution::Exact);
    match reports {
        _ if arrival != Arrival::Never => (arrival, reason),
        None | Some(Sameness::Alike) => (arrival, reason),
        Some(Sameness::WhereKnown) if certain => (arrival, reason),
        Some(Sameness::WhereKnown | Sameness::OfReport) => (Arrival::Unknown, FILTERED),
    }
}

/// An observation as filters see it.
struct Seen<'s, 'a> {
    observation: &'s Observation<'s, 'a>,
    origin: Origin,
}

impl Facts for Seen<'_, '_> {
    fn any(&self, field: Field, mut test: impl FnMut(Value<'_>) -> bool) -> bool {
        match field {
            Field::End(end, field) => self.of_end(end, field, test),
            Field::Flow(FlowField::Addresses) => {
                let o = self.observation;
                [o.initiator.ask.address, o.responder.ask.address].iter().any(|a| test(Value::Address(a.ip())))
            }
            Field::Flow(FlowField::DropReasons) => {
                self.observation.sample.drops.iter().any(|drop| test(Value::Text(&drop.reason)))
            }
            Field::Flow(FlowField::DropClass) => self.observation.sample.drops.iter().any(|drop| {
                test(Value::Text(match drop.class {
                    DropClass::Policy => "policy",
                    DropClass::Other => "other",
                }))
            }),
            Field::Flow(field) => self.of_flow(field).is_some_and(test),
        }
    }
}

fn flag(is_set: bool) -> Option<Value<'static>> {
    is_set.then_some(Value::Set)
}

impl Seen<'_, '_> {
    fn of_flow(&self, field: FlowField) -> Option<Value<'_>> {
        let o = self.observation;
        let sample = o.sample;
        let corrected = |count: u64| Value::Number(crate::merge::product(count, u64::from(sample.sampling.max(1))));
        Some(match field {
            FlowField::Protocol => Value::Number(u64::from(sample.protocol)),
            FlowField::Action => Value::Text(action(o)),
            FlowField::Bytes => corrected(sample.bytes),
            FlowField::Packets => corrected(sample.packets),
            FlowField::Started => corrected(sample.started),
            FlowField::Ended => corrected(sample.ended),
            FlowField::Sampling => Value::Number(u64::from(sample.sampling.max(1))),
            FlowField::Reporter => Value::Text(match o.reporter {
                Reporter::Initiator => "initiator",
                Reporter::Responder => "responder",
            }),
            FlowField::Point => Value::Text(point(sample.point)?),
            FlowField::Direction => Value::Text(direction(&o.initiator, &o.responder)),
            FlowField::Origin => Value::Text(origin(self.origin)?),
            FlowField::OrientationGuessed => return flag(o.guessed),
            FlowField::Untranslated => return flag(o.untranslated),
            // Not known of samples of flows, or of several values.
            FlowField::Dns
            | FlowField::DnsQuestion
            | FlowField::DnsType
            | FlowField::DnsResponseCode
            | FlowField::Addresses
            | FlowField::DropReasons
            | FlowField::DropClass
            | FlowField::Arrival
            | FlowField::Level
            | FlowField::Cluster
            | FlowField::CommunityId
            | FlowField::ClusterKnown
            | FlowField::Coarsened
            | FlowField::Verdict
            | FlowField::Pending
            | FlowField::Rule
            | FlowField::Explanation
            | FlowField::Mismatch => return None,
        })
    }

    fn of_end(&self, end: End, field: EndField, mut test: impl FnMut(Value<'_>) -> bool) -> bool {
        let o = self.observation;
        let found = if end == End::Source { &o.initiator } else { &o.responder };
        let sent = (end == End::Source) == o.forward;
        match field {
            EndField::TcpFlags => sent && protocol::flag_names(o.sample.tcp_flags).any(|name| test(Value::Text(name))),
            EndField::Bytes | EndField::Packets if !sent => test(Value::Number(0)),
            EndField::Bytes => self.of_flow(FlowField::Bytes).is_some_and(test),
            EndField::Packets => self.of_flow(FlowField::Packets).is_some_and(test),
            field => of_found(found, field, test),
        }
    }
}

/// A DNS question as filters see it: a flow of which the ends are known, and nothing was counted.
struct Asked<'s, 'a> {
    sample: &'s DnsSample,
    client: &'s EndFound<'a>,
    server: &'s EndFound<'a>,
    origin: Origin,
}

impl Facts for Asked<'_, '_> {
    fn any(&self, field: Field, mut test: impl FnMut(Value<'_>) -> bool) -> bool {
        let sample = self.sample;
        fn text(text: Option<&str>) -> Option<Value<'_>> {
            text.filter(|text| !text.is_empty()).map(Value::Text)
        }
        let value = match field {
            Field::End(End::Source, field) => return of_found(self.client, field, test),
            Field::End(End::Destination, field) => return of_found(self.server, field, test),
            Field::Flow(FlowField::Addresses) => {
                return [sample.client, sample.server].iter().any(|a| test(Value::Address(a.ip())));
            }
            Field::Flow(FlowField::DnsType) => return test(Value::Text(&type_name(sample.question_type))),
            Field::Flow(FlowField::DnsResponseCode) => {
                return sample.response_code.is_some_and(|code| test(Value::Text(&code_name(code))));
            }
            Field::Flow(FlowField::Dns) => Some(Value::Set),
            Field::Flow(FlowField::DnsQuestion) => text(Some(&sample.question)),
            Field::Flow(FlowField::Protocol) => Some(Value::Number(u64::from(sample.protocol))),
            Field::Flow(FlowField::Point) => text(point(sample.point)),
            Field::Flow(FlowField::Origin) => text(origin(self.origin)),
            Field::Flow(FlowField::Direction) => text(Some(direction(self.client, self.server))),
            Field::Flow(FlowField::Reporter) => {
                text(Some(if sample.end == weir_schemas::raw::End::Source { "initiator" } else { "responder" }))
            }
            Field::Flow(_) => None,
        };
        value.is_some_and(test)
    }
}

fn point(point: Point) -> Option<&'static str> {
    match point {
        Point::Pod => Some("pod"),
        Point::Host => Some("host"),
        Point::Capture => Some("capture"),
        Point::Transit | Point::Underlay => None,
    }
}

fn origin(origin: Origin) -> Option<&'static str> {
    match origin {
        Origin::Ebpf => Some("ebpf"),
        Origin::Capture => Some("capture"),
        Origin::Demo => Some("demo"),
        Origin::Owner => None,
    }
}

/// What is known of an end, whatever was counted.
fn of_found(found: &EndFound<'_>, field: EndField, mut test: impl FnMut(Value<'_>) -> bool) -> bool {
    match field {
        EndField::Labels => {
            let labels = found.found.identity.iter().flat_map(|identity| identity.labels.iter());
            labels.into_iter().any(|label| test(Value::Text(label)))
        }
        EndField::Address => test(Value::Address(found.ask.address.ip())),
        EndField::Port => found.ask.port.is_some_and(|port| test(Value::Number(u64::from(port)))),
        field => text_of_end(found, field).filter(|text| !text.is_empty()).is_some_and(|text| test(Value::Text(text))),
    }
}

fn text_of_end<'a>(end: &'a EndFound<'_>, field: EndField) -> Option<&'a str> {
    let identity = end.found.identity.as_deref();
    let pod = || identity.filter(|identity| identity.kind == IdentityKind::Pod);
    let known = |text: &'a Option<Cow<'_, Arc<str>>>| text.as_ref().map(|text| &***text);
    match field {
        EndField::Scope => Some(end.ask.address.scope().name()),
        EndField::Namespace => identity.map(|identity| &*identity.namespace),
        EndField::Pod => pod().map(|identity| &*identity.name),
        EndField::PodUid => pod().map(|identity| &*identity.uid),
        EndField::Workload => identity.map(|identity| &*identity.workload),
        EndField::WorkloadKind => identity.map(|identity| &*identity.workload_kind),
        EndField::Node => identity.map(|identity| &*identity.node),
        EndField::ServiceAccount => identity.map(|identity| &*identity.service_account),
        EndField::Zone => known(&end.found.zone),
        EndField::Service => known(&end.found.service),
        EndField::NetworkSet => known(&end.found.network_set),
        EndField::Host => end.found.host.as_deref(),
        EndField::Container => end.ask.container,
        EndField::Process => end.ask.process,
        EndField::Attribution => Some(end.found.attribution.name()),
        EndField::Reason => end.found.reason.map(NoneReason::name),
        // Not known of samples, or no text.
        EndField::Address
        | EndField::Port
        | EndField::Pods
        | EndField::Labels
        | EndField::Country
        | EndField::AsNumber
        | EndField::AsOrganization
        | EndField::Bytes
        | EndField::Packets
        | EndField::TcpFlags => None,
    }
}

/// What one report shows in one direction. Packets count before what the node drops of them, or after it: where no more
/// were counted than dropped, none is known to have come through.
fn action(o: &Observation<'_, '_>) -> &'static str {
    let of_policies = o.sample.drops.iter().filter(|drop| drop.class == DropClass::Policy);
    let dropped = of_policies.fold(0, |sum, drop| crate::merge::sum(sum, drop.packets));
    match dropped {
        0 => "allow",
        dropped if o.sample.packets > dropped => "mixed",
        _ => "deny",
    }
}

/// As a watcher at the cluster's border would say it.
fn direction(initiator: &EndFound<'_>, responder: &EndFound<'_>) -> &'static str {
    let inside = |end: &EndFound<'_>| enriched::is_inside(end.found.attribution, end.ask.address.scope());
    enriched::direction(inside(initiator), inside(responder))
}
