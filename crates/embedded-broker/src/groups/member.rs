//! A member of a group and how requests name it.

use bytes::Bytes;
use std::time::{Duration, Instant};

/// How a request names a member.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemberKey<'a> {
    pub(crate) member_id: &'a str,
    /// `group.instance.id` of a static member.
    pub(crate) instance_id: Option<&'a str>,
}

/// How a commit of offsets names its sender.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CommitIdentity<'a> {
    pub(crate) key: MemberKey<'a>,
    /// Negative if the sender is no member.
    pub(crate) generation: i32,
}

impl CommitIdentity<'_> {
    /// Whether the sender says it is no member.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.generation < 0 && self.key.member_id.is_empty() && self.key.instance_id.is_none()
    }
}

/// A member of a group.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    /// Assignment protocols it supports, the preferred one first, with its metadata for each.
    pub(crate) protocols: Vec<(String, Bytes)>,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    pub(super) last_seen: Instant,
    /// Waits for the end of a rebalance.
    pub(super) joining: bool,
    /// Waits for the leader's assignment.
    pub(super) syncing: bool,
    pub(crate) assignment: Bytes,
}

impl Member {
    pub(super) fn metadata_for(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| name == protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    /// Whether it was silent for too long; a member that waits for the broker is never silent.
    pub(super) fn is_expired(&self, now: Instant) -> bool {
        !self.joining && !self.syncing && now.saturating_duration_since(self.last_seen) > self.session_timeout
    }
}
