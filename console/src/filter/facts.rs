//! A record as expressions see it: the values that its document has, and those that no document has.

use weir_filter::{End, EndField, Facts, Field, FlowField, Value};
use weir_flow::protocol;
use weir_schemas::enriched::{Action, Arrival, Enriched, Explanation, Report, Side, direction};
use weir_schemas::raw::{DropClass, Origin};

/// A record.
pub(crate) struct Recorded<'a>(pub(crate) &'a Enriched);

fn number(number: u64) -> Value<'static> {
    Value::Number(number)
}

fn flag(is_set: bool) -> Option<Value<'static>> {
    is_set.then_some(Value::Set)
}

fn some(text: Option<&String>) -> Option<Value<'_>> {
    text.map(|text| Value::Text(text)).filter(|text| *text != Value::Text(""))
}

/// A sum that a `long` field takes.
fn sum(a: u64, b: u64) -> u64 {
    a.saturating_add(b).min(i64::MAX.unsigned_abs())
}

impl Facts for Recorded<'_> {
    fn any(&self, field: Field, mut test: impl FnMut(Value<'_>) -> bool) -> bool {
        match field {
            Field::End(end, field) => self.of_end(end, field, test),
            Field::Flow(FlowField::Addresses) => {
                let listed = |side: &Side, test: &mut dyn FnMut(Value<'_>) -> bool| {
                    side.address.iter().chain(&side.addresses).any(|address| test(Value::Address(address.ip())))
                };
                listed(&self.0.initiator, &mut test) || listed(&self.0.responder, &mut test)
            }
            Field::Flow(FlowField::Reporter) => {
                let reports = [("initiator", &self.0.by_initiator), ("responder", &self.0.by_responder)];
                reports.iter().any(|(name, report)| report.is_some() && test(Value::Text(name)))
            }
            Field::Flow(FlowField::Sampling) => self.reports().any(|report| test(number(report.sampling.into()))),
            Field::Flow(FlowField::DropReasons) => {
                self.reports().flat_map(|report| &report.drops).any(|drop| test(Value::Text(&drop.reason)))
            }
            Field::Flow(FlowField::DropClass) => self.reports().flat_map(|report| &report.drops).any(|drop| {
                test(Value::Text(match drop.class {
                    DropClass::Policy => "policy",
                    DropClass::Other => "other",
                }))
            }),
            Field::Flow(FlowField::Verdict) => self.0.verdicts().into_iter().any(|verdict| test(Value::Text(verdict))),
            Field::Flow(FlowField::Pending) => {
                self.0.pending_verdicts().into_iter().any(|verdict| test(Value::Text(verdict)))
            }
            Field::Flow(FlowField::Rule) => self.0.rules().into_iter().any(|rule| test(Value::Text(rule))),
            Field::Flow(field) => self.of_flow(field).is_some_and(test),
        }
    }
}

impl Recorded<'_> {
    fn reports(&self) -> impl Iterator<Item = &Report> {
        self.0.by_initiator.iter().chain(&self.0.by_responder)
    }

    fn of_flow(&self, field: FlowField) -> Option<Value<'_>> {
        let record = self.0;
        let totals = &record.totals;
        Some(match field {
            FlowField::Protocol => number(record.protocol.into()),
            FlowField::Action => Value::Text(match record.action {
                Action::Allow => "allow",
                Action::Deny => "deny",
                Action::Mixed => "mixed",
            }),
            FlowField::Bytes => number(sum(totals.forward_bytes, totals.reverse_bytes)),
            FlowField::Packets => number(sum(totals.forward_packets, totals.reverse_packets)),
            FlowField::Started => number(totals.started),
            FlowField::Ended => number(totals.ended),
            FlowField::Direction => Value::Text(direction(record.initiator.is_inside(), record.responder.is_inside())),
            FlowField::Arrival => Value::Text(match record.arrival {
                Arrival::Ok => "ok",
                Arrival::Never => "never",
                Arrival::Unknown => "unknown",
            }),
            FlowField::Level => number(record.level.into()),
            FlowField::Origin => Value::Text(match record.origin {
                Origin::Ebpf => "ebpf",
                Origin::Capture => "capture",
                Origin::Demo => "demo",
                Origin::Owner => "owner",
            }),
            FlowField::Cluster => return some(Some(&record.cluster)),
            FlowField::CommunityId => return some(record.community_id.as_ref()),
            FlowField::ClusterKnown => return flag(record.cluster_known),
            FlowField::Coarsened => return flag(record.coarsened),
            FlowField::OrientationGuessed => return flag(record.orientation_guessed),
            FlowField::Untranslated => return flag(record.untranslated),
            FlowField::Explanation if record.explanation == Explanation::NotJudged => return None,
            FlowField::Explanation => Value::Text(record.explanation.name()),
            FlowField::Mismatch => return flag(record.explanation == Explanation::Mismatch),
            // Of several values, or not known of records.
            FlowField::Addresses
            | FlowField::Reporter
            | FlowField::Sampling
            | FlowField::DropReasons
            | FlowField::DropClass
            | FlowField::Verdict
            | FlowField::Pending
            | FlowField::Rule
            | FlowField::Point
            | FlowField::Dns
            | FlowField::DnsQuestion
            | FlowField::DnsType
            | FlowField::DnsResponseCode => return None,
        })
    }

    fn of_end(&self, end: End, field: EndField, mut test: impl FnMut(Value<'_>) -> bool) -> bool {
        let record = self.0;
        let totals = &record.totals;
        let (side, bytes, packets) = match end {
            End::Source => (&record.initiator, totals.forward_bytes, totals.forward_packets),
            End::Destination => (&record.responder, totals.reverse_bytes, totals.reverse_packets),
        };
        let flags = |report: &Report| match end {
            End::Source => report.forward_tcp_flags,
            End::Destination => report.reverse_tcp_flags,
        };
        match field {
            EndField::Bytes => test(number(bytes)),
            EndField::Packets => test(number(packets)),
            EndField::Labels => side.labels.iter().any(|label| test(Value::Text(label))),
            EndField::Pods => side.pods.iter().any(|pod| test(Value::Text(pod))),
            EndField::TcpFlags => {
                let flags = self.reports().fold(0, |all, report| all | flags(report));
                protocol::flag_names(flags).any(|name| test(Value::Text(name)))
            }
            field => of_side(side, field).is_some_and(test),
        }
    }
}

fn of_side(side: &Side, field: EndField) -> Option<Value<'_>> {
    Some(match field {
        EndField::Address => Value::Address(side.address?.ip()),
        EndField::Port => number(side.port?.into()),
        EndField::AsNumber => number(side.as_number?.into()),
        EndField::Scope => Value::Text(side.scope.name()),
        EndField::Attribution => Value::Text(side.attribution.name()),
        EndField::Reason => Value::Text(side.reason?.name()),
        EndField::Namespace => return some(side.namespace.as_ref()),
        EndField::Pod => return some(side.pod.as_ref()),
        EndField::PodUid => return some(side.pod_uid.as_ref()),
        EndField::Workload => return some(side.workload.as_ref()),
        EndField::WorkloadKind => return some(side.workload_kind.as_ref()),
        EndField::Node => return some(side.node.as_ref()),
        EndField::Zone => return some(side.zone.as_ref()),
        EndField::Service => return some(side.service.as_ref()),
        EndField::ServiceAccount => return some(side.service_account.as_ref()),
        EndField::NetworkSet => return some(side.network_set.as_ref()),
        EndField::Container => return some(side.container.as_ref()),
        EndField::Process => return some(side.process.as_ref()),
        EndField::Host => return some(side.host.as_ref()),
        EndField::Country => return some(side.country.as_ref()),
        EndField::AsOrganization => return some(side.as_organization.as_ref()),
        // Of several values, or of the flow's counters.
        EndField::Labels | EndField::Pods | EndField::Bytes | EndField::Packets | EndField::TcpFlags => return None,
    })
}
