//! Which keys are coarsened when a level has too many: those of the noisiest ends, such as a scan's, so that ordinary keys
//! survive it.
//!
//! A record's key is coarsened in steps: first to the two ends without ports, then to one end alone, at last to nothing but
//! where the addresses belong. Which end, is decided by the records that there are: each weighs 1, and more where nobody
//! answered, and the heaviest end goes first. That is a function of the records alone, whatever their order.

use crate::key::{Groups, Key};
use foldhash::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use weir_flow::{Address, AddressScope, protocol};
use weir_join::{Ask, Resolution};
use weir_schemas::enriched::{Report, SharedSide, Side};
use weir_schemas::partial::Partial;

#[cfg(test)]
mod tests;

/// How much more a record weighs that nobody answered: a scan of some size must outweigh a busy server.
const UNANSWERED: u64 = 16;

/// What is left of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shape {
    /// All that its level keeps.
    Whole,
    /// Both ends, without ports.
    Pair,
    /// The initiator, and where the responders' addresses belong.
    Initiator,
    /// The responder with its port, and where the initiators' addresses belong.
    Responder,
    /// Where both ends' addresses belong.
    Nobody,
}

impl Shape {
    /// Whether the initiator or the responder is still known.
    pub(crate) fn keeps(self, initiator: bool) -> bool {
        match self {
            Self::Whole | Self::Pair => true,
            Self::Initiator => initiator,
            Self::Responder => !initiator,
            Self::Nobody => false,
        }
    }

    /// Whether the initiator's or the responder's port is still known, if its level keeps it.
    pub(crate) fn keeps_port(self, initiator: bool) -> bool {
        match self {
            Self::Whole => true,
            Self::Responder => !initiator,
            Self::Pair | Self::Initiator | Self::Nobody => false,
        }
    }
}

/// A record as far as coarsening is concerned. Groups are hashes of what is left of its key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    /// The records that would be one if only the initiator were left.
    pub(crate) initiator: u128,
    /// The records that would be one if only the responder and its port were left.
    pub(crate) responder: u128,
    /// The records that would be one if the ports were left out.
    pub(crate) pair: u128,
    /// Whether the ports are left out already.
    pub(crate) is_pair: bool,
    /// [`weight`] of the record.
    pub(crate) weight: u64,
}

/// What a record weighs: more if nobody answered, or if all that came was one TCP segment (a refusal).
pub(crate) fn weight(partial: &Partial) -> u64 {
    let answers = |report: &Option<Report>| report.as_ref().map_or(0, |report| report.counters.reverse_packets);
    let answers = answers(&partial.by_initiator).max(answers(&partial.by_responder));
    let refused = partial.protocol == protocol::TCP && answers == 1;
    if answers == 0 || refused { UNANSWERED } else { 1 }
}

/// A side of which nothing is left but where its addresses belong.
pub(crate) fn nobody(scope: AddressScope) -> Side {
    let mut side = Resolution::none(None).to_side(&Ask::address(0, Address::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED))));
    (side.address, side.scope) = (None, scope);
    side
}

/// Leaves out of a record what a shape does not keep: ports, or an end with all that is known of it.
pub(crate) fn leave_out(partial: &mut Partial, shape: Shape) {
    if shape == Shape::Whole {
        return;
    }
    partial.coarsened = true;
    for (initiator, side) in [(true, &mut partial.initiator), (false, &mut partial.responder)] {
        if !shape.keeps(initiator) {
            let (_, scope, _) = side.head();
            *side = SharedSide::from(nobody(scope));
        } else if !shape.keeps_port(initiator) {
            *side = side.with_port(None);
        }
    }
}

/// The record as far as coarsening is concerned; nothing when only one end or none is left of its key.
pub(crate) fn member(partial: &Partial, bytes: &mut Vec<u8>) -> Option<Member> {
    let read = |key: &Key<'_>| {
        if !matches!(key.shape, Shape::Whole | Shape::Pair) {
            return None;
        }
        let Groups { initiator, responder, pair } = key.groups(partial.window, bytes);
        let is_pair = key.shape == Shape::Pair;
        Some(Member { initiator, responder, pair, is_pair, weight: weight(partial) })
    };
    Key::with(partial, read)?
}

/// The groups that are coarsened from now on, by their hash.
pub(crate) type Coarse = HashMap<u128, Shape>;

/// What was found to coarsen.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The groups and what is left of their keys.
    pub(crate) groups: Vec<(u128, Shape)>,
    /// By how many there are fewer records then.
    pub(crate) freed: usize,
}

/// The heaviest groups, until coarsening them would free `goal` records or no group is worth it.
pub(crate) fn noisiest(members: &[Member], coarse: &Coarse, goal: usize) -> Found {
    let least = (members.len() / 64).clamp(2, 16);
    let mut groups: HashMap<(bool, u128), (u64, Vec<usize>)> = HashMap::default();
    for (index, member) in members.iter().enumerate() {
        let ends = [(false, member.initiator), (true, member.responder)];
        for end in ends.into_iter().filter(|(responder, _)| !responder || !member.is_pair) {
            let (weight, indices) = groups.entry(end).or_default();
            *weight += member.weight;
            indices.push(index);
        }
    }
    groups.retain(|_, (_, indices)| indices.len() >= least);
    let mut order: Vec<_> = groups.into_iter().collect();
    order.sort_unstable_by(|(a, (heavy, _)), (b, (other, _))| other.cmp(heavy).then(a.cmp(b)));
    let mut gone = vec![false; members.len()];
    let mut found = Found::default();
    for ((responder, group), (_, mut indices)) in order {
        if found.freed >= goal {
            break;
        }
        indices.retain(|index| !gone.get(*index).copied().unwrap_or(true));
        if indices.len() < least {
            continue;
        }
        let pairs: HashSet<u128> = indices.iter().filter_map(|index| members.get(*index)).map(|m| m.pair).collect();
        let few = pairs.len() == 1 || pairs.len() * 16 <= indices.len();
        let (shape, left) = match (responder, coarse.get(&group)) {
            (true, _) => (Shape::Responder, 1),
            (false, None) if few => (Shape::Pair, pairs.len()),
            (false, _) => (Shape::Initiator, 1),
        };
        for index in &indices {
            if let Some(gone) = gone.get_mut(*index) {
                *gone = true;
            }
        }
        found.groups.push((group, shape));
        found.freed += indices.len() - left;
    }
    found
}

/// What is left of a key whose groups are these. The initiator's group goes before the responder's.
pub(crate) fn shape_of(coarse: &Coarse, initiator: u128, responder: u128) -> Shape {
    coarse.get(&initiator).or_else(|| coarse.get(&responder)).copied().unwrap_or(Shape::Whole)
}
