//! The temporal table.

use crate::address_lists::{AddressLists, ListNumber};
use crate::ask::Ask;
use crate::ends::Ends;
use crate::holders::{Described, Holders, ObjectNumber, Whose};
use crate::identities::{Identities, IdentityNumber};
use crate::intern::Interner;
use crate::networks::Networks;
use crate::since::Since;
use crate::span::Span;
use crate::uids::{UidKey, Uids};
use foldhash::HashMap;
use ipnet::IpNet;
use std::sync::Arc;
use weir_flow::time::{FOR_EVER, NEVER};
use weir_flow::{Address, Millis};
use weir_schemas::enriched::Side;
use weir_schemas::metadata::{Heartbeat, Metadata, Object, Proof, parse_revision_key};

mod apply;
mod batches;
mod lookup;
mod several;

#[cfg(test)]
mod network_sets;
#[cfg(test)]
mod past;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

/// Kinds as they stand in keys.
const KINDS: usize = 8;

/// The number of a kind in this table's maps, by its name in keys.
fn kind_number(kind: &str) -> Option<usize> {
    ["Pod", "Node", "Namespace", "Service", "Agent", "EndpointSlice", "Policy", "NetworkSet"]
        .iter()
        .position(|known| *known == kind)
}

fn kind_of<T, R>(object: &Object<T, R>) -> usize {
    match object {
        Object::Pod(_) => 0,
        Object::Node(_) => 1,
        Object::Namespace(_) => 2,
        Object::Service(_) => 3,
        Object::Agent(_) => 4,
        Object::EndpointSlice(_) => 5,
        Object::Policy(_) => 6,
        Object::NetworkSet(_) => 7,
    }
}

/// What a revision is indexed by. Of pods there are many: their part is kept small, the others' are boxed.
#[derive(Debug)]
enum Body {
    Pod { identity: IdentityNumber, addresses: ListNumber },
    Node(Box<NodeBody>),
    Service(Box<ServiceBody>),
    Agent(Box<AgentBody>),
    NetworkSet(Box<NetworkSetBody>),
    Other,
}

#[derive(Debug)]
struct NodeBody {
    identity: IdentityNumber,
    addresses: Box<[Address]>,
    networks: Box<[IpNet]>,
    zone: Arc<str>,
}

#[derive(Debug)]
struct ServiceBody {
    identity: IdentityNumber,
    name: Arc<str>,
    entries: Box<[ServiceEntry]>,
}

#[derive(Debug)]
struct AgentBody {
    /// Number of the node that it covers; absent for a capture.
    node: Option<u32>,
    networks: Box<[IpNet]>,
    one_observer: bool,
}

#[derive(Debug)]
struct NetworkSetBody {
    name: Arc<str>,
    networks: Box<[IpNet]>,
}

/// Address (as a number), port and protocol of a service.
type ServiceEntry = (u128, u16, u8);

/// A revision in the table.
#[derive(Debug)]
struct Stored {
    revision: u64,
    span: Span,
    body: Body,
}

/// All revisions of one object, sorted by ordinal.
#[derive(Debug)]
struct Revisions {
    list: Vec<Stored>,
    /// Whether both ends of what is possible never go back from one ordinal to the next, so that a time can be searched.
    ordered: bool,
}

impl Default for Revisions {
    fn default() -> Self {
        Self { list: Vec::new(), ordered: true }
    }
}

/// What is known under a node's name: first what holds for long, in half a cache line.
#[derive(Debug)]
struct NamedNode {
    /// Its zone, empty for none, from when it alone is possible.
    zone: Arc<str>,
    zone_since: Since,
    /// From when an agent is certainly ready.
    agent_since: Since,
    history: Box<NodeHistory>,
}

/// What is known under a node's name, for all times.
#[derive(Debug, Default)]
struct NodeHistory {
    /// Who had the name, with its zone.
    nodes: Holders<Described<IdentityNumber>>,
    /// Ready agents.
    agents: Holders<Whose>,
}

/// What one metadata partition promised.
#[derive(Clone, Copy, Debug)]
struct Promise {
    complete_to: Millis,
}

/// Everything that the metadata topic says about one cluster, answering as of any time.
#[derive(Debug)]
pub struct Table {
    cluster: Arc<str>,
    promises: Vec<Promise>,
    cluster_known: bool,
    /// After which times names could be had or not, in order.
    sources: Vec<(Millis, bool)>,
    /// Of which times nothing is known, in order: after the first of each pair, up to the second.
    gaps: Vec<(Millis, Millis)>,
    history_start: Millis,
    /// The latest time at which anything that is known may have begun.
    newest: Millis,
    foreign: u64,
    malformed: u64,
    texts: Interner,
    objects: Vec<Revisions>,
    free: Vec<ObjectNumber>,
    revisions: usize,
    by_uid: [Uids; KINDS],
    identities: Identities,
    /// Those of pods' revisions.
    address_lists: AddressLists,
    /// Pods and nodes by address.
    ends: Ends,
    services: HashMap<ServiceEntry, Holders<Described<IdentityNumber>>>,
    node_numbers: HashMap<Arc<str>, u32>,
    named_nodes: Vec<NamedNode>,
    pod_networks: Networks<Whose>,
    agent_networks: Networks<Whose>,
    network_sets: Networks<Described<Whose>>,
    single_observers: Holders<Whose>,
}

impl Table {
    /// An empty table of one cluster, for a metadata topic with this many partitions (at least one).
    #[must_use]
    pub fn new(cluster: &str, partitions: usize) -> Self {
        Self {
            cluster: Arc::from(cluster),
            promises: vec![Promise { complete_to: NEVER }; partitions.max(1)],
            cluster_known: false,
            sources: Vec::new(),
            gaps: Vec::new(),
            history_start: NEVER,
            newest: NEVER,
            foreign: 0,
            malformed: 0,
            texts: Interner::default(),
            objects: Vec::new(),
            free: Vec::new(),
            revisions: 0,
            by_uid: Default::default(),
            identities: Identities::default(),
            address_lists: AddressLists::default(),
            ends: Ends::default(),
            services: HashMap::default(),
            node_numbers: HashMap::default(),
            named_nodes: Vec::new(),
            pod_networks: Networks::default(),
            agent_networks: Networks::default(),
            network_sets: Networks::default(),
            single_observers: Holders::default(),
        }
    }

    /// Takes a message of a partition of the metadata topic. Messages of other clusters are counted and ignored; a
    /// revision that is already known is replaced.
    pub fn apply<T: AsRef<str>>(&mut self, partition: usize, message: &Metadata<T>) {
        self.take(partition, message);
    }

    fn take<T: AsRef<str>, R>(&mut self, partition: usize, message: &Metadata<T, R>) {
        match message {
            Metadata::Revision(revision) if *revision.cluster.as_ref() == *self.cluster => self.put(revision),
            Metadata::Heartbeat(heartbeat) if *heartbeat.cluster.as_ref() == *self.cluster => {
                self.hear(partition, heartbeat);
            }
            Metadata::Revision(_) | Metadata::Heartbeat(_) => self.foreign = self.foreign.saturating_add(1),
        }
    }

    /// Takes a tombstone: forgets the revision with key `<cluster>/<kind>/<uid>/<revision>`. Other keys are ignored.
    pub fn forget(&mut self, key: &str) {
        let Some((kind, uid, revision)) = parse_revision_key(key, &self.cluster) else { return };
        let Some(kind) = kind_number(kind) else { return };
        let uid = UidKey::of(uid);
        let Some(object) = self.by_uid.get(kind).and_then(|uids| uids.get(uid)).map(|known| known.object) else {
            return;
        };
        self.remove(object, revision);
        if element(&self.objects, object).is_some_and(|revisions| revisions.list.is_empty()) {
            self.by_uid.get_mut(kind).into_iter().for_each(|uids| uids.remove(uid));
            self.free.push(object);
        } else {
            self.note(kind, uid, object);
        }
    }

    /// H: metadata of this cluster is complete up to here, the lowest over the partitions;
    /// [`NEVER`](weir_flow::time::NEVER) before each has had a heartbeat.
    #[must_use]
    pub fn complete_to(&self) -> Millis {
        self.promises.iter().map(|promise| promise.complete_to).min().unwrap_or(NEVER)
    }

    /// Id of the cluster.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Whether Kubernetes names could be had at all at a time, ms since the epoch. Where the source never changed, what it is
    /// holds for all time. The answer for a time up to `complete_to` never changes.
    #[must_use]
    pub fn cluster_known(&self, at: Millis) -> bool {
        let begun = self.sources.partition_point(|(after, _)| *after < at);
        let last = begun.checked_sub(1).and_then(|last| self.sources.get(last));
        last.map_or(self.cluster_known, |(_, known)| *known)
    }

    /// Takes what the source was after a time, as it stands under
    /// [`source_key`](weir_schemas::metadata::source_key). Another cluster's is counted and ignored.
    pub fn change_source<T: AsRef<str>>(&mut self, heartbeat: &Heartbeat<T>) {
        if *heartbeat.cluster.as_ref() != *self.cluster {
            self.foreign = self.foreign.saturating_add(1);
            return;
        }
        let (after, known) = (heartbeat.complete_to, heartbeat.cluster_known);
        match self.sources.binary_search_by_key(&after, |(after, _)| *after) {
            Ok(place) => self.sources.get_mut(place).into_iter().for_each(|source| source.1 = known),
            Err(place) => self.sources.insert(place, (after, known)),
        }
    }

    /// Takes that a person gave up on what was after a time, `after`, up to the heartbeat's `complete_to`, as it stands under
    /// [`gap_key`](weir_schemas::metadata::gap_key): nobody has a name then. Another cluster's is counted and ignored.
    pub fn leave_gap<T: AsRef<str>>(&mut self, after: Millis, heartbeat: &Heartbeat<T>) {
        if *heartbeat.cluster.as_ref() != *self.cluster {
            self.foreign = self.foreign.saturating_add(1);
            return;
        }
        let gap = (after, heartbeat.complete_to);
        if let Err(place) = self.gaps.binary_search(&gap) {
            self.gaps.insert(place, gap);
        }
    }

    /// The last time before `at` of which something is known, where `at` is in a gap.
    fn known_before(&self, at: Millis) -> Option<Millis> {
        let next = self.gaps.partition_point(|(_, to)| *to < at);
        self.gaps.get(next).map(|(after, _)| *after).filter(|after| *after < at)
    }

    /// From when the history is whole: what came and went before was never seen. [`NEVER`](weir_flow::time::NEVER)
    /// where the source has no times.
    #[must_use]
    pub fn history_start(&self) -> Millis {
        self.history_start
    }

    /// Takes that what ended before a time was forgotten, so that the history is whole from then on only.
    pub fn whole_from(&mut self, from: Millis) {
        if self.history_start != NEVER {
            self.history_start = self.history_start.max(from);
        }
    }

    /// How many messages of other clusters were ignored.
    #[must_use]
    pub fn foreign(&self) -> u64 {
        self.foreign
    }

    /// How many networks were no CIDR notation and were left out.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// How many revisions are held.
    #[must_use]
    pub fn revisions(&self) -> usize {
        self.revisions
    }

    /// Who an end was: [`Table::resolve`] as a side of a record.
    #[must_use]
    pub fn side(&self, ask: &Ask<'_>) -> Side {
        self.resolve(ask).to_side(ask)
    }

    fn hear<T>(&mut self, partition: usize, heartbeat: &Heartbeat<T>) {
        self.cluster_known |= heartbeat.cluster_known;
        if matches!(heartbeat.proof, Proof::Probed | Proof::Assumed) {
            self.history_start = match self.history_start {
                NEVER => heartbeat.complete_to,
                known => known.min(heartbeat.complete_to),
            };
        }
        if let Some(promise) = self.promises.get_mut(partition) {
            // "For ever" ends where a later heartbeat says so: a source was given that can change.
            if heartbeat.complete_to > promise.complete_to || promise.complete_to == FOR_EVER {
                promise.complete_to = heartbeat.complete_to;
            }
        }
    }
}

/// An element by its number.
fn element<T>(list: &[T], number: u32) -> Option<&T> {
    usize::try_from(number).ok().and_then(|i| list.get(i))
}

/// An element by its number.
fn element_mut<T>(list: &mut [T], number: u32) -> Option<&mut T> {
    usize::try_from(number).ok().and_then(|i| list.get_mut(i))
}
