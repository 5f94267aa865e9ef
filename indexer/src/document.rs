//! A record as an Elasticsearch document (ECS names), its index and its bulk operation. Pure.
//!
//! Flows are here; [`dns`], [`ledger`] and [`audit`] are data sets of their own.
//!
//! `source` is the initiator, `destination` the responder. What is absent is not written; flags are written only when
//! they are true, counters of rare things only when they are not zero, and what a reporter counted only where it differs
//! from the totals, because every field costs disk.

use crate::index::{Index, IndexKind, TIMES};
use crate::periods::Periods;
use serde::Serialize;
use thiserror::Error;
use weir_elastic::bulk::{Operation, OperationError, Target};
use weir_flow::{Address, Millis, protocol};
use weir_schemas::enriched::{Action, Arrival, Enriched, Kind, Side, direction, document_id};
use weir_schemas::raw::Origin;
use xxhash_rust::xxh3::xxh3_128;

mod audit;
mod dns;
mod ecs;
mod ledger;
mod policy;
mod report;
mod side;

pub use audit::prepare as prepare_audit;
pub use dns::prepare as prepare_dns;
pub use ledger::prepare as prepare_ledger;

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

use ecs::{ECS, Ecs, Ip, Named, Notice, OBSERVER, Observer, Orchestrator, Time};
use report::Report;
use side::{Identity, Party};

/// Why a record can never be a document.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DocumentError {
    /// The id is not 32 hexadecimal digits.
    #[error("record id {0:?} is not 32 hexadecimal digits")]
    Id(String),
    /// A level that does not exist.
    #[error("record {id}: there is no level {level}")]
    Level {
        /// The record.
        id: String,
        /// Its level.
        level: u8,
    },
    /// A time that no date field takes.
    #[error("record {id}: {field} is {time} ms since the epoch, outside of the years 1970 to 9999")]
    Time {
        /// The record.
        id: String,
        /// Which time.
        field: &'static str,
        /// The time.
        time: Millis,
    },
    /// It could not be written as JSON.
    #[error("record {id}: {cause}")]
    Json {
        /// The record.
        id: String,
        /// Why.
        cause: String,
    },
}

/// Why a document could not be written as one line of JSON.
#[derive(Debug, Error)]
enum WriteError {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Line(#[from] OperationError),
}

/// A record made ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The index that must exist.
    pub index: Index,
    /// The cluster's id; empty where the record has none.
    pub cluster: String,
    /// The start of the window that decided the index, ms since the epoch.
    pub window: Millis,
    /// The record's id, whole.
    pub id: String,
    /// 0 for the original.
    pub correction: u32,
    /// What is sent: a write or a delete, to the index's write alias, under the document's id.
    pub operation: Operation,
}

impl Prepared {
    /// The operation for an index of before documents had shorter ids than records: what is in it is found under them.
    #[must_use]
    pub fn under_whole_id(&self) -> Operation {
        self.operation.on(Target {
            index: &self.index.write_alias(),
            id: &self.id,
            version: u64::from(self.correction) + 1,
        })
    }
}

/// Makes a record ready to be sent. The result is a function of record and settings alone.
///
/// # Errors
/// When the record can never be written.
pub fn prepare(record: &Enriched, periods: &Periods) -> Result<Prepared, DocumentError> {
    prepare_as(IndexKind::of(record.origin), record, periods)
}

/// Makes a record ready for the indices of this kind of flows.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_as(kind: IndexKind, record: &Enriched, periods: &Periods) -> Result<Prepared, DocumentError> {
    check(record)?;
    let placed = Placed {
        kind,
        level: record.level,
        cluster: &record.cluster,
        window: record.window,
        id: &record.id,
        correction: record.correction,
    };
    match record.kind {
        Kind::Delete => placed.delete(periods),
        Kind::Upsert => placed.write(&Document::of(record), periods),
    }
}

/// Where a document belongs and which of its versions it is.
struct Placed<'a> {
    kind: IndexKind,
    level: u8,
    cluster: &'a str,
    window: Millis,
    id: &'a str,
    correction: u32,
}

impl Placed<'_> {
    fn index(&self, periods: &Periods) -> Result<Index, DocumentError> {
        Index::of(self.kind, self.level, self.window, periods.at(self.cluster, self.window))
            .ok_or_else(|| DocumentError::Level { id: self.id.to_owned(), level: self.level })
    }

    fn prepared(
        &self,
        periods: &Periods,
        operation: impl FnOnce(Target<'_>) -> Result<Operation, WriteError>,
    ) -> Result<Prepared, DocumentError> {
        let index = self.index(periods)?;
        let (alias, id) = (index.write_alias(), document_id(self.id));
        let operation = operation(Target { index: &alias, id: &id, version: u64::from(self.correction) + 1 });
        Ok(Prepared {
            index,
            cluster: self.cluster.to_owned(),
            window: self.window,
            id: self.id.to_owned(),
            correction: self.correction,
            operation: operation
                .map_err(|error| DocumentError::Json { id: self.id.to_owned(), cause: error.to_string() })?,
        })
    }

    fn delete(&self, periods: &Periods) -> Result<Prepared, DocumentError> {
        self.prepared(periods, |target| Ok(Operation::delete(target)))
    }

    fn write(&self, document: &impl Serialize, periods: &Periods) -> Result<Prepared, DocumentError> {
        self.prepared(periods, |target| {
            Operation::index_with(target, |line| Ok(serde_json::to_writer(line, document)?))
        })
    }
}

/// An id for what has none of its own: a function of these parts, 32 hexadecimal digits.
fn id_of(parts: &[&str]) -> String {
    // No part holds a NUL, so that no two lists of parts are the same bytes.
    format!("{:032x}", xxh3_128(parts.join("\0").as_bytes()))
}

fn check_id(id: &str) -> Result<(), DocumentError> {
    if id.len() != 32 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(DocumentError::Id(id.chars().take(64).collect()));
    }
    Ok(())
}

fn check_times(id: &str, times: &[(&'static str, Millis)]) -> Result<(), DocumentError> {
    match times.iter().find(|(_, time)| !TIMES.contains(time)) {
        Some((field, time)) => Err(DocumentError::Time { id: id.to_owned(), field, time: *time }),
        None => Ok(()),
    }
}

fn check(record: &Enriched) -> Result<(), DocumentError> {
    check_id(&record.id)?;
    let reports = [&record.by_initiator, &record.by_responder];
    let last_forward = reports.into_iter().flatten().filter_map(|r| r.last_forward);
    let times = [
        ("window", record.window),
        ("generation", record.generation),
        ("first_seen", record.first_seen),
        ("last_seen", record.last_seen),
    ];
    let times: Vec<_> = times.into_iter().chain(last_forward.map(|t| ("last_forward", t))).collect();
    check_times(&record.id, &times)
}

/// The document of a record.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: Time,
    ecs: Ecs,
    event: Event,
    source: Party<'a>,
    destination: Party<'a>,
    network: Network<'a>,
    #[serde(skip_serializing_if = "Related::is_empty")]
    related: Related,
    orchestrator: Orchestrator<'a>,
    observer: Observer,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<policy::Rule<'a>>,
    weir: Weir<'a>,
}

#[derive(Serialize)]
struct Event {
    kind: &'static str,
    category: [&'static str; 1],
    #[serde(rename = "type")]
    types: &'static [&'static str],
    action: Action,
    outcome: &'static str,
    dataset: &'static str,
    start: Time,
    end: Time,
}

#[derive(Serialize)]
struct Network<'a> {
    bytes: u64,
    packets: u64,
    transport: String,
    iana_number: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    family: Option<&'static str>,
    direction: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    community_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Related {
    ip: Vec<Ip>,
}

#[derive(Serialize)]
struct Weir<'a> {
    level: u8,
    window_length: Millis,
    /// Absent on time: it is the window then.
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<Time>,
    /// Absent of an original.
    #[serde(skip_serializing_if = "Option::is_none")]
    correction: Option<u32>,
    origin: Origin,
    cluster_known: bool,
    semantics: u32,
    arrival: Arrival,
    #[serde(skip_serializing_if = "str::is_empty")]
    arrival_reason: &'a str,
    #[serde(skip_serializing_if = "is_false")]
    coarsened: bool,
    #[serde(skip_serializing_if = "is_false")]
    orientation_guessed: bool,
    #[serde(skip_serializing_if = "is_false")]
    untranslated: bool,
    samples: u64,
    tiebreak: u16,
    connections: Connections,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reporters: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    drop_reasons: Vec<&'a str>,
    #[serde(skip_serializing_if = "report::Flags::is_empty")]
    tcp_flags: report::Flags,
    source: Identity<'a>,
    destination: Identity<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    initiator: Option<Report<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    responder: Option<Report<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<policy::Policy<'a>>,
}

#[derive(Serialize)]
struct Connections {
    started: u64,
    ended: u64,
}

impl<'a> Document<'a> {
    fn of(record: &'a Enriched) -> Self {
        let totals = &record.totals;
        Self {
            timestamp: Time(record.window),
            ecs: ECS,
            event: Event::of(record),
            source: Party::of(&record.initiator, Some((totals.forward_bytes, totals.forward_packets))),
            destination: Party::of(&record.responder, Some((totals.reverse_bytes, totals.reverse_packets))),
            network: Network::of(record),
            related: Related::of(record),
            orchestrator: Orchestrator::of(&record.cluster, record.cluster_known),
            observer: OBSERVER,
            rule: policy::Rule::of(record),
            weir: Weir::of(record),
        }
    }
}

impl Event {
    fn of(record: &Enriched) -> Self {
        let types: &[&str] = match record.action {
            Action::Allow => &["connection", "allowed"],
            Action::Deny => &["connection", "denied"],
            Action::Mixed => &["connection", "allowed", "denied"],
        };
        let outcome = match (record.action, record.arrival) {
            (Action::Deny, _) | (_, Arrival::Never) => "failure",
            (Action::Mixed, _) => "unknown",
            (Action::Allow, Arrival::Ok | Arrival::Unknown) => "success",
        };
        Self {
            kind: "event",
            category: ["network"],
            types,
            action: record.action,
            outcome,
            dataset: "weir.flows",
            start: Time(record.first_seen),
            end: Time(record.last_seen),
        }
    }
}

impl<'a> Network<'a> {
    fn of(record: &'a Enriched) -> Self {
        let totals = &record.totals;
        Self {
            bytes: sum(totals.forward_bytes, totals.reverse_bytes),
            packets: sum(totals.forward_packets, totals.reverse_packets),
            transport: protocol::name(record.protocol),
            iana_number: record.protocol.to_string(),
            family: family([&record.initiator, &record.responder]),
            direction: direction(record.initiator.is_inside(), record.responder.is_inside()),
            community_id: record.community_id.as_deref(),
        }
    }
}

/// A sum that a `long` field takes.
fn sum(a: u64, b: u64) -> u64 {
    a.saturating_add(b).min(i64::MAX.unsigned_abs())
}

fn addresses<'a>(sides: [&'a Side; 2]) -> impl Iterator<Item = Address> {
    sides.into_iter().flat_map(|side: &'a Side| side.address.into_iter().chain(side.addresses.iter().copied()))
}

/// `ipv4` or `ipv6` when all addresses are of that family.
fn family(sides: [&Side; 2]) -> Option<&'static str> {
    let mut families = addresses(sides).map(|a| a.ip().is_ipv4());
    let first = families.next()?;
    families.all(|f| f == first).then_some(if first { "ipv4" } else { "ipv6" })
}

/// All addresses of both ends, each once.
fn related(sides: [&Side; 2]) -> Vec<Ip> {
    let mut all: Vec<Address> = addresses(sides).collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter().map(Ip).collect()
}

impl Related {
    fn of(record: &Enriched) -> Self {
        Self { ip: related([&record.initiator, &record.responder]) }
    }

    fn is_empty(&self) -> bool {
        self.ip.is_empty()
    }
}

impl<'a> Weir<'a> {
    fn of(record: &'a Enriched) -> Self {
        let reports = [record.by_initiator.as_ref(), record.by_responder.as_ref()];
        let reporters = ["initiator", "responder"].into_iter().zip(reports).filter_map(|(n, r)| r.map(|_| n)).collect();
        let reports = || reports.into_iter().flatten();
        let mut drop_reasons: Vec<&str> = reports().flat_map(|r| &r.drops).map(|d| d.reason.as_str()).collect();
        drop_reasons.sort_unstable();
        drop_reasons.dedup();
        Self {
            level: record.level,
            window_length: record.window_length,
            generation: (record.generation != record.window).then_some(Time(record.generation)),
            correction: (record.correction != 0).then_some(record.correction),
            origin: record.origin,
            cluster_known: record.cluster_known,
            semantics: record.semantics,
            arrival: record.arrival,
            arrival_reason: &record.arrival_reason,
            coarsened: record.coarsened,
            orientation_guessed: record.orientation_guessed,
            untranslated: record.untranslated,
            samples: record.samples,
            tiebreak: tiebreak(&record.id),
            connections: Connections { started: record.totals.started, ended: record.totals.ended },
            reporters,
            drop_reasons,
            tcp_flags: report::Flags::of(reports()),
            source: Identity::of(&record.initiator),
            destination: Identity::of(&record.responder),
            initiator: record.by_initiator.as_ref().map(|report| Report::of(report, &record.totals)),
            responder: record.by_responder.as_ref().map(|report| Report::of(report, &record.totals)),
            policy: policy::Policy::of(record),
        }
    }
}

/// The first 16 bits of the id, which order the records of a window: 2 bytes a document. Some have the same; a reader of
/// pages ends each where this changes.
fn tiebreak(id: &str) -> u16 {
    id.get(..4).and_then(|digits| u16::from_str_radix(digits, 16).ok()).unwrap_or(0)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}
