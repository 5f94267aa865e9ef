//! Joining a group.

use super::member::{Member, MemberKey};
use super::state::{Group, GroupState};
use crate::codes::Code;
use bytes::Bytes;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// Session time-outs a member may ask for.
const SESSION_TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(30 * 60);
/// Longest time a rebalance waits for a member.
const MAX_REBALANCE_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// Assignment protocols a member may name.
const MAX_PROTOCOLS: usize = 100;

/// A wish to join.
#[derive(Debug, Clone)]
pub(crate) struct JoinRequest {
    /// Empty for a new member.
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) protocol_type: String,
    pub(crate) protocols: Vec<(String, Bytes)>,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    /// Whether the client can be sent back to join with the id it is given.
    pub(crate) knows_member_id_required: bool,
    /// The id for a new member.
    pub(crate) new_member_id: String,
}

/// How a wish to join was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Joining {
    /// The member waits: ask [`Group::poll_join`] with this id.
    Waiting(String),
    /// The generation the member is in goes on.
    Done(Joined),
}

/// A generation as one member sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) generation: i32,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) leader: String,
    pub(crate) member_id: String,
    /// Id, instance id and metadata of all members, for the leader only.
    pub(crate) members: Vec<(String, Option<String>, Bytes)>,
}

/// Why a wish to join was refused, with the member id to tell.
pub(crate) type JoinError = (Code, String);

impl Group {
    /// Takes a wish to join.
    ///
    /// # Errors
    /// The protocol's code and the member id to answer with.
    pub(crate) fn join(&mut self, request: &JoinRequest, now: Instant) -> Result<Joining, JoinError> {
        let refuse = |code| (code, request.member_id.clone());
        self.check_join(request).map_err(refuse)?;
        let known_instance =
            request.instance_id.as_deref().and_then(|instance| self.member_of_instance(instance)).cloned();
        if request.member_id.is_empty() {
            return match known_instance {
                Some(old) => Ok(self.replace_static(&old, request, now)),
                None => self.join_new(request, now),
            };
        }
        if request.instance_id.is_some() && known_instance.as_ref() != Some(&request.member_id) {
            let code = if known_instance.is_some() { Code::FENCED_INSTANCE_ID } else { Code::UNKNOWN_MEMBER_ID };
            return Err(refuse(code));
        }
        if self.promised.remove(&request.member_id).is_some() {
            self.add(request.member_id.clone(), request, now);
            return Ok(Joining::Waiting(request.member_id.clone()));
        }
        if !self.members.contains_key(&request.member_id) {
            return Err(refuse(Code::UNKNOWN_MEMBER_ID));
        }
        Ok(self.rejoin(request, now))
    }

    fn check_join(&self, request: &JoinRequest) -> Result<(), Code> {
        if !SESSION_TIMEOUTS.contains(&request.session_timeout) {
            return Err(Code::INVALID_SESSION_TIMEOUT);
        }
        let count = request.protocols.len();
        if request.protocol_type.is_empty() || count == 0 || count > MAX_PROTOCOLS {
            return Err(Code::INCONSISTENT_GROUP_PROTOCOL);
        }
        let replaced = request.instance_id.as_deref().and_then(|instance| self.member_of_instance(instance));
        let mut others =
            self.members.iter().filter(|(id, _)| **id != request.member_id && Some(*id) != replaced).peekable();
        if others.peek().is_none() {
            return Ok(());
        }
        let others: Vec<&Member> = others.map(|(_, member)| member).collect();
        let common =
            |name: &String| others.iter().all(|member| member.protocols.iter().any(|(other, _)| other == name));
        if self.protocol_type == request.protocol_type && request.protocols.iter().any(|(name, _)| common(name)) {
            Ok(())
        } else {
            Err(Code::INCONSISTENT_GROUP_PROTOCOL)
        }
    }

    fn join_new(&mut self, request: &JoinRequest, now: Instant) -> Result<Joining, JoinError> {
        if self.members.len() + self.promised.len() >= self.max_members {
            return Err((Code::GROUP_MAX_SIZE_REACHED, String::new()));
        }
        let member_id = request.new_member_id.clone();
        if request.instance_id.is_none() && request.knows_member_id_required {
            self.promised.insert(member_id.clone(), now + request.session_timeout);
            return Err((Code::MEMBER_ID_REQUIRED, member_id));
        }
        self.add(member_id.clone(), request, now);
        Ok(Joining::Waiting(member_id))
    }

    fn add(&mut self, member_id: String, request: &JoinRequest, now: Instant) {
        self.protocol_type.clone_from(&request.protocol_type);
        let member = Member {
            instance_id: request.instance_id.clone(),
            client_id: request.client_id.clone(),
            client_host: request.client_host.clone(),
            protocols: request.protocols.clone(),
            session_timeout: request.session_timeout,
            rebalance_timeout: request.rebalance_timeout.min(MAX_REBALANCE_TIMEOUT),
            last_seen: now,
            joining: true,
            syncing: false,
            assignment: Bytes::new(),
        };
        if self.leader.is_empty() {
            self.leader.clone_from(&member_id);
        }
        self.members.insert(member_id, member);
        if self.state != GroupState::PreparingRebalance {
            self.prepare_rebalance(now);
        }
    }

    /// A static member came back as a new process: it takes the place of the old one, which is fenced from now on.
    fn replace_static(&mut self, old: &str, request: &JoinRequest, now: Instant) -> Joining {
        let member_id = request.new_member_id.clone();
        let leader_before = self.leader.clone();
        if let Some(mut member) = self.members.remove(old) {
            member.joining = false;
            member.syncing = false;
            self.members.insert(member_id.clone(), member);
        }
        if self.leader == old {
            self.leader.clone_from(&member_id);
        }
        self.update(&member_id, request, now);
        if self.state == GroupState::Stable && self.choose_protocol() == self.protocol {
            // The generation goes on. The returning leader is told the old leader's id, so that it does not compute an
            // assignment that nobody would be told.
            let joined = self.view_of(&member_id);
            return Joining::Done(Joined { leader: leader_before, members: Vec::new(), ..joined });
        }
        self.start_waiting(&member_id, now)
    }

    fn rejoin(&mut self, request: &JoinRequest, now: Instant) -> Joining {
        let member_id = &request.member_id;
        let unchanged = self.members.get(member_id).is_some_and(|member| member.protocols == request.protocols);
        self.update(member_id, request, now);
        let goes_on = match self.state {
            GroupState::CompletingRebalance => unchanged,
            GroupState::Stable => unchanged && self.leader != *member_id,
            GroupState::Empty | GroupState::PreparingRebalance => false,
        };
        if goes_on { Joining::Done(self.view_of(member_id)) } else { self.start_waiting(member_id, now) }
    }

    fn update(&mut self, member_id: &str, request: &JoinRequest, now: Instant) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.protocols.clone_from(&request.protocols);
            member.client_id.clone_from(&request.client_id);
            member.client_host.clone_from(&request.client_host);
            member.session_timeout = request.session_timeout;
            member.rebalance_timeout = request.rebalance_timeout.min(MAX_REBALANCE_TIMEOUT);
            member.last_seen = now;
        }
    }

    fn start_waiting(&mut self, member_id: &str, now: Instant) -> Joining {
        if self.state != GroupState::PreparingRebalance {
            self.prepare_rebalance(now);
        }
        if let Some(member) = self.members.get_mut(member_id) {
            member.joining = true;
        }
        Joining::Waiting(member_id.to_owned())
    }

    /// The generation a waiting member joined, once there is one.
    ///
    /// # Errors
    /// The protocol's code and the member id to answer with.
    pub(crate) fn poll_join(&self, key: &MemberKey<'_>) -> Option<Result<Joined, JoinError>> {
        if let Err(code) = self.resolve(key) {
            return Some(Err((code, key.member_id.to_owned())));
        }
        let member = self.members.get(key.member_id)?;
        (!member.joining).then(|| Ok(self.view_of(key.member_id)))
    }

    fn view_of(&self, member_id: &str) -> Joined {
        let all = || {
            let describe = |(id, member): (&String, &Member)| {
                (id.clone(), member.instance_id.clone(), member.metadata_for(&self.protocol))
            };
            self.members.iter().map(describe).collect()
        };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            member_id: member_id.to_owned(),
            members: if member_id == self.leader { all() } else { Vec::new() },
        }
    }
}
