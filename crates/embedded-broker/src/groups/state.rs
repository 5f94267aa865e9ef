//! The state machine of a group, but for joining. Pure: the time is given, ids of members are given.

use super::member::{CommitIdentity, Member, MemberKey};
use crate::codes::Code;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a group that had no members waits for others after the first one joined.
pub(super) const FIRST_JOIN_DELAY: Duration = Duration::from_millis(150);

/// Where a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GroupState {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl GroupState {
    /// The name other tools show.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// What a step of time did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Whether waiting requests should look again.
    pub(crate) changed: bool,
    pub(crate) rebalanced: bool,
    pub(crate) expired: usize,
}

/// A group.
#[derive(Debug)]
pub(crate) struct Group {
    pub(super) state: GroupState,
    pub(super) generation: i32,
    pub(super) protocol_type: String,
    pub(super) protocol: String,
    pub(super) leader: String,
    pub(super) members: BTreeMap<String, Member>,
    /// Ids given to clients that have not joined with them yet, and when they are forgotten.
    pub(super) promised: BTreeMap<String, Instant>,
    pub(super) rebalance_from: Option<Instant>,
    pub(super) rebalance_until: Option<Instant>,
    pub(super) max_members: usize,
}

impl Group {
    pub(super) fn new(max_members: usize) -> Self {
        Self {
            state: GroupState::Empty,
            generation: 0,
            protocol_type: String::new(),
            protocol: String::new(),
            leader: String::new(),
            members: BTreeMap::new(),
            promised: BTreeMap::new(),
            rebalance_from: None,
            rebalance_until: None,
            max_members,
        }
    }

    pub(crate) fn state(&self) -> GroupState {
        self.state
    }

    pub(crate) fn protocol_type(&self) -> &str {
        &self.protocol_type
    }

    pub(crate) fn protocol(&self) -> &str {
        &self.protocol
    }

    /// Members by id.
    pub(crate) fn members(&self) -> &BTreeMap<String, Member> {
        &self.members
    }

    /// Metadata a member gave for the protocol in use.
    pub(crate) fn metadata_of(&self, member: &Member) -> Bytes {
        member.metadata_for(&self.protocol)
    }

    /// Whether nothing is lost by forgetting it.
    pub(super) fn is_forgettable(&self) -> bool {
        self.members.is_empty() && self.promised.is_empty()
    }

    pub(super) fn member_of_instance(&self, instance_id: &str) -> Option<&String> {
        let is = |member: &Member| member.instance_id.as_deref() == Some(instance_id);
        self.members.iter().find(|(_, member)| is(member)).map(|(id, _)| id)
    }

    /// The id of the member a request names.
    ///
    /// # Errors
    /// [`Code::FENCED_INSTANCE_ID`] if another process took over the instance, [`Code::UNKNOWN_MEMBER_ID`].
    pub(super) fn resolve(&self, key: &MemberKey<'_>) -> Result<String, Code> {
        if let Some(instance_id) = key.instance_id {
            return match self.member_of_instance(instance_id) {
                Some(current) if current == key.member_id => Ok(current.clone()),
                Some(_) => Err(Code::FENCED_INSTANCE_ID),
                None => Err(Code::UNKNOWN_MEMBER_ID),
            };
        }
        if self.members.contains_key(key.member_id) {
            Ok(key.member_id.to_owned())
        } else {
            Err(Code::UNKNOWN_MEMBER_ID)
        }
    }

    fn seen(&mut self, member_id: &str, now: Instant) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.last_seen = now;
        }
    }

    fn check_generation(&self, generation: i32) -> Result<(), Code> {
        if generation == self.generation { Ok(()) } else { Err(Code::ILLEGAL_GENERATION) }
    }

    /// Checks who commits offsets.
    ///
    /// # Errors
    /// The protocol's code.
    pub(super) fn check_commit(
        &mut self,
        identity: &CommitIdentity<'_>,
        transactional: bool,
        now: Instant,
    ) -> Result<(), Code> {
        if self.members.is_empty() && identity.is_anonymous() {
            return Ok(());
        }
        let member = self.resolve(&identity.key)?;
        self.check_generation(identity.generation)?;
        self.seen(&member, now);
        if !transactional && self.state == GroupState::CompletingRebalance {
            return Err(Code::REBALANCE_IN_PROGRESS);
        }
        Ok(())
    }

    /// A sign of life.
    ///
    /// # Errors
    /// The protocol's code.
    pub(crate) fn heartbeat(&mut self, key: &MemberKey<'_>, generation: i32, now: Instant) -> Result<(), Code> {
        let member = self.resolve(key)?;
        self.check_generation(generation)?;
        self.seen(&member, now);
        if self.state == GroupState::PreparingRebalance {
            return Err(Code::REBALANCE_IN_PROGRESS);
        }
        Ok(())
    }

    /// Starts waiting for the assignment of a generation; the leader brings all of them. Returns the member's id.
    ///
    /// # Errors
    /// The protocol's code.
    pub(crate) fn sync(
        &mut self,
        key: &MemberKey<'_>,
        generation: i32,
        assignments: Vec<(String, Bytes)>,
        now: Instant,
    ) -> Result<String, Code> {
        let member_id = self.resolve(key)?;
        self.check_generation(generation)?;
        self.seen(&member_id, now);
        match self.state {
            GroupState::Empty => return Err(Code::UNKNOWN_MEMBER_ID),
            GroupState::PreparingRebalance => return Err(Code::REBALANCE_IN_PROGRESS),
            GroupState::Stable => {}
            GroupState::CompletingRebalance if member_id == self.leader => {
                for (id, assignment) in assignments {
                    if let Some(member) = self.members.get_mut(&id) {
                        member.assignment = assignment;
                    }
                }
                self.state = GroupState::Stable;
                for member in self.members.values_mut().filter(|member| member.syncing) {
                    member.syncing = false;
                    member.last_seen = now;
                }
            }
            GroupState::CompletingRebalance => {
                if let Some(member) = self.members.get_mut(&member_id) {
                    member.syncing = true;
                }
            }
        }
        Ok(member_id)
    }

    /// The assignment a member waits for, once it is there.
    ///
    /// # Errors
    /// The protocol's code.
    pub(crate) fn poll_sync(&self, key: &MemberKey<'_>, generation: i32) -> Option<Result<Bytes, Code>> {
        let member_id = match self.resolve(key) {
            Ok(member_id) => member_id,
            Err(code) => return Some(Err(code)),
        };
        match self.state {
            _ if generation != self.generation => Some(Err(Code::REBALANCE_IN_PROGRESS)),
            GroupState::PreparingRebalance | GroupState::Empty => Some(Err(Code::REBALANCE_IN_PROGRESS)),
            GroupState::CompletingRebalance => None,
            GroupState::Stable => {
                Some(Ok(self.members.get(&member_id).map(|member| member.assignment.clone()).unwrap_or_default()))
            }
        }
    }

    /// Removes a member at its own wish.
    ///
    /// # Errors
    /// The protocol's code.
    pub(crate) fn leave(&mut self, key: &MemberKey<'_>, now: Instant) -> Result<(), Code> {
        // A tool may remove a static member without knowing its id.
        let member_id = match (key.instance_id, key.member_id) {
            (Some(instance_id), "") => self.member_of_instance(instance_id).cloned().ok_or(Code::UNKNOWN_MEMBER_ID)?,
            _ if self.promised.remove(key.member_id).is_some() => return Ok(()),
            _ => self.resolve(key)?,
        };
        self.remove(&member_id, now);
        Ok(())
    }

    pub(super) fn remove(&mut self, member_id: &str, now: Instant) {
        if self.members.remove(member_id).is_none() {
            return;
        }
        if self.members.is_empty() {
            self.become_empty();
        } else if self.state != GroupState::PreparingRebalance {
            self.prepare_rebalance(now);
        }
    }

    fn become_empty(&mut self) {
        self.state = GroupState::Empty;
        self.generation = self.generation.wrapping_add(1).max(1);
        self.leader.clear();
        self.protocol.clear();
        self.rebalance_from = None;
        self.rebalance_until = None;
    }

    /// Has all members join again.
    pub(super) fn prepare_rebalance(&mut self, now: Instant) {
        let first = self.state == GroupState::Empty;
        let longest = self.members.values().map(|member| member.rebalance_timeout).max();
        for member in self.members.values_mut() {
            // Those that wait for an assignment learn that it will not come.
            if member.syncing {
                member.syncing = false;
                member.last_seen = now;
            }
        }
        self.state = GroupState::PreparingRebalance;
        self.rebalance_from = Some(if first { now + FIRST_JOIN_DELAY } else { now });
        self.rebalance_until = Some(now + longest.unwrap_or_default());
    }

    /// Lets time act: expires members, ends a rebalance that all joined or that took too long.
    pub(crate) fn advance(&mut self, now: Instant) -> Progress {
        let mut progress = Progress::default();
        self.promised.retain(|_, until| *until > now);
        let expired: Vec<String> =
            self.members.iter().filter(|(_, member)| member.is_expired(now)).map(|(id, _)| id.clone()).collect();
        for member_id in &expired {
            self.remove(member_id, now);
        }
        progress.expired = expired.len();
        progress.changed = !expired.is_empty();
        if self.state == GroupState::PreparingRebalance && self.may_complete(now) {
            progress.expired += self.complete_rebalance(now);
            progress.rebalanced = self.state == GroupState::CompletingRebalance;
            progress.changed = true;
        }
        progress
    }

    fn may_complete(&self, now: Instant) -> bool {
        let waited = self.rebalance_from.is_none_or(|from| now >= from);
        let all = self.members.values().all(|member| member.joining) && self.promised.is_empty();
        let overdue = self.rebalance_until.is_some_and(|until| now >= until);
        // A static member that is away keeps its place until its session ends, if somebody else is there to go on.
        (waited && all)
            || (overdue && self.members.values().any(|member| member.joining || member.instance_id.is_none()))
    }

    /// Starts the next generation with those that joined; returns how many were dropped.
    fn complete_rebalance(&mut self, now: Instant) -> usize {
        let before = self.members.len();
        self.members.retain(|_, member| member.joining || member.instance_id.is_some());
        let dropped = before - self.members.len();
        if self.members.is_empty() {
            self.become_empty();
            return dropped;
        }
        let leader_joined = self.members.get(&self.leader).is_some_and(|member| member.joining);
        if !leader_joined {
            let joined = self.members.iter().find(|(_, member)| member.joining);
            match joined {
                Some((id, _)) => self.leader.clone_from(id),
                None => return dropped,
            }
        }
        self.protocol = self.choose_protocol();
        self.generation = self.generation.wrapping_add(1).max(1);
        self.state = GroupState::CompletingRebalance;
        self.rebalance_from = None;
        self.rebalance_until = None;
        for member in self.members.values_mut() {
            if member.joining {
                member.last_seen = now;
            }
            member.joining = false;
            member.assignment = Bytes::new();
        }
        dropped
    }

    /// The protocol that all members support and most prefer; the leader's order decides between equals.
    pub(super) fn choose_protocol(&self) -> String {
        let supported =
            |name: &str| self.members.values().all(|member| member.protocols.iter().any(|(other, _)| other == name));
        let votes = |name: &str| {
            let preferred = |member: &&Member| {
                member
                    .protocols
                    .iter()
                    .map(|(other, _)| other)
                    .find(|other| supported(other))
                    .is_some_and(|other| other == name)
            };
            self.members.values().filter(preferred).count()
        };
        let leader = self.members.get(&self.leader).or_else(|| self.members.values().next());
        let mut best: Option<(&str, usize)> = None;
        for (name, _) in leader.into_iter().flat_map(|leader| &leader.protocols) {
            let count = votes(name);
            if supported(name) && best.is_none_or(|(_, most)| count > most) {
                best = Some((name, count));
            }
        }
        best.map(|(name, _)| name.to_owned()).unwrap_or_default()
    }
}
