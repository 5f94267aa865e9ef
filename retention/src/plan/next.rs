//! What goes next, and when, if nothing has to now. Pure.

use super::{Reason, age, as_text, millis};
use crate::inventory::{Index, Name};
use crate::policy::Policy;
use serde::Serialize;
use weir_flow::Millis;

const DAY: Millis = 86_400_000;

/// The index that goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Next {
    /// The index.
    #[serde(serialize_with = "as_text")]
    pub index: Name,
    /// In how long, ms: for `--budget` at the present rate, so that it is an estimate.
    pub after: Millis,
    /// Why it goes then.
    pub reason: Reason,
}

/// The first of what age and budget will ask for; `order` is the order in which indices go, `days_to_full` when the budget is used up.
pub(super) fn of(order: &[&Index], policy: &Policy, days_to_full: Option<u64>, now: Millis) -> Option<Next> {
    let old = order.iter().filter_map(|index| {
        let most = policy.max_age(&index.name)?;
        Some(Next { index: index.name, after: until(index, millis(most), now), reason: Reason::MaxAge })
    });
    let full = days_to_full.and_then(|days| Millis::try_from(days).ok()).map(|days| days.saturating_mul(DAY));
    let large = full.and_then(|full| {
        let first = order.iter().find(|index| index.name.kind.yields_to_budget())?;
        let allowed = until(first, millis(policy.min_age(&first.name)), now);
        Some(Next { index: first.name, after: full.max(allowed), reason: Reason::Budget })
    });
    old.chain(large).min_by_key(|next| next.after)
}

/// How long it takes until the index has an age.
fn until(index: &Index, age_then: Millis, now: Millis) -> Millis {
    age_then.saturating_sub(age(index, now)).max(0)
}
