//! Consumer groups of the log in memory: eager rebalances with generations, static members.

use std::collections::{BTreeMap, BTreeSet};

use crate::{OffsetAndMetadata, TopicPartition};

/// A membership as it was when an assignment came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(super) group: String,
    pub(super) member: u64,
    pub(super) generation: i32,
}

/// Where a member stands between the group and its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Joined, has nothing.
    Idle,
    /// An assignment waits to be taken by the owner.
    Assigning(Vec<TopicPartition>),
    /// The owner has it.
    Owning(Vec<TopicPartition>),
    /// The group wants it back, the owner does not know yet.
    Revoking(Vec<TopicPartition>),
    /// The owner knows and has not let go yet.
    LettingGo,
    /// The session ended; the owner does not know yet.
    Lost(Vec<TopicPartition>),
}

#[derive(Debug)]
pub(super) struct Member {
    /// Instance id, or the client id.
    pub(super) name: String,
    is_static: bool,
    topics: BTreeSet<String>,
    pub(super) stage: Stage,
    /// False once its consumer was dropped; only static members stay then.
    present: bool,
    /// Memberships of this generation and before are refused: the session ended in it.
    barred: i32,
}

#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) manual: bool,
    pub(super) committed: BTreeMap<TopicPartition, OffsetAndMetadata>,
    pub(super) members: BTreeMap<u64, Member>,
    generation: i32,
    last_member: u64,
    /// A rebalance is under way, with what each member is to get where a test said so.
    rebalance: Option<Option<BTreeMap<String, Vec<TopicPartition>>>>,
    known_partitions: Vec<TopicPartition>,
}

impl Group {
    /// A consumer joins; returns its member number. A static one takes its predecessor's place, with
    /// its partitions, and nobody else notices.
    pub(super) fn join(&mut self, name: &str, is_static: bool, topics: BTreeSet<String>) -> u64 {
        self.last_member += 1;
        let number = self.last_member;
        let predecessor = self
            .members
            .iter()
            .find(|(_, member)| is_static && member.is_static && member.name == name)
            .map(|(number, _)| *number);
        let mut stage = Stage::Idle;
        if let Some(old) = predecessor.and_then(|old| self.members.remove(&old)) {
            stage = match old.stage {
                Stage::Assigning(partitions) | Stage::Owning(partitions) | Stage::Revoking(partitions)
                    if self.rebalance.is_none() =>
                {
                    Stage::Assigning(partitions)
                }
                _ => Stage::Idle,
            };
        }
        self.members
            .insert(number, Member { name: name.to_owned(), is_static, topics, stage, present: true, barred: -1 });
        if predecessor.is_none() && !self.manual {
            self.rebalance(None);
        }
        number
    }

    /// A consumer was dropped.
    pub(super) fn leave(&mut self, number: u64) {
        let Some(member) = self.members.get_mut(&number) else {
            return;
        };
        if member.is_static {
            member.present = false;
            // Nobody is there to let go.
            if matches!(member.stage, Stage::Revoking(_) | Stage::LettingGo | Stage::Lost(_)) {
                member.stage = Stage::Idle;
            }
            return;
        }
        self.members.remove(&number);
        if !self.manual {
            self.rebalance(None);
        }
    }

    pub(super) fn expire(&mut self, name: &str) {
        let found = self.members.iter().find(|(_, member)| member.name == name);
        let Some(number) = found.map(|(number, _)| *number) else {
            return;
        };
        let Some(mut member) = self.members.remove(&number) else {
            return;
        };
        if member.present {
            // It is told, and is a new member from then on.
            member.barred = self.generation;
            member.stage = match member.stage {
                Stage::Owning(partitions) | Stage::Revoking(partitions) => Stage::Lost(partitions),
                Stage::Lost(partitions) => Stage::Lost(partitions),
                Stage::Idle | Stage::Assigning(_) | Stage::LettingGo => Stage::Idle,
            };
            self.members.insert(number, member);
        }
        self.rebalance(None);
    }

    /// Asks all members for what they have; `settle` deals out anew once they have let go.
    pub(super) fn rebalance(&mut self, target: Option<BTreeMap<String, Vec<TopicPartition>>>) {
        self.rebalance = Some(target);
        for member in self.members.values_mut() {
            member.stage = match std::mem::replace(&mut member.stage, Stage::Idle) {
                // An empty assignment has nothing to revoke, as in the client library.
                Stage::Owning(partitions) if !partitions.is_empty() && member.present => Stage::Revoking(partitions),
                Stage::Owning(_) | Stage::Assigning(_) | Stage::Idle => Stage::Idle,
                Stage::Revoking(_) if !member.present => Stage::Idle,
                other => other,
            };
        }
    }

    /// A member that had lost its session joins again; an ordinary revocation has a rebalance running.
    pub(super) fn rebalance_unless_running(&mut self) {
        if self.rebalance.is_none() {
            self.rebalance(None);
        }
    }

    /// Rebalances when the partitions that it reads are not those that it dealt out.
    pub(super) fn partitions_changed(&mut self, partitions: &[TopicPartition]) {
        if !self.manual && !self.members.is_empty() && partitions != self.known_partitions {
            self.rebalance(None);
        }
    }

    /// Ends a rebalance once no member holds anything.
    pub(super) fn settle(&mut self, partitions: &[TopicPartition]) {
        let holding = |member: &Member| {
            // A lost member's partitions are not waited for: that is what losing them means.
            matches!(member.stage, Stage::Revoking(_) | Stage::LettingGo)
        };
        if self.rebalance.is_none() || self.members.values().any(holding) {
            return;
        }
        self.known_partitions = partitions.to_vec();
        let mut target = match self.rebalance.take().flatten() {
            Some(target) => target,
            None => self.range(partitions),
        };
        self.generation += 1;
        for member in self.members.values_mut() {
            let assignment = target.remove(&member.name).unwrap_or_default();
            if !matches!(member.stage, Stage::Lost(_)) {
                member.stage = Stage::Assigning(assignment);
            }
        }
    }

    /// Kafka's range assignor, members in the order of their names.
    fn range(&self, partitions: &[TopicPartition]) -> BTreeMap<String, Vec<TopicPartition>> {
        let mut target: BTreeMap<String, Vec<TopicPartition>> = BTreeMap::new();
        for topic in self.topics() {
            let of_topic: Vec<_> = partitions.iter().filter(|p| *p.topic == *topic).collect();
            let mut readers: Vec<_> = self
                .members
                .values()
                .filter(|m| m.topics.contains(&topic) && !matches!(m.stage, Stage::Lost(_)))
                .map(|member| member.name.clone())
                .collect();
            readers.sort();
            let mut rest = of_topic.as_slice();
            for (index, name) in readers.iter().enumerate() {
                let share = rest.len().div_ceil(readers.len() - index);
                let (mine, others) = rest.split_at(share);
                rest = others;
                let owned = mine.iter().map(|partition| (*partition).clone());
                target.entry(name.clone()).or_default().extend(owned);
            }
        }
        target
    }

    /// The topics that any member reads.
    pub(super) fn topics(&self) -> BTreeSet<String> {
        let topics = self.members.values().flat_map(|member| &member.topics);
        topics.cloned().collect()
    }

    pub(super) fn generation(&self) -> i32 {
        self.generation
    }

    /// Refuses a membership that the group has left behind.
    pub(super) fn check(&self, membership: &Membership) -> Result<(), String> {
        match self.members.get(&membership.member) {
            None => Err(format!("member {} of group {} is unknown or fenced", membership.member, membership.group)),
            Some(member) if membership.generation <= member.barred => {
                Err(format!("member {} of group {} has lost its session", membership.member, membership.group))
            }
            Some(_) if membership.generation != self.generation => Err(format!(
                "generation {} of group {} is over, it is {}",
                membership.generation, membership.group, self.generation
            )),
            Some(_) => Ok(()),
        }
    }
}
