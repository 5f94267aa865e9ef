//! `weir-audit-*`: what was deleted or given up, by whom and why.

use super::{DocumentError, ECS, Ecs, Notice, OBSERVER, Observer, Placed, Prepared, Time, check_times, id_of};
use crate::index::IndexKind;
use crate::periods::Periods;
use serde::Serialize;
use weir_schemas::audit::Audit;

#[cfg(test)]
mod tests;

/// Makes an audit entry ready to be sent. The id is a function of the entry, so that one that is read twice is one
/// document.
///
/// # Errors
/// When the entry can never be written.
pub fn prepare(entry: &Audit, periods: &Periods) -> Result<Prepared, DocumentError> {
    let at = entry.at.to_string();
    let id = id_of(&["audit", &at, &entry.action, &entry.target, &entry.by, &entry.reason]);
    check_times(&id, &[("at", entry.at)])?;
    let placed = Placed { kind: IndexKind::Audit, level: 0, cluster: "", window: entry.at, id: &id, correction: 0 };
    placed.write(&Document::of(entry), periods)
}

#[derive(Serialize)]
pub(super) struct Document<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: Time,
    ecs: Ecs,
    event: Notice<'a>,
    observer: Observer,
    weir: Weir<'a>,
}

#[derive(Serialize)]
struct Weir<'a> {
    audit: Entry<'a>,
}

#[derive(Serialize)]
struct Entry<'a> {
    target: &'a str,
    by: &'a str,
    bytes: u64,
    documents: u64,
}

impl<'a> Document<'a> {
    pub(super) fn of(entry: &'a Audit) -> Self {
        Self {
            timestamp: Time(entry.at),
            ecs: ECS,
            event: Notice {
                kind: "event",
                category: ["database"],
                types: ["change"],
                action: &entry.action,
                outcome: None,
                reason: Some(&entry.reason),
                dataset: "weir.audit",
            },
            observer: OBSERVER,
            weir: Weir {
                audit: Entry { target: &entry.target, by: &entry.by, bytes: entry.bytes, documents: entry.documents },
            },
        }
    }
}
