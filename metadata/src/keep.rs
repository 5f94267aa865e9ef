//! What is kept of objects' labels and annotations, and how large they may be. Pure.
//!
//! Policies select by labels: an object of which some were left out says so (`labels_dropped`), so that nothing is concluded
//! from the absence of one.

use crate::observe;
use crate::revisions::Observed;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;
use std::ops::AddAssign;

mod size;

#[cfg(test)]
mod tests;

pub use size::{DOMAINS_BYTES, LIST_BYTES, RECORD_BYTES, SET_MEMBERS, SPEC_BYTES, TEXT_BYTES};

/// The most labels kept of one object.
pub const LABELS: usize = 64;
/// The longest label, as `k=v`, bytes: Kubernetes allows 253 + 1 + 63 for the key and 63 for the value.
pub const LABEL_BYTES: usize = 384;
/// The most annotations kept of one object.
pub const ANNOTATIONS: usize = 32;
/// The longest annotation, as `k=v`, bytes; Kubernetes allows 256 KiB for all of an object.
pub const ANNOTATION_BYTES: usize = 1_024;

/// Keys by their names; a `*` at the end stands for any rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Keys(Vec<String>);

impl Keys {
    fn contain(&self, key: &str) -> bool {
        self.0.iter().any(|known| match known.strip_suffix('*') {
            Some(start) => key.starts_with(start),
            None => known == key,
        })
    }
}

/// Which labels and annotations are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    labels: Option<Keys>,
    annotations: Keys,
}

/// What was left out, in numbers, and of what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Labels that the list of keys does not name, that were too many or too long.
    pub labels: u64,
    /// Annotations that the list of keys names, but that were too many or too long.
    pub annotations: u64,
    /// Specifications of policies that were too long.
    pub specs: u64,
    /// Networks and domains of sets that were too many, or too long together.
    pub members: u64,
    /// Entries of other lists that were too long together.
    pub entries: u64,
    /// Names and other single texts that were shortened.
    pub texts: u64,
    /// Lines of sets that are neither a network nor a domain.
    pub invalid: u64,
    /// The last object of which a part was too large, as `Kind namespace/name`; empty without.
    pub too_large: String,
}

impl LeftOut {
    /// What is left out of a network set because it cannot be read.
    #[must_use]
    pub fn of_network_set(map: &ConfigMap) -> Self {
        Self { invalid: count(observe::network_set_errors(map)), ..Self::default() }
    }
}

impl AddAssign for LeftOut {
    fn add_assign(&mut self, other: Self) {
        self.labels = self.labels.saturating_add(other.labels);
        self.annotations = self.annotations.saturating_add(other.annotations);
        self.specs = self.specs.saturating_add(other.specs);
        self.members = self.members.saturating_add(other.members);
        self.entries = self.entries.saturating_add(other.entries);
        self.texts = self.texts.saturating_add(other.texts);
        self.invalid = self.invalid.saturating_add(other.invalid);
        if !other.too_large.is_empty() {
            self.too_large = other.too_large;
        }
    }
}

impl Keep {
    /// Keeps labels with these keys, all when none is given, and annotations with these keys, none when none is given. A key
    /// that ends in `*` stands for all that begin so.
    #[must_use]
    pub fn new(labels: &[String], annotations: &[String]) -> Self {
        let labels = (!labels.is_empty()).then(|| Keys(labels.to_vec()));
        Self { labels, annotations: Keys(annotations.to_vec()) }
    }

    /// Puts onto an object what is kept of its metadata, and shortens what is too long.
    pub fn apply(&self, seen: &mut Observed, meta: &ObjectMeta) -> LeftOut {
        let all = meta.labels.as_ref().map_or(0, BTreeMap::len);
        let labels = meta.labels.iter().flatten();
        let wanted = labels.filter(|(key, _)| self.labels.as_ref().is_none_or(|keys| keys.contain(key)));
        seen.labels = texts(wanted, LABEL_BYTES).take(LABELS).collect();
        let noted: Vec<_> =
            meta.annotations.iter().flatten().filter(|(key, _)| self.annotations.contain(key)).collect();
        let named = noted.len();
        seen.annotations = texts(noted.into_iter(), ANNOTATION_BYTES).take(ANNOTATIONS).collect();
        let dropped = all.saturating_sub(seen.labels.len());
        seen.about.labels_dropped = u32::try_from(dropped).unwrap_or(u32::MAX);
        LeftOut {
            labels: count(dropped),
            annotations: count(named.saturating_sub(seen.annotations.len())),
            ..fit(seen)
        }
    }
}

/// Cuts what is too large for a record: nothing that an object says may end the service.
pub fn fit(seen: &mut Observed) -> LeftOut {
    let cut = size::fit(seen);
    if cut.is_empty() {
        return LeftOut::default();
    }
    LeftOut {
        specs: count(cut.specs),
        members: count(cut.members),
        entries: count(cut.entries),
        texts: count(cut.texts),
        too_large: format!("{} {}/{}", seen.object.kind(), seen.namespace, seen.name),
        ..LeftOut::default()
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// As `k=v`, in the order of the keys, without those that are too long.
fn texts<'a>(pairs: impl Iterator<Item = (&'a String, &'a String)>, most: usize) -> impl Iterator<Item = String> {
    pairs.filter(move |(key, value)| key.len() + 1 + value.len() <= most).map(|(key, value)| format!("{key}={value}"))
}
