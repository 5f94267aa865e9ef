//! System calls on maps, and the clocks.

use super::shared::Shared;
use aya::Pod;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
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

/// What the kernel programs are told while they run, shared with them by mmap: `struct weir_config`.
#[derive(Debug)]
pub struct Config {
    shared: Shared,
}

impl Config {
    /// Words of the seed.
    pub const SEED: usize = 12;
    /// Where the seed begins.
    const SEED_AT: usize = 8;

    /// Maps the configuration map, which holds one entry and is mappable.
    ///
    /// # Errors
    /// mmap's error.
    pub fn map(map: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self { shared: Shared::map(map, 0, Self::SEED_AT + Self::SEED * 4)? })
    }

    fn boundary(&self) -> &AtomicU64 {
        self.shared.word(0)
    }

    /// Sets the next boundary, ns of the monotonic clock, and the buffer (0 or 1) in use until then.
    pub fn set(&self, boundary: u64, buffer: usize) {
        let bit = u64::from(buffer % 2 == 1);
        self.boundary().store((boundary & !1) | bit, Ordering::Release);
    }

    /// The buffer that the programs use at `now`, ns of the monotonic clock.
    #[must_use]
    pub fn in_use(&self, now: u64) -> usize {
        let word = self.boundary().load(Ordering::Acquire);
        usize::from((now >= word & !1) != (word & 1 == 1))
    }

    /// Sets the seed of the table's hash, unless a predecessor has: its programs go on until they are replaced, and both
    /// must look for a flow in the same place.
    pub fn seed(&self, seed: [u64; Self::SEED / 2]) {
        let words: Vec<&AtomicU64> = (0..seed.len()).map(|word| self.shared.word(Self::SEED_AT + word * 8)).collect();
        if words.iter().all(|word| word.load(Ordering::Relaxed) == 0) {
            for (word, value) in words.iter().zip(seed) {
                word.store(value, Ordering::Release);
            }
        }
    }
}

/// Raises the limit of locked memory, as which Linux counts maps before 5.11. Where that is not allowed, or not needed, what is larger
/// than the limit is refused by name.
pub fn raise_locked_memory() {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the limit lives through the call.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
}

/// Random numbers that nobody else can know.
///
/// # Errors
/// The system call's error.
pub fn random<const N: usize>() -> io::Result<[u64; N]> {
    let mut numbers = [0_u64; N];
    let length = std::mem::size_of_val(&numbers);
    // SAFETY: the buffer holds `length` bytes, and any bytes are numbers.
    let read = unsafe { libc::getrandom(numbers.as_mut_ptr().cast(), length, 0) };
    match usize::try_from(read) {
        Ok(read) if read == length => Ok(numbers),
        Ok(_) => Err(io::Error::other("fewer random bytes than asked for")),
        Err(_) => Err(io::Error::last_os_error()),
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
