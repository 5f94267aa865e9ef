//! The history of every object as a state machine: what a source shows goes in, what the topic needs comes out.
//!
//! An object's *identity content* is its namespace, name, labels, kept annotations and what flows are named or placed by (addresses, node,
//! workload, …), but neither its phase nor its containers, which are status. A change of content closes the open revision
//! and opens the next, both at one bound; anything else writes nothing. What is learnt after a heartbeat is clipped to
//! after it. After a restart the topic itself is the memory: [`History::restore`] takes what it holds.

use crate::bounds::{after, between};
use std::collections::{BTreeMap, BTreeSet};
use weir_flow::Millis;
use weir_flow::time::{FOR_EVER, NEVER};
use weir_schemas::metadata::{Bound, BoundSource, Heartbeat, Metadata, Object, Proof, Revision, revision_key};

mod changes;
mod holds;

#[cfg(test)]
mod tests;

use changes::{
    addresses, arrived, change, is_open, keep_workload, kept_earliest, lost_sooner, not_before, same_content, sooner,
    take_status,
};
use holds::{Holds, Next};

/// How long after its announcement another source may hold at the earliest where "for ever" was promised, ms: until whoever
/// follows the topic has read that the promise ends. Flows of a time are joined only after that time, by the broker's clock.
pub const LEAD: Millis = 10_000;

/// The kinds, as they stand in keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Pods.
    Pod,
    /// Nodes.
    Node,
    /// Namespaces.
    Namespace,
    /// Services.
    Service,
    /// Agents.
    Agent,
    /// Slices of services' endpoints.
    EndpointSlice,
    /// Policies of any kind.
    Policy,
    /// Named sets of networks and domains.
    NetworkSet,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Pod,
        Self::Node,
        Self::Namespace,
        Self::Service,
        Self::Agent,
        Self::EndpointSlice,
        Self::Policy,
        Self::NetworkSet,
    ];

    /// The kind of an object.
    #[must_use]
    pub fn of(object: &Object) -> Self {
        match object {
            Object::Pod(_) => Self::Pod,
            Object::Node(_) => Self::Node,
            Object::Namespace(_) => Self::Namespace,
            Object::Service(_) => Self::Service,
            Object::Agent(_) => Self::Agent,
            Object::EndpointSlice(_) => Self::EndpointSlice,
            Object::Policy(_) => Self::Policy,
            Object::NetworkSet(_) => Self::NetworkSet,
        }
    }

    /// Its name in keys.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::Node => "Node",
            Self::Namespace => "Namespace",
            Self::Service => "Service",
            Self::Agent => "Agent",
            Self::EndpointSlice => "EndpointSlice",
            Self::Policy => "Policy",
            Self::NetworkSet => "NetworkSet",
        }
    }
}

/// The topic's key of a revision.
#[must_use]
pub fn key(revision: &Revision) -> String {
    revision_key(&revision.cluster, revision.object.kind(), &revision.uid, revision.revision)
}

/// Kind, UID and ordinal of a key of this cluster's revisions.
fn parse_key<'a>(key: &'a str, cluster: &str) -> Option<(Kind, &'a str, u64)> {
    let mut parts = key.strip_prefix(cluster)?.strip_prefix('/')?.splitn(3, '/');
    let kind = Kind::ALL.into_iter().find(|kind| Some(kind.name()) == parts.clone().next())?;
    let (uid, revision) = (parts.nth(1)?, parts.next()?);
    Some((kind, uid, revision.parse().ok()?))
}

/// What a revision says of its object besides its content: it rides along and opens no revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// How many labels were left out by a limit.
    pub labels_dropped: u32,
    /// Who changed the object last; empty when unknown.
    pub changed_by: String,
    /// When, ms since the epoch.
    pub changed_at: Option<Millis>,
}

/// An object as a source shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// UID.
    pub uid: String,
    /// Namespace; empty for cluster-wide objects.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Labels as `k=v`, sorted by key.
    pub labels: Vec<String>,
    /// Annotations that are kept, as `k=v`, sorted by key.
    pub annotations: Vec<String>,
    /// What is particular to the kind.
    pub object: Object,
    /// From when this content holds, as far as the object's own times tell: for an object that was not known.
    pub since: Option<Bound>,
    /// When the content last changed, as far as the object's own times tell: for an object that was known with other
    /// addresses, or for a policy or a network set. Without it, a change lies between the last heartbeat and its arrival.
    pub changed: Option<Bound>,
    /// Whether the owner chain could be followed to its top; if not, a workload that is already known stays.
    pub owner_known: bool,
    /// What it says besides.
    pub about: About,
}

/// The open revision of an object, the closed ones with when they certainly ended, and how many there have been.
#[derive(Clone, Debug, Default)]
struct Line {
    last: u64,
    open: Option<Revision>,
    closed: Vec<(u64, Millis)>,
    /// Whether a closed one had addresses.
    held: bool,
    /// When the closed ones have all begun, at the latest.
    begun: Option<Millis>,
}

impl Line {
    fn close(&mut self, closed: &Revision, ended: Millis) {
        self.held |= !addresses(&closed.object).is_empty();
        self.begun = self.begun.max(Some(closed.valid_from.latest));
        let revision = closed.revision;
        match self.closed.binary_search_by_key(&revision, |(known, _)| *known) {
            Ok(place) => {
                if let Some(closed) = self.closed.get_mut(place) {
                    closed.1 = ended;
                }
            }
            Err(place) => self.closed.insert(place, (revision, ended)),
        }
    }
}

/// How late nodes tell what happens on them at most, and by how much heartbeats stay behind what is known, ms.
#[derive(Clone, Copy, Debug)]
struct Belief {
    behind: Millis,
    within: Millis,
}

impl Belief {
    /// What is known when a heartbeat for a time is written.
    fn known(self, complete_to: Millis) -> Known {
        let everything = complete_to.saturating_add(self.behind);
        Known { everything, of_nodes: everything.saturating_sub(self.within) }
    }
}

/// Up to when everything is known that the API server held, and everything that happened on nodes.
#[derive(Clone, Copy, Debug)]
struct Known {
    everything: Millis,
    of_nodes: Millis,
}

/// All objects of one cluster.
#[derive(Debug)]
pub struct History {
    cluster: String,
    heartbeat: Millis,
    /// How far nodes are believed, if they are.
    belief: Option<Belief>,
    /// What was known when the last heartbeat was written, if nodes were believed.
    known: Option<Known>,
    /// Whether the last source had names; nothing before the first heartbeat.
    named: Option<bool>,
    /// The same after which times, if the source ever changed.
    sources: BTreeMap<Millis, bool>,
    lines: BTreeMap<(Kind, String), Line>,
    /// Who holds which addresses, where nodes are believed.
    holds: Holds,
}

impl History {
    /// An empty history.
    #[must_use]
    pub fn new(cluster: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            heartbeat: NEVER,
            belief: None,
            known: None,
            named: None,
            sources: BTreeMap::new(),
            lines: BTreeMap::new(),
            holds: Holds::default(),
        }
    }

    /// The last heartbeat written; [`NEVER`] before the first.
    #[must_use]
    pub fn heartbeat(&self) -> Millis {
        self.heartbeat
    }

    /// The number of objects that are valid now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.lines.values().filter(|line| line.open.is_some()).count()
    }

    /// Takes a message that the topic already holds, in any order. Other clusters' messages are ignored.
    pub fn restore(&mut self, message: &Metadata) {
        match message {
            Metadata::Heartbeat(heartbeat) if heartbeat.cluster == self.cluster => {
                self.named = Some(heartbeat.cluster_known);
                self.promise(heartbeat.complete_to);
            }
            Metadata::Revision(revision) if revision.cluster == self.cluster => {
                let place = (Kind::of(&revision.object), revision.uid.clone());
                let line = self.lines.entry(place).or_default();
                if let Some(to) = revision.valid_to.filter(|_| !is_open(revision)) {
                    line.close(revision, to.latest);
                }
                if revision.revision >= line.last {
                    line.last = revision.revision;
                    line.open = is_open(revision).then(|| revision.clone());
                }
            }
            Metadata::Heartbeat(_) | Metadata::Revision(_) => {}
        }
    }

    /// Takes a tombstone that the topic already holds, by its key. Other keys than of this cluster's revisions are ignored.
    pub fn restore_tombstone(&mut self, key: &str) {
        let Some((kind, uid, revision)) = parse_key(key, &self.cluster) else { return };
        let place = (kind, uid.to_owned());
        let Some(line) = self.lines.get_mut(&place) else { return };
        line.closed.retain(|(known, _)| *known != revision);
        if line.open.is_none() && line.closed.is_empty() {
            self.lines.remove(&place);
        }
    }

    /// Forgets revisions that certainly ended before a time, at most `most` of them: the keys to write tombstones for.
    /// Nobody asks about that time any more. An object of which nothing is left begins anew if it ever comes back.
    #[must_use]
    pub fn expire(&mut self, before: Millis, most: usize) -> Vec<String> {
        let mut keys = Vec::new();
        for ((kind, uid), line) in &mut self.lines {
            let cluster = &self.cluster;
            line.closed.retain(|(revision, ended)| {
                let goes = *ended < before && keys.len() < most;
                if goes {
                    keys.push(revision_key(cluster, kind.name(), uid, *revision));
                }
                !goes
            });
        }
        self.lines.retain(|_, line| line.open.is_some() || !line.closed.is_empty());
        keys
    }

    /// Notes that a heartbeat was written. It is never lowered, but that "for ever" ends where a later one says so.
    pub fn promise(&mut self, complete_to: Millis) {
        if complete_to > self.heartbeat || self.heartbeat == FOR_EVER {
            self.heartbeat = complete_to;
            self.known = self.belief.map(|belief| belief.known(complete_to));
            self.holds.promise(complete_to);
        }
    }

    /// What is to be written before a heartbeat for a time: revisions of pods whose bounds are narrower because another
    /// certainly holds their address by then. Nothing where nodes are not believed.
    #[must_use]
    pub fn settle(&mut self, complete_to: Millis) -> Vec<Revision> {
        let Some(belief) = self.belief.filter(|_| self.heartbeat != NEVER) else { return Vec::new() };
        let told = belief.known(complete_to).of_nodes.saturating_add(1);
        let mut written = Vec::new();
        for narrowed in self.holds.narrowed(Next { heartbeat: self.heartbeat, told }) {
            let line = self.lines.get_mut(&(Kind::Pod, narrowed.uid.clone()));
            let open = line.and_then(|line| line.open.as_mut()).filter(|open| open.revision == narrowed.revision);
            let Some(revision) = open.or_else(|| self.holds.closed(&narrowed.uid, narrowed.revision)) else { continue };
            (revision.valid_from, revision.valid_to) = (narrowed.from, narrowed.to);
            written.push(revision.clone());
        }
        written.iter().for_each(|revision| self.holds.note(revision, false));
        written
    }

    /// Takes that nodes are believed to tell what happens on them `within` so many ms, and that heartbeats stay `behind` what
    /// is known by as many or more. It counts from the next heartbeat on.
    pub fn believe_nodes(&mut self, behind: Millis, within: Millis) {
        self.belief = (behind >= within).then_some(Belief { behind, within });
        let open = self.lines.values().filter_map(|line| line.open.as_ref()).filter(|_| self.belief.is_some());
        open.for_each(|open| self.holds.note(open, false));
    }

    /// What may enter of a bound of an object that is told at `arrival`, after the last heartbeat. What was told before
    /// that and waited is no later for it.
    fn enter(&self, kind: Kind, arrival: Millis) -> impl Fn(Bound) -> Bound + use<> {
        let known = self.known.filter(|known| kind == Kind::Pod && arrival > known.everything);
        let (heartbeat, untold) = (self.heartbeat, known.map_or(NEVER, |known| known.of_nodes));
        move |bound| after(bound, heartbeat, untold)
    }

    /// Takes what the source was after a time, as the topic holds it under
    /// [`source_key`](weir_schemas::metadata::source_key). Other clusters' are ignored.
    pub fn restore_source(&mut self, heartbeat: &Heartbeat) {
        if heartbeat.cluster == self.cluster {
            self.sources.insert(heartbeat.complete_to, heartbeat.cluster_known);
        }
    }

    /// Takes that a source begins that has names or has none. A promise for ever, which an earlier run without a source
    /// that could change has made, ends [`LEAD`] after `now`: after that there is more to learn, and nothing before changes.
    ///
    /// The answer is what to write before anything else if the source before was of the other sort: what it was after which
    /// times, and a heartbeat for the time up to which the former source holds.
    #[must_use]
    pub fn begin(&mut self, has_names: bool, now: Millis) -> Option<(Vec<Heartbeat>, Heartbeat)> {
        if self.heartbeat == FOR_EVER {
            self.heartbeat = now.saturating_add(LEAD);
        }
        let before = self.sources.last_key_value().map(|(_, named)| *named).or(self.named)?;
        if before == has_names {
            return None;
        }
        let mut changed = vec![(self.heartbeat, has_names)];
        if self.sources.is_empty() {
            changed.insert(0, (NEVER, before));
        }
        self.sources.extend(changed.iter().copied());
        let message = |(after, named): (Millis, bool)| self.heartbeat_message(after, Proof::Closed, named);
        let sources = changed.into_iter().map(message).collect();
        Some((sources, message((self.heartbeat, before))))
    }

    /// Whether a heartbeat for a time says more than the last one. The first of all is where the history begins, and so for
    /// no time before `listed_at`, when everything had been seen once: what an object was before it was first seen, as what
    /// labels it had, is not known.
    #[must_use]
    pub fn may_promise(&self, complete_to: Millis, listed_at: Millis) -> bool {
        complete_to > self.heartbeat && (self.heartbeat != NEVER || complete_to >= listed_at)
    }

    /// The heartbeat message for a time.
    #[must_use]
    pub fn heartbeat_message(&self, complete_to: Millis, proof: Proof, cluster_known: bool) -> Heartbeat {
        Heartbeat { cluster: self.cluster.clone(), complete_to, proof, cluster_known }
    }

    /// Takes an object as it is at `arrival`; the revisions to write, in order: the closed one first.
    #[must_use]
    pub fn observe(&mut self, observed: Observed, arrival: Millis) -> Vec<Revision> {
        let place = (Kind::of(&observed.object), observed.uid.clone());
        let (heartbeat, enter) = (self.heartbeat, self.enter(place.0, arrival));
        let line = self.lines.entry(place).or_default();
        let mut next = Revision {
            labels_dropped: observed.about.labels_dropped,
            annotations: observed.annotations,
            changed_at: observed.about.changed_at,
            changed_by: observed.about.changed_by,
            cluster: self.cluster.clone(),
            uid: observed.uid,
            revision: line.last.saturating_add(1),
            namespace: observed.namespace,
            name: observed.name,
            labels: observed.labels,
            valid_from: between(arrival, arrival, BoundSource::Arrival),
            valid_to: None,
            object: observed.object,
        };
        let mut written = Vec::with_capacity(2);
        let held = line.open.as_ref().map_or(&[][..], |open| addresses(&open.object));
        let first = !addresses(&next.object).iter().any(|address| held.contains(address));
        if let Some(open) = &mut line.open {
            if !observed.owner_known {
                keep_workload(open, &mut next);
            }
            if same_content(open, &next) {
                take_status(open, next);
                let passed = line.begun.map_or(heartbeat, |begun| begun.max(heartbeat));
                let held = observed.changed.filter(|_| !line.held);
                if let Some(begun) = held.and_then(|held| sooner(open, held, passed)) {
                    open.valid_from = begun;
                    written.push(open.clone());
                }
                self.note(&written, false);
                return written;
            }
            let bound = enter(change(open, &next, observed.changed, heartbeat, arrival));
            if let Some(lost) = lost_sooner(open, &next, bound)
                && let Some(former) = self.holds.closed(&next.uid, open.revision.saturating_sub(1))
                && let Some(end) = former.valid_to.as_mut().filter(|end| end.latest == open.valid_from.latest)
            {
                (end.latest, open.valid_from.latest) = (lost.max(end.earliest), lost);
                written.push(former.clone());
            }
            let end = not_before(bound, open.valid_from);
            let mut closed = open.clone();
            closed.valid_to = Some(kept_earliest(end, open.valid_to, heartbeat));
            next.valid_from = end;
            // An end that was foreseen is still to come.
            next.valid_to = open.valid_to.map(|foreseen| between(end.earliest, FOR_EVER, foreseen.source));
            for closed in written.iter().chain([&closed]) {
                line.close(closed, closed.valid_to.map_or(end.latest, |to| to.latest));
            }
            written.push(closed);
        } else {
            // An object that comes back under its UID (a manifest) holds from its return, not from its beginning.
            let known = |bound: &Bound| bound.source != BoundSource::Always || heartbeat == NEVER;
            let since = observed.since.filter(known).filter(|_| line.last == 0);
            let bound = since.unwrap_or_else(|| arrived(heartbeat, arrival));
            next.valid_from = enter(bound);
        }
        line.last = next.revision;
        line.open = Some(next.clone());
        written.push(next);
        self.note(&written, first);
        written
    }

    /// Keeps in mind who holds which addresses, if nodes are believed.
    fn note(&mut self, written: &[Revision], first: bool) {
        if self.belief.is_some() {
            written.iter().for_each(|revision| self.holds.note(revision, first));
        }
    }

    /// Takes a pod as it was while it held its addresses, which is told with its end: the revisions to write. Where it was
    /// known to hold them, that is since when; where it held others, or a heartbeat has passed when its containers `ended`, none.
    #[must_use]
    pub fn observe_former(&mut self, observed: Observed, ended: Millis, arrival: Millis) -> Vec<Revision> {
        let line = self.lines.get(&(Kind::of(&observed.object), observed.uid.clone()));
        let open = line.and_then(|line| line.open.as_ref());
        let has_held = line.is_some_and(|line| line.held || (line.last > 0 && open.is_none()));
        let holds_others = open.is_some_and(|open| {
            let held = addresses(&open.object);
            !held.is_empty() && held != addresses(&observed.object)
        });
        if has_held || holds_others || self.heartbeat == NEVER || ended <= self.heartbeat {
            return Vec::new();
        }
        self.observe(observed, arrival)
    }

    /// Takes that an object is gone, as learnt at `arrival`; `ended` is what its own times tell.
    #[must_use]
    pub fn vanish(&mut self, kind: Kind, uid: &str, ended: Option<Bound>, arrival: Millis) -> Option<Revision> {
        let (heartbeat, enter) = (self.heartbeat, self.enter(kind, arrival));
        let line = self.lines.get_mut(&(kind, uid.to_owned()))?;
        let mut closed = line.open.take()?;
        let known = heartbeat.max(closed.valid_from.earliest);
        let mut bound = enter(ended.unwrap_or_else(|| arrived(known, arrival)));
        if let Some(foreseen) = closed.valid_to.filter(|_| self.belief.is_some()) {
            bound.earliest = bound.earliest.max(foreseen.earliest).min(bound.latest);
        }
        let end = not_before(bound, closed.valid_from);
        closed.valid_to = Some(kept_earliest(end, closed.valid_to, heartbeat));
        line.close(&closed, end.latest);
        self.note(std::slice::from_ref(&closed), false);
        Some(closed)
    }

    /// Takes that an object was asked to end, at `asked`: it may be gone from then on, before anybody tells. Its revision
    /// is written once with an end that is open above, so that from then on it is possible but not certain.
    #[must_use]
    pub fn foresee_end(&mut self, kind: Kind, uid: &str, asked: Bound) -> Option<Revision> {
        let enter = self.enter(kind, asked.latest);
        let open = self.lines.get_mut(&(kind, uid.to_owned()))?.open.as_mut()?;
        if open.valid_to.is_some() {
            return None;
        }
        let end = not_before(enter(asked), open.valid_from);
        open.valid_to = Some(Bound { latest: FOR_EVER, ..end });
        let open = open.clone();
        self.note(std::slice::from_ref(&open), false);
        Some(open)
    }

    /// Takes that only these objects of a kind exist, as after a new list: the others are gone since some time after the
    /// last heartbeat, when they were still there.
    #[must_use]
    pub fn retain(&mut self, kind: Kind, present: &BTreeSet<String>, arrival: Millis) -> Vec<Revision> {
        self.retain_among(kind, |_| true, present, arrival)
    }

    /// As [`History::retain`], for those of a kind whose open revision satisfies a condition.
    #[must_use]
    pub fn retain_among(
        &mut self,
        kind: Kind,
        among: impl Fn(&Revision) -> bool,
        present: &BTreeSet<String>,
        arrival: Millis,
    ) -> Vec<Revision> {
        let lines = self.lines.range((kind, String::new())..).take_while(|((of, _), _)| *of == kind);
        let gone: Vec<String> = lines
            .filter(|((_, uid), line)| line.open.as_ref().is_some_and(&among) && !present.contains(uid))
            .map(|((_, uid), _)| uid.clone())
            .collect();
        gone.iter().filter_map(|uid| self.vanish(kind, uid, None, arrival)).collect()
    }

    /// The open revision of an object.
    #[must_use]
    pub fn open_one(&self, kind: Kind, uid: &str) -> Option<&Revision> {
        self.lines.get(&(kind, uid.to_owned()))?.open.as_ref()
    }

    /// UIDs of a kind that are valid now, with the open revision.
    pub fn open_of(&self, kind: Kind) -> impl Iterator<Item = &Revision> {
        self.lines.iter().filter(move |((of, _), _)| *of == kind).filter_map(|(_, line)| line.open.as_ref())
    }
}
