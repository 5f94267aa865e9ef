//! Which disks are short of their reserve, and what helps them: what stands there, and nothing else. Pure.

use crate::inventory::{Index, Inventory};
use crate::policy::Policy;

/// What disks lack while a plan is made.
pub(super) struct Disks<'a> {
    inventory: &'a Inventory,
    /// By position in the inventory: what is lacking, bytes.
    lacks: Vec<u64>,
    /// By position in the inventory: whether the disk would be short if Weir had nothing there.
    others: Vec<bool>,
}

impl<'a> Disks<'a> {
    pub(super) fn of(inventory: &'a Inventory, policy: &Policy) -> Self {
        let lacks = inventory.disks.iter().map(|d| policy.reserve.of(d.total).saturating_sub(d.available)).collect();
        let others = |position: usize| {
            let disk = &inventory.disks[position];
            let used = disk.total.saturating_sub(disk.available);
            let mine = inventory.indices.iter().map(|i| inventory.on(i, position)).fold(0, u64::saturating_add);
            let without = disk.total.saturating_sub(used.saturating_sub(mine));
            without < policy.reserve.of(disk.total)
        };
        Self { inventory, lacks, others: (0..inventory.disks.len()).map(others).collect() }
    }

    /// Counts an index as gone.
    pub(super) fn free(&mut self, index: &Index) {
        for (position, lacks) in self.lacks.iter_mut().enumerate() {
            *lacks = lacks.saturating_sub(self.inventory.on(index, position));
        }
    }

    /// Whether deleting an index frees bytes on a disk that is still short. One that others have filled is not helped:
    /// whatever of Weir's went there, it would stay short, and the next round would want more.
    pub(super) fn are_helped_by(&self, index: &Index) -> bool {
        self.short(false).any(|position| self.inventory.on(index, position) > 0)
    }

    /// Whether there is a disk that Weir can help and that is still short.
    pub(super) fn want(&self) -> bool {
        self.short(false).next().is_some()
    }

    /// What is lacking on the shortest disk, bytes.
    pub(super) fn lack(&self) -> u64 {
        self.lacks.iter().copied().max().unwrap_or(0)
    }

    /// Why disks are still short, and what to do; `young` says whether an index is kept for its age alone.
    pub(super) fn explain(&self, young: impl Fn(&Index) -> bool) -> Vec<String> {
        let mut advice = Vec::new();
        let others = self.names(self.short(true));
        if !others.is_empty() {
            advice.push(format!(
                "something else than Weir's indices fills the disk of {others}: add disk, free it, or lower --disk-reserve"
            ));
        }
        let is_young =
            |position: &usize| self.inventory.indices.iter().any(|i| self.inventory.on(i, *position) > 0 && young(i));
        let floor = self.names(self.short(false).filter(is_young));
        if !floor.is_empty() {
            advice.push(format!(
                "only indices younger than --min-age are left on the disk of {floor}: add disk, or lower --min-age"
            ));
        }
        let written = self.names(self.short(false).filter(|position| !is_young(position)));
        if !written.is_empty() {
            advice.push(format!(
                "nothing that may go is left on the disk of {written}: add disk, or make indices smaller (index period hour)"
            ));
        }
        advice
    }

    /// Positions of the disks that are short, of those that others have filled or of all others.
    fn short(&self, others: bool) -> impl Iterator<Item = usize> {
        (0..self.lacks.len()).filter(move |position| self.lacks[*position] > 0 && self.others[*position] == others)
    }

    /// The names of a few disks.
    fn names(&self, positions: impl Iterator<Item = usize>) -> String {
        const SHOWN: usize = 3;
        let names: Vec<&str> = positions.map(|position| self.inventory.disks[position].node.as_str()).collect();
        let more = names.len().saturating_sub(SHOWN);
        let shown = names[..names.len() - more].join(", ");
        if more == 0 { shown } else { format!("{shown} and {more} more") }
    }
}
