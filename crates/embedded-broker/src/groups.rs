//! Consumer groups of the classic protocol: one state machine per group behind its own mutex, and who waits for it.
//!
//! Members live in memory only: after a restart every member is unknown and joins again, as after a session time-out.
//! Committed offsets are kept by the [coordinator's journal](crate::coordinator).

mod join;
mod member;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use join::{JoinRequest, Joined, Joining};
pub(crate) use member::{CommitIdentity, MemberKey};
pub(crate) use state::{Group, GroupState};

use crate::codes::Code;
use crate::locks::{lock, read, write};
use crate::metrics::Metrics;
use crate::settings::Limits;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Instant;
use tokio::sync::Notify;

/// A group and those that wait for its next state.
#[derive(Debug)]
pub(crate) struct GroupCell {
    group: Mutex<Group>,
    pub(crate) changed: Notify,
}

impl GroupCell {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Group> {
        lock(&self.group)
    }
}

/// All groups with members.
#[derive(Debug)]
pub(crate) struct Groups {
    cells: RwLock<BTreeMap<String, Arc<GroupCell>>>,
    limits: Limits,
    metrics: Arc<Metrics>,
}

impl Groups {
    pub(crate) fn new(limits: Limits, metrics: Arc<Metrics>) -> Self {
        Self { cells: RwLock::default(), limits, metrics }
    }

    pub(crate) fn get(&self, group: &str) -> Option<Arc<GroupCell>> {
        read(&self.cells).get(group).cloned()
    }

    /// The group, created if absent.
    ///
    /// # Errors
    /// [`Code::INVALID_GROUP_ID`] for an empty name, [`Code::COORDINATOR_NOT_AVAILABLE`] if there are too many groups.
    pub(crate) fn get_or_create(&self, group: &str) -> Result<Arc<GroupCell>, Code> {
        if group.is_empty() {
            return Err(Code::INVALID_GROUP_ID);
        }
        if let Some(cell) = self.get(group) {
            return Ok(cell);
        }
        let mut cells = write(&self.cells);
        if cells.len() >= self.limits.groups && !cells.contains_key(group) {
            self.metrics.groups_refused.increment();
            return Err(Code::COORDINATOR_NOT_AVAILABLE);
        }
        let new =
            || Arc::new(GroupCell { group: Mutex::new(Group::new(self.limits.group_members)), changed: Notify::new() });
        Ok(Arc::clone(cells.entry(group.to_owned()).or_insert_with(new)))
    }

    /// All groups by name.
    pub(crate) fn all(&self) -> Vec<(String, Arc<GroupCell>)> {
        read(&self.cells).iter().map(|(name, cell)| (name.clone(), Arc::clone(cell))).collect()
    }

    /// Lets time act on every group: expires members, ends waiting, forgets groups without members.
    pub(crate) fn advance(&self, now: Instant) {
        for (_, cell) in self.all() {
            let progress = cell.lock().advance(now);
            self.count(progress);
            if progress.changed {
                cell.changed.notify_waiters();
            }
        }
        // A cell somebody holds, or waits on, is not removed.
        write(&self.cells).retain(|_, cell| Arc::strong_count(cell) > 1 || !cell.lock().is_forgettable());
    }

    /// Adds what a step did to the metrics.
    pub(crate) fn count(&self, progress: state::Progress) {
        self.metrics.members_expired.add(progress.expired);
        self.metrics.rebalances.add(usize::from(progress.rebalanced));
    }

    /// Stores offsets of a group if their sender may commit them; a group without members takes those of anyone. The
    /// group cannot start another generation in between: whoever joins the next one reads offsets after this.
    ///
    /// # Errors
    /// The protocol's code.
    pub(crate) fn commit(
        &self,
        group: &str,
        identity: &CommitIdentity<'_>,
        transactional: bool,
        store: impl FnOnce() -> Result<(), Code>,
    ) -> Result<(), Code> {
        if group.is_empty() {
            return Err(Code::INVALID_GROUP_ID);
        }
        match self.get(group) {
            Some(cell) => {
                let mut group = cell.lock();
                group.check_commit(identity, transactional, Instant::now())?;
                store()
            }
            None if identity.is_anonymous() => store(),
            None => Err(Code::UNKNOWN_MEMBER_ID),
        }
    }
}
