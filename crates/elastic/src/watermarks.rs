//! The engine's disk watermarks, pure.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

const PREFIX: &str = "cluster.routing.allocation.disk.";

/// From where on the engine refuses shards, moves them away, and refuses writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// No new shards beyond it.
    pub low: Mark,
    /// Shards are moved away beyond it.
    pub high: Mark,
    /// Flood stage: beyond it every index of the node is read-only but for deleting.
    pub flood: Mark,
}

/// One watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// So much of the disk may be used, parts of ten thousand; the rest need not be more than the headroom, bytes.
    Used(u64, Option<u64>),
    /// So much must be free, bytes.
    Free(u64),
}

impl Mark {
    /// What must be free on a disk of `total` bytes, bytes.
    #[must_use]
    pub fn free(self, total: u64) -> u64 {
        match self {
            Self::Free(bytes) => bytes,
            Self::Used(parts, headroom) => {
                // Dividing first keeps the product in range; a ten-thousandth is exact enough for disks.
                let free = (total / 10_000).saturating_mul(10_000_u64.saturating_sub(parts));
                headroom.map_or(free, |most| free.min(most))
            }
        }
    }

    fn parse(text: &str, headroom: Option<u64>) -> Option<Self> {
        let text = text.trim();
        let hundredths = |number: &str, scale: f64| {
            let share: f64 = number.trim().parse().ok()?;
            let parts = (share * scale).round();
            // Written out, because a float has no checked way to an integer.
            (0.0..=10_000.0).contains(&parts).then(|| format!("{parts:.0}").parse().ok())?
        };
        if let Some(percent) = text.strip_suffix('%') {
            return Some(Self::Used(hundredths(percent, 100.0)?, headroom));
        }
        match bytes(text) {
            Some(bytes) => Some(Self::Free(bytes)),
            None => Some(Self::Used(hundredths(text, 10_000.0)?, headroom)),
        }
    }
}

/// A size as engines write it: `500mb`, `1.5gb`, `20b`.
fn bytes(text: &str) -> Option<u64> {
    const UNITS: [(&str, u32); 6] = [("kb", 10), ("mb", 20), ("gb", 30), ("tb", 40), ("pb", 50), ("b", 0)];
    let text = text.trim().to_ascii_lowercase();
    let (number, shift) =
        UNITS.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?.trim().to_owned(), *shift)))?;
    match number.split_once('.') {
        None => number.parse::<u64>().ok()?.checked_mul(1 << shift),
        Some((whole, fraction)) => {
            let tenths: u64 = fraction.get(..1)?.parse().ok()?;
            let unit = 1_u64 << shift;
            whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(unit / 10 * tenths)
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    transient: BTreeMap<String, Value>,
    #[serde(default)]
    persistent: BTreeMap<String, Value>,
    #[serde(default)]
    defaults: BTreeMap<String, Value>,
}

/// Reads `_cluster/settings?include_defaults=true&flat_settings=true`. Nothing where the engine has no watermarks, or does not
/// heed them.
///
/// # Errors
/// When it is not the JSON that the engine documents.
pub(crate) fn read(body: &[u8]) -> Result<Option<Watermarks>, serde_json::Error> {
    let answer: Answer = serde_json::from_slice(body)?;
    let setting = |name: &str| {
        let key = format!("{PREFIX}{name}");
        let found = [&answer.transient, &answer.persistent, &answer.defaults].into_iter().find_map(|s| s.get(&key))?;
        found.as_str().map(str::to_owned)
    };
    if setting("threshold_enabled").is_some_and(|enabled| enabled == "false") {
        return Ok(None);
    }
    let mark = |name: &str| {
        let headroom = setting(&format!("{name}.max_headroom")).and_then(|text| bytes(&text));
        Mark::parse(&setting(name)?, headroom)
    };
    let marks = (mark("watermark.low"), mark("watermark.high"), mark("watermark.flood_stage"));
    Ok(match marks {
        (Some(low), Some(high), Some(flood)) => Some(Watermarks { low, high, flood }),
        _ => None,
    })
}
