//! Who may hold an address beside whom, and what follows from that it is one pod's at a time. Pure.
//!
//! Where nodes are believed, what a heartbeat passes is decided with all that they have to tell of it. So before it is
//! written, the bounds of pods that may hold one address are narrowed by what is certain of the others: nobody else begins
//! while a pod certainly holds it, and whoever surely had it before has given it back when it certainly does. Only bounds
//! after the last heartbeat are narrowed, so that no answer changes.

use std::collections::{BTreeMap, BTreeSet};
use weir_flow::time::FOR_EVER;
use weir_flow::{Address, Millis};
use weir_schemas::metadata::{Bound, BoundSource, Object, Revision};

#[cfg(test)]
mod tests;

/// A revision: UID and ordinal.
type Name = (String, u64);

/// When a revision of a pod holds its addresses.
#[derive(Clone, Debug)]
struct Hold {
    name: Name,
    from: Bound,
    to: Option<Bound>,
    /// Whether the pod's holding of them begins with it.
    first: bool,
}

impl Hold {
    fn is_open(&self) -> bool {
        self.latest_end() == FOR_EVER
    }

    fn latest_end(&self) -> Millis {
        self.to.map_or(FOR_EVER, |to| to.latest)
    }

    /// From when until when (exclusive) it certainly holds, where nothing untold has happened before `told`.
    fn certain(&self, told: Millis) -> (Millis, Millis) {
        (self.from.latest, self.to.map_or(told, |to| to.earliest))
    }

    /// Whether it certainly does not hold before its first bound says so.
    fn begins(&self) -> bool {
        self.first && self.from.source != BoundSource::Clipped
    }

    fn is_of(&self, other: &Self) -> bool {
        self.name.0 == other.name.0
    }

    /// Whether its pod still holds the address in the revision after it, so that its end is no end of that.
    fn goes_on_in(&self, next: &Self) -> bool {
        self.is_of(next) && next.name.1 == self.name.1.saturating_add(1)
    }
}

/// What is promised next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Next {
    /// The last heartbeat.
    pub(super) heartbeat: Millis,
    /// Before when everything that happened on nodes has been told.
    pub(super) told: Millis,
}

/// A revision's bounds that follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Narrowed {
    pub(super) uid: String,
    pub(super) revision: u64,
    pub(super) from: Bound,
    pub(super) to: Option<Bound>,
}

/// The pods that hold addresses or gave them back after the last heartbeat: as many as there are open pods, and those that
/// end in the time by which the heartbeat is behind.
#[derive(Debug, Default)]
pub(super) struct Holds {
    by_address: BTreeMap<Address, Vec<Hold>>,
    /// Addresses of more than one pod.
    contested: BTreeSet<Address>,
    /// Revisions that were closed, for as long as they matter.
    closed: BTreeMap<Name, Revision>,
}

/// The addresses that flows of a pod have.
fn own(revision: &Revision) -> &[Address] {
    match &revision.object {
        Object::Pod(pod) if !pod.host_network => &pod.addresses,
        _ => &[],
    }
}

impl Holds {
    /// Takes a revision that is written; `first` if its pod did not hold its addresses before.
    pub(super) fn note(&mut self, revision: &Revision, first: bool) {
        let name = (revision.uid.clone(), revision.revision);
        for address in own(revision) {
            let holds = self.by_address.entry(*address).or_default();
            match holds.iter_mut().find(|hold| hold.name == name) {
                Some(known) => (known.from, known.to) = (revision.valid_from, revision.valid_to),
                None => {
                    holds.push(Hold { name: name.clone(), from: revision.valid_from, to: revision.valid_to, first });
                }
            }
            if holds.iter().any(|hold| hold.name.0 != name.0) {
                self.contested.insert(*address);
            }
        }
        if !own(revision).is_empty() && revision.valid_to.is_some_and(|to| to.latest < FOR_EVER) {
            self.closed.insert(name, revision.clone());
        }
    }

    /// A closed revision that still matters.
    pub(super) fn closed(&mut self, uid: &str, revision: u64) -> Option<&mut Revision> {
        self.closed.get_mut(&(uid.to_owned(), revision))
    }

    /// The revisions whose bounds are narrower by what is certain of others.
    pub(super) fn narrowed(&self, next: Next) -> Vec<Narrowed> {
        let mut all: BTreeMap<&Name, (Bound, Option<Bound>)> = BTreeMap::new();
        for holds in self.contested.iter().filter_map(|address| self.by_address.get(address)) {
            for hold in holds {
                let (from, to) = all.get(&hold.name).copied().unwrap_or((hold.from, hold.to));
                let others = holds.iter().filter(|other| !other.is_of(hold));
                let ends = !holds.iter().any(|next| hold.goes_on_in(next));
                let narrower = others.fold((from, to), |(from, to), other| {
                    let (from, end) = narrow(hold, (from, to), other, next);
                    (from, if ends { end } else { to })
                });
                if narrower != (hold.from, hold.to) {
                    all.insert(&hold.name, narrower);
                }
            }
        }
        let narrowed = |(name, (from, to)): (&Name, _)| Narrowed { uid: name.0.clone(), revision: name.1, from, to };
        all.into_iter().map(narrowed).collect()
    }

    /// Forgets what can bound nothing after a heartbeat.
    pub(super) fn promise(&mut self, heartbeat: Millis) {
        let past: Vec<Name> = self
            .closed
            .iter()
            .filter(|(name, of)| self.is_past(name, of, heartbeat))
            .map(|(name, _)| name.clone())
            .collect();
        for name in past {
            for address in self.closed.remove(&name).iter().flat_map(own) {
                let Some(holds) = self.by_address.get_mut(address) else { continue };
                holds.retain(|hold| hold.name != name);
                if holds.windows(2).all(|pair| matches!(pair, [a, b] if a.is_of(b))) {
                    self.contested.remove(address);
                }
                if holds.is_empty() {
                    self.by_address.remove(address);
                }
            }
        }
    }

    /// Whether a closed revision ended before a heartbeat, and no pod of which it shows that it ended is still open.
    fn is_past(&self, name: &Name, revision: &Revision, heartbeat: Millis) -> bool {
        let shows =
            |other: &Hold| other.name.0 != name.0 && other.is_open() && other.from.latest < revision.valid_from.latest;
        revision.valid_to.is_some_and(|to| to.latest <= heartbeat)
            && !own(revision).iter().filter_map(|address| self.by_address.get(address)).flatten().any(shows)
    }
}

/// The bounds of one that may hold an address, by what is certain of another.
fn narrow(hold: &Hold, (mut from, mut to): (Bound, Option<Bound>), other: &Hold, next: Next) -> (Bound, Option<Bound>) {
    let (since, until) = other.certain(next.told);
    let (_, lasts) = hold.certain(next.told);
    // It did not begin from `since` on until `until`, and if it did before, then it had ended by `since`.
    let is_later = since < until && until <= from.latest && (since <= from.earliest || since < lasts);
    if hold.first && is_later && from.earliest < until && from.earliest > next.heartbeat {
        from.earliest = until;
    }
    let is_earlier =
        (since < until && hold.from.latest < until) || (other.begins() && hold.from.latest <= other.from.earliest);
    if let Some(end) = to.as_mut().filter(|end| is_earlier && end.latest < FOR_EVER && end.earliest <= since) {
        let latest = since.max(next.heartbeat.saturating_add(1)).max(from.latest);
        end.latest = end.latest.min(latest);
    }
    (from, to)
}
