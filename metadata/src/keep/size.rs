//! How large what is kept of an object may be. A revision that no record can hold would end the service, and again after each
//! restart, so that nothing an object says may make one.
//!
//! Each list and each text has a limit of its own: what is kept of one object does not depend on what another part of it
//! says, and is the same each time.

use crate::revisions::Observed;
use weir_flow::Address;
use weir_schemas::metadata::{Object, ServicePort};

/// The largest record of a revision, key and value, bytes. A record may have 1 MiB by Kafka's and Weir's defaults.
pub const RECORD_BYTES: usize = 960 << 10;
/// The longest name, and the longest of other single texts, bytes: Kubernetes allows 253.
pub const TEXT_BYTES: usize = 512;
/// The largest list of addresses, ports, containers, owners, selectors or networks of an object, bytes.
pub const LIST_BYTES: usize = 192 << 10;
/// The longest specification of a policy, bytes.
pub const SPEC_BYTES: usize = 768 << 10;
/// The most networks of a set, and the most domains.
pub const SET_MEMBERS: usize = 10_000;
/// All domains of a set, bytes; its networks need less than 10 000 times 45.
pub const DOMAINS_BYTES: usize = 320 << 10;

/// The length and the tag of a text, bytes, at most.
const PREFIX: usize = 6;
/// A port with its protocol, bytes, at most.
const PORT: usize = 8;

/// What was cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cut {
    /// Specifications of policies.
    pub(super) specs: usize,
    /// Networks and domains of sets.
    pub(super) members: usize,
    /// Entries of other lists.
    pub(super) entries: usize,
    /// Texts that were shortened.
    pub(super) texts: usize,
}

impl Cut {
    pub(super) fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// Cuts what is too large.
pub(super) fn fit(seen: &mut Observed) -> Cut {
    let mut cut = Cut::default();
    for text in [&mut seen.namespace, &mut seen.name, &mut seen.about.changed_by] {
        cut.texts += shorten(text);
    }
    match &mut seen.object {
        Object::Pod(pod) => {
            let names = [&mut pod.node, &mut pod.service_account, &mut pod.workload_kind, &mut pod.workload];
            cut.texts += names.into_iter().map(shorten).sum::<usize>() + shorten(&mut pod.phase);
            cut.entries += addresses(&mut pod.addresses)
                + keep_first(&mut pod.containers, |it| text(&it.id) + text(&it.name))
                + keep_first(&mut pod.ports, |it| text(&it.name) + PORT)
                + keep_first(&mut pod.owners, |it| text(it));
        }
        Object::Node(node) => {
            cut.texts += shorten(&mut node.zone);
            cut.entries += addresses(&mut node.addresses) + keep_first(&mut node.pod_networks, |it| text(it));
        }
        Object::Namespace(namespace) => cut.texts += shorten(&mut namespace.phase),
        Object::Service(service) => {
            cut.entries += addresses(&mut service.addresses)
                + keep_first(&mut service.ports, service_port)
                + keep_first(&mut service.selector, |it| text(it));
        }
        Object::Agent(agent) => {
            cut.texts += shorten(&mut agent.node);
            cut.entries += keep_first(&mut agent.networks, |it| text(it));
        }
        Object::EndpointSlice(slice) => {
            cut.texts += shorten(&mut slice.service);
            cut.entries += addresses(&mut slice.addresses) + keep_first(&mut slice.ports, service_port);
        }
        Object::Policy(policy) => {
            cut.texts += shorten(&mut policy.api_version) + shorten(&mut policy.kind);
            if policy.spec.len() > SPEC_BYTES {
                policy.spec.clear();
                cut.specs = 1;
            }
        }
        Object::NetworkSet(set) => {
            cut.members +=
                set.networks.len().saturating_sub(SET_MEMBERS) + set.domains.len().saturating_sub(SET_MEMBERS);
            set.networks.truncate(SET_MEMBERS);
            set.domains.truncate(SET_MEMBERS);
            cut.members += keep_within(&mut set.domains, DOMAINS_BYTES, |it| text(it));
        }
    }
    cut
}

fn text(text: &str) -> usize {
    text.len() + PREFIX
}

fn service_port(port: &ServicePort) -> usize {
    text(&port.name) + text(&port.target_name) + 2 * PORT
}

fn addresses(list: &mut Vec<Address>) -> usize {
    keep_first(list, |_| size_of::<Address>())
}

fn keep_first<T>(list: &mut Vec<T>, size: impl Fn(&T) -> usize) -> usize {
    keep_within(list, LIST_BYTES, size)
}

/// Keeps the first entries that have room; how many have none.
fn keep_within<T>(list: &mut Vec<T>, most: usize, size: impl Fn(&T) -> usize) -> usize {
    let mut used = 0usize;
    let fits = list.iter().take_while(|entry| {
        used = used.saturating_add(size(entry));
        used <= most
    });
    let kept = fits.count();
    let cut = list.len().saturating_sub(kept);
    list.truncate(kept);
    cut
}

/// Shortens a text; 1 if it was too long.
fn shorten(text: &mut String) -> usize {
    if text.len() <= TEXT_BYTES {
        return 0;
    }
    let end = (0..=TEXT_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
    1
}
