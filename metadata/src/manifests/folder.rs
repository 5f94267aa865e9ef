//! A folder of manifests, scanned again and again.

use super::{Contents, ManifestError, Shown, Written, parse, show, written};
use crate::keep::Keep;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use thiserror::Error;
use weir_flow::Millis;

/// The most files in a folder.
const FILES: usize = 10_000;
/// The largest file, bytes.
const FILE_BYTES: u64 = 512 << 20;
/// How deep folders are followed.
const DEPTH: usize = 8;
/// A file that was changed this recently is read again, because its time may not show a further change.
const YOUNG: Duration = Duration::from_secs(5);

/// Why a folder cannot be used.
#[derive(Debug, Error)]
pub enum FolderError {
    /// The folder or a file in it cannot be read.
    #[error("{path}: {cause}; give --manifests a folder of .yaml, .yml or .json files that this process may read")]
    Unreadable {
        /// The path.
        path: String,
        /// What the system says.
        cause: std::io::Error,
    },
    /// Too much.
    #[error("{path}: {what}")]
    TooMuch {
        /// The path.
        path: String,
        /// What exceeds which limit.
        what: String,
    },
    /// A file is no manifest.
    #[error("{0}; correct the file or take it out of the folder")]
    Manifest(#[from] ManifestError),
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
struct Stamp {
    modified: SystemTime,
    length: u64,
}

#[derive(Debug)]
struct Known {
    stamp: Stamp,
    /// Whether the file was still young when it was read.
    young: bool,
    contents: Contents,
}

/// What a scan found.
#[derive(Debug, Default)]
pub struct Scan {
    /// Whether anything changed since the last scan.
    pub changed: bool,
    /// Files whose present text is no manifest; their last good contents still count.
    pub invalid: Vec<ManifestError>,
}

/// A folder of manifests and the last good contents of each of its files.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    files: BTreeMap<PathBuf, Known>,
    scanned: bool,
}

impl Folder {
    /// A folder that has not been scanned yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), files: BTreeMap::new(), scanned: false }
    }

    /// Reads what changed. The first scan refuses a file that is no manifest; later ones keep its last good contents.
    ///
    /// # Errors
    /// When the folder or a file cannot be read; nothing is forgotten then.
    pub fn scan(&mut self, now: SystemTime) -> Result<Scan, FolderError> {
        let mut found = BTreeMap::new();
        list(&self.path, 0, &mut found)?;
        let mut scan = Scan::default();
        let before = self.files.len();
        self.files.retain(|path, _| found.contains_key(path));
        scan.changed |= self.files.len() != before || !self.scanned;
        for (path, stamp) in found {
            if self.files.get(&path).is_some_and(|known| known.stamp == stamp && !known.young) {
                continue;
            }
            let young = now.duration_since(stamp.modified).is_ok_and(|age| age < YOUNG);
            match read(&path) {
                Ok(contents) => {
                    scan.changed |= self.files.get(&path).is_none_or(|known| known.stamp != stamp) || young;
                    self.files.insert(path, Known { stamp, young, contents });
                }
                Err(FolderError::Manifest(error)) if self.scanned => scan.invalid.push(error),
                Err(error) => return Err(error),
            }
        }
        self.scanned = true;
        Ok(scan)
    }

    /// What the files show together, in the order of their paths, and as much of it as is kept.
    #[must_use]
    pub fn show(&self, keep: &Keep, arrival: Millis) -> Shown {
        show(self.files.values().map(|known| &known.contents), keep, arrival)
    }

    /// How many files there are.
    #[must_use]
    pub fn files(&self) -> usize {
        self.files.len()
    }
}

fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> FolderError {
    let path = path.display().to_string();
    move |cause| FolderError::Unreadable { path, cause }
}

fn list(folder: &Path, depth: usize, found: &mut BTreeMap<PathBuf, Stamp>) -> Result<(), FolderError> {
    let too_much = |what: String| FolderError::TooMuch { path: folder.display().to_string(), what };
    if depth > DEPTH {
        return Err(too_much(format!("folders more than {DEPTH} deep")));
    }
    for entry in std::fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        // Hidden entries are editors' and those by which a mounted ConfigMap is swapped.
        if path.file_name().and_then(|name| name.to_str()).is_none_or(|name| name.starts_with('.')) {
            continue;
        }
        let Ok(meta) = std::fs::metadata(&path) else { continue };
        if meta.is_dir() {
            list(&path, depth + 1, found)?;
            continue;
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        if !matches!(extension, Some("yaml" | "yml" | "json")) {
            continue;
        }
        if meta.len() > FILE_BYTES {
            return Err(too_much(format!("{} is larger than {FILE_BYTES} bytes", path.display())));
        }
        let modified = meta.modified().map_err(unreadable(&path))?;
        found.insert(path, Stamp { modified, length: meta.len() });
        if found.len() > FILES {
            return Err(too_much(format!("more than {FILES} files")));
        }
    }
    Ok(())
}

/// Every object of a file, or of all manifests in a folder and below it, in the order of their paths.
///
/// # Errors
/// When something cannot be read, or is no manifest.
pub fn read_written(path: &Path) -> Result<Vec<Written>, FolderError> {
    let mut found = BTreeMap::new();
    let meta = std::fs::metadata(path).map_err(unreadable(path))?;
    if meta.is_dir() {
        list(path, 0, &mut found)?;
    } else {
        let modified = meta.modified().map_err(unreadable(path))?;
        found.insert(path.to_owned(), Stamp { modified, length: meta.len() });
    }
    let mut objects = Vec::new();
    for path in found.keys() {
        let text = std::fs::read_to_string(path).map_err(unreadable(path))?;
        objects.extend(written(&path.display().to_string(), &text)?);
    }
    Ok(objects)
}

fn read(path: &Path) -> Result<Contents, FolderError> {
    let text = std::fs::read_to_string(path).map_err(unreadable(path))?;
    Ok(parse(&path.display().to_string(), &text)?)
}
