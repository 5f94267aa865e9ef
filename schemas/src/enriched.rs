//! Topic `flows.enriched.v1`: one record per level, key, window and generation, both reporters in it.

use crate::raw::{DropClass, Origin, RoundTrip};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use weir_flow::{Address, AddressScope, Millis};

mod encoded;
mod policy;
mod shared;
#[cfg(test)]
mod tests;

pub use encoded::{EncodedSide, EndBytes, NoSide, ReadEnriched, ReadSide};
pub use policy::{Explanation, Judgement, Pending, Verdict};
pub use shared::{SharedSide, Sides};

/// An enriched flow record. `S` holds its ends: [`Side`], or [`SharedSide`] where records are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Enriched<S = Side> {
    /// hash(cluster, window, generation, level, key), 32 hexadecimal digits. Consumers keep the highest correction per id.
    pub id: String,
    /// k: 0 = original; the same (id, k) is byte-identical wherever it is met.
    pub correction: u32,
    /// What a consumer does with it.
    pub kind: Kind,
    /// What produced the samples.
    pub origin: Origin,
    /// The cluster's id.
    pub cluster: String,
    /// Whether Kubernetes names could be had at all.
    pub cluster_known: bool,
    /// Aggregation level, 0 to 3.
    pub level: u8,
    /// w: start of the window, ms since the epoch.
    pub window: Millis,
    /// Length of the window, ms.
    pub window_length: Millis,
    /// n: the generation in which it was written; n = w on time, later if late.
    pub generation: Millis,
    /// Version of the meaning of records.
    pub semantics: u32,
    /// The end that opened the connections.
    pub initiator: S,
    /// The other end.
    pub responder: S,
    /// IANA protocol number.
    pub protocol: u8,
    /// Whether the orientation was guessed by port because nobody saw the opening.
    pub orientation_guessed: bool,
    /// Whether a translated tuple was unknown, so that the two ends' reports may not have met.
    pub untranslated: bool,
    /// First packet, ms since the epoch.
    pub first_seen: Millis,
    /// Last packet, ms since the epoch.
    pub last_seen: Millis,
    /// Totals by authority.
    pub totals: Counters,
    /// The initiator's report; absent when none came.
    pub by_initiator: Option<Report>,
    /// The responder's report; absent when none came.
    pub by_responder: Option<Report>,
    /// Whether what was sent arrived.
    pub arrival: Arrival,
    /// Why arrival is unknown; empty otherwise.
    pub arrival_reason: String,
    /// What the packets showed.
    pub action: Action,
    /// Community ID v1 of the connection, seed 0; only at levels 0 and 1, absent where the protocol or a port does not allow one.
    pub community_id: Option<String>,
    /// What policy said, one entry per distinct answer, sorted by it, at most 4: those that most attempts went against, then
    /// denials, then those of most samples; empty when nothing was judged.
    pub judgements: Vec<Judgement>,
    /// How many distinct answers are not listed.
    pub judgements_more: u64,
    /// How what the packets showed fits what policy said.
    pub explanation: Explanation,
    /// Whether a limit left something out of the key, or made a count of what is not listed a lower bound.
    pub coarsened: bool,
    /// How many samples were merged.
    pub samples: u64,
}

impl<S> Enriched<S> {
    /// The same record with other ends.
    #[must_use]
    pub fn map_ends<R>(self, mut map: impl FnMut(S) -> R) -> Enriched<R> {
        Enriched {
            id: self.id,
            correction: self.correction,
            kind: self.kind,
            origin: self.origin,
            cluster: self.cluster,
            cluster_known: self.cluster_known,
            level: self.level,
            window: self.window,
            window_length: self.window_length,
            generation: self.generation,
            semantics: self.semantics,
            initiator: map(self.initiator),
            responder: map(self.responder),
            protocol: self.protocol,
            orientation_guessed: self.orientation_guessed,
            untranslated: self.untranslated,
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            totals: self.totals,
            by_initiator: self.by_initiator,
            by_responder: self.by_responder,
            arrival: self.arrival,
            arrival_reason: self.arrival_reason,
            action: self.action,
            community_id: self.community_id,
            judgements: self.judgements,
            judgements_more: self.judgements_more,
            explanation: self.explanation,
            coarsened: self.coarsened,
            samples: self.samples,
        }
    }
}

impl From<Enriched<SharedSide>> for Enriched {
    fn from(record: Enriched<SharedSide>) -> Self {
        record.map_ends(|side| Side::from(&side))
    }
}

/// What a consumer does with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Write it, replacing lower corrections.
    Upsert,
    /// Delete it.
    Delete,
}

/// One end. `T` holds its texts: `String`, or what borrows where a side is looked at or made and not kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Side<T = String> {
    /// How certain the identity is.
    pub attribution: Attribution,
    /// By what it was identified.
    pub by: IdentifiedBy,
    /// Why there is no identity; absent where there is one.
    pub reason: Option<NoneReason>,
    /// Who it may be when ambiguous: `namespace/pod`, sorted, at most 8.
    pub candidates: Vec<T>,
    /// Whether the identity comes from a source without times (manifests), so that it counts as always valid.
    pub always_valid: bool,
    /// Where its addresses belong.
    pub scope: AddressScope,
    /// Its address; only at levels 0 and 1.
    pub address: Option<Address>,
    /// Addresses behind the record; only at levels 2 and 3, sorted, bounded.
    pub addresses: Vec<Address>,
    /// How many addresses are not listed.
    pub addresses_more: u64,
    /// Its port; absent where the level drops it or the protocol has none.
    pub port: Option<u16>,
    /// Namespace; absent without one.
    pub namespace: Option<T>,
    /// Pod name; only at levels 0 and 1.
    pub pod: Option<T>,
    /// Pod UID; only at levels 0 and 1.
    pub pod_uid: Option<T>,
    /// Pods behind the record; only at levels 2 and 3, sorted, bounded.
    pub pods: Vec<T>,
    /// How many pods are not listed.
    pub pods_more: u64,
    /// Workload kind, e.g. `Deployment`.
    pub workload_kind: Option<T>,
    /// Workload name.
    pub workload: Option<T>,
    /// Node name: the pod's node, or the node itself.
    pub node: Option<T>,
    /// The node's zone.
    pub zone: Option<T>,
    /// Service `namespace/name` by whose address or endpoints the end was reached; only the responder's.
    pub service: Option<T>,
    /// Service account of the pod.
    pub service_account: Option<T>,
    /// Labels as of then, `k=v`, sorted; at levels 2 and 3 the intersection.
    pub labels: Vec<T>,
    /// Labels that only some of the pods had; only at levels 2 and 3, sorted, bounded.
    pub labels_some: Vec<T>,
    /// How many of those are not listed.
    pub labels_more: u64,
    /// DNS names by which the node's clients had asked for the addresses, sorted, bounded.
    pub domains: Vec<T>,
    /// How many names are not listed.
    pub domains_more: u64,
    /// Country of a public address, ISO 3166-1 alpha-2; absent without a database that knows.
    pub country: Option<T>,
    /// Number of the autonomous system that announces a public address; absent without a database that knows.
    pub as_number: Option<u32>,
    /// Organization of that autonomous system.
    pub as_organization: Option<T>,
    /// Container: its name, or the first digits of its id, where the node could tell.
    pub container: Option<T>,
    /// Process name, where the node could tell.
    pub process: Option<T>,
    /// Host name, for an end on a host that is not a cluster's node.
    pub host: Option<T>,
    /// Named network set.
    pub network_set: Option<T>,
}

impl Side<Cow<'_, str>> {
    /// The same apart from whose texts it borrows.
    #[must_use]
    pub fn into_owned(self) -> Side {
        let own = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
        let own_all = |texts: Vec<Cow<'_, str>>| texts.into_iter().map(Cow::into_owned).collect();
        Side {
            attribution: self.attribution,
            by: self.by,
            reason: self.reason,
            candidates: own_all(self.candidates),
            always_valid: self.always_valid,
            scope: self.scope,
            address: self.address,
            addresses: self.addresses,
            addresses_more: self.addresses_more,
            port: self.port,
            namespace: own(self.namespace),
            pod: own(self.pod),
            pod_uid: own(self.pod_uid),
            pods: own_all(self.pods),
            pods_more: self.pods_more,
            workload_kind: own(self.workload_kind),
            workload: own(self.workload),
            node: own(self.node),
            zone: own(self.zone),
            service: own(self.service),
            service_account: own(self.service_account),
            labels: own_all(self.labels),
            labels_some: own_all(self.labels_some),
            labels_more: self.labels_more,
            domains: own_all(self.domains),
            domains_more: self.domains_more,
            country: own(self.country),
            as_number: self.as_number,
            as_organization: own(self.as_organization),
            container: own(self.container),
            process: own(self.process),
            host: own(self.host),
            network_set: own(self.network_set),
        }
    }
}

/// How certain an identity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attribution {
    /// One holder throughout the bounds.
    Exact,
    /// Several may have held it; they are named.
    Ambiguous,
    /// Nobody is known; the reason is named.
    None,
}

/// By what an end was identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentifiedBy {
    /// The pod's UID, which the node knew.
    Uid,
    /// The address at that tick.
    Address,
    /// Not at all.
    Nothing,
}

/// Why nobody is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoneReason {
    /// The address is not the cluster's.
    Outside,
    /// Inside a pod network, but nobody held it.
    UnknownPodAddress,
    /// The flow is older than the history.
    BeforeHistory,
    /// The pod was reported only later than metadata was said to be complete.
    NotYetReported,
    /// There is neither a cluster nor manifests.
    NoCluster,
}

impl NoneReason {
    /// Its name on records and in filters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Outside => "outside",
            Self::UnknownPodAddress => "unknown_pod_address",
            Self::BeforeHistory => "before_history",
            Self::NotYetReported => "not_yet_reported",
            Self::NoCluster => "no_cluster",
        }
    }
}

impl Attribution {
    /// Its name on records and in filters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Ambiguous => "ambiguous",
            Self::None => "none",
        }
    }
}

/// Whether an end belongs inside, as a watcher at the cluster's border would say it.
#[must_use]
pub fn is_inside(attribution: Attribution, scope: AddressScope) -> bool {
    attribution == Attribution::Exact || scope != AddressScope::Public
}

/// Which way connections go between ends that are inside or not (ECS `network.direction`).
#[must_use]
pub fn direction(initiator_inside: bool, responder_inside: bool) -> &'static str {
    match (initiator_inside, responder_inside) {
        (true, true) => "internal",
        (true, false) => "outbound",
        (false, true) => "inbound",
        (false, false) => "external",
    }
}

impl Side {
    /// [`is_inside`] of this end.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        is_inside(self.attribution, self.scope)
    }
}

/// Additive counters of both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// L3 bytes from initiator to responder.
    pub forward_bytes: u64,
    /// Packets from initiator to responder.
    pub forward_packets: u64,
    /// L3 bytes from responder to initiator.
    pub reverse_bytes: u64,
    /// Packets from responder to initiator.
    pub reverse_packets: u64,
    /// Connections started.
    pub started: u64,
    /// Connections ended.
    pub ended: u64,
}

/// What one reporter counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Passed packets.
    pub counters: Counters,
    /// Drops by reason, sorted by reason, at most 16 reasons.
    pub drops: Vec<DropCounter>,
    /// TCP flags, or-ed, initiator to responder.
    pub forward_tcp_flags: u16,
    /// TCP flags, or-ed, responder to initiator.
    pub reverse_tcp_flags: u16,
    /// TCP segments sent again.
    pub retransmits: u64,
    /// Round-trip times.
    pub round_trip: Option<RoundTrip>,
    /// Times from SYN to SYN-ACK.
    pub handshake: Option<RoundTrip>,
    /// TCP segments that announced a window of zero.
    pub zero_windows: u64,
    /// TCP segments with RST.
    pub resets: u64,
    /// Last packet sent from initiator to responder, ms since the epoch; absent without one.
    pub last_forward: Option<Millis>,
    /// Highest sampling factor met; 1 = nothing was sampled. Counters are already corrected.
    pub sampling: u32,
}

/// Drops for one reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DropCounter {
    /// The kernel's name.
    pub reason: String,
    /// Whether it is what a policy does.
    pub class: DropClass,
    /// Packets from initiator to responder.
    pub forward_packets: u64,
    /// L3 bytes from initiator to responder.
    pub forward_bytes: u64,
    /// Packets from responder to initiator.
    pub reverse_packets: u64,
    /// L3 bytes from responder to initiator.
    pub reverse_bytes: u64,
}

/// Whether what was sent arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// Both reporters saw it.
    Ok,
    /// The other side saw nothing though it would have.
    Never,
    /// It cannot be told.
    Unknown,
}

/// What the packets showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// No policy-like drop.
    Allow,
    /// Policy-like drops, and nothing came through.
    Deny,
    /// Both in one record.
    Mixed,
}

/// The id of a record's document in a search engine: the first 96 bits of the record's id, as 16 characters of base64url
/// (RFC 4648, section 5), which engines keep as 12 bytes. What is no id of a record stays as it is.
///
/// That two of n records of one index have the same is less likely than n² / 2⁹⁷: for 10⁹ records 6 in 10¹².
#[must_use]
pub fn document_id(id: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let Some(bytes) = id_bytes(id) else { return id.to_owned() };
    let mut text = [0; 16];
    // Three bytes are four characters.
    for ([first, second, third], four) in bytes.as_chunks().0.iter().zip(text.as_chunks_mut::<4>().0) {
        let bits = usize::from(*first) << 16 | usize::from(*second) << 8 | usize::from(*third);
        *four = [18, 12, 6, 0].map(|shift| ALPHABET[bits >> shift & 0x3F]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The bytes of an id of 32 hexadecimal digits.
fn id_bytes(id: &str) -> Option<[u8; 16]> {
    let digits: &[u8; 32] = id.as_bytes().try_into().ok()?;
    let digit = |digit: u8| DIGITS[usize::from(digit)];
    let (mut bytes, mut all) = ([0; 16], 0);
    for (byte, [high, low]) in bytes.iter_mut().zip(digits.as_chunks().0) {
        let (high, low) = (digit(*high), digit(*low));
        *byte = high << 4 | low;
        all |= high | low;
    }
    (all < 16).then_some(bytes)
}

/// What each hexadecimal digit means, and 255 for what is none: digits of ids are random, so that branches would guess wrong.
const DIGITS: [u8; 256] = {
    let mut digits = [255; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value as usize] as usize] = value;
        digits[b"0123456789ABCDEF"[value as usize] as usize] = value;
        value += 1;
    }
    digits
};
