//! Ends that a set of policies does not tell apart: of two connections between such ends the same is said. Pods have labels of
//! their own, which policies seldom ask for.

use super::{Engine, HashMap};
use crate::bits::{index, number};
use crate::ends::{EndKind, EndNumber};
use crate::labels::{Holds, Text};
use foldhash::fast::FixedState;

/// No end.
const NONE: u32 = u32::MAX;

/// All that policies can ask of an end but for its address: what it is, its ports with names, and the selectors that hold for
/// it, or may.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Looks {
    kind: EndKind,
    namespace: Text,
    ports: Box<[(Text, u8, u16)]>,
    /// Numbers of selectors, twice each, and one more where it is not certain.
    selections: Box<[u32]>,
}

/// The first end of those that look the same, for each end that was asked about since a policy changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Alike {
    /// By the end's number; [`NONE`] where it was not asked about.
    first: Vec<u32>,
    known: HashMap<Looks, u32, FixedState>,
}

impl Alike {
    /// The first end that looks the same.
    pub(super) fn first(&mut self, engine: &Engine, end: EndNumber) -> EndNumber {
        let place = index(end.0);
        if let Some(first) = self.first.get(place).filter(|first| **first != NONE) {
            return EndNumber(*first);
        }
        let Some(looks) = engine.looks(end) else { return end };
        let first = *self.known.entry(looks).or_insert(end.0);
        if self.first.len() <= place {
            self.first.resize(place.saturating_add(1).max(engine.ends()), NONE);
        }
        if let Some(known) = self.first.get_mut(place) {
            *known = first;
        }
        EndNumber(first)
    }
}

impl Engine {
    fn looks(&self, end: EndNumber) -> Option<Looks> {
        let known = &self.selected(end.0)?.known;
        let used = self.selections.iter().enumerate().filter(|(_, selection)| selection.uses > 0);
        let selections = used.filter_map(|(at, selection)| match selection.holds(end.0) {
            Holds::Yes => Some(number(at).saturating_mul(2)),
            Holds::Maybe => Some(number(at).saturating_mul(2).saturating_add(1)),
            Holds::No => None,
        });
        Some(Looks {
            kind: known.kind,
            namespace: known.namespace,
            ports: known.ports.clone(),
            selections: selections.collect(),
        })
    }
}
