//! What is known of the conversations of the batch that is added up.

use super::Places;
use crate::observe::Observation;
use crate::stage1::counts::Counts;

/// What is known of the conversations of one batch, and so of one window, origin and tick. What a conversation's samples have
/// in common decides their records, and whether a policy dropped packets.
#[derive(Debug, Default)]
pub(in crate::stage1) struct Batch {
    /// Numbers of what is known by conversation.
    numbers: Vec<[Option<u32>; 2]>,
    pub(super) known: Vec<Known>,
    /// Where the last conversations are counted, as they were looked up together; their numbers begin here and end there.
    pub(super) fetched: Vec<Option<Fetched>>,
    pub(super) fetched_from: usize,
    pub(super) fetched_to: usize,
}

/// Where an observation is counted, as it was found before its turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fetched {
    pub(super) places: Places,
    /// Of observations with or without drops by a policy.
    pub(super) policy_drops: bool,
    /// How often keys had been coarsened then.
    pub(super) rounds: u32,
}

/// Where a conversation is counted, and what was counted and is not in the records yet.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) places: Places,
    pub(super) counts: Counts,
}

impl Batch {
    /// Begins with another batch.
    pub(in crate::stage1) fn begin(&mut self) {
        self.clear();
        self.fetched.clear();
        (self.fetched_from, self.fetched_to) = (0, 0);
    }

    /// Where an observation is counted, if that was looked up and has not changed since.
    pub(super) fn fetched(&self, o: &Observation<'_, '_>, rounds: u32) -> Option<Places> {
        let number = o.conversation?.checked_sub(self.fetched_from)?;
        let fetched = self.fetched.get(number)?.filter(|found| found.rounds == rounds);
        fetched.filter(|found| found.policy_drops == o.policy_drops).map(|found| found.places)
    }

    pub(super) fn get_mut(&mut self, o: &Observation<'_, '_>) -> Option<&mut Known> {
        let number = (*self.numbers.get(o.conversation?)?.get(usize::from(o.policy_drops))?)?;
        self.known.get_mut(usize::try_from(number).ok()?)
    }

    /// Notes what is known of an observation's conversation; it is given back where it is of no conversation.
    pub(super) fn note(&mut self, o: &Observation<'_, '_>, known: Known) -> Option<Known> {
        let Some(conversation) = o.conversation else { return Some(known) };
        if self.numbers.len() <= conversation {
            self.numbers.resize(conversation + 1, [None; 2]);
        }
        let of = self.numbers.get_mut(conversation).and_then(|of| of.get_mut(usize::from(o.policy_drops)));
        let (Some(of), Ok(number)) = (of, u32::try_from(self.known.len())) else { return Some(known) };
        *of = Some(number);
        self.known.push(known);
        None
    }

    /// Forgets all, because records are elsewhere. Nothing may be left to add.
    pub(super) fn clear(&mut self) {
        debug_assert!(self.known.iter().all(|known| known.counts.is_empty()), "added before records move");
        self.numbers.clear();
        self.known.clear();
    }
}
