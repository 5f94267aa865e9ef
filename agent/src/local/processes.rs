//! The node's processes, from /proc: in which network namespace, pod and container each is.

use super::cgroup::{self, Place};
use super::sockets::{self, Owners};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// The most processes that are looked at in one scan.
const LIMIT: usize = 65_536;
/// The most open files that are looked at in one scan of a namespace's sockets.
const FILES: usize = 1 << 18;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id, as the agent sees it.
    pub id: u32,
    /// Its own name, which its threads may not bear.
    pub name: String,
    /// Inode of its network namespace; absent where the agent may not look.
    pub namespace: Option<u64>,
    /// Its pod and container.
    pub place: Place,
}

/// What a scan found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The processes.
    pub processes: Vec<Process>,
    /// How many were beyond the limit.
    pub overflow: usize,
}

/// All processes under `proc`.
#[must_use]
pub fn scan(proc: &Path) -> Scan {
    let mut found = Scan::default();
    for entry in std::fs::read_dir(proc).into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if found.processes.len() == LIMIT {
            found.overflow += 1;
            continue;
        }
        // A process that ends meanwhile is none.
        found.processes.extend(read(&entry.path(), id));
    }
    found
}

fn read(folder: &Path, id: u32) -> Option<Process> {
    let name = std::fs::read_to_string(folder.join("comm")).ok()?;
    let place = cgroup::of_process(&std::fs::read_to_string(folder.join("cgroup")).unwrap_or_default());
    Some(Process { id, name: name.trim_end_matches('\n').to_owned(), namespace: namespace(folder), place })
}

/// The network namespace of the process whose folder in /proc this is.
#[must_use]
pub fn namespace(folder: &Path) -> Option<u64> {
    let link = std::fs::read_link(folder.join("ns/net")).ok()?;
    link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// The sockets of a namespace by the processes in it; `net` is a folder such as `/proc/<pid>/net`. Returns how many
/// sockets and files were beyond the limits.
pub fn owners(proc: &Path, net: &Path, processes: &[&Process]) -> (Owners<u32>, usize) {
    let (mut all, mut overflow) = (Vec::new(), 0);
    for (name, protocol) in sockets::FILES {
        let text = std::fs::read_to_string(net.join(name)).unwrap_or_default();
        let (found, more) = sockets::parse(&text, protocol);
        all.extend(found);
        overflow += more;
    }
    let mut holders: HashMap<u64, Option<u32>> = all.iter().map(|(_, inode)| (*inode, None)).collect();
    let mut files = 0;
    for process in processes {
        let folder: PathBuf = proc.join(process.id.to_string()).join("fd");
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if files == FILES {
                overflow += 1;
                continue;
            }
            files += 1;
            let inode = std::fs::read_link(entry.path()).ok().and_then(|link| sockets::inode(link.to_str()?));
            if let Some(holder) = inode.and_then(|inode| holders.get_mut(&inode)) {
                // Of several that share a socket the first one made it, most likely.
                *holder = Some(holder.map_or(process.id, |earlier| earlier.min(process.id)));
            }
        }
    }
    let mut owners = Owners::default();
    for (socket, inode) in all {
        if let Some(id) = holders.get(&inode).copied().flatten() {
            owners.add(socket, id);
        }
    }
    (owners, overflow)
}
