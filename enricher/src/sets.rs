//! Sets behind a record: addresses, pods, labels and DNS names.
//!
//! A partial carries them whole up to [`LIMIT`] members; only stage 2 cuts them to what a record lists, in ascending order
//! and with a count of the rest. The count is exact unless a partial had more members than it could carry; then it is the
//! largest number that is certain, and the record says so.

use std::collections::BTreeSet;

#[cfg(test)]
mod tests;

/// The most members of one set that a partial carries.
pub(crate) const LIMIT: usize = 10_000;

/// A set of which the smallest [`LIMIT`] members are kept.
#[derive(Clone, Debug)]
pub(crate) struct BoundedSet<T> {
    members: BTreeSet<T>,
    /// How many are known not to be listed; a lower bound, because members beyond the limit are not told apart.
    more: u64,
}

impl<T> Default for BoundedSet<T> {
    fn default() -> Self {
        Self { members: BTreeSet::new(), more: 0 }
    }
}

impl<T: Ord> BoundedSet<T> {
    /// Adds a member; whether the set has become larger.
    pub(crate) fn insert(&mut self, member: T) -> bool {
        if self.members.len() < LIMIT {
            return self.members.insert(member);
        }
        let last = self.members.last();
        if last.is_some_and(|last| member < *last) {
            if self.members.insert(member) {
                self.members.pop_last();
                self.more = 1;
            }
        } else if last != Some(&member) {
            self.more = 1;
        }
        false
    }

    /// Adds all members of another set.
    pub(crate) fn merge(&mut self, other: Self) {
        self.more = self.more.max(other.more);
        for member in other.members {
            self.insert(member);
        }
    }

    /// The members in order, and how many more there are at least.
    pub(crate) fn into_parts(self) -> (Vec<T>, u64) {
        (self.members.into_iter().collect(), self.more)
    }
}

/// The union of what partials carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Union<T> {
    members: BTreeSet<T>,
    /// How many members there are at least, where a partial could not carry all of its own; else 0.
    at_least: u64,
}

impl<T> Default for Union<T> {
    fn default() -> Self {
        Self { members: BTreeSet::new(), at_least: 0 }
    }
}

/// What a record lists of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed<T> {
    /// The smallest members, in order.
    pub(crate) members: Vec<T>,
    /// How many are not listed.
    pub(crate) more: u64,
    /// Whether `more` is a lower bound only.
    pub(crate) at_least: bool,
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

impl<T: Ord> Union<T> {
    /// A partial's members and how many more it knew of.
    pub(crate) fn new(members: Vec<T>, more: u64) -> Self {
        let members: BTreeSet<T> = members.into_iter().collect();
        let at_least = if more == 0 { 0 } else { count(members.len()).saturating_add(more) };
        Self { members, at_least }
    }

    /// Adds another partial's members. What one could not carry may be among the other's members, so that the counts are
    /// not added: the larger one is certain.
    pub(crate) fn merge(&mut self, other: Self) {
        self.members.extend(other.members);
        self.at_least = self.at_least.max(other.at_least);
    }

    /// What a record lists: the smallest `limit` members that are not among `besides`, which is sorted and stands
    /// elsewhere on the record.
    pub(crate) fn list(mut self, limit: usize, besides: &[T]) -> Listed<T> {
        self.members.retain(|member| besides.binary_search(member).is_err());
        let length = count(self.members.len());
        let known = self.at_least.saturating_sub(count(besides.len())).max(length);
        let members: Vec<T> = self.members.into_iter().take(limit).collect();
        Listed { more: known.saturating_sub(count(members.len())), members, at_least: self.at_least > 0 }
    }
}
