//! What outlives the process: maps and links pinned in a BPF file system, so that neither a kill nor an orderly stop costs a
//! packet.

use super::ledger;
use crate::abi;
use aya::maps::MapData;
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// The maps that a successor takes over; the others are made of settings, or are scratch.
const MAPS: [&str; 19] = [
    "WEIR_CONFIG",
    "WEIR_FLOWS_0",
    "WEIR_FLOWS_1",
    TABLE,
    "WEIR_OCCUPIED",
    "WEIR_DROPS_0",
    "WEIR_DROPS_1",
    "WEIR_TCP_0",
    "WEIR_TCP_1",
    "WEIR_COUNTS",
    "WEIR_FILL",
    "WEIR_CONNECTIONS",
    "WEIR_TRANSLATIONS",
    "WEIR_MESSAGES",
    "WEIR_PROCESSES",
    "WEIR_LEDGER",
    "WEIR_AT_DROP",
    "WEIR_AT_ROUND_TRIP",
    "WEIR_AT_RETRANSMIT",
];

/// Its size is not in the folder's name.
const TABLE: &str = "WEIR_TABLE";

/// What is on its way out, so that one that is half removed is never taken over.
const GONE: &str = "gone-";

/// How the file of a tracepoint's link begins, before the program's name.
const TRACE: &str = "trace-";

/// How often it is looked whether a predecessor has ended.
const NAP: Duration = Duration::from_millis(50);

/// Of what sizes maps are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// The most flows.
    pub(super) flows: u32,
    /// The most connections.
    pub(super) connections: u32,
    /// Slots of each buffer of the table of flows.
    pub(super) slots: u32,
}

/// A folder of pins, for one agent at a time. Its end removes nothing: that is a successor's to take over, or for
/// [`detach`].
#[derive(Debug)]
pub(super) struct Pins {
    folder: PathBuf,
    taken_over: bool,
    swept: bool,
    /// Held as long as the process may count or publish.
    lock: Arc<File>,
}

impl Pins {
    /// The pins under `root` of this version of the kernel ABI and of maps of these sizes. What is there of another version
    /// or size is removed: it cannot be read. A predecessor that publishes its last ticks is waited for as long as
    /// `patience`. Blocks its thread.
    ///
    /// # Errors
    /// When another agent has them; when `root` is not in a BPF file system, or may not be written.
    pub(super) fn open(root: &Path, sizes: Sizes, patience: Duration) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        let lock = lock(root, patience)?;
        let name = name(abi::VERSION, sizes.flows, sizes.connections);
        for entry in std::fs::read_dir(root)? {
            let entry = entry?;
            let found = entry.file_name();
            let found = found.to_string_lossy();
            let fits = found == name && table_fits(&entry.path(), sizes.slots);
            if !fits && is_ours(&found) {
                let unpublished = unpublished(&entry.path(), &found).unwrap_or_default();
                remove(&entry.path())?;
                if !found.starts_with(GONE) {
                    tracing::warn!(
                        folder = %entry.path().display(),
                        packets = unpublished.packets,
                        "pins of another version or size removed: what they had counted is lost"
                    );
                }
            }
        }
        let folder = root.join(name);
        let taken_over = folder.join("WEIR_LEDGER").exists();
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder, taken_over, swept: false, lock: Arc::new(lock) })
    }

    /// For whoever uses the pins beyond this.
    pub(super) fn lock(&self) -> Arc<File> {
        Arc::clone(&self.lock)
    }

    /// Where all of it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Each map to be pinned, and where.
    pub(super) fn maps(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
        MAPS.iter().map(|name| (*name, self.folder.join(name)))
    }

    /// Whether there was a predecessor.
    pub(super) fn taken_over(&self) -> bool {
        self.taken_over
    }

    /// Where the link of a program at an interface is pinned.
    pub(super) fn link(&self, index: u32, program: &str) -> PathBuf {
        self.folder.join(format!("link-{index}-{program}"))
    }

    /// Where the link of a program at a tracepoint is pinned.
    pub(super) fn trace(&self, program: &str) -> PathBuf {
        self.folder.join(format!("{TRACE}{program}"))
    }

    /// The first time removes the links of interfaces that are not `watched`.
    pub(super) fn sweep(&mut self, watched: impl Fn(u32) -> bool) {
        if std::mem::replace(&mut self.swept, true) {
            return;
        }
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if link(&name.to_string_lossy()).is_some_and(|(index, _)| !watched(index)) {
                // It may be gone already: that is what is wanted.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// Detaches and removes all that agents pinned under `root`, and says what that was: a line each. `interfaces` are the
/// node's by index, for their names.
///
/// # Errors
/// When an agent runs there; when `root` may not be read or written.
pub fn detach(root: &Path, interfaces: &BTreeMap<u32, String>) -> io::Result<Vec<String>> {
    let mut said = Vec::new();
    if root.exists() {
        let _lock = lock(root, Duration::ZERO)?;
        for entry in std::fs::read_dir(root)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if is_ours(&name) {
                detach_folder(&entry.path(), &name, interfaces, &mut said)?;
            }
        }
        // Others' pins may be there, too.
        let _ = std::fs::remove_dir(root);
    }
    if said.is_empty() {
        said.push(format!("nothing of an agent is pinned in {}", root.display()));
    }
    Ok(said)
}

fn detach_folder(
    folder: &Path,
    name: &str,
    interfaces: &BTreeMap<u32, String>,
    said: &mut Vec<String>,
) -> io::Result<()> {
    let mut links = Vec::new();
    let mut maps = 0_u32;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let file = entry.file_name();
        let file = file.to_string_lossy();
        if let Some(program) = file.strip_prefix(TRACE) {
            std::fs::remove_file(entry.path())?;
            said.push(format!("detached {program} from its tracepoint"));
        } else if let Some((index, program)) = link(&file) {
            links.push((index, program.to_owned(), entry.path()));
        } else {
            maps += 1;
        }
    }
    links.sort_unstable();
    for (index, program, path) in links {
        std::fs::remove_file(path)?;
        let interface = interfaces.get(&index).map_or("a nameless interface", String::as_str);
        said.push(format!("detached {program} from {interface} ({index})"));
    }
    // Once nothing counts any more.
    let unpublished = unpublished(folder, name);
    let gone = folder.with_file_name(format!("{GONE}{name}"));
    if name.starts_with(GONE) {
        remove(folder)?;
    } else {
        std::fs::rename(folder, &gone)?;
        remove(&gone)?;
    }
    said.push(format!("removed {maps} maps of {}", folder.display()));
    if let Some(count) = unpublished {
        said.push(format!("given up: {} packets, {} bytes that no agent published", count.packets, count.bytes));
    }
    Ok(())
}

/// What was counted and is not published; nothing where that cannot be read, since another version pinned it.
fn unpublished(folder: &Path, name: &str) -> Option<abi::Count> {
    name.starts_with(&format!("v{}-", abi::VERSION)).then(|| ledger::unpublished(folder).ok()).flatten()
}

/// The folder's lock, waited for as long as `patience`.
fn lock(root: &Path, patience: Duration) -> io::Result<File> {
    let file = File::open(root)?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if begun.elapsed() < patience => std::thread::sleep(NAP),
            Err(TryLockError::WouldBlock) => {
                let why = "another agent has it: end that one first, or give each its own --pin-folder";
                return Err(io::Error::other(why));
            }
        }
    }
}

/// The interface's index and the program of a link, by its file's name.
fn link(file: &str) -> Option<(u32, &str)> {
    let (index, program) = file.strip_prefix("link-")?.split_once('-')?;
    Some((index.parse().ok()?, program))
}

/// Whether a folder is, or would be, in a BPF file system.
///
/// # Errors
/// When it is not, with what to do.
pub(super) fn on_bpffs(folder: &Path) -> io::Result<()> {
    let mounts = std::fs::read_to_string("/proc/mounts")?;
    match file_system(&mounts, folder) {
        Some("bpf") => Ok(()),
        _ => Err(io::Error::other("not in a BPF file system: mount one with `mount -t bpf bpf /sys/fs/bpf`")),
    }
}

/// The type of the file system that a path is in, by `/proc/mounts`.
fn file_system<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let mounted = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((Path::new(fields.next()?), fields.next()?))
    });
    // Of those at one place the last one shows.
    mounted
        .filter(|(place, _)| path.starts_with(place))
        .max_by_key(|(place, _)| place.components().count())
        .map(|(_, kind)| kind)
}

/// Whether the table that is pinned in a folder, if one is, has so many slots.
fn table_fits(folder: &Path, slots: u32) -> bool {
    let path = folder.join(TABLE);
    let entries = || MapData::from_pin(&path).and_then(|map| map.info()).map(|info| info.max_entries());
    !path.exists() || entries().is_ok_and(|entries| entries == abi::Table::entries(slots).0)
}

fn name(version: u32, flows: u32, connections: u32) -> String {
    format!("v{version}-{flows}-{connections}")
}

/// Whether a folder is an agent's: nothing else under the root is touched.
fn is_ours(name: &str) -> bool {
    let name = name.strip_prefix(GONE).unwrap_or(name);
    let Some(numbers) = name.strip_prefix('v') else { return false };
    let parts: Vec<&str> = numbers.split('-').collect();
    parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok())
}

fn remove(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        std::fs::remove_file(entry?.path())?;
    }
    std::fs::remove_dir(folder)
}
