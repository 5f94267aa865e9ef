//! What outlives the process: maps and links pinned in a BPF file system, so that a kill costs no packet.

use crate::abi;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// The maps that a successor takes over; the others are made of settings, or are scratch.
const MAPS: [&str; 12] = [
    "WEIR_CONFIG",
    "WEIR_FLOWS_0",
    "WEIR_FLOWS_1",
    "WEIR_DROPS_0",
    "WEIR_DROPS_1",
    "WEIR_TCP_0",
    "WEIR_TCP_1",
    "WEIR_COUNTS",
    "WEIR_FILL",
    "WEIR_CONNECTIONS",
    "WEIR_PROCESSES",
    "WEIR_LEDGER",
];

/// What is on its way out, so that one that is half removed is never taken over.
const GONE: &str = "gone-";

/// A folder of pins, for one agent at a time.
#[derive(Debug)]
pub(super) struct Pins {
    folder: PathBuf,
    taken_over: bool,
    swept: bool,
    /// Held as long as the process lives.
    _lock: File,
}

impl Pins {
    /// The pins under `root` of this version of the kernel ABI and of maps of these sizes. What is there of another version
    /// or size is removed: it cannot be read.
    ///
    /// # Errors
    /// When another agent has them; when `root` is not in a BPF file system, or may not be written.
    pub(super) fn open(root: &Path, flows: u32, connections: u32) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        let lock = File::open(root)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another agent has it: give each its own --pin-folder"),
            TryLockError::Error(error) => error,
        })?;
        let name = name(abi::VERSION, flows, connections);
        for entry in std::fs::read_dir(root)? {
            let entry = entry?;
            let found = entry.file_name();
            let found = found.to_string_lossy();
            if found != name && is_ours(&found) {
                remove(&entry.path())?;
                if !found.starts_with(GONE) {
                    tracing::warn!(
                        folder = %entry.path().display(),
                        "pins of another version or size removed: what they had counted is lost"
                    );
                }
            }
        }
        let folder = root.join(name);
        let taken_over = folder.join("WEIR_LEDGER").exists();
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder, taken_over, swept: false, _lock: lock })
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

    /// The first time removes the links of interfaces that are not `watched`.
    pub(super) fn sweep(&mut self, watched: impl Fn(u32) -> bool) {
        if std::mem::replace(&mut self.swept, true) {
            return;
        }
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let index = name.to_string_lossy().strip_prefix("link-").and_then(|rest| {
                let (index, _) = rest.split_once('-')?;
                index.parse::<u32>().ok()
            });
            if index.is_some_and(|index| !watched(index)) {
                // It may be gone already: that is what is wanted.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

impl Drop for Pins {
    /// An agent that ends leaves nothing behind; only one that is killed does.
    fn drop(&mut self) {
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let gone = self.folder.with_file_name(format!("{GONE}{name}"));
        if let Err(error) = std::fs::rename(&self.folder, &gone).and_then(|()| remove(&gone)) {
            tracing::warn!(%error, folder = %self.folder.display(), "pins not removed: remove them by hand");
        }
    }
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
