//! For each feature: whether this kernel and these capabilities allow it, found by trying.

use super::capture::{Capture, DROPS, Options, PROCESSES, RETRANSMITS, ROUND_TRIPS, SHOWN, TABLE, chain};
use super::conntrack::Conntrack;
use super::links::Selection;
use crate::privileges;

/// A feature, and whether it works here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// What it gives.
    pub name: &'static str,
    /// What it needs.
    pub needs: &'static str,
    /// Why it does not work; nothing where it does.
    pub problem: Option<String>,
}

/// Tries every feature, without attaching anything to an interface.
#[must_use]
pub fn features() -> Vec<Feature> {
    let selection = Selection { include: Vec::new(), exclude: vec!["*".to_owned()] };
    let loaded = Capture::load(Options { dns_ports: crate::dns::PORTS.to_vec(), ..Options::new(selection, 64, 64) });
    let base = loaded.as_ref().err().map(|error| chain(error));
    let missing = |what: &str| match &loaded {
        Ok(capture) => capture.missing().iter().find(|missing| missing.what == what).map(|missing| missing.why.clone()),
        Err(_) => base.clone(),
    };
    let feature = |name, needs, problem| Feature { name, needs, problem };
    vec![
        feature("connections of the host and its pods", "CAP_BPF, CAP_NET_ADMIN, Linux 5.10", base.clone()),
        feature(TABLE, "as connections, Linux 5.13", missing(TABLE)),
        feature("DNS questions and answers", "as connections", base.clone()),
        feature(DROPS, "CAP_PERFMON, kernel BTF, Linux 5.17", missing(DROPS)),
        feature(ROUND_TRIPS, "CAP_PERFMON, kernel BTF", missing(ROUND_TRIPS)),
        feature(RETRANSMITS, "CAP_PERFMON, kernel BTF", missing(RETRANSMITS)),
        feature(PROCESSES, "as connections, a mounted cgroup2", missing(PROCESSES)),
        feature("both sides of translated connections", "CAP_NET_ADMIN, nf_conntrack_netlink", translation()),
        feature(SHOWN, "CAP_PERFMON, kernel BTF with nf_conn", missing(SHOWN)),
        feature(
            "nothing is missed between one agent and the next",
            "--pin-folder in a BPF file system, Linux 6.6",
            restarts(),
        ),
        feature("pods and containers behind interfaces", "CAP_SYS_PTRACE, the node's /proc (hostPID)", processes()),
    ]
}

/// Tries every feature and says in lines of text what came of it.
#[must_use]
pub fn report() -> Vec<String> {
    lines(&features())
}

/// The features as lines of text, and the capabilities that this process has kept.
#[must_use]
pub fn lines(features: &[Feature]) -> Vec<String> {
    let line = |feature: &Feature| match &feature.problem {
        None => format!("yes  {} (needs {})", feature.name, feature.needs),
        Some(problem) => format!("no   {}: {problem}; needs {}", feature.name, feature.needs),
    };
    let capabilities = privileges::names();
    let held = if capabilities.is_empty() { "none".to_owned() } else { capabilities.join(", ") };
    features.iter().map(line).chain([format!("capabilities: {held}")]).collect()
}

fn translation() -> Option<String> {
    if let Err(error) = Conntrack::follow(1) {
        return Some(error.to_string());
    }
    const SWITCH: &str = "/proc/sys/net/netfilter/nf_conntrack_events";
    let off = std::fs::read_to_string(SWITCH).is_ok_and(|value| value.trim() == "0");
    off.then(|| format!("{SWITCH} is 0: the kernel tells of no connections"))
}

/// Whether links can be pinned at all.
fn restarts() -> Option<String> {
    if !aya::util::KernelVersion::current().is_ok_and(|version| version >= aya::util::KernelVersion::new(6, 6, 0)) {
        return Some("this kernel has no TCX links, which can be pinned".to_owned());
    }
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mounted = mounts.lines().any(|line| line.split(' ').nth(2) == Some("bpf"));
    (!mounted).then(|| "no BPF file system is mounted: `mount -t bpf bpf /sys/fs/bpf`".to_owned())
}

/// Whether most processes show their network namespace: some are kept from everybody.
fn processes() -> Option<String> {
    let (mut all, mut shown) = (0_u32, 0_u32);
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
            all += 1;
            shown += u32::from(std::fs::read_link(entry.path().join("ns/net")).is_ok());
        }
    }
    (shown <= all / 2).then(|| format!("{shown} of {all} processes show their network namespace"))
}
