//! Membership of consumer groups.

use super::Client;
use crate::broker::State;
use crate::codes::Code;
use crate::groups::{GroupState, JoinRequest, Joined, Joining, MemberKey};
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    ListGroupsResponse, ResponseKind, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use uuid::Uuid;

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn millis(value: i32) -> Duration {
    Duration::from_millis(u64::try_from(value).unwrap_or(0))
}

pub(super) async fn join(state: &State, body: &JoinGroupRequest, version: i16, client: &Client) -> ResponseKind {
    let response = match join_and_wait(state, body, version, client).await {
        Ok(joined) => accepted(joined),
        Err((code, member_id)) => JoinGroupResponse::default()
            .with_error_code(code.value())
            .with_generation_id(-1)
            .with_protocol_name(Some(StrBytes::default()))
            .with_member_id(text(&member_id)),
    };
    ResponseKind::JoinGroup(response)
}

async fn join_and_wait(
    state: &State,
    body: &JoinGroupRequest,
    version: i16,
    client: &Client,
) -> Result<Joined, (Code, String)> {
    let session_timeout = millis(body.session_timeout_ms);
    let request = JoinRequest {
        member_id: body.member_id.to_string(),
        instance_id: body.group_instance_id.as_ref().map(ToString::to_string),
        client_id: client.id.clone(),
        client_host: format!("/{}", client.host),
        protocol_type: body.protocol_type.to_string(),
        protocols: body.protocols.iter().map(|p| (p.name.to_string(), p.metadata.clone())).collect(),
        session_timeout,
        rebalance_timeout: if version >= 1 { millis(body.rebalance_timeout_ms) } else { session_timeout },
        knows_member_id_required: version >= 4,
        new_member_id: format!("{}-{}", client.id, Uuid::new_v4()),
    };
    let refused = |code| (code, request.member_id.clone());
    let cell = state.groups.get_or_create(&body.group_id).map_err(refused)?;
    let member_id = {
        let mut group = cell.lock();
        let joining = group.join(&request, Instant::now());
        let progress = group.advance(Instant::now());
        state.groups.count(progress);
        drop(group);
        cell.changed.notify_waiters();
        match joining? {
            Joining::Done(joined) => return Ok(joined),
            Joining::Waiting(member_id) => member_id,
        }
    };
    let key = MemberKey { member_id: &member_id, instance_id: request.instance_id.as_deref() };
    loop {
        let changed = cell.changed.notified();
        let outcome = cell.lock().poll_join(&key);
        match outcome {
            Some(outcome) => return outcome,
            None => changed.await,
        }
    }
}

fn accepted(joined: Joined) -> JoinGroupResponse {
    let member = |(id, instance_id, metadata): (String, Option<String>, bytes::Bytes)| {
        JoinGroupResponseMember::default()
            .with_member_id(StrBytes::from_string(id))
            .with_group_instance_id(instance_id.map(StrBytes::from_string))
            .with_metadata(metadata)
    };
    JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_type(Some(StrBytes::from_string(joined.protocol_type)))
        .with_protocol_name(Some(StrBytes::from_string(joined.protocol)))
        .with_leader(StrBytes::from_string(joined.leader))
        .with_member_id(StrBytes::from_string(joined.member_id))
        .with_members(joined.members.into_iter().map(member).collect())
}

pub(super) async fn sync(state: &State, body: SyncGroupRequest) -> ResponseKind {
    let response = match sync_and_wait(state, body).await {
        Ok(assignment) => SyncGroupResponse::default().with_assignment(assignment),
        Err(code) => SyncGroupResponse::default().with_error_code(code.value()),
    };
    ResponseKind::SyncGroup(response)
}

async fn sync_and_wait(state: &State, body: SyncGroupRequest) -> Result<bytes::Bytes, Code> {
    let cell = state.groups.get(&body.group_id).ok_or(Code::UNKNOWN_MEMBER_ID)?;
    let key = MemberKey { member_id: &body.member_id, instance_id: body.group_instance_id.as_deref() };
    let assignments = body.assignments.iter().map(|a| (a.member_id.to_string(), a.assignment.clone()));
    let assignments = assignments.collect();
    cell.lock().sync(&key, body.generation_id, assignments, Instant::now())?;
    cell.changed.notify_waiters();
    loop {
        let changed = cell.changed.notified();
        let outcome = cell.lock().poll_sync(&key, body.generation_id);
        match outcome {
            Some(outcome) => return outcome,
            None => changed.await,
        }
    }
}

pub(super) fn heartbeat(state: &State, body: &HeartbeatRequest) -> ResponseKind {
    let key = MemberKey { member_id: &body.member_id, instance_id: body.group_instance_id.as_deref() };
    let result = match state.groups.get(&body.group_id) {
        Some(cell) => cell.lock().heartbeat(&key, body.generation_id, Instant::now()),
        None => Err(Code::UNKNOWN_MEMBER_ID),
    };
    ResponseKind::Heartbeat(HeartbeatResponse::default().with_error_code(Code::of(&result)))
}

pub(super) fn leave(state: &State, body: &LeaveGroupRequest) -> ResponseKind {
    let leave_one = |key: &MemberKey<'_>| match state.groups.get(&body.group_id) {
        Some(cell) => {
            let now = Instant::now();
            let mut group = cell.lock();
            let left = group.leave(key, now);
            state.groups.count(group.advance(now));
            drop(group);
            cell.changed.notify_waiters();
            left
        }
        None => Err(Code::UNKNOWN_MEMBER_ID),
    };
    let response = if body.members.is_empty() {
        let left = leave_one(&MemberKey { member_id: &body.member_id, instance_id: None });
        LeaveGroupResponse::default().with_error_code(Code::of(&left))
    } else {
        let members = body.members.iter().map(|member| {
            let key = MemberKey { member_id: &member.member_id, instance_id: member.group_instance_id.as_deref() };
            MemberResponse::default()
                .with_member_id(member.member_id.clone())
                .with_group_instance_id(member.group_instance_id.clone())
                .with_error_code(Code::of(&leave_one(&key)))
        });
        LeaveGroupResponse::default().with_members(members.collect())
    };
    ResponseKind::LeaveGroup(response)
}

pub(super) fn describe(state: &State, body: DescribeGroupsRequest) -> ResponseKind {
    let with_offsets: BTreeSet<String> = state.coordinator.groups_with_offsets().into_iter().collect();
    let groups = body.groups.into_iter().map(|id| {
        let described = match state.groups.get(&id) {
            Some(cell) => {
                let group = cell.lock();
                let members = group.members().iter().map(|(id, member)| {
                    DescribedGroupMember::default()
                        .with_member_id(text(id))
                        .with_group_instance_id(member.instance_id.as_deref().map(text))
                        .with_client_id(text(&member.client_id))
                        .with_client_host(text(&member.client_host))
                        .with_member_metadata(group.metadata_of(member))
                        .with_member_assignment(member.assignment.clone())
                });
                DescribedGroup::default()
                    .with_group_state(StrBytes::from_static_str(group.state().name()))
                    .with_protocol_type(text(group.protocol_type()))
                    .with_protocol_data(text(group.protocol()))
                    .with_members(members.collect())
            }
            None => {
                let name = if with_offsets.contains(id.as_str()) { GroupState::Empty.name() } else { "Dead" };
                DescribedGroup::default().with_group_state(StrBytes::from_static_str(name))
            }
        };
        described.with_group_id(id)
    });
    ResponseKind::DescribeGroups(DescribeGroupsResponse::default().with_groups(groups.collect()))
}

pub(super) fn list(state: &State) -> ResponseKind {
    let listed = |id: &str, protocol_type: &str| {
        ListedGroup::default().with_group_id(GroupId(text(id))).with_protocol_type(text(protocol_type))
    };
    let cells = state.groups.all();
    let names: BTreeSet<&String> = cells.iter().map(|(name, _)| name).collect();
    let with_offsets = state.coordinator.groups_with_offsets();
    let only_offsets = with_offsets.iter().filter(|name| !names.contains(name));
    let with_members = cells.iter().map(|(name, cell)| listed(name, cell.lock().protocol_type()));
    let groups = with_members.chain(only_offsets.map(|name| listed(name, ""))).collect();
    ResponseKind::ListGroups(ListGroupsResponse::default().with_groups(groups))
}

pub(super) fn delete(state: &State, body: DeleteGroupsRequest) -> ResponseKind {
    let results = body.groups_names.into_iter().map(|id| {
        let cell = state.groups.get(&id);
        let has_members = cell.is_some_and(|cell| cell.lock().state() != GroupState::Empty);
        let deleted = if has_members {
            Err(Code::NON_EMPTY_GROUP)
        } else {
            state.coordinator.delete_group(&id).and_then(|known| known.then_some(()).ok_or(Code::GROUP_ID_NOT_FOUND))
        };
        DeletableGroupResult::default().with_group_id(id).with_error_code(Code::of(&deleted))
    });
    ResponseKind::DeleteGroups(DeleteGroupsResponse::default().with_results(results.collect()))
}
