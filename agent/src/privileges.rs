//! What the agent may do, and gives up.

use caps::{CapSet, Capability, CapsHashSet};

/// What it keeps of what it is given: the two of the base capture, tracepoints, and a look at other processes and at
/// container runtimes' files.
const KEPT: [Capability; 5] = [
    Capability::CAP_BPF,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_PERFMON,
    Capability::CAP_SYS_PTRACE,
    Capability::CAP_DAC_READ_SEARCH,
];

/// Gives up every capability that the agent has no use for, for this thread and those that it starts, and for programs
/// that they may start. To be called before there is a second thread. What cannot be given up is kept.
pub fn reduce() {
    let kept: CapsHashSet = held().into_iter().filter(|capability| KEPT.contains(capability)).collect();
    // The bounding set first, since that takes a capability of its own; without it there is nothing to lose by it.
    for capability in caps::all() {
        if !KEPT.contains(&capability) {
            let _ = caps::drop(None, CapSet::Bounding, capability);
        }
    }
    let _ = caps::clear(None, CapSet::Ambient);
    let _ = caps::set(None, CapSet::Inheritable, &CapsHashSet::new());
    let _ = caps::set(None, CapSet::Effective, &kept);
    let _ = caps::set(None, CapSet::Permitted, &kept);
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
