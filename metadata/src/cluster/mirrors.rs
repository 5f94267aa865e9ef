//! Which pods have the UIDs that they claim: those that kubelets make for pods of files.
//!
//! The API server does not say who made a pod. So whoever may make pods could copy everything that [`observe::mirrored_uid`]
//! looks at. What such a copy cannot do is take a UID away: the first pod that has it keeps it, also over a restart of this service.

use crate::observe;
use crate::revisions::{History, Kind};
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeSet;

/// The pods whose claim was refused, by the API server's UIDs of them: as many as there are such pods.
#[derive(Debug, Default)]
pub(super) struct Mirrors {
    refused: BTreeSet<String>,
    /// How many were refused since they were last counted.
    count: u64,
}

impl Mirrors {
    /// The UID of a pod. One whose claim was refused keeps the API server's, whatever becomes of the other pod.
    pub(super) fn uid(&mut self, pod: &Pod, history: &History) -> String {
        let own = observe::api_uid(pod);
        let Some(claimed) = observe::mirrored_uid(pod).filter(|_| !self.refused.contains(&own)) else { return own };
        let meta = &pod.metadata;
        let is_same = |namespace: &str, name: &str| {
            meta.namespace.as_deref().unwrap_or_default() == namespace && meta.name.as_deref() == Some(name)
        };
        match history.open_one(Kind::Pod, claimed) {
            Some(first) if !is_same(&first.namespace, &first.name) => {
                self.refused.insert(own.clone());
                self.count += 1;
                own
            }
            _ => claimed.to_owned(),
        }
    }

    /// Takes that a pod is gone.
    pub(super) fn forget(&mut self, pod: &Pod) {
        self.refused.remove(&observe::api_uid(pod));
    }

    /// Takes that only the pods with these UIDs exist.
    pub(super) fn retain(&mut self, present: &BTreeSet<String>) {
        self.refused.retain(|uid| present.contains(uid));
    }

    /// How many claims were refused since the last call.
    pub(super) fn taken(&mut self) -> u64 {
        std::mem::take(&mut self.count)
    }
}
