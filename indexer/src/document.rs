//! A record as an Elasticsearch document (ECS names), its index and its bulk operation. Pure.
//!
//! Flows are in [`flow`]; [`dns`], [`ledger`] and [`audit`] are data sets of their own.
//!
//! `source` is the initiator, `destination` the responder. What is absent is not written; flags are written only when
//! they are true, counters of rare things only when they are not zero, and what a reporter counted only where it differs
//! from the totals, because every field costs disk.

use crate::index::{Index, IndexKind, TIMES};
use crate::periods::Periods;
use serde::Serialize;
use std::sync::Arc;
use thiserror::Error;
use weir_elastic::bulk::{Operation, OperationError, Target};
use weir_flow::{Address, Millis};
use weir_schemas::enriched::{Enriched, Kind, Side, document_id};
use xxhash_rust::xxh3::xxh3_128;

mod audit;
mod dns;
mod ecs;
mod end;
mod flow;
mod known;
mod ledger;
mod object;
mod pair;
mod policy;
mod report;
mod side;
mod writer;

pub use audit::prepare as prepare_audit;
pub use dns::prepare as prepare_dns;
pub use known::Met;
pub use ledger::prepare as prepare_ledger;
pub use writer::{ReadError, Writer};

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

use ecs::{ECS, Ecs, Ip, Named, Notice, OBSERVER, Observer, Orchestrator, Time};
use end::End;
use pair::Pair;

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
    /// One of its ends is none.
    #[error("record {id}: {cause}")]
    End {
        /// The record.
        id: String,
        /// Why.
        cause: String,
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
pub struct Prepared<O = Operation> {
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
    pub operation: O,
}

impl<O> Prepared<O> {
    /// Its operation for an index of before documents had shorter ids than records: what is in it is found under them.
    #[must_use]
    pub fn under_whole_id(&self, operation: &Operation) -> Operation {
        operation.on(Target { index: &self.index.write_alias(), id: &self.id, version: u64::from(self.correction) + 1 })
    }

    /// The same with its operation elsewhere.
    #[must_use]
    pub fn map<P>(self, map: impl FnOnce(O) -> P) -> Prepared<P> {
        Prepared {
            index: self.index,
            cluster: self.cluster,
            window: self.window,
            id: self.id,
            correction: self.correction,
            operation: map(self.operation),
        }
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
    flow::check(record)?;
    let placed = Placed::of_flow(kind, record);
    match record.kind {
        Kind::Delete => placed.delete(periods),
        Kind::Upsert => placed.write_with(periods, |line| {
            let [initiator, responder] = [&record.initiator, &record.responder];
            let pair = Pair::of([Arc::new(End::of(initiator)?), Arc::new(End::of(responder)?)]);
            Ok(flow::write(line, record, &pair, [initiator.port, responder.port])?)
        }),
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

impl<'a> Placed<'a> {
    fn of_flow<S>(kind: IndexKind, record: &'a Enriched<S>) -> Self {
        Self {
            kind,
            level: record.level,
            cluster: &record.cluster,
            window: record.window,
            id: &record.id,
            correction: record.correction,
        }
    }

    fn index(&self, periods: &Periods) -> Result<Index, DocumentError> {
        Index::of(self.kind, self.level, self.window, periods.at(self.cluster, self.window))
            .ok_or_else(|| DocumentError::Level { id: self.id.to_owned(), level: self.level })
    }

    fn prepared<O>(&self, index: Index, operation: O) -> Prepared<O> {
        Prepared {
            index,
            cluster: self.cluster.to_owned(),
            window: self.window,
            id: self.id.to_owned(),
            correction: self.correction,
            operation,
        }
    }

    fn target<'t>(&self, alias: &'t str, id: &'t str) -> Target<'t> {
        Target { index: alias, id, version: u64::from(self.correction) + 1 }
    }

    fn refused(&self, error: &WriteError) -> DocumentError {
        DocumentError::Json { id: self.id.to_owned(), cause: error.to_string() }
    }

    fn delete(&self, periods: &Periods) -> Result<Prepared, DocumentError> {
        let index = self.index(periods)?;
        let operation = Operation::delete(self.target(&index.write_alias(), &document_id(self.id)));
        Ok(self.prepared(index, operation))
    }

    fn write(&self, document: &impl Serialize, periods: &Periods) -> Result<Prepared, DocumentError> {
        self.write_with(periods, |line| Ok(serde_json::to_writer(line, document)?))
    }

    fn write_with(
        &self,
        periods: &Periods,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), WriteError>,
    ) -> Result<Prepared, DocumentError> {
        let index = self.index(periods)?;
        let operation = Operation::index_with(self.target(&index.write_alias(), &document_id(self.id)), write);
        Ok(self.prepared(index, operation.map_err(|error| self.refused(&error))?))
    }
}

/// An id for what has none of its own: a function of these parts, 32 hexadecimal digits.
fn id_of(parts: &[&str]) -> String {
    // No part holds a NUL, so that no two lists of parts are the same bytes.
    format!("{:032x}", xxh3_128(parts.join("\0").as_bytes()))
}

fn check_id(id: &str) -> Result<(), DocumentError> {
    // All are looked at: digits of ids are random, so that branches would guess wrong.
    let wrong = id.bytes().fold(false, |wrong, byte| wrong | !byte.is_ascii_hexdigit());
    if id.len() != 32 || wrong {
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

/// A sum that a `long` field takes.
fn sum(a: u64, b: u64) -> u64 {
    a.saturating_add(b).min(i64::MAX.unsigned_abs())
}

fn addresses<'a>(sides: [&'a Side; 2]) -> impl Iterator<Item = Address> {
    sides.into_iter().flat_map(|side: &'a Side| side.address.into_iter().chain(side.addresses.iter().copied()))
}

/// `ipv4` or `ipv6` when all addresses are of that family.
fn family(mut addresses: impl Iterator<Item = Address>) -> Option<&'static str> {
    let first = addresses.next()?.ip().is_ipv4();
    addresses.all(|address| address.ip().is_ipv4() == first).then_some(if first { "ipv4" } else { "ipv6" })
}

/// All addresses of both ends, each once.
fn related(sides: [&Side; 2]) -> Vec<Ip> {
    let mut all: Vec<Address> = addresses(sides).collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter().map(Ip).collect()
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
