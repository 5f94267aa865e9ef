use super::state::FIRST_JOIN_DELAY;
use super::*;
use bytes::Bytes;
use std::time::Duration;

const SESSION: Duration = Duration::from_secs(10);
const REBALANCE: Duration = Duration::from_secs(30);

/// A group, its clock, and ids for new members.
struct World {
    group: Group,
    now: Instant,
    ids: usize,
}

impl World {
    fn new() -> Self {
        Self { group: Group::new(3), now: Instant::now(), ids: 0 }
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.group.advance(self.now);
    }

    fn request(&mut self, member_id: &str, instance: Option<&str>, protocols: &[&str]) -> JoinRequest {
        self.ids += 1;
        JoinRequest {
            member_id: member_id.to_owned(),
            instance_id: instance.map(str::to_owned),
            client_id: "c".to_owned(),
            client_host: "/h".to_owned(),
            protocol_type: "consumer".to_owned(),
            protocols: protocols.iter().map(|name| ((*name).to_owned(), Bytes::from_static(b"m"))).collect(),
            session_timeout: SESSION,
            rebalance_timeout: REBALANCE,
            knows_member_id_required: true,
            new_member_id: format!("m{}", self.ids),
        }
    }

    fn join(&mut self, member_id: &str, instance: Option<&str>) -> Result<Joining, (Code, String)> {
        let request = self.request(member_id, instance, &["range"]);
        self.group.join(&request, self.now)
    }

    /// Joins as a new dynamic member; returns its id.
    fn join_dynamic(&mut self) -> String {
        let (code, id) = self.join("", None).unwrap_err();
        assert_eq!(code, Code::MEMBER_ID_REQUIRED);
        assert_eq!(self.join(&id, None), Ok(Joining::Waiting(id.clone())));
        id
    }

    fn join_static(&mut self, instance: &str) -> String {
        match self.join("", Some(instance)).unwrap() {
            Joining::Waiting(id) => id,
            Joining::Done(joined) => joined.member_id,
        }
    }

    fn joined(&self, id: &str, instance: Option<&str>) -> Option<Joined> {
        self.group.poll_join(&MemberKey { member_id: id, instance_id: instance }).map(Result::unwrap)
    }

    /// Brings a group that all joined to its assignment.
    fn assign(&mut self, members: &[(&str, Option<&str>)]) {
        let generation = self.group.generation;
        let leader = self.group.leader.clone();
        let assignments: Vec<_> =
            members.iter().map(|(id, _)| ((*id).to_owned(), Bytes::from((*id).to_owned()))).collect();
        for (id, instance_id) in
            members.iter().filter(|(id, _)| *id != leader).chain(members.iter().filter(|(id, _)| *id == leader))
        {
            let key = MemberKey { member_id: id, instance_id: *instance_id };
            let given = if *id == leader { assignments.clone() } else { Vec::new() };
            self.group.sync(&key, generation, given, self.now).unwrap();
        }
        for (id, instance_id) in members {
            let key = MemberKey { member_id: id, instance_id: *instance_id };
            assert_eq!(self.group.poll_sync(&key, generation), Some(Ok(Bytes::from((*id).to_owned()))));
        }
        assert_eq!(self.group.state(), GroupState::Stable);
    }
}

fn dynamic(id: &str) -> MemberKey<'_> {
    MemberKey { member_id: id, instance_id: None }
}

#[test]
fn the_first_members_start_one_generation_together() {
    let mut world = World::new();
    let (one, two) = (world.join_dynamic(), world.join_dynamic());
    assert_eq!(world.joined(&one, None), None);
    world.wait(FIRST_JOIN_DELAY);
    let (first, second) = (world.joined(&one, None).unwrap(), world.joined(&two, None).unwrap());
    assert_eq!((first.generation, second.generation), (1, 1));
    assert_eq!((&first.leader, first.members.len(), second.members.len()), (&one, 2, 0));
    world.assign(&[(&one, None), (&two, None)]);
}

#[test]
fn a_member_that_does_not_come_back_is_dropped_after_the_rebalance_timeout() {
    let mut world = World::new();
    let one = world.join_dynamic();
    world.wait(FIRST_JOIN_DELAY);
    world.assign(&[(&one, None)]);
    let two = world.join_dynamic();
    assert_eq!(world.group.heartbeat(&dynamic(&one), 1, world.now), Err(Code::REBALANCE_IN_PROGRESS));
    for _ in 0..5 {
        // It is alive, but does not join.
        world.wait(REBALANCE / 5);
        world.group.heartbeat(&dynamic(&one), 1, world.now).ok();
    }
    world.wait(Duration::from_millis(1));
    let joined = world.joined(&two, None).unwrap();
    assert_eq!((joined.generation, joined.leader.as_str()), (2, two.as_str()));
    assert_eq!(world.group.heartbeat(&dynamic(&one), 1, world.now), Err(Code::UNKNOWN_MEMBER_ID));
}

#[test]
fn a_silent_member_is_expired_and_an_empty_group_is_forgotten() {
    let mut world = World::new();
    let one = world.join_dynamic();
    world.wait(FIRST_JOIN_DELAY);
    world.assign(&[(&one, None)]);
    world.wait(SESSION);
    assert!(world.group.heartbeat(&dynamic(&one), 1, world.now).is_ok());
    world.wait(SESSION + Duration::from_millis(1));
    assert_eq!(world.group.state(), GroupState::Empty);
    assert!(world.group.is_forgettable());
}

#[test]
fn a_static_member_takes_its_place_back_and_the_old_one_is_fenced() {
    let mut world = World::new();
    let (one, two) = (world.join_static("i1"), world.join_static("i2"));
    world.wait(FIRST_JOIN_DELAY);
    world.assign(&[(&one, Some("i1")), (&two, Some("i2"))]);
    let Ok(Joining::Done(joined)) = world.join("", Some("i1")) else {
        panic!("the generation does not go on");
    };
    assert_eq!((joined.generation, joined.leader.as_str(), joined.members.len()), (1, one.as_str(), 0));
    assert_ne!(joined.member_id, one);
    let old = MemberKey { member_id: &one, instance_id: Some("i1") };
    assert_eq!(world.group.heartbeat(&old, 1, world.now), Err(Code::FENCED_INSTANCE_ID));
    assert_eq!(world.join(&one, Some("i1")), Err((Code::FENCED_INSTANCE_ID, one.clone())));
    // It gets the assignment the old one had.
    let new = MemberKey { member_id: &joined.member_id, instance_id: Some("i1") };
    world.group.sync(&new, 1, Vec::new(), world.now).unwrap();
    assert_eq!(world.group.poll_sync(&new, 1), Some(Ok(Bytes::from(one))));
}

#[test]
fn a_leader_that_dies_before_assigning_is_replaced() {
    let mut world = World::new();
    let (one, two) = (world.join_dynamic(), world.join_dynamic());
    world.wait(FIRST_JOIN_DELAY);
    world.group.sync(&dynamic(&two), 1, Vec::new(), world.now).unwrap();
    assert_eq!(world.group.poll_sync(&dynamic(&two), 1), None);
    world.wait(SESSION + Duration::from_millis(1));
    assert_eq!(world.group.poll_sync(&dynamic(&two), 1), Some(Err(Code::REBALANCE_IN_PROGRESS)));
    world.join(&two, None).unwrap();
    world.wait(Duration::from_millis(1));
    assert_eq!(world.joined(&two, None).unwrap().leader, two);
    assert_eq!(world.group.heartbeat(&dynamic(&one), 1, world.now), Err(Code::UNKNOWN_MEMBER_ID));
}

#[test]
fn only_the_current_generation_commits() {
    let mut world = World::new();
    let anonymous = CommitIdentity { key: dynamic(""), generation: -1 };
    assert!(world.group.check_commit(&anonymous, true, world.now).is_ok());
    let one = world.join_static("i1");
    world.wait(FIRST_JOIN_DELAY);
    let key = MemberKey { member_id: &one, instance_id: Some("i1") };
    let current = CommitIdentity { key, generation: 1 };
    assert_eq!(world.group.check_commit(&current, false, world.now), Err(Code::REBALANCE_IN_PROGRESS));
    world.assign(&[(&one, Some("i1"))]);
    for transactional in [false, true] {
        let mut check = |identity| world.group.check_commit(&identity, transactional, world.now);
        assert_eq!(check(current), Ok(()));
        assert_eq!(check(anonymous), Err(Code::UNKNOWN_MEMBER_ID));
        assert_eq!(check(CommitIdentity { key, generation: 0 }), Err(Code::ILLEGAL_GENERATION));
        assert_eq!(check(CommitIdentity { key, generation: -1 }), Err(Code::ILLEGAL_GENERATION));
        let stranger = MemberKey { member_id: "x", instance_id: Some("i1") };
        assert_eq!(check(CommitIdentity { key: stranger, generation: 1 }), Err(Code::FENCED_INSTANCE_ID));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut world = World::new();
    let one = world.join_dynamic();
    let other = world.request("", Some("i"), &["sticky"]);
    assert_eq!(world.group.join(&other, world.now).unwrap_err().0, Code::INCONSISTENT_GROUP_PROTOCOL);
    let mut hasty = world.request("", None, &["range"]);
    hasty.session_timeout = Duration::ZERO;
    assert_eq!(world.group.join(&hasty, world.now).unwrap_err().0, Code::INVALID_SESSION_TIMEOUT);
    assert_eq!(world.join("nobody", None).unwrap_err().0, Code::UNKNOWN_MEMBER_ID);
    world.join_static("i1");
    world.join_static("i2");
    assert_eq!(world.join("", Some("i3")).unwrap_err().0, Code::GROUP_MAX_SIZE_REACHED);
    world.wait(FIRST_JOIN_DELAY);
    assert_eq!(world.joined(&one, None).unwrap().members.len(), 3);
}

#[test]
fn the_protocol_all_support_is_chosen() {
    let mut world = World::new();
    for (instance, protocols) in [("i1", &["a", "b"][..]), ("i2", &["b", "a"]), ("i3", &["b", "c"])] {
        let request = world.request("", Some(instance), protocols);
        world.group.join(&request, world.now).unwrap();
    }
    world.wait(FIRST_JOIN_DELAY);
    assert_eq!(world.group.protocol(), "b");
}
