//! What of deletions that were announced is not in the engine's statistics yet. Pure.

use crate::act::Claim;
use serde::Serialize;
use weir_elastic::{IndexInfo, NodeDisk};
use weir_flow::Millis;

#[cfg(test)]
mod tests;

/// How long a deletion may be under way before the index is due again, and how much later than it a disk must have been
/// measured to be known to be without the index, ms: engines take files away some time after they have answered.
const SETTLE: Millis = 60_000;
/// How long what was deleted is counted as free on a disk of which only older measurements come, ms.
pub(crate) const LONGEST: Millis = 10 * SETTLE;

/// What was deleted lately, or is being deleted, and is not in the engine's figures yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Booked {
    /// How many indices.
    pub indices: usize,
    /// Their bytes, which count as free.
    pub bytes: u64,
}

/// Takes what is being deleted out of what is listed, and counts on each disk as free what has been deleted since it was
/// measured. `claims` are sorted by nothing; only those of the last [`LONGEST`] count. Hands back those of which anything was counted.
pub(crate) fn settle(listed: &mut Vec<IndexInfo>, disks: &mut [NodeDisk], claims: &[Claim], now: Millis) -> Booked {
    let mut booked = Booked::default();
    for claim in claims.iter().filter(|claim| claim.at >= now.saturating_sub(LONGEST)) {
        let recent = claim.at >= now.saturating_sub(SETTLE);
        // One that was made later is another index of the same name.
        let is_it = |index: &IndexInfo| index.name == claim.index && index.created <= claim.at;
        if listed.iter().any(is_it) && !recent {
            // It did not go after all, so that its bytes are its own again.
            continue;
        }
        let before = listed.len();
        listed.retain(|index| !is_it(index));
        let mut counts = listed.len() < before;
        for disk in disks.iter_mut() {
            let measured = disk.measured.unwrap_or(now);
            if recent || measured < claim.at.saturating_add(SETTLE) {
                counts = true;
                disk.available = disk.available.saturating_add(claim.on(&disk.id)).min(disk.total);
            }
        }
        if counts {
            booked.indices += 1;
            booked.bytes = booked.bytes.saturating_add(claim.bytes);
        }
    }
    booked
}
