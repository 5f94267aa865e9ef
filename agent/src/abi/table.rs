//! The table of flows, `WEIR_TABLE`, read and emptied where it lies.

use super::shared::Shared;
use super::{Flow, Key};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

/// The fewest slots of a buffer: they fill whole pages of any size that Linux uses.
pub const SLOTS_MIN: u32 = 1 << 10;
/// The most slots of a buffer: 192 MiB.
pub const SLOTS_MAX: u32 = 1 << 20;

/// Nothing is in the slot: `WEIR_SLOT_EMPTY`.
const EMPTY: u64 = 0;
/// A program fills it in: `WEIR_SLOT_CLAIMED`.
const CLAIMED: u64 = 1;
/// It holds a flow: `WEIR_SLOT_COUNTED`.
const COUNTED: u64 = 2;

/// Size of `struct weir_slot`, and where its key and its flow begin.
const SLOT: usize = 192;
const KEY_AT: usize = 8;
const FLOW_AT: usize = 56;
/// Slots that one word of `WEIR_OCCUPIED` is about.
const WORD: usize = 64;

/// Both buffers of the table.
#[derive(Debug)]
pub struct Table {
    table: OwnedFd,
    occupied: Shared,
    /// Of each buffer.
    slots: usize,
}

impl Table {
    /// The table in the maps `table` and `occupied`, with so many slots in each buffer: a power of two from [`SLOTS_MIN`]
    /// to [`SLOTS_MAX`].
    ///
    /// # Errors
    /// When a map cannot be mapped, e.g. since it is smaller.
    pub fn map(table: BorrowedFd<'_>, occupied: BorrowedFd<'_>, slots: u32) -> io::Result<Self> {
        if !slots.is_power_of_two() || !(SLOTS_MIN..=SLOTS_MAX).contains(&slots) {
            return Err(io::Error::other(format!("a table of {slots} slots")));
        }
        let slots = usize::try_from(slots).map_err(io::Error::other)?;
        let occupied = Shared::map(occupied, 0, 2 * slots / WORD * 8)?;
        Ok(Self { table: table.try_clone_to_owned()?, occupied, slots })
    }

    /// Entries of the maps `WEIR_TABLE` and `WEIR_OCCUPIED` for so many slots in each buffer; one for none, since maps are
    /// never empty.
    #[must_use]
    pub fn entries(slots: u32) -> (u32, u32) {
        let both = slots.saturating_mul(2);
        (both.max(1), both.div_ceil(64).max(1))
    }

    /// Empties a buffer and hands each flow to `each`; returns how many there were. The buffer must have been idle for a
    /// moment. What a program is still filling in stays for the next time.
    ///
    /// # Errors
    /// When the buffer cannot be mapped.
    pub fn drain(&self, buffer: usize, mut each: impl FnMut(&Key, &Flow)) -> io::Result<usize> {
        let words = buffer % 2 * self.slots / WORD..(buffer % 2 + 1) * self.slots / WORD;
        // Mapped only while it is read: it would count as the process's memory all the time.
        let mut mapped = None;
        let mut total = 0;
        for (place, word) in words.enumerate() {
            let word = self.occupied.word(word * 8);
            let mut bits = word.load(Ordering::Acquire);
            while bits != 0 {
                let half = match &mut mapped {
                    Some(half) => half,
                    none => none.insert(self.half(buffer)?),
                };
                let bit = bits & bits.wrapping_neg();
                bits ^= bit;
                let at = (place * WORD + usize::try_from(bit.trailing_zeros()).unwrap_or(0)) * SLOT;
                let state = half.word(at);
                if state.load(Ordering::Acquire) != COUNTED {
                    continue;
                }
                // The bit first: whoever claims the slot once it is empty sets it again.
                word.fetch_and(!bit, Ordering::AcqRel);
                each(&half.read(at + KEY_AT), &half.read(at + FLOW_AT));
                state.store(EMPTY, Ordering::Release);
                total += 1;
            }
        }
        Ok(total)
    }

    fn half(&self, buffer: usize) -> io::Result<Shared> {
        let size = self.slots * SLOT;
        Shared::map(self.table.as_fd(), buffer % 2 * size, size)
    }

    /// Claims all empty slots of a buffer, as if programs were filling them in, or frees those; for tests.
    ///
    /// # Errors
    /// When the buffer cannot be mapped.
    #[doc(hidden)]
    pub fn claim(&self, buffer: usize, claimed: bool) -> io::Result<()> {
        let (from, to) = if claimed { (EMPTY, CLAIMED) } else { (CLAIMED, EMPTY) };
        let half = self.half(buffer)?;
        for slot in 0..self.slots {
            // One that is in another state stays in it.
            let _ = half.word(slot * SLOT).compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed);
        }
        Ok(())
    }
}

const _: () = {
    use std::mem::size_of;
    assert!(KEY_AT + size_of::<Key>() == FLOW_AT);
    assert!(FLOW_AT + size_of::<Flow>() + 16 == SLOT);
};
