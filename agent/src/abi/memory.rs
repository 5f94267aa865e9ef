//! How much freed memory the C library keeps. A tick takes tens of MB for a moment, and reading the kernel's type
//! information at the start as much: kept for the next time, that would be most of what an agent has.

use std::sync::atomic::{AtomicBool, Ordering};

/// Allocations from here on are the kernel's own, and go back to it when they are freed.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 256 << 10;
/// Areas from which threads take smaller ones: each keeps what its threads freed.
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 2;

static LITTLE: AtomicBool = AtomicBool::new(false);

/// From now on freed memory goes back to the kernel: what is large at once, the rest by [`give_back`]. For a process that is
/// an agent and nothing else, at its start; with other C libraries than glibc it changes nothing.
pub fn keep_little() {
    LITTLE.store(true, Ordering::Relaxed);
    #[cfg(target_env = "gnu")]
    // SAFETY: these only change parameters of the allocator, at a time when there is one thread.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}

/// Gives the kernel what is free, where [`keep_little`] was called.
pub fn give_back() {
    if !LITTLE.load(Ordering::Relaxed) {
        return;
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes the allocator's own locks, and touches only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
