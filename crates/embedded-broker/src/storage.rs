//! The data folder: its format and its lock.

use crate::error::BrokerError;
use crate::files;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

#[cfg(test)]
mod tests;

/// The format this version writes, and the highest it reads.
const FORMAT: u64 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Format {
    format: u64,
    /// Names this data folder to clients.
    cluster: String,
}

/// A data folder that this process holds; it is let go of when this is dropped.
#[derive(Debug)]
pub(crate) struct DataFolder {
    /// Identifies the data to clients, the same at every start.
    pub(crate) cluster_id: String,
    _lock: File,
}

/// Takes a data folder, creating it if absent. Blocks.
///
/// # Errors
/// If another process holds it, it is of a newer format, or cannot be written.
pub(crate) fn take(path: &Path) -> Result<DataFolder, BrokerError> {
    fs::create_dir_all(path).map_err(BrokerError::storage(path, "created"))?;
    let lock_path = path.join("lock");
    let lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&lock_path)
        .map_err(BrokerError::storage(path, "written"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(BrokerError::Locked { path: path.to_path_buf() }),
        Err(TryLockError::Error(error)) => return Err(BrokerError::storage(lock_path, "locked")(error)),
    }
    Ok(DataFolder { cluster_id: read_or_write_format(path)?, _lock: lock })
}

/// Checks the format of a data folder; returns its id.
fn read_or_write_format(folder: &Path) -> Result<String, BrokerError> {
    let path = folder.join("format");
    let content = match fs::read(&path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let cluster = uuid::Uuid::new_v4().simple().to_string();
            let format = Format { format: FORMAT, cluster: cluster.clone() };
            let written =
                serde_json::to_vec(&format).map_err(io::Error::from).and_then(|json| files::replace(&path, &json));
            written.map_err(BrokerError::storage(&path, "written"))?;
            return Ok(cluster);
        }
        Err(error) => return Err(BrokerError::storage(&path, "read")(error)),
    };
    let damaged = |reason: String| BrokerError::Damaged { path: path.clone(), reason };
    // The number is read by itself first: a newer format may have other fields.
    let any: serde_json::Value = serde_json::from_slice(&content).map_err(|error| damaged(error.to_string()))?;
    let found = any.get("format").and_then(serde_json::Value::as_u64);
    let found = found.ok_or_else(|| damaged("no format number".to_owned()))?;
    if found > FORMAT {
        return Err(BrokerError::NewerFormat { path: folder.to_path_buf(), found, supported: FORMAT });
    }
    let cluster = any.get("cluster").and_then(serde_json::Value::as_str).unwrap_or("weir");
    Ok(cluster.to_owned())
}
