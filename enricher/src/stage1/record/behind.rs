//! What stands behind the ends of a record in the making: which ends were merged, and the names by which they were known.
//!
//! Behind most records stand few ends, of which it is noted who they are; what they add to the sets is said by
//! [`Said`] and is written when the record is. Only of many ends are sets made at once, because those are bounded.

use super::super::ends::{EndNumber, KnownEnd, Said};
use crate::sets::BoundedSet;
use foldhash::HashSet;
use std::sync::Arc;
use weir_flow::Address;
use weir_schemas::partial::{Behind, Sets};

#[cfg(test)]
mod tests;

/// The most ends that are noted by who they are.
const FEW: usize = 16;

/// What is kept beside a side while it is added up.
#[derive(Debug, Default)]
pub(super) struct End {
    /// Levels 0 and 1: what was merged into the side last. The next is nearly always the same. Levels 2 and 3: the first.
    number: Option<EndNumber>,
    /// Levels 2 and 3: what the first one says.
    first: Option<Arc<Said>>,
    /// Levels 2 and 3: the others; and where there are names.
    more: Option<Box<More>>,
}

/// What stands behind an end beside the first.
#[derive(Debug, Default)]
struct More {
    few: Vec<(EndNumber, Arc<Said>)>,
    many: Option<Many>,
    domains: BoundedSet<Arc<str>>,
}

/// Sets of more than a few ends.
#[derive(Debug, Default)]
struct Many {
    known: HashSet<EndNumber>,
    addresses: BoundedSet<Address>,
    pods: BoundedSet<Box<str>>,
    labels: BoundedSet<Arc<str>>,
    /// Whose labels were taken last: the next pod of the workload has nearly the same.
    labels_of: Option<Arc<Said>>,
}

impl Many {
    /// Of some ends, and how many members the sets have.
    fn of(some: impl Iterator<Item = (EndNumber, Arc<Said>)>) -> (Self, usize) {
        let mut many = Self::default();
        let members = some.map(|(number, said)| many.take(number, &said)).sum();
        (many, members)
    }

    /// Takes an end; the answer is how many members the sets gained, and 1 at least for one that is new.
    fn take(&mut self, number: EndNumber, said: &Arc<Said>) -> usize {
        if !self.known.insert(number) {
            return 0;
        }
        let before = self.labels_of.replace(Arc::clone(said));
        let before = before.as_ref().map_or(&[][..], |said| said.labels_of_workload());
        let mut members = 1;
        for (place, label) in said.labels_of_workload().iter().enumerate() {
            let is_same = before.get(place).is_some_and(|before| Arc::ptr_eq(before, label));
            members += usize::from(!is_same && self.labels.insert(Arc::clone(label)));
        }
        members += said.address.map_or(0, |address| usize::from(self.addresses.insert(address)));
        members += said.pod.clone().map_or(0, |pod| usize::from(self.pods.insert(pod)));
        members
    }

    fn add(&mut self, other: Self) {
        self.addresses.merge(other.addresses);
        self.pods.merge(other.pods);
        self.labels.merge(other.labels);
    }
}

impl End {
    /// Levels 0 and 1: whether another end is merged than the last time.
    pub(super) fn replace_last(&mut self, number: EndNumber) -> bool {
        self.number.replace(number) != Some(number)
    }

    /// Levels 2 and 3: takes an end; the answer is how many members are kept more, nothing where it was taken before.
    pub(super) fn take(&mut self, of: &KnownEnd<'_>) -> usize {
        if self.first.is_none() && self.more.as_ref().is_none_or(|more| more.few.is_empty() && more.many.is_none()) {
            (self.number, self.first) = (Some(of.number), Some(Arc::clone(&of.said)));
            return 1;
        }
        if self.first.is_some() && self.number == Some(of.number) {
            return 0;
        }
        let more = self.more.get_or_insert_default();
        if let Some(many) = &mut more.many {
            return many.take(of.number, &of.said);
        }
        if more.few.iter().any(|(number, _)| *number == of.number) {
            return 0;
        }
        more.few.push((of.number, Arc::clone(&of.said)));
        if more.few.len() < FEW {
            return 1;
        }
        let (many, members) = Many::of(self.number.zip(self.first.take()).into_iter().chain(more.few.drain(..)));
        more.many = Some(many);
        members
    }

    /// Takes names; the answer is how many are new.
    pub(super) fn name<'n>(&mut self, names: impl Iterator<Item = &'n Arc<str>>) -> usize {
        names.filter(|name| self.more.get_or_insert_default().domains.insert(Arc::clone(name))).count()
    }

    /// Reads from what the first ends say.
    pub(super) fn touch(&self) -> usize {
        self.all().fold(0, |all, said| all ^ said.alone.memory())
    }

    /// The same of what stands apart.
    pub(super) fn touch_apart(&self) -> usize {
        let first = self.first.as_ref().map_or(0, |said| said.alone.touch());
        let labels = self.all().skip(1).map(|said| said.labels_of_workload());
        let addresses = labels.filter_map(|labels| labels.last()).map(|label| label.as_ptr().addr());
        usize::from(first) ^ addresses.fold(0, |all, address| all ^ address)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Said>> {
        let few = self.more.iter().flat_map(|more| &more.few);
        self.first.iter().chain(few.map(|(_, said)| said))
    }

    /// Adds what stands behind another record's end.
    pub(super) fn add(&mut self, other: Self) {
        let Self { number, first, more } = other;
        let other = more.map_or_else(More::default, |more| *more);
        let few = number.zip(first).into_iter().chain(other.few);
        let more = self.more.get_or_insert_default();
        let mine = self.number.take().zip(self.first.take()).into_iter().chain(more.few.drain(..));
        let many = match &mut more.many {
            Some(many) => {
                many.add(Many::of(mine).0);
                many
            }
            None => more.many.insert(Many::of(mine).0),
        };
        few.for_each(|(number, said)| {
            many.take(number, &said);
        });
        if let Some(others) = other.many {
            many.add(others);
        }
        more.domains.merge(other.domains);
    }
}

/// Encodes what stands behind both ends, and how many addresses, pods, labels and names of each there are that a partial
/// record cannot carry.
pub(super) fn encode(ends: [End; 2]) -> (Behind, [[u64; 4]; 2]) {
    if ends.iter().all(|end| end.more.is_none()) {
        return (
            Behind::of_alone(ends.each_ref().map(|end| end.first.as_deref().map(|said| &said.alone))),
            [[0; 4]; 2],
        );
    }
    let lists = ends.map(Lists::of);
    let behind = Behind::of(&lists.each_ref().map(Lists::sets));
    (behind, lists.map(|lists| lists.more))
}

/// What stands behind an end, with the texts.
#[derive(Default)]
struct Lists {
    few: Vec<Arc<Said>>,
    addresses: Vec<Address>,
    pods: Vec<Box<str>>,
    labels: Vec<Arc<str>>,
    domains: Vec<Arc<str>>,
    more: [u64; 4],
}

impl Lists {
    fn of(end: End) -> Self {
        let mut lists = Self { few: end.first.into_iter().collect(), ..Self::default() };
        let Some(more) = end.more else { return lists };
        let More { few, many, domains } = *more;
        lists.few.extend(few.into_iter().map(|(_, said)| said));
        if let Some(Many { addresses, pods, labels, .. }) = many {
            (lists.addresses, lists.more[0]) = addresses.into_parts();
            (lists.pods, lists.more[1]) = pods.into_parts();
            (lists.labels, lists.more[2]) = labels.into_parts();
        }
        (lists.domains, lists.more[3]) = domains.into_parts();
        lists
    }

    /// The lists in order.
    fn sets(&self) -> Sets<&str> {
        let mut sets = Sets {
            addresses: self.addresses.clone(),
            pods: self.pods.iter().map(|pod| &**pod).collect(),
            labels: self.labels.iter().map(|label| &**label).collect(),
            domains: self.domains.iter().map(|name| &**name).collect(),
        };
        let Some((first, others)) = self.few.split_first() else { return sets };
        let alone = first.alone.sets();
        sets.addresses.extend(alone.addresses);
        sets.pods.extend(alone.pods);
        sets.labels.extend(alone.labels);
        for said in others {
            sets.addresses.extend(said.address);
            sets.pods.extend(said.pod.as_deref());
            // Pods of a workload have nearly the same labels.
            let mut known = first.labels_of_workload().iter();
            let labels = said.labels_of_workload().iter();
            let new = labels.filter(|label| !known.next().is_some_and(|known| Arc::ptr_eq(known, label)));
            sets.labels.extend(new.map(|label| &**label));
        }
        order(&mut sets.addresses);
        order(&mut sets.pods);
        order(&mut sets.labels);
        sets
    }
}

/// Puts a list in order, each member once.
fn order<T: Ord>(list: &mut Vec<T>) {
    list.sort_unstable();
    list.dedup();
}
