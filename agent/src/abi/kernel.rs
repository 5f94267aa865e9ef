//! System calls on maps, and the clocks.

use aya::Pod;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

const BPF_MAP_LOOKUP_AND_DELETE_BATCH: libc::c_int = 25;

/// `union bpf_attr`, the `batch` arm.
#[repr(C)]
#[derive(Default)]
struct BatchAttributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// Empties a hash map and hands each entry to `each`; returns how many there were. `chunk` entries go in one call.
///
/// # Errors
/// The system call's error, e.g. `EINVAL` on a kernel before 5.6.
pub fn drain_map<K: Pod + Default, V: Pod + Default>(
    map: BorrowedFd<'_>,
    chunk: usize,
    mut each: impl FnMut(&K, &V),
) -> io::Result<usize> {
    let mut chunk = chunk.max(64);
    let mut keys = vec![K::default(); chunk];
    let mut values = vec![V::default(); chunk];
    let (mut cursor_in, mut cursor_out) = (0_u64, 0_u64);
    let (mut first, mut total) = (true, 0);
    loop {
        let mut attributes = BatchAttributes {
            in_batch: if first { 0 } else { (&raw mut cursor_in).expose_provenance() as u64 },
            out_batch: (&raw mut cursor_out).expose_provenance() as u64,
            keys: keys.as_mut_ptr().expose_provenance() as u64,
            values: values.as_mut_ptr().expose_provenance() as u64,
            count: u32::try_from(chunk).unwrap_or(u32::MAX),
            map: u32::try_from(map.as_raw_fd()).map_err(io::Error::other)?,
            ..BatchAttributes::default()
        };
        // SAFETY: the attributes live through the call; `keys` and `values` hold `chunk` elements of the map's key and
        // value type (both plain data of the map's sizes), and the cursors hold the 4 bytes that a hash map uses.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_MAP_LOOKUP_AND_DELETE_BATCH,
                &raw mut attributes,
                std::mem::size_of::<BatchAttributes>(),
            )
        };
        let error = if result < 0 { io::Error::last_os_error().raw_os_error() } else { None };
        match error {
            None | Some(libc::ENOENT) => {}
            Some(libc::EINTR | libc::EAGAIN) => continue,
            // One bucket holds more than a chunk: nothing was taken.
            Some(libc::ENOSPC) => {
                chunk *= 2;
                keys.resize(chunk, K::default());
                values.resize(chunk, V::default());
                continue;
            }
            Some(code) => return Err(io::Error::from_raw_os_error(code)),
        }
        let count = usize::try_from(attributes.count).unwrap_or(0).min(chunk);
        for (key, value) in keys.iter().zip(&values).take(count) {
            each(key, value);
        }
        total += count;
        if error.is_some() {
            return Ok(total);
        }
        cursor_in = cursor_out;
        first = false;
    }
}

/// The word that tells the kernel programs which buffer a tick goes to, shared with them by mmap.
#[derive(Debug)]
pub struct Boundary {
    page: NonNull<AtomicU64>,
}

const PAGE: usize = 4096;

// SAFETY: the page is shared memory that is only touched through an atomic.
unsafe impl Send for Boundary {}

impl Boundary {
    /// Maps the configuration map, which holds one entry and is mappable.
    ///
    /// # Errors
    /// mmap's error.
    pub fn map(map: BorrowedFd<'_>) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice; the map has at least one page behind it.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(page.cast()).map(|page| Self { page }).ok_or_else(|| io::Error::other("mmap returned null"))
    }

    /// Sets the next boundary, ns of the monotonic clock, and the buffer (0 or 1) in use until then.
    pub fn set(&self, boundary: u64, buffer: usize) {
        let bit = u64::from(buffer % 2 == 1);
        // SAFETY: the mapping lives as long as `self`, is aligned to a page and holds at least 8 bytes.
        unsafe { self.page.as_ref() }.store((boundary & !1) | bit, Ordering::Release);
    }

    /// The buffer that the programs use at `now`, ns of the monotonic clock.
    #[must_use]
    pub fn in_use(&self, now: u64) -> usize {
        // SAFETY: as in `set`.
        let word = unsafe { self.page.as_ref() }.load(Ordering::Acquire);
        usize::from((now >= word & !1) != (word & 1 == 1))
    }
}

impl Drop for Boundary {
    fn drop(&mut self) {
        // SAFETY: unmaps exactly what `map` mapped; nothing else refers to it.
        unsafe { libc::munmap(self.page.as_ptr().cast(), PAGE) };
    }
}

fn clock(id: libc::clockid_t) -> i128 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec to write to; both clocks in use exist on every Linux.
    unsafe { libc::clock_gettime(id, &raw mut time) };
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

/// The monotonic clock, ns; the one that the kernel programs read.
#[must_use]
pub fn monotonic() -> u64 {
    u64::try_from(clock(libc::CLOCK_MONOTONIC)).unwrap_or(0)
}

/// Wall clock minus monotonic clock, ns: add it to a kernel time to get a time since the epoch. The narrowest of a few
/// readings is taken, so that being interrupted between the two clocks does not show.
#[must_use]
pub fn wall_offset() -> i128 {
    let mut best = (i128::MAX, 0);
    for _ in 0..5 {
        let before = clock(libc::CLOCK_MONOTONIC);
        let wall = clock(libc::CLOCK_REALTIME);
        let after = clock(libc::CLOCK_MONOTONIC);
        if after - before < best.0 {
            best = (after - before, wall - (before + after) / 2);
        }
    }
    best.1
}
