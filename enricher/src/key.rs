//! Canonical bytes of a record's key: what makes two reports one record, which internal partition it goes to, its id.
//!
//! Numbers are little-endian, texts are their length (32 bits) and their bytes, so that no two keys share bytes. The
//! bytes are part of the records' identity: changing them changes every id, and needs a new semantics version.

use crate::coarsen::Shape;
use std::net::IpAddr;
use weir_flow::{Address, AddressScope, Level, Millis};
use weir_schemas::enriched::{Attribution, NoneReason, Side};
use weir_schemas::partial::Partial;
use weir_schemas::raw::Origin;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

#[cfg(test)]
mod tests;

/// One end as far as keys are concerned. Empty texts mean "without".
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndKey<'a> {
    /// Whether anything but the scope is left of the end.
    pub(crate) present: bool,
    pub(crate) address: Option<Address>,
    pub(crate) port: Option<u16>,
    pub(crate) scope: AddressScope,
    pub(crate) pod_uid: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) workload_kind: &'a str,
    pub(crate) workload: &'a str,
    pub(crate) node: &'a str,
    pub(crate) host: &'a str,
    pub(crate) service: &'a str,
    pub(crate) network_set: &'a str,
    pub(crate) attribution: Attribution,
    pub(crate) reason: Option<NoneReason>,
}

impl<'a> EndKey<'a> {
    pub(crate) fn of<T: AsRef<str>>(side: &'a Side<T>) -> Self {
        let text = |text: &'a Option<T>| text.as_ref().map(AsRef::as_ref).unwrap_or_default();
        Self {
            present: side.attribution != Attribution::None || side.reason.is_some(),
            address: side.address,
            port: side.port,
            scope: side.scope,
            pod_uid: text(&side.pod_uid),
            namespace: text(&side.namespace),
            workload_kind: text(&side.workload_kind),
            workload: text(&side.workload),
            node: text(&side.node),
            host: text(&side.host),
            service: text(&side.service),
            network_set: text(&side.network_set),
            attribution: side.attribution,
            reason: side.reason,
        }
    }
}

/// What an end is of a key of which everything is left.
pub(crate) trait Part {
    fn port(&self) -> Option<u16>;
    /// Appends the address.
    fn push_address(&self, bytes: &mut Vec<u8>);
    /// Appends what tells the end from others: the pod of the address where the level keeps addresses, else what the end is
    /// called.
    fn push_name(&self, keeps_addresses: bool, bytes: &mut Vec<u8>);
}

impl Part for EndKey<'_> {
    fn port(&self) -> Option<u16> {
        self.port
    }

    fn push_address(&self, bytes: &mut Vec<u8>) {
        push_address(bytes, self.address);
    }

    fn push_name(&self, keeps_addresses: bool, bytes: &mut Vec<u8>) {
        if keeps_addresses {
            push_text(bytes, self.pod_uid);
        } else {
            push_identity(bytes, self);
        }
    }
}

/// An end of which address and name were written before, for levels of one kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndBytes<'k> {
    pub(crate) address: &'k [u8],
    pub(crate) name: &'k [u8],
    pub(crate) port: Option<u16>,
}

impl Part for EndBytes<'_> {
    fn port(&self) -> Option<u16> {
        self.port
    }

    fn push_address(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.address);
    }

    fn push_name(&self, _: bool, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.name);
    }
}

/// Appends a key of which everything is left, as [`Key::write`].
pub(crate) fn write_whole(
    bytes: &mut Vec<u8>,
    (level, origin, protocol): (Level, Origin, u8),
    initiator: &impl Part,
    responder: &impl Part,
) -> usize {
    let start = bytes.len();
    bytes.extend_from_slice(&[level.number(), origin_number(origin), protocol]);
    if level.keeps_addresses() {
        initiator.push_address(bytes);
        responder.push_address(bytes);
        if level == Level::Zero {
            push_port(bytes, initiator.port());
        }
        push_port(bytes, responder.port());
        let tuple = bytes.len() - start;
        initiator.push_name(true, bytes);
        responder.push_name(true, bytes);
        return tuple;
    }
    initiator.push_name(false, bytes);
    responder.push_name(false, bytes);
    if level == Level::Two {
        push_port(bytes, responder.port());
    }
    bytes.len() - start
}

/// The groups that a key is in, as hashes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Groups {
    /// What has the same initiator.
    pub(crate) initiator: u128,
    /// What has the same responder and port.
    pub(crate) responder: u128,
    /// What has the same initiator and responder.
    pub(crate) pair: u128,
}

/// A record's key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a> {
    pub(crate) level: Level,
    pub(crate) origin: Origin,
    pub(crate) protocol: u8,
    pub(crate) initiator: EndKey<'a>,
    pub(crate) responder: EndKey<'a>,
    /// What is left of it.
    pub(crate) shape: Shape,
}

impl<'a> Key<'a> {
    /// Looks at the key of a partial record; nothing when its level does not exist.
    pub(crate) fn with<R>(partial: &Partial, look: impl FnOnce(&Key<'_>) -> R) -> Option<R> {
        let ends = [partial.initiator.view(), partial.responder.view()];
        let [initiator, responder] = [EndKey::of(&ends[0]), EndKey::of(&ends[1])];
        Some(look(&Key {
            level: Level::from_number(i64::from(partial.level))?,
            origin: partial.origin,
            protocol: partial.protocol,
            shape: Self::shape_of(partial.coarsened, &initiator, &responder),
            initiator,
            responder,
        }))
    }

    /// What is left of a partial record's key: a coarsened record knows an end or does not.
    fn shape_of(coarsened: bool, initiator: &EndKey<'_>, responder: &EndKey<'_>) -> Shape {
        match (coarsened, initiator.present, responder.present) {
            (false, ..) => Shape::Whole,
            (true, true, true) => Shape::Pair,
            (true, true, false) => Shape::Initiator,
            (true, false, true) => Shape::Responder,
            (true, false, false) => Shape::Nobody,
        }
    }

    /// The key with this much left of it.
    pub(crate) fn coarsened(&self, shape: Shape) -> Self {
        if shape == Shape::Whole {
            return *self;
        }
        let port = shape == Shape::Responder && self.level != Level::Three;
        let left = |end: &EndKey<'a>, initiator| EndKey {
            present: shape.keeps(initiator),
            port: end.port.filter(|_| port),
            ..*end
        };
        Self { shape, initiator: left(&self.initiator, true), responder: left(&self.responder, false), ..*self }
    }

    /// The hashes of the groups that the key is in, for [`crate::coarsen`]; `bytes` is room to work in.
    pub(crate) fn groups(&self, window: Millis, bytes: &mut Vec<u8>) -> Groups {
        let mut hash = |shape| {
            bytes.clear();
            bytes.extend_from_slice(&window.to_be_bytes());
            let mut key = self.coarsened(shape);
            // The other end's scope tells records of a group apart, but not groups.
            key.initiator.scope = if shape.keeps(true) { key.initiator.scope } else { AddressScope::Private };
            key.responder.scope = if shape.keeps(false) { key.responder.scope } else { AddressScope::Private };
            key.write(bytes);
            xxh3_128(bytes)
        };
        Groups { initiator: hash(Shape::Initiator), responder: hash(Shape::Responder), pair: hash(Shape::Pair) }
    }

    /// Appends the key's bytes; the first `n` of them, which is the answer, choose the internal partition. At levels 0
    /// and 1 those are the tuple, so that reports that differ in what they know of a pod meet.
    pub(crate) fn write(&self, bytes: &mut Vec<u8>) -> usize {
        if self.shape == Shape::Whole {
            let head = (self.level, self.origin, self.protocol);
            return write_whole(bytes, head, &self.initiator, &self.responder);
        }
        let start = bytes.len();
        bytes.extend_from_slice(&[0xFF, self.level.number(), origin_number(self.origin), self.protocol]);
        self.push_left(bytes, &self.initiator);
        self.push_left(bytes, &self.responder);
        bytes.len() - start
    }
}

impl Key<'_> {
    /// What is left of an end of a coarsened key.
    fn push_left(&self, bytes: &mut Vec<u8>, end: &EndKey<'_>) {
        bytes.push(u8::from(end.present));
        if !end.present {
            bytes.push(scope_number(end.scope));
            return;
        }
        if self.level.keeps_addresses() {
            push_address(bytes, end.address);
            push_text(bytes, end.pod_uid);
        } else {
            push_identity(bytes, end);
        }
        push_port(bytes, end.port);
    }
}

/// Appends what is left of a DNS record's key beside its texts: the client by identity, the server by address and port.
pub(crate) fn write_question(bytes: &mut Vec<u8>, origin: Origin, client: &EndKey<'_>, server: &EndKey<'_>) {
    bytes.push(origin_number(origin));
    push_identity(bytes, client);
    push_address(bytes, server.address);
    push_port(bytes, server.port);
}

/// The first 24 bytes of a window and key, which decide nearly every comparison of two. Where they are the same, all bytes
/// decide.
pub(crate) fn head(key: &[u8]) -> (u64, u128) {
    let (mut window, mut rest) = ([0; 8], [0; 16]);
    window.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    rest.iter_mut().zip(key.get(8..).unwrap_or_default()).for_each(|(to, from)| *to = *from);
    (u64::from_be_bytes(window), u128::from_be_bytes(rest))
}

/// The internal partition of a key: an explicit hash of the bytes that [`Key::write`] named, modulo R.
pub(crate) fn internal_partition(bytes: &[u8], partitions: i32) -> i32 {
    let count = u64::try_from(partitions).unwrap_or(1).max(1);
    i32::try_from(xxh3_64(bytes) % count).unwrap_or(0)
}

/// A record's id: hash(cluster, window, generation, level, key) in 32 hexadecimal digits.
pub(crate) fn record_id(cluster: &str, window: Millis, generation: Millis, level: u8, key: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(cluster.len() + key.len() + 24);
    push_text(&mut bytes, cluster);
    bytes.extend_from_slice(&window.to_le_bytes());
    bytes.extend_from_slice(&generation.to_le_bytes());
    bytes.push(level);
    bytes.extend_from_slice(key);
    format!("{:032x}", xxh3_128(&bytes))
}

/// What an end is called at levels 2 and 3: the first of workload, node, host, network set and service that is known,
/// else where its address belongs and why nobody is known. A service stands for an end only where nothing behind it is
/// known: the two reporters of a connection need not both know through which service it went.
fn push_identity(bytes: &mut Vec<u8>, end: &EndKey<'_>) {
    if !end.workload.is_empty() {
        bytes.push(1);
        push_text(bytes, end.namespace);
        push_text(bytes, end.workload_kind);
        push_text(bytes, end.workload);
        return;
    }
    let named = [(2, end.host), (3, end.node), (4, end.network_set), (5, end.service)];
    if let Some((tag, name)) = named.into_iter().find(|(_, name)| !name.is_empty()) {
        bytes.push(tag);
        push_text(bytes, name);
        return;
    }
    bytes.push(6);
    bytes.push(scope_number(end.scope));
    bytes.push(attribution_number(end.attribution));
    bytes.push(end.reason.map_or(0, reason_number));
}

pub(crate) fn push_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

fn push_address(bytes: &mut Vec<u8>, address: Option<Address>) {
    match address.map(Address::ip) {
        None => bytes.push(0),
        Some(IpAddr::V4(a)) => {
            bytes.push(4);
            bytes.extend_from_slice(&a.octets());
        }
        Some(IpAddr::V6(a)) => {
            bytes.push(16);
            bytes.extend_from_slice(&a.octets());
        }
    }
}

fn push_port(bytes: &mut Vec<u8>, port: Option<u16>) {
    match port {
        None => bytes.push(0),
        Some(port) => {
            bytes.push(1);
            bytes.extend_from_slice(&port.to_le_bytes());
        }
    }
}

fn origin_number(origin: Origin) -> u8 {
    match origin {
        Origin::Ebpf => 0,
        Origin::Capture => 1,
        Origin::Demo => 2,
        Origin::Owner => 3,
    }
}

/// The number of a scope in keys; also the order in which one is taken where addresses of several are merged.
pub(crate) fn scope_number(scope: AddressScope) -> u8 {
    match scope {
        AddressScope::Private => 0,
        AddressScope::Public => 1,
        AddressScope::Loopback => 2,
        AddressScope::LinkLocal => 3,
        AddressScope::Multicast => 4,
    }
}

fn attribution_number(attribution: Attribution) -> u8 {
    match attribution {
        Attribution::Exact => 0,
        Attribution::Ambiguous => 1,
        Attribution::None => 2,
    }
}

fn reason_number(reason: NoneReason) -> u8 {
    match reason {
        NoneReason::Outside => 1,
        NoneReason::UnknownPodAddress => 2,
        NoneReason::BeforeHistory => 3,
        NoneReason::NotYetReported => 4,
        NoneReason::NoCluster => 5,
    }
}
