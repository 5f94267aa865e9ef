//! What is held of each kind and level, and how long the budget lasts. Pure.

use crate::inventory::{Index, Inventory, Kind};
use serde::Serialize;
use std::collections::BTreeMap;
use weir_flow::Millis;

const DAY: Millis = 86_400_000;
/// Over how many of the last days the rate is taken.
const RATE_DAYS: Millis = 7;

/// What is held of a kind and level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The kind.
    pub kind: Kind,
    /// The level; absent where the kind has none.
    pub level: Option<u8>,
    /// How many indices.
    pub indices: usize,
    /// Their size, bytes.
    pub bytes: u64,
    /// From the start of the oldest to the end of the newest, whole days.
    pub days: u64,
    /// Bytes of a day, of the last days that are over; absent while none is, and where the time of what is held says nothing of
    /// when it came.
    pub bytes_a_day: Option<u64>,
}

impl Held {
    pub(super) fn subject(&self) -> String {
        self.level.map_or_else(|| self.kind.as_str().to_owned(), |level| format!("{}/{level}", self.kind.as_str()))
    }
}

pub(super) fn of(inventory: &Inventory, now: Millis) -> Vec<Held> {
    let mut groups: BTreeMap<(Kind, u8), Vec<&Index>> = BTreeMap::new();
    for index in &inventory.indices {
        groups.entry((index.name.kind, index.name.level)).or_default().push(index);
    }
    groups.into_iter().map(|((kind, level), indices)| held(kind, level, &indices, now)).collect()
}

fn held(kind: Kind, level: u8, indices: &[&Index], now: Millis) -> Held {
    let bytes =
        |indices: &mut dyn Iterator<Item = &&Index>| indices.filter_map(|i| i.bytes).fold(0_u64, u64::saturating_add);
    let from = indices.iter().map(|i| i.name.start).min().unwrap_or(now);
    let until = indices.iter().map(|i| i.name.end).max().unwrap_or(now).min(now.max(from));
    // Whole days that are over, so that neither a day that goes on nor a gap is taken for a rate.
    let first = now.div_euclid(DAY).saturating_sub(RATE_DAYS).saturating_mul(DAY).max(from);
    let last = now.div_euclid(DAY) * DAY;
    let days = last.saturating_sub(first).div_euclid(DAY);
    let recent = bytes(&mut indices.iter().filter(|i| i.name.start >= first && i.name.end <= last));
    let rate = u64::try_from(days).ok().filter(|days| *days > 0).map(|days| recent / days);
    Held {
        kind,
        level: kind.has_levels().then_some(level),
        indices: indices.len(),
        bytes: bytes(&mut indices.iter()),
        days: u64::try_from(until.saturating_sub(from).div_euclid(DAY)).unwrap_or(0),
        bytes_a_day: rate.filter(|_| !kind.ages_from_creation() && kind != Kind::Audit),
    }
}

/// Whole days until `left` bytes are used up.
pub(super) fn days_to_full(held: &[Held], left: u64) -> Option<u64> {
    let rate = held.iter().filter_map(|h| h.bytes_a_day).fold(0_u64, u64::saturating_add);
    left.checked_div(rate)
}
