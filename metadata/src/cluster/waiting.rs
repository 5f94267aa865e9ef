//! Pods that wait for their owners to be known, in the order of their arrival.

use super::WAIT;
use k8s_openapi::api::core::v1::Pod;
use std::collections::VecDeque;
use weir_flow::Millis;

/// The most pods that wait at a time: at 10 kB each, which is a large one, 40 MB.
pub const WAITING: usize = 4_096;

/// A pod that waits.
pub(super) struct Waiting {
    pub(super) uid: String,
    pub(super) pod: Box<Pod>,
    /// When it arrived, ms since the epoch.
    pub(super) arrival: Millis,
    /// The version of the watch that told it.
    pub(super) version: u64,
}

/// Whether a pod's owner is still awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// It is.
    GoesOn,
    /// It is known, or certainly is no longer there.
    Over,
    /// It has been waited for long enough.
    Late,
}

impl Wait {
    /// For an owner that is not known: whether the watch of its kind has `passed` the pod's version, and how long the pod
    /// has waited by `now`.
    pub(super) fn of(passed: bool, arrival: Millis, now: Millis) -> Self {
        match (passed, now.saturating_sub(arrival) < WAIT) {
            (true, _) => Self::Over,
            (false, true) => Self::GoesOn,
            (false, false) => Self::Late,
        }
    }
}

/// How many pods were taken before their owner was known, so that a `ReplicaSet` or Job may stand for the workload above it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WithoutOwner {
    /// Because it had been waited for ten seconds.
    pub late: u64,
    /// Because more than [`WAITING`] waited.
    pub limit: u64,
}

/// The pods that wait, [`WAITING`] at most.
#[derive(Default)]
pub(super) struct Queue(VecDeque<Waiting>);

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.0.iter()
    }

    pub(super) fn holds(&self, uid: &str) -> bool {
        self.0.iter().any(|waiting| waiting.uid == uid)
    }

    /// Takes a pod; the one that has waited longest where there are too many. What is told of a pod stays in its order: the
    /// longest wait is of the first that was told of it.
    pub(super) fn push(&mut self, waiting: Waiting) -> Option<Waiting> {
        self.0.push_back(waiting);
        if self.0.len() > WAITING { self.0.pop_front() } else { None }
    }

    /// Takes out those that a condition is true of, in order.
    pub(super) fn take(&mut self, mut goes: impl FnMut(&Waiting) -> bool) -> Vec<Waiting> {
        let (gone, others) = std::mem::take(&mut self.0).into_iter().partition(|waiting| goes(waiting));
        self.0 = others;
        Vec::from(gone)
    }
}
