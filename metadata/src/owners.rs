//! Owner chains: Pod → ReplicaSet → Deployment, Pod → Job → CronJob.

use crate::observe::{Owner, controller};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;
use weir_flow::Millis;

#[cfg(test)]
mod tests;

/// How long a controller that is gone is remembered: its pods may outlive it.
const REMEMBERED: Millis = 600_000;

/// The kinds that may themselves be owned, by their names in owner references.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Middle {
    /// Owned by a Deployment.
    ReplicaSet,
    /// Owned by a CronJob.
    Job,
}

impl Middle {
    fn of(kind: &str) -> Option<Self> {
        match kind {
            "ReplicaSet" => Some(Self::ReplicaSet),
            "Job" => Some(Self::Job),
            _ => None,
        }
    }
}

#[derive(Debug)]
struct Known {
    owner: Option<(String, String)>,
    gone: Option<Millis>,
}

/// The ReplicaSets and Jobs and who owns them.
#[derive(Debug, Default)]
pub struct Owners {
    known: BTreeMap<(Middle, String, String), Known>,
}

fn place(kind: Middle, meta: &ObjectMeta) -> (Middle, String, String) {
    (kind, meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

impl Owners {
    /// Takes a ReplicaSet's or Job's metadata.
    pub fn learn(&mut self, kind: Middle, meta: &ObjectMeta) {
        let owner = controller(meta).map(|(kind, name, _)| (kind.to_owned(), name.to_owned()));
        self.known.insert(place(kind, meta), Known { owner, gone: None });
    }

    /// Takes that one is gone, and forgets those that have been gone for long.
    pub fn lose(&mut self, kind: Middle, meta: &ObjectMeta, at: Millis) {
        if let Some(known) = self.known.get_mut(&place(kind, meta)) {
            known.gone = Some(at);
        }
        self.known.retain(|_, known| known.gone.is_none_or(|gone| at.saturating_sub(gone) < REMEMBERED));
    }

    /// Takes that only these of a kind exist.
    pub fn replace(&mut self, kind: Middle, present: &[ObjectMeta], at: Millis) {
        for ((of, _, _), known) in &mut self.known {
            if *of == kind && known.gone.is_none() {
                known.gone = Some(at);
            }
        }
        present.iter().for_each(|meta| self.learn(kind, meta));
    }

    /// The kind that must be known before a pod's chain can be followed; nothing when it can be already.
    #[must_use]
    pub fn missing(&self, pod: &ObjectMeta) -> Option<Middle> {
        let (kind, name, _) = controller(pod)?;
        let middle = Middle::of(kind)?;
        let namespace = pod.namespace.clone().unwrap_or_default();
        (!self.known.contains_key(&(middle, namespace, name.to_owned()))).then_some(middle)
    }

    /// The top of a pod's owner chain; the pod itself without an owner.
    #[must_use]
    pub fn top(&self, pod: &ObjectMeta) -> Owner {
        let Some((kind, name, _)) = controller(pod) else {
            let name = pod.name.clone().unwrap_or_default();
            return Owner { kind: String::new(), name, known: true, chain: Vec::new() };
        };
        let near = format!("{kind}/{name}");
        let direct = |known| Owner { kind: kind.to_owned(), name: name.to_owned(), known, chain: vec![near.clone()] };
        let Some(middle) = Middle::of(kind) else { return direct(true) };
        let namespace = pod.namespace.clone().unwrap_or_default();
        match self.known.get(&(middle, namespace, name.to_owned())) {
            Some(Known { owner: Some((kind, name)), .. }) => {
                let chain = vec![near, format!("{kind}/{name}")];
                Owner { kind: kind.clone(), name: name.clone(), known: true, chain }
            }
            Some(Known { owner: None, .. }) => direct(true),
            None => direct(false),
        }
    }
}
