//! What the agent may do, and gives up: capabilities it has no use for at once, what only loading needs after that, and
//! then all system calls that are none of its own.
//!
//! Capabilities are each thread's own, and threads begin with those of who starts them. So one thread is set aside before
//! there is any other: it alone keeps what loading needs, loads, and ends.

use anyhow::Context as _;
use caps::{CapSet, Capability, CapsHashSet};
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

pub mod syscalls;

pub use syscalls::Seccomp;

/// What is kept for good: new interfaces are attached to as they come, maps are read, and it is looked at other processes
/// and at container runtimes' files.
const KEPT: [Capability; 4] =
    [Capability::CAP_BPF, Capability::CAP_NET_ADMIN, Capability::CAP_SYS_PTRACE, Capability::CAP_DAC_READ_SEARCH];
/// What is kept by the thread that loads: tracing programs.
const LOADING: Capability = Capability::CAP_PERFMON;

type Job = Box<dyn FnOnce() + Send>;

/// The thread that loads, until it has; none in a process that keeps what it is given.
static LOADER: Mutex<Option<Sender<Job>>> = Mutex::new(None);
/// What [`confine`] is to do.
static FILTER: Mutex<Option<Seccomp>> = Mutex::new(None);

/// Gives up every capability that the agent has no use for, for this thread and those that it starts, and for programs
/// that they may start; what only loading needs is left to one thread of its own (see [`loading`]). To be called before
/// there is a second thread, by a process that is an agent and nothing else. What cannot be given up is kept.
pub fn reduce() {
    // As long as that is allowed.
    crate::abi::raise_locked_memory();
    // The bounding set first, since that takes a capability of its own; without it there is nothing to lose by it.
    for capability in caps::all() {
        if !KEPT.contains(&capability) {
            let _ = caps::drop(None, CapSet::Bounding, capability);
        }
    }
    let _ = caps::clear(None, CapSet::Ambient);
    let _ = caps::set(None, CapSet::Inheritable, &CapsHashSet::new());
    keep(|capability| KEPT.contains(capability) || *capability == LOADING);
    let (sender, jobs) = channel::<Job>();
    let loader = std::thread::Builder::new().name("weir-load".to_owned()).spawn(move || {
        if let Ok(job) = jobs.recv() {
            job();
        }
    });
    if loader.is_ok() {
        *LOADER.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(sender);
        keep(|capability| KEPT.contains(capability));
    }
}

fn keep(wanted: impl Fn(&Capability) -> bool) {
    let kept: CapsHashSet = held().into_iter().filter(wanted).collect();
    let _ = caps::set(None, CapSet::Effective, &kept);
    let _ = caps::set(None, CapSet::Permitted, &kept);
}

/// Does `job` with what loading needs, and gives that up for good: there is one such job in the life of a process that
/// called [`reduce`]. Elsewhere, and later, it is done as this thread may.
pub fn loading<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    let Some(loader) = LOADER.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() else { return job() };
    let (sender, result) = channel();
    let sent = loader.send(Box::new(move || {
        // Nobody else waits for it.
        let _ = sender.send(job());
    }));
    match sent.ok().and_then(|()| result.recv().ok()) {
        Some(result) => result,
        None => std::panic::resume_unwind(Box::new("the loading thread panicked")),
    }
}

/// Says what [`confine`] is to do.
pub fn filter_after_loading(filter: Seccomp) {
    *FILTER.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(filter);
}

/// Leaves all threads of this process the agent's own system calls alone, where [`filter_after_loading`] said so.
///
/// # Errors
/// When the kernel takes no filter.
pub fn confine() -> anyhow::Result<()> {
    let filter = FILTER.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    filter.map_or(Ok(()), syscalls::apply).context("seccomp")
}

/// The capabilities that this thread has, by name.
#[must_use]
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = held().iter().map(ToString::to_string).collect();
    names.sort_unstable();
    names
}

fn held() -> CapsHashSet {
    caps::read(None, CapSet::Effective).unwrap_or_default()
}
