//! Memory of mappable maps, shared with the kernel programs.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// A part of a mappable map, for as long as this lives.
#[derive(Debug)]
pub(super) struct Shared {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: it is shared memory that is only touched through atomics and volatile reads.
unsafe impl Send for Shared {}

impl Shared {
    /// Maps `length` bytes from `offset` on, a multiple of the page's size.
    ///
    /// # Errors
    /// mmap's error, e.g. `EINVAL` where the map is smaller.
    pub(super) fn map(map: BorrowedFd<'_>, offset: usize, length: usize) -> io::Result<Self> {
        Self::map_with(map, offset, length, libc::PROT_READ | libc::PROT_WRITE)
    }

    /// As [`Shared::map`], of what may only be read: its words are never stored to.
    ///
    /// # Errors
    /// mmap's error.
    pub(super) fn map_to_read(map: BorrowedFd<'_>, offset: usize, length: usize) -> io::Result<Self> {
        Self::map_with(map, offset, length, libc::PROT_READ)
    }

    fn map_with(map: BorrowedFd<'_>, offset: usize, length: usize, access: libc::c_int) -> io::Result<Self> {
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: a new mapping at an address of the kernel's choice, of memory that lives as long as it is mapped.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), length, access, libc::MAP_SHARED, map.as_raw_fd(), offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mmap returned null"))?;
        Ok(Self { start, length })
    }

    /// The word of 8 bytes at `offset`, a multiple of 8.
    ///
    /// # Panics
    /// Where that is not inside.
    pub(super) fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.length, "word {offset} of {} bytes", self.length);
        // SAFETY: inside the mapping, which lives as long as `self`, and aligned, since mappings begin at pages.
        unsafe { self.start.add(offset).cast::<AtomicU64>().as_ref() }
    }

    /// Copies out what is at `offset`, while others may write there.
    ///
    /// # Panics
    /// Where that is not inside, or not aligned.
    pub(super) fn read<T: aya::Pod>(&self, offset: usize) -> T {
        let (size, align) = (std::mem::size_of::<T>(), std::mem::align_of::<T>());
        assert!(offset.is_multiple_of(align) && offset + size <= self.length, "{offset} of {} bytes", self.length);
        // SAFETY: inside the mapping and aligned, as above; every bit pattern is a value of plain data, so that one that is
        // being written is a value, too.
        unsafe { self.start.add(offset).cast::<T>().read_volatile() }
    }

    /// Copies out the bytes at `offset` in the place of what `to` holds. Nobody may be writing there.
    ///
    /// # Panics
    /// Where they are not all inside.
    pub(super) fn copy(&self, offset: usize, length: usize, to: &mut Vec<u8>) {
        assert!(
            offset <= self.length && length <= self.length - offset,
            "{offset} + {length} of {} bytes",
            self.length
        );
        // SAFETY: inside the mapping, which lives as long as `self`; the caller says that nobody writes.
        let bytes = unsafe { std::slice::from_raw_parts(self.start.add(offset).as_ptr(), length) };
        to.clear();
        to.extend_from_slice(bytes);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: unmaps exactly what `map` mapped; what refers to it borrows from `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}
