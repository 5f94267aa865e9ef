//! The data folder of `weir up`: one folder, one process, one format.

use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use thiserror::Error;

#[cfg(test)]
mod tests;

/// The layout that this version writes.
const FORMAT: u32 = 1;

/// Why a folder cannot be used.
#[derive(Debug, Error)]
pub(crate) enum DataError {
    /// It cannot be made, or nothing can be written into it.
    #[error("data folder {}: {source}", path.display())]
    Unwritable {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A newer version has written it.
    #[error("data folder {} has format {found}, this version reads up to {FORMAT}", path.display())]
    Newer {
        /// The folder.
        path: PathBuf,
        /// The format found.
        found: u32,
    },
    /// Its format file is not a number.
    #[error("data folder {}: file format holds {found:?}, not a number", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// What stands there.
        found: String,
    },
    /// Another process uses it.
    #[error("data folder {} is in use by another process", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
}

impl DataError {
    /// What a person can do about it.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Unwritable { .. } => "choose a folder that you may write to with --data DIR",
            Self::Newer { .. } => "use the newer version of weir, or another folder with --data DIR",
            Self::Foreign { .. } => "this does not look like a folder of weir's: choose another with --data DIR",
            Self::Busy { .. } => "stop the other `weir up`, or choose another folder with --data DIR",
        }
    }
}

/// A folder that is ours while this value lives.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Makes or opens a folder and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, DataError> {
        let unwritable = |source| DataError::Unwritable { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(unwritable)?;
        let lock =
            File::options().create(true).write(true).truncate(false).open(path.join("lock")).map_err(unwritable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DataError::Busy { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(unwritable(source)),
        }
        let format = path.join("format");
        match std::fs::read_to_string(&format) {
            Ok(text) => check(path, &text)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => write_whole(path, &format).map_err(unwritable)?,
            Err(e) => return Err(unwritable(e)),
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// A folder below it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

fn check(path: &Path, text: &str) -> Result<(), DataError> {
    match text.trim().parse::<u32>() {
        Ok(found) if found > FORMAT => Err(DataError::Newer { path: path.to_owned(), found }),
        Ok(_) => Ok(()),
        Err(_) => Err(DataError::Foreign { path: path.to_owned(), found: text.chars().take(40).collect() }),
    }
}

/// Writes the format file so that a crash leaves it whole or absent.
fn write_whole(folder: &Path, format: &Path) -> std::io::Result<()> {
    let new = folder.join("format.new");
    let mut file = File::create(&new)?;
    writeln!(file, "{FORMAT}")?;
    file.sync_all()?;
    std::fs::rename(new, format)
}
