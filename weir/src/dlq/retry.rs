//! Which dead letters may be processed again. Pure.

use std::collections::BTreeMap;
use weir_schemas::audit::Audit;
use weir_schemas::dead_letter::DeadLetter;
use weir_schemas::dns::Dns;
use weir_schemas::enriched::Enriched;
use weir_schemas::ledger::Ledger;
use weir_schemas::topics;

/// The id of a record that can be corrected.
pub(crate) type Identity = String;

/// What becomes of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is put back.
    Again,
    /// A higher correction of the record stands: the letter is of the past.
    Superseded,
    /// This version cannot read it either.
    Unreadable,
    /// The letter does not hold the whole message.
    Cut,
}

impl Fate {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Again => "to be processed again",
            Self::Superseded => "superseded by a higher correction",
            Self::Unreadable => "still not readable",
            Self::Cut => "not kept whole",
        }
    }
}

/// The id and correction of a message of a topic, where its records have any.
pub(crate) fn read(topic: &str, value: &[u8]) -> Option<(Identity, u32)> {
    match topic {
        topics::ENRICHED => weir_schemas::decode::<Enriched>(value).ok().map(|r| (r.id, r.correction)),
        topics::DNS => weir_schemas::decode::<Dns>(value).ok().map(|r| (r.id, r.correction)),
        _ => None,
    }
}

/// The same of a letter.
pub(crate) fn identity(letter: &DeadLetter) -> Option<(Identity, u32)> {
    read(&letter.topic, letter.value.as_deref()?)
}

fn is_readable(letter: &DeadLetter) -> bool {
    let Some(value) = letter.value.as_deref() else { return false };
    match letter.topic.as_str() {
        topics::LEDGER => weir_schemas::decode::<Ledger>(value).is_ok(),
        topics::AUDIT => weir_schemas::decode::<Audit>(value).is_ok(),
        topic if topic.starts_with("flows.raw.") => weir_schemas::decode::<weir_schemas::raw::RawBatch>(value).is_ok(),
        topic => read(topic, value).is_some(),
    }
}

/// What becomes of a letter, where these corrections stand.
pub(crate) fn judge(letter: &DeadLetter, whole: bool, standing: &BTreeMap<Identity, u32>) -> Fate {
    if !whole {
        return Fate::Cut;
    }
    if !is_readable(letter) {
        return Fate::Unreadable;
    }
    match identity(letter) {
        Some((id, correction)) if standing.get(&id).is_some_and(|highest| *highest > correction) => Fate::Superseded,
        _ => Fate::Again,
    }
}
