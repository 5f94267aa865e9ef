//! What may and must go: a pure function of the inventory, the policy and the time.

use crate::booking::Booked;
use crate::inventory::{Index, Inventory, Kind, Name};
use crate::policy::{Keep, Policy};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::time::Duration;
use weir_flow::Millis;

mod disks;
mod held;
mod next;
mod show;
#[cfg(test)]
mod tests;

use disks::Disks;

pub use held::Held;
pub use next::Next;

/// Why an index goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It is older than `--max-age`.
    MaxAge,
    /// Its kind or level is larger than `--keep` says, or than captures and replays are without it.
    Keep,
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
            Self::Keep => "keep",
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
    /// What was deleted lately and counts as gone in this plan, though the engine may still show it; absent while that is not known.
    pub booked: Option<Booked>,
    /// How many indices have a name of Weir's without being Weir's; they are left alone and count nowhere.
    pub foreign: usize,
    /// What is held of each kind and level.
    pub held: Vec<Held>,
    /// Days until the budget is used up at the present rate; absent while the rate is not known.
    pub days_to_full: Option<u64>,
    /// What goes next if nothing goes now; absent while that is not known.
    pub next: Option<Next>,
}

/// Plans. Deletes only whole indices, the oldest day first and of a day the more detailed level first; never an index that
/// is being written, never one younger than the minimal age; and for the reserve of a disk only what stands on that disk.
#[must_use]
pub fn plan(inventory: &Inventory, policy: &Policy, now: Millis) -> Plan {
    let budget = policy.budget.of(inventory.usable());
    let mut order: Vec<&Index> = inventory.indices.iter().collect();
    order.sort_by_key(|i| (i.day(), i.name.level, i.dated(), i.name));
    let written = Written::of(inventory, now);
    let may_go = |i: &Index| !written.is(i) && old_enough(i, policy, now);
    let too_old = |i: &Index| policy.max_age(&i.name).is_some_and(|most| age(i, now) > millis(most));
    // An index of unknown size frees an unknown amount: it goes by age only.
    let yields =
        |i: &Index| may_go(i) && !too_old(i) && i.name.kind.yields_to_budget() && i.bytes.is_some_and(|b| b > 0);
    let action = |index: &Index, reason| Action { index: index.name, bytes: index.bytes, age: age(index, now), reason };

    let rules = policy.rules(inventory.usable());
    let mut actions: Vec<Action> = Vec::new();
    actions.extend(order.iter().filter(|i| may_go(i) && too_old(i)).map(|i| action(i, Reason::MaxAge)));
    for keep in &rules {
        for index in order.iter().filter(|i| keep.covers(&i.name) && yields(i)) {
            if over_keep(inventory, keep, &actions) == 0 {
                break;
            }
            if !actions.iter().any(|a| a.index == index.name) {
                actions.push(action(index, Reason::Keep));
            }
        }
    }
    let bytes = inventory.bytes();
    let mut disks = Disks::of(inventory, policy);
    let gone = |actions: &[Action], index: &Index| actions.iter().any(|a| a.index == index.name);
    order.iter().filter(|i| gone(&actions, i)).for_each(|i| disks.free(i));
    // What captures and replays have too much costs nothing else: it is in the alarm.
    let aside = aside(inventory, &rules, &actions);
    let over = |actions: &[Action]| bytes.saturating_sub(freed(actions)).saturating_sub(aside).saturating_sub(budget);
    for index in order.iter().filter(|i| yields(i)) {
        let over = over(&actions);
        if over == 0 && !disks.want() {
            break;
        }
        let reason = if over > 0 { Reason::Budget } else { Reason::DiskReserve };
        if (over > 0 || disks.are_helped_by(index)) && !gone(&actions, index) {
            actions.push(action(index, reason));
            disks.free(index);
        }
    }
    let after = bytes.saturating_sub(freed(&actions));
    let excess = Excess { budget: over(&actions), rules: &rules, disks, after };
    let stuck = excess.explain(inventory, policy, &actions, now);
    let held = held::of(inventory, now);
    let days_to_full = held::days_to_full(&held, budget.saturating_sub(bytes));
    let next = if actions.is_empty() { next::of(&order, policy, days_to_full, now) } else { None };
    let (indices, foreign) = (inventory.indices.len(), inventory.foreign);
    let booked = inventory.booked;
    Plan { indices, bytes, budget, actions, after, stuck, booked, foreign, held, days_to_full, next }
}

fn freed(actions: &[Action]) -> u64 {
    actions.iter().filter_map(|a| a.bytes).fold(0, u64::saturating_add)
}

/// By how much a kind or level is larger than it may be, bytes.
fn over_keep(inventory: &Inventory, keep: &Keep, actions: &[Action]) -> u64 {
    let Some(budget) = keep.budget else { return 0 };
    let all = inventory.indices.iter().filter(|i| keep.covers(&i.name)).filter_map(|i| i.bytes);
    let gone = actions.iter().filter(|a| keep.covers(&a.index)).filter_map(|a| a.bytes);
    let left = all.fold(0, u64::saturating_add).saturating_sub(gone.fold(0, u64::saturating_add));
    left.saturating_sub(budget.of(inventory.usable()))
}

/// By how much captures and replays are larger than they may be when all of them that may go has gone, bytes.
fn aside(inventory: &Inventory, rules: &[Keep], actions: &[Action]) -> u64 {
    let of = |kind: Kind| {
        let over = |levels: bool| {
            let mine = rules.iter().filter(move |k| k.kind == kind && k.level.is_some() == levels);
            mine.map(|keep| over_keep(inventory, keep, actions)).fold(0, u64::saturating_add)
        };
        over(true).max(over(false))
    };
    Kind::ALL.into_iter().filter(|kind| kind.ages_from_creation()).map(of).fold(0, u64::saturating_add)
}

/// Which indices are being written: the newest of each kind and level, and what is of now or later. One that the indexer
/// made ahead of its time and in which nothing came is not the newest.
struct Written {
    newest: BTreeMap<(Kind, u8), Name>,
    now: Millis,
}

impl Written {
    fn of(inventory: &Inventory, now: Millis) -> Self {
        let mut newest: BTreeMap<(Kind, u8), &Index> = BTreeMap::new();
        for index in inventory.indices.iter().filter(|index| !index.was_made_in_vain()) {
            let entry = newest.entry((index.name.kind, index.name.level)).or_insert(index);
            if (index.dated(), index.name.start) > (entry.dated(), entry.name.start) {
                *entry = index;
            }
        }
        Self { newest: newest.into_iter().map(|(key, index)| (key, index.name)).collect(), now }
    }

    fn is(&self, index: &Index) -> bool {
        let name = index.name;
        let of_now = !name.kind.ages_from_creation() && name.end > self.now;
        of_now || self.newest.get(&(name.kind, name.level)) == Some(&name)
    }
}

fn age(index: &Index, now: Millis) -> Millis {
    now.saturating_sub(index.dated())
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

fn old_enough(index: &Index, policy: &Policy, now: Millis) -> bool {
    age(index, now) >= millis(policy.min_age(&index.name))
}

/// What is too much when all that may go has gone.
struct Excess<'a> {
    /// Over the budget, bytes.
    budget: u64,
    rules: &'a [Keep],
    disks: Disks<'a>,
    after: u64,
}

impl Excess<'_> {
    fn explain(&self, inventory: &Inventory, policy: &Policy, actions: &[Action], now: Millis) -> Option<Stuck> {
        let written = Written::of(inventory, now);
        let young = |i: &&Index| !old_enough(i, policy, now) && !written.is(i) && i.name.kind.yields_to_budget();
        let mut advice = Vec::new();
        if self.budget > 0 {
            advice.push(advise(inventory.indices.iter().any(|i| young(&i)), "--budget", self.after));
        }
        advice.extend(self.disks.explain(|i| young(&i)));
        let mut over = self.budget.max(self.disks.lack());
        for keep in self.rules {
            let excess = over_keep(inventory, keep, actions);
            if excess > 0 {
                let mut mine = inventory.indices.iter().filter(|i| keep.covers(&i.name));
                let left = excess.saturating_add(keep.budget.map_or(0, |b| b.of(inventory.usable())));
                let name = format!("the budget of --keep {}", keep.subject());
                advice.push(advise(mine.any(|i| young(&i)), &name, left));
                over = over.max(excess);
            }
        }
        (!advice.is_empty()).then(|| Stuck { over, advice: advice.join("; ") })
    }
}

/// Which of two settings to change, where a budget is exceeded.
fn advise(young: bool, budget: &str, after: u64) -> String {
    let after = crate::amount::size(after);
    if young {
        format!("only indices younger than --min-age are left: raise {budget} to {after} or lower --min-age")
    } else {
        format!(
            "only the indices being written are left: raise {budget} to {after}, or make indices smaller (index period hour)"
        )
    }
}
