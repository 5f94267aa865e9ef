//! The temporal table.

use crate::ask::Ask;
use crate::holders::{Holders, Slot};
use crate::identity::{Identity, IdentityKind};
use crate::intern::Interner;
use crate::networks::Networks;
use crate::span::{Span, is_always};
use foldhash::HashMap;
use ipnet::IpNet;
use std::sync::Arc;
use weir_flow::time::{FOR_EVER, NEVER};
use weir_flow::{Address, Millis};
use weir_schemas::enriched::Side;
use weir_schemas::metadata::{Heartbeat, Metadata, Object, Proof, Revision};

mod lookup;

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

fn kind_of(object: &Object) -> usize {
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

/// What a revision is indexed by.
#[derive(Debug)]
enum Body {
    Pod { identity: Arc<Identity>, addresses: Box<[Address]> },
    Node { identity: Arc<Identity>, addresses: Box<[Address]>, networks: Box<[IpNet]>, zone: Arc<str> },
    Service { identity: Arc<Identity>, name: Arc<str>, entries: Box<[ServiceEntry]> },
    Agent { node: Arc<str>, networks: Box<[IpNet]>, one_observer: bool },
    Other,
}

/// Address, port and protocol of a service.
type ServiceEntry = (Address, u16, u8);

/// A revision in the table.
#[derive(Debug)]
struct Stored {
    object: u32,
    revision: u64,
    span: Span,
    body: Body,
}

/// All revisions of one object, sorted by ordinal.
#[derive(Debug, Default)]
struct Revisions(Vec<(u64, Slot)>);

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
    history_start: Millis,
    foreign: u64,
    malformed: u64,
    texts: Interner,
    stored: Vec<Option<Stored>>,
    free: Vec<Slot>,
    objects: Vec<Revisions>,
    by_uid: [HashMap<Arc<str>, u32>; KINDS],
    pods: HashMap<Address, Holders>,
    nodes: HashMap<Address, Holders>,
    nodes_by_name: HashMap<Arc<str>, Holders>,
    services: HashMap<ServiceEntry, Holders>,
    pod_networks: Networks,
    agents_by_node: HashMap<Arc<str>, Holders>,
    agent_networks: Networks,
    single_observers: Holders,
}

impl Table {
    /// An empty table of one cluster, for a metadata topic with this many partitions (at least one).
    #[must_use]
    pub fn new(cluster: &str, partitions: usize) -> Self {
        Self {
            cluster: Arc::from(cluster),
            promises: vec![Promise { complete_to: NEVER }; partitions.max(1)],
            cluster_known: false,
            history_start: NEVER,
            foreign: 0,
            malformed: 0,
            texts: Interner::default(),
            stored: Vec::new(),
            free: Vec::new(),
            objects: Vec::new(),
            by_uid: Default::default(),
            pods: HashMap::default(),
            nodes: HashMap::default(),
            nodes_by_name: HashMap::default(),
            services: HashMap::default(),
            pod_networks: Networks::default(),
            agents_by_node: HashMap::default(),
            agent_networks: Networks::default(),
            single_observers: Holders::default(),
        }
    }

    /// Takes a message of a partition of the metadata topic. Messages of other clusters are counted and ignored; a
    /// revision that is already known is replaced.
    pub fn apply(&mut self, partition: usize, message: &Metadata) {
        match message {
            Metadata::Revision(revision) if *revision.cluster == *self.cluster => self.put(revision),
            Metadata::Heartbeat(heartbeat) if *heartbeat.cluster == *self.cluster => self.hear(partition, heartbeat),
            Metadata::Revision(_) | Metadata::Heartbeat(_) => self.foreign = self.foreign.saturating_add(1),
        }
    }

    /// Takes a tombstone: forgets the revision with key `<cluster>/<kind>/<uid>/<revision>`. Other keys are ignored.
    pub fn forget(&mut self, key: &str) {
        let mut parts = key.rsplitn(4, '/');
        let (Some(revision), Some(uid), Some(kind), Some(cluster)) =
            (parts.next().and_then(|text| text.parse().ok()), parts.next(), parts.next(), parts.next())
        else {
            return;
        };
        if cluster != &*self.cluster {
            return;
        }
        let Some(&object) = kind_number(kind).and_then(|kind| self.by_uid.get(kind)).and_then(|map| map.get(uid))
        else {
            return;
        };
        self.remove(object, revision);
    }

    /// H: metadata of this cluster is complete up to here, the lowest over the partitions;
    /// [`NEVER`](weir_flow::time::NEVER) before each has had a heartbeat.
    #[must_use]
    pub fn complete_to(&self) -> Millis {
        self.promises.iter().map(|promise| promise.complete_to).min().unwrap_or(NEVER)
    }

    /// Whether Kubernetes names can be had at all.
    #[must_use]
    pub fn cluster_known(&self) -> bool {
        self.cluster_known
    }

    /// From when the history is whole: what came and went before was never seen. [`NEVER`](weir_flow::time::NEVER)
    /// where the source has no times.
    #[must_use]
    pub fn history_start(&self) -> Millis {
        self.history_start
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
        self.stored.len() - self.free.len()
    }

    /// Who an end was: [`Table::resolve`] as a side of a record.
    #[must_use]
    pub fn side(&self, ask: &Ask<'_>) -> Side {
        self.resolve(ask).to_side(ask)
    }

    fn hear(&mut self, partition: usize, heartbeat: &Heartbeat) {
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

    fn put(&mut self, revision: &Revision) {
        let kind = kind_of(&revision.object);
        let object = self.object(kind, &revision.uid);
        self.remove(object, revision.revision);
        let body = self.body(revision);
        let stored = Stored { object, revision: revision.revision, span: Span::of(revision), body };
        let slot = self.free.pop().unwrap_or_else(|| Slot::try_from(self.stored.len()).unwrap_or(Slot::MAX));
        self.index(&stored, slot, true);
        match usize::try_from(slot).ok().and_then(|i| self.stored.get_mut(i)) {
            Some(place) => *place = Some(stored),
            None => self.stored.push(Some(stored)),
        }
        if let Some(Revisions(list)) = at_mut(&mut self.objects, object) {
            let place = list.partition_point(|(known, _)| *known < revision.revision);
            list.insert(place, (revision.revision, slot));
        }
    }

    fn object(&mut self, kind: usize, uid: &str) -> u32 {
        let number = u32::try_from(self.objects.len()).unwrap_or(u32::MAX);
        let Some(map) = self.by_uid.get_mut(kind) else { return number };
        if let Some(&known) = map.get(uid) {
            return known;
        }
        map.insert(Arc::from(uid), number);
        self.objects.push(Revisions::default());
        number
    }

    fn remove(&mut self, object: u32, revision: u64) {
        let Some(Revisions(list)) = at_mut(&mut self.objects, object) else { return };
        let Ok(place) = list.binary_search_by_key(&revision, |(known, _)| *known) else { return };
        let (_, slot) = list.remove(place);
        if let Some(stored) = at_mut(&mut self.stored, slot).and_then(Option::take) {
            self.index(&stored, slot, false);
            self.free.push(slot);
        }
    }

    fn body(&mut self, revision: &Revision) -> Body {
        match &revision.object {
            Object::Pod(pod) => {
                let identity = Identity {
                    node: self.texts.text(&pod.node),
                    workload_kind: self.texts.text(&pod.workload_kind),
                    workload: self.texts.text(&pod.workload),
                    service_account: self.texts.text(&pod.service_account),
                    labels: self.texts.set(&revision.labels),
                    ..self.identity(IdentityKind::Pod, revision)
                };
                // The addresses of a pod on the node's network are the node's: no flow is the pod's by address.
                let addresses = if pod.host_network { Box::default() } else { distinct(&pod.addresses) };
                Body::Pod { identity: Arc::new(identity), addresses }
            }
            Object::Node(node) => {
                let identity =
                    Identity { node: self.texts.text(&revision.name), ..self.identity(IdentityKind::Node, revision) };
                Body::Node {
                    identity: Arc::new(identity),
                    addresses: distinct(&node.addresses),
                    networks: self.networks(&node.pod_networks),
                    zone: self.texts.text(&node.zone),
                }
            }
            Object::Service(service) => {
                let mut entries: Vec<ServiceEntry> = Vec::new();
                for address in &service.addresses {
                    entries.extend(service.ports.iter().map(|port| (*address, port.port, port.protocol)));
                }
                entries.sort_unstable();
                entries.dedup();
                let identity = self.identity(IdentityKind::Service, revision);
                let name = self.texts.text(&identity.qualified_name());
                Body::Service { identity: Arc::new(identity), name, entries: entries.into() }
            }
            Object::Agent(agent) => Body::Agent {
                node: self.texts.text(&agent.node),
                networks: self.networks(&agent.networks),
                one_observer: agent.one_observer,
            },
            Object::Namespace(_) | Object::EndpointSlice(_) | Object::Policy(_) | Object::NetworkSet(_) => Body::Other,
        }
    }

    fn identity(&mut self, kind: IdentityKind, revision: &Revision) -> Identity {
        let empty = self.texts.text("");
        let known = self.by_uid.get(kind_of(&revision.object)).and_then(|map| map.get_key_value(revision.uid.as_str()));
        Identity {
            kind,
            uid: known.map_or_else(|| Arc::from(revision.uid.as_str()), |(uid, _)| uid.clone()),
            namespace: self.texts.text(&revision.namespace),
            name: self.texts.text(&revision.name),
            node: empty.clone(),
            workload_kind: empty.clone(),
            workload: empty.clone(),
            service_account: empty,
            labels: self.texts.set(&[]),
            always_valid: is_always(revision),
        }
    }

    fn networks(&mut self, texts: &[String]) -> Box<[IpNet]> {
        let mut networks: Vec<IpNet> = texts.iter().filter_map(|text| text.parse().ok()).collect();
        self.malformed += u64::try_from(texts.len() - networks.len()).unwrap_or(u64::MAX);
        networks.sort_unstable();
        networks.dedup();
        networks.into()
    }

    /// Enters a revision into the indices, or takes it out.
    fn index(&mut self, stored: &Stored, slot: Slot, enter: bool) {
        let span = stored.span;
        match &stored.body {
            Body::Pod { addresses, .. } => {
                addresses.iter().for_each(|address| hold(&mut self.pods, address, span, slot, enter));
            }
            Body::Node { identity, addresses, networks, .. } => {
                addresses.iter().for_each(|address| hold(&mut self.nodes, address, span, slot, enter));
                networks.iter().for_each(|network| self.pod_networks.hold(network, span, slot, enter));
                hold(&mut self.nodes_by_name, &identity.name, span, slot, enter);
            }
            Body::Service { entries, .. } => {
                entries.iter().for_each(|entry| hold(&mut self.services, entry, span, slot, enter));
            }
            Body::Agent { node, networks, one_observer } => {
                if !node.is_empty() {
                    hold(&mut self.agents_by_node, node, span, slot, enter);
                }
                networks.iter().for_each(|network| self.agent_networks.hold(network, span, slot, enter));
                if *one_observer {
                    self.single_observers.hold(span, slot, enter);
                }
            }
            Body::Other => {}
        }
    }
}

fn at_mut<T>(list: &mut [T], number: u32) -> Option<&mut T> {
    usize::try_from(number).ok().and_then(|i| list.get_mut(i))
}

fn distinct(addresses: &[Address]) -> Box<[Address]> {
    let mut distinct = addresses.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    distinct.into()
}

fn hold<K: Clone + Eq + std::hash::Hash>(map: &mut HashMap<K, Holders>, key: &K, span: Span, slot: Slot, enter: bool) {
    if enter {
        map.entry(key.clone()).or_default().insert(span, slot);
    } else if let Some(holders) = map.get_mut(key) {
        holders.remove(span, slot);
        if holders.is_empty() {
            map.remove(key);
        }
    }
}
