//! The ring buffer of payloads, `WEIR_MESSAGES`, read without giving back at once what was read: until it is given back whoever
//! comes next can read it again.

use super::shared::Shared;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

/// Size of `struct bpf_ringbuf_hdr` before each entry, of which the first four bytes are the length and two flags.
const HEADER: usize = 8;
/// The entry is being filled in: `BPF_RINGBUF_BUSY_BIT`.
const BUSY: u32 = 1 << 31;
/// Nobody is to read the entry: `BPF_RINGBUF_DISCARD_BIT`.
const DISCARDED: u32 = 1 << 30;

/// Size of `WEIR_MESSAGES` in bytes, a power of two and whole pages.
pub const RING: usize = 4 << 20;

/// The ring buffer. Positions are bytes since it was made.
#[derive(Debug)]
pub struct Ring {
    /// The page with the position up to which all was given back.
    consumer: Shared,
    /// The page with the position up to which entries were reserved, then the entries, twice, so that none is cut.
    producer: Shared,
    page: usize,
    next: u64,
    entry: Vec<u8>,
}

impl Ring {
    /// Maps a ring buffer of [`RING`] bytes. Reading begins at what was not given back.
    ///
    /// # Errors
    /// When the map cannot be mapped, e.g. since it is smaller.
    pub fn map(map: BorrowedFd<'_>) -> io::Result<Self> {
        // SAFETY: a question to the C library.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let page = usize::try_from(page).map_err(|_| io::Error::last_os_error())?;
        let consumer = Shared::map(map, 0, page)?;
        let producer = Shared::map_to_read(map, page, page + 2 * RING)?;
        let next = consumer.word(0).load(Ordering::Acquire);
        Ok(Self { consumer, producer, page, next, entry: Vec::new() })
    }

    /// The next entry and where it begins; none where it is not there yet.
    pub fn read(&mut self) -> Option<(u64, &[u8])> {
        loop {
            if self.next >= self.producer.word(0).load(Ordering::Acquire) {
                return None;
            }
            let at = self.page + (usize::try_from(self.next).ok()? & (RING - 1));
            let [a, b, c, d, ..] = self.producer.word(at).load(Ordering::Acquire).to_ne_bytes();
            let header = u32::from_ne_bytes([a, b, c, d]);
            if header & BUSY != 0 {
                return None;
            }
            let length = usize::try_from(header & !DISCARDED).ok()?;
            let position = self.next;
            self.next = position + u64::try_from((HEADER + length).next_multiple_of(8)).ok()?;
            if header & DISCARDED == 0 {
                self.producer.copy(at + HEADER, length, &mut self.entry);
                return Some((position, &self.entry));
            }
        }
    }

    /// Up to where entries were read.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Up to where entries were given back.
    #[must_use]
    pub fn given_back(&self) -> u64 {
        self.consumer.word(0).load(Ordering::Acquire)
    }

    /// Gives back what is before `position`, which must be where an entry begins that was read, or the next one. What was given
    /// back before stays so.
    pub fn give_back(&mut self, position: u64) {
        if position > self.given_back() && position <= self.next {
            self.consumer.word(0).store(position, Ordering::Release);
        }
    }
}
