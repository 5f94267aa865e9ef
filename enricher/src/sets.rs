//! Sets behind a record: addresses, pods, labels and DNS names.
//!
//! A partial carries them whole up to [`LIMIT`] members; only stage 2 cuts them to what a record lists, in ascending order
//! and with a count of the rest. The count is exact unless a partial had more members than it could carry; then it is the
//! largest number that is certain, and the record says so.

#[cfg(test)]
mod tests;

/// The most members of one set that a partial carries.
pub(crate) const LIMIT: usize = 10_000;

/// A set of which the smallest [`LIMIT`] members are kept. They are put in order when they have become twice as many, and at
/// the end: most sets are small, and what is added is nearly always new.
#[derive(Clone, Debug)]
pub(crate) struct BoundedSet<T> {
    /// The first `sorted` are in order, each once; then come those that were added since.
    members: Vec<T>,
    sorted: usize,
    /// How many are known not to be listed; a lower bound, because members beyond the limit are not told apart.
    more: u64,
}

/// Leaves out the larger half of a list and counts it in `more`. Whether there was anything to leave out.
pub(crate) fn halve<T>(list: &mut Vec<T>, more: &mut u64) -> bool {
    let left = list.len() / 2;
    let beyond = list.len() - left;
    list.truncate(left);
    *more = more.saturating_add(u64::try_from(beyond).unwrap_or(u64::MAX));
    beyond > 0
}

impl<T> Default for BoundedSet<T> {
    fn default() -> Self {
        Self { members: Vec::new(), sorted: 0, more: 0 }
    }
}

/// How many members may wait to be put in order, at least.
const WAITING: usize = 32;

impl<T: Ord> BoundedSet<T> {
    /// Adds a member; whether the set may have become larger.
    pub(crate) fn insert(&mut self, member: T) -> bool {
        if self.members.last() == Some(&member) {
            return false;
        }
        if self.members.len() >= self.sorted.saturating_mul(2).max(WAITING) {
            self.settle();
        }
        self.members.push(member);
        true
    }

    /// Adds all members of another set.
    pub(crate) fn merge(&mut self, other: Self) {
        self.more = self.more.max(other.more);
        for member in other.members {
            self.insert(member);
        }
    }

    /// Puts the members in order.
    fn settle(&mut self) {
        // Runs in order, such as the one at the beginning, are found and merged.
        self.members.sort();
        self.members.dedup();
        if self.members.len() > LIMIT {
            self.members.truncate(LIMIT);
            self.more = 1;
        }
        self.sorted = self.members.len();
    }

    /// The members in order, and how many more there are at least.
    pub(crate) fn into_parts(mut self) -> (Vec<T>, u64) {
        self.settle();
        (self.members, self.more)
    }
}

/// The union of what partials carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Union<T> {
    /// In order, each once.
    members: Vec<T>,
    /// How many members there are at least, where a partial could not carry all of its own; else 0.
    at_least: u64,
}

impl<T> Default for Union<T> {
    fn default() -> Self {
        Self { members: Vec::new(), at_least: 0 }
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
    pub(crate) fn new(mut members: Vec<T>, more: u64) -> Self {
        // Partials carry them in order; others may be read, too.
        if !members.is_sorted_by(|a, b| a < b) {
            members.sort_unstable();
            members.dedup();
        }
        let at_least = if more == 0 { 0 } else { count(members.len()).saturating_add(more) };
        Self { members, at_least }
    }

    /// The union of what several partials carry, each with how many more it knew of: [`Union::new`] of each, merged.
    pub(crate) fn of_all(parts: impl IntoIterator<Item = (Vec<T>, u64)>) -> Self {
        let mut parts = parts.into_iter().filter(|(members, more)| !members.is_empty() || *more > 0);
        let Some((members, more)) = parts.next() else { return Self::default() };
        let mut all = Self::new(members, more);
        let mut several = false;
        for (members, more) in parts {
            let Self { members, at_least } = Self::new(members, more);
            all.members.extend(members);
            all.at_least = all.at_least.max(at_least);
            several = true;
        }
        if several {
            // Runs in order: a sort that finds them merges them.
            all.members.sort();
            all.members.dedup();
        }
        all
    }

    /// Whether there is neither a member nor more.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.at_least == 0
    }

    /// Adds another partial's members. What one could not carry may be among the other's members, so that the counts are
    /// not added: the larger one is certain.
    pub(crate) fn merge(&mut self, other: Self) {
        self.at_least = self.at_least.max(other.at_least);
        if self.members.is_empty() {
            self.members = other.members;
        } else if !other.members.is_empty() {
            let is_new = |member: &T| self.members.binary_search(member).is_err();
            let new: Vec<T> = other.members.into_iter().filter(is_new).collect();
            if !new.is_empty() {
                self.members.extend(new);
                // Two runs in order: a sort that finds them merges them.
                self.members.sort();
            }
        }
    }

    /// What a record lists: the smallest `limit` members that are not among `besides`, which is sorted and stands
    /// elsewhere on the record.
    pub(crate) fn list(self, limit: usize, besides: &[T]) -> Listed<T> {
        self.list_besides(limit, besides.len(), |member| besides.binary_search(member).is_ok())
    }

    /// The same with how many stand elsewhere and whether one is of them.
    pub(crate) fn list_besides(mut self, limit: usize, besides: usize, is_elsewhere: impl Fn(&T) -> bool) -> Listed<T> {
        if besides > 0 {
            self.members.retain(|member| !is_elsewhere(member));
        }
        let length = count(self.members.len());
        let known = self.at_least.saturating_sub(count(besides)).max(length);
        self.members.truncate(limit);
        Listed {
            more: known.saturating_sub(count(self.members.len())),
            members: self.members,
            at_least: self.at_least > 0,
        }
    }
}
