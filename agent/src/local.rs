//! Local evidence: which pod, container and process an end of a flow is, as this node can tell by itself.
//!
//! From an interface to the network namespace at its other end, to the processes in it, to their cgroup, to the pod's
//! UID and the container. A pod's UID is the same for all of a namespace's processes; which of several containers, and
//! which of the host's processes, the sockets tell.

pub mod cgroup;
pub mod names;
pub mod processes;
pub mod sockets;

use crate::ebpf::links::{self, Link};
use names::Names;
use processes::Process;
use sockets::Owners;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use weir_flow::{Address, protocol};
use weir_schemas::raw::{DnsSample, End, Point, Sample};

#[cfg(test)]
mod tests;

/// Scans take at most one part in this many of a core.
const SHARE: u64 = 100;
/// The least time between two scans when something new is to be explained.
const SOON: Duration = Duration::from_millis(500);
/// The time between two scans when nothing is.
const CALM: Duration = Duration::from_secs(10);
/// Names of programs that only hold a pod's namespaces, where no file says so.
const HOLDERS: [&str; 2] = ["pause", "catatonit"];

/// Who an end of a flow is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// UID of the pod.
    pub pod_uid: Option<String>,
    /// The container's name, or the first digits of its id.
    pub container: Option<String>,
    /// The process's name.
    pub process: Option<String>,
}

/// What a network namespace holds.
#[derive(Clone, Debug, Default)]
pub struct Namespace {
    /// What all of its processes have in common.
    pub all: Owner,
    /// Its processes by id; empty where `all` says everything.
    pub processes: HashMap<u32, Owner>,
    /// Its sockets by process.
    pub sockets: Owners<u32>,
}

impl Namespace {
    /// Who is at `local` in a flow with `remote`.
    #[must_use]
    pub fn owner(&self, protocol: u8, local: SocketAddr, remote: SocketAddr) -> Owner {
        let holder = self.sockets.find(protocol, local, remote).and_then(|id| self.processes.get(id));
        holder.map_or_else(
            || self.all.clone(),
            |holder| Owner {
                pod_uid: holder.pod_uid.clone().or_else(|| self.all.pod_uid.clone()),
                container: holder.container.clone().or_else(|| self.all.container.clone()),
                process: holder.process.clone(),
            },
        )
    }
}

/// What is known of the node's namespaces. Pure; [`Local`] keeps it fresh.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The namespaces behind interfaces, by the interface's name.
    pub behind: HashMap<String, Namespace>,
    /// The agent's own namespace.
    pub own: Namespace,
}

impl Evidence {
    /// Who is at the end that an observation stands for; nobody where it stands for none.
    #[must_use]
    pub fn owner(
        &self,
        point: Point,
        interface: &str,
        protocol: u8,
        local: (Address, u16),
        remote: (Address, u16),
    ) -> Owner {
        let namespace = match point {
            Point::Pod => self.behind.get(interface),
            Point::Host => Some(&self.own),
            Point::Transit | Point::Underlay | Point::Capture => None,
        };
        let at = |end: (Address, u16)| SocketAddr::new(end.0.ip(), end.1);
        namespace.map(|namespace| namespace.owner(protocol, at(local), at(remote))).unwrap_or_default()
    }

    /// Names the sample's end.
    pub fn fill(&self, sample: &mut Sample) {
        let (source, destination) =
            ((sample.source, sample.source_port), (sample.destination, sample.destination_port));
        let (local, remote) = match sample.end {
            End::Source => (source, destination),
            End::Destination => (destination, source),
        };
        let owner = self.owner(sample.point, &sample.interface, sample.protocol, local, remote);
        put(owner, &mut sample.pod_uid, &mut sample.container, &mut sample.process);
    }
}

/// The kernel's word on the process, taken when the socket was made, stands where the sockets no longer say.
fn put(owner: Owner, pod_uid: &mut Option<String>, container: &mut Option<String>, process: &mut Option<String>) {
    *pod_uid = owner.pod_uid.or_else(|| pod_uid.take());
    *container = owner.container.or_else(|| container.take());
    *process = owner.process.or_else(|| process.take());
}

/// What local evidence came to, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Scans of /proc.
    pub scans: u64,
    /// Processes, sockets, files and containers beyond a limit, so far.
    pub overflow: u64,
    /// Interfaces of pods of whose other end nothing is known, now.
    pub unknown: u64,
}

/// Keeps the evidence of a node. What can be looked up without a wait is; what is scanned is scanned seldom.
#[derive(Debug)]
pub struct Local {
    proc: PathBuf,
    names: Names,
    evidence: Evidence,
    interfaces: BTreeMap<String, i32>,
    scanned: Option<u64>,
    cost: u64,
    wanted: bool,
    counts: Counts,
}

impl Local {
    /// For the node whose files are seen at `root`, normally `/`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            proc: PathBuf::from("/proc"),
            names: Names::new(root),
            evidence: Evidence::default(),
            interfaces: BTreeMap::new(),
            scanned: None,
            cost: 0,
            wanted: true,
            counts: Counts::default(),
        }
    }

    /// What it came to.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { overflow: self.counts.overflow.saturating_add(self.names.overflow()), ..self.counts }
    }

    /// Names the ends of samples, scanning before if some have no name and `clock` (ns, monotonic) says that a scan is
    /// due.
    pub fn fill(&mut self, samples: &mut [Sample], clock: impl Fn() -> u64) {
        let own = &self.evidence.own;
        self.wanted = self.wanted
            || samples.iter().any(|sample| match sample.point {
                Point::Pod => !(sample.interface.is_empty() || self.evidence.behind.contains_key(&sample.interface)),
                Point::Host => own.processes.is_empty() || (has_ports(sample.protocol) && sample.process.is_none()),
                Point::Transit | Point::Underlay | Point::Capture => false,
            });
        self.refresh(clock);
        for sample in samples {
            self.evidence.fill(sample);
        }
    }

    /// Names the client of a question where its own end was seen, by what is known already.
    pub fn fill_question(&self, sample: &mut DnsSample, client_port: u16) {
        if sample.end != End::Source {
            return;
        }
        let (client, server) = ((sample.client, client_port), (sample.server, sample.server_port));
        let owner = self.evidence.owner(sample.point, &sample.interface, sample.protocol, client, server);
        put(owner, &mut sample.pod_uid, &mut sample.container, &mut sample.process);
    }

    /// Says which interfaces there are.
    pub fn set_interfaces<'a>(&mut self, links: impl Iterator<Item = &'a Link>) {
        let now: BTreeMap<String, i32> = links.filter_map(|link| Some((link.name.clone(), link.namespace?))).collect();
        // Looked for before its first packets are read: who sends little may be gone by then.
        self.wanted |= now != self.interfaces || now.keys().any(|name| !self.evidence.behind.contains_key(name));
        self.interfaces = now;
    }

    fn refresh(&mut self, clock: impl Fn() -> u64) {
        let now = clock();
        let least = if self.wanted { SOON } else { CALM };
        let pause = u64::try_from(least.as_nanos()).unwrap_or(u64::MAX).max(self.cost.saturating_mul(SHARE));
        if self.scanned.is_some_and(|at| now.saturating_sub(at) < pause) {
            return;
        }
        self.scan();
        self.wanted = false;
        self.cost = clock().saturating_sub(now);
        self.scanned = Some(now);
    }

    fn scan(&mut self) {
        let found = processes::scan(&self.proc);
        self.counts.scans += 1;
        self.note(found.overflow);
        let own = processes::namespace(&self.proc.join("thread-self"));
        let mut by_namespace: HashMap<u64, Vec<&Process>> = HashMap::new();
        for process in &found.processes {
            if let Some(inode) = process.namespace {
                by_namespace.entry(inode).or_default().push(process);
            }
        }
        let mut numbers: HashMap<i32, u64> = HashMap::new();
        for (inode, members) in &by_namespace {
            let number = members.first().filter(|_| Some(*inode) != own).and_then(|one| links::namespace_of(one.id));
            numbers.extend(number.map(|number| (number, *inode)));
        }
        let mut evidence = Evidence::default();
        if let Some(members) = own.and_then(|inode| by_namespace.get(&inode)) {
            evidence.own = self.namespace(members, true);
        }
        let mut unknown = 0;
        for (name, number) in self.interfaces.clone() {
            match numbers.get(&number).and_then(|inode| by_namespace.get(inode)) {
                Some(members) => {
                    let namespace = self.namespace(members, false);
                    evidence.behind.insert(name, namespace);
                }
                None => {
                    unknown += 1;
                    // A pod that is ending has no processes any more, and its last packets are still its own.
                    if let Some(before) = self.evidence.behind.remove(&name) {
                        evidence.behind.insert(name, before);
                    }
                }
            }
        }
        self.counts.unknown = unknown;
        let present: HashSet<&str> = found.processes.iter().filter_map(|p| p.place.container.as_deref()).collect();
        self.names.keep(&present);
        self.evidence = evidence;
    }

    fn note(&mut self, more: usize) {
        self.counts.overflow = self.counts.overflow.saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
    }

    fn namespace(&mut self, members: &[&Process], own: bool) -> Namespace {
        let mut owners = HashMap::with_capacity(members.len());
        for process in members {
            let container = process.place.container.as_deref().map(|id| (id, self.names.container(id)));
            let holds = container.as_ref().is_some_and(|(_, c)| c.sandbox) || HOLDERS.contains(&process.name.as_str());
            let owner = Owner {
                pod_uid: process
                    .place
                    .pod_uid
                    .clone()
                    .or_else(|| container.as_ref().and_then(|(_, found)| found.pod_uid.clone())),
                container: container.filter(|_| !holds).map(|(id, found)| found.label(id)),
                process: own.then(|| process.name.clone()),
            };
            owners.insert(process.id, owner);
        }
        let all = if own { Owner::default() } else { common(&owners.values().collect::<Vec<_>>()) };
        let containers: HashSet<&str> = owners.values().filter_map(|owner| owner.container.as_deref()).collect();
        if !own && containers.len() < 2 {
            return Namespace { all, ..Namespace::default() };
        }
        // Through a thread of the namespace: another's file table shows its own sockets.
        let folder = if own { "thread-self".to_owned() } else { members.first().map_or(0, |one| one.id).to_string() };
        let (sockets, overflow) = processes::owners(&self.proc, &self.proc.join(folder).join("net"), members);
        self.note(overflow);
        Namespace { all, processes: owners, sockets }
    }
}

/// Whether packets of a protocol belong to sockets that /proc lists: others never have a process.
fn has_ports(number: u8) -> bool {
    matches!(number, protocol::TCP | protocol::UDP)
}

/// What all who say something say alike.
fn common(owners: &[&Owner]) -> Owner {
    let only = |field: fn(&Owner) -> Option<&String>| {
        let mut said = owners.iter().filter_map(|owner| field(owner));
        let first = said.next()?;
        said.all(|other| other == first).then(|| first.clone())
    };
    Owner {
        pod_uid: only(|owner| owner.pod_uid.as_ref()),
        container: only(|owner| owner.container.as_ref()),
        process: None,
    }
}
