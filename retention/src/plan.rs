//! What may and must go: a pure function of the inventory, the policy and the time.

use crate::amount::Amount;
use crate::inventory::{Index, Inventory, Kind, Name};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::time::Duration;
use weir_flow::Millis;

mod show;
#[cfg(test)]
mod tests;

/// What is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The most that all of Weir's indices may take.
    pub budget: Amount,
    /// What is to stay free on each data node's disk.
    pub reserve: Amount,
    /// Indices older than this go, whatever their size.
    pub max_age: Option<Duration>,
    /// Indices younger than this stay, whatever the cost.
    pub min_age: Duration,
}

/// Why an index goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It is older than `--max-age`.
    MaxAge,
    /// All indices together are larger than `--budget`.
    Budget,
    /// A disk has less free than `--disk-reserve`.
    DiskReserve,
}

impl Reason {
    /// The reason as a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MaxAge => "max_age",
            Self::Budget => "budget",
            Self::DiskReserve => "disk_reserve",
        }
    }
}

/// One index to delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Action {
    /// The index.
    #[serde(serialize_with = "as_text")]
    pub index: Name,
    /// Its size, bytes; absent while the engine does not know.
    pub bytes: Option<u64>,
    /// How old it is, ms.
    pub age: Millis,
    /// Why it goes.
    pub reason: Reason,
}

fn as_text<S: Serializer>(name: &Name, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(name)
}

/// What is still too much when all that may go has gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stuck {
    /// Bytes too many.
    pub over: u64,
    /// Which setting to change.
    pub advice: String,
}

/// What is to be done, in this order, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// How many indices there are.
    pub indices: usize,
    /// Bytes of all of Weir's indices now.
    pub bytes: u64,
    /// Bytes that they may take.
    pub budget: u64,
    /// What is to be deleted.
    pub actions: Vec<Action>,
    /// Bytes that are left when that is done.
    pub after: u64,
    /// Set when that is not enough.
    pub stuck: Option<Stuck>,
}

/// Plans. Deletes only whole indices, the oldest day first and of a day the more detailed level first; never the newest
/// index of a kind and level, never one younger than the minimal age.
#[must_use]
pub fn plan(inventory: &Inventory, policy: &Policy, now: Millis) -> Plan {
    let budget = policy.budget.of(inventory.disk_total());
    let mut order: Vec<&Index> = inventory.indices.iter().collect();
    order.sort_by_key(|i| (i.day(), i.name.level, i.dated(), i.name));
    let newest = newest(inventory);
    let candidates = || {
        order.iter().copied().filter(|i| newest[&(i.name.kind, i.name.level)] != i.name && old_enough(i, policy, now))
    };

    let mut actions = Vec::new();
    let action = |index: &Index, reason| Action { index: index.name, bytes: index.bytes, age: age(index, now), reason };
    let too_old = |i: &Index| policy.max_age.is_some_and(|most| age(i, now) > millis(most));
    actions.extend(candidates().filter(|i| too_old(i)).map(|i| action(i, Reason::MaxAge)));

    let bytes = inventory.bytes();
    let freed = |actions: &[Action]| actions.iter().filter_map(|a| a.bytes).fold(0, u64::saturating_add);
    let shortage = shortage(inventory, policy);
    let over = |actions: &[Action]| {
        let freed = freed(actions);
        let budget = bytes.saturating_sub(freed).saturating_sub(budget);
        (budget, shortage.saturating_sub(freed))
    };
    // An index of unknown size frees an unknown amount: it goes by age only.
    for index in candidates().filter(|i| !too_old(i) && i.bytes.is_some_and(|b| b > 0)) {
        match over(&actions) {
            (0, 0) => break,
            (0, _) => actions.push(action(index, Reason::DiskReserve)),
            _ => actions.push(action(index, Reason::Budget)),
        }
    }
    let (over_budget, over_disk) = over(&actions);
    let stuck = (over_budget.max(over_disk) > 0)
        .then(|| stuck(inventory, policy, now, over_budget, over_disk, bytes.saturating_sub(freed(&actions))));
    let after = bytes.saturating_sub(freed(&actions));
    Plan { indices: inventory.indices.len(), bytes, budget, actions, after, stuck }
}

/// The newest index of each kind and level: the one that is being written.
fn newest(inventory: &Inventory) -> BTreeMap<(Kind, u8), Name> {
    let mut newest = BTreeMap::new();
    for Index { name, .. } in &inventory.indices {
        let entry = newest.entry((name.kind, name.level)).or_insert(*name);
        if (name.end, name.start) > (entry.end, entry.start) {
            *entry = *name;
        }
    }
    newest
}

fn age(index: &Index, now: Millis) -> Millis {
    now.saturating_sub(index.dated())
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

fn old_enough(index: &Index, policy: &Policy, now: Millis) -> bool {
    age(index, now) >= millis(policy.min_age)
}

/// How much the fullest disk lacks of its reserve, bytes. The engine balances shards, so what is freed anywhere helps.
fn shortage(inventory: &Inventory, policy: &Policy) -> u64 {
    let lacks = |total: u64, available: u64| policy.reserve.of(total).saturating_sub(available);
    inventory.disks.iter().map(|d| lacks(d.total, d.available)).max().unwrap_or(0)
}

fn stuck(inventory: &Inventory, policy: &Policy, now: Millis, over_budget: u64, over_disk: u64, after: u64) -> Stuck {
    let young = inventory
        .indices
        .iter()
        .any(|i| !old_enough(i, policy, now) && newest(inventory)[&(i.name.kind, i.name.level)] != i.name);
    let advice = match (over_budget > 0, young) {
        (true, true) => format!(
            "only indices younger than --min-age are left: raise --budget to {} or lower --min-age",
            crate::amount::size(after)
        ),
        (true, false) => format!(
            "only the indices being written are left: raise --budget to {}, or make indices smaller (index period hour)",
            crate::amount::size(after)
        ),
        (false, true) => "only indices younger than --min-age are left: add disk, or lower --min-age".to_owned(),
        (false, false) => "something else fills the disk: add disk, free it, or lower --disk-reserve".to_owned(),
    };
    Stuck { over: over_budget.max(over_disk), advice }
}
