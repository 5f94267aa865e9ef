//! Opening a data folder: its lock, its format, its indices.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use serde_json::{Value, json};

use super::{Counters, Node, Pits, now, templates};
use crate::error::{ApiError, SearchError};
use crate::index::{Index, Meta, write_atomically};
use crate::{FORMAT, Limits};

/// A data folder that this process alone works on.
pub(crate) struct Folder {
    path: PathBuf,
    cluster_uuid: String,
    /// The lock ends with the file, also when the process dies.
    _lock: File,
}

impl Folder {
    /// Creates or opens a folder, locks it and checks its format.
    pub(crate) fn open(path: &Path) -> Result<Self, SearchError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| SearchError::Folder { path, source }
        };
        let indices = path.join("indices");
        std::fs::create_dir_all(&indices).map_err(at(&indices))?;
        let lock_path = path.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SearchError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(SearchError::Folder { path: lock_path, source }),
        }
        let cluster_uuid = check_format(path)?;
        Ok(Self { path: path.to_owned(), cluster_uuid, _lock: lock })
    }

    /// Opens all indices, replaying their translogs.
    pub(crate) fn load(&self, limits: Limits, address: std::net::SocketAddr) -> Result<Node, SearchError> {
        let damaged = |path: &Path| {
            let path = path.to_owned();
            move |error: ApiError| SearchError::Damaged { path, reason: error.reason }
        };
        let mut indices = BTreeMap::new();
        let root = self.path.join("indices");
        let entries = std::fs::read_dir(&root).map_err(|source| SearchError::Folder { path: root.clone(), source })?;
        for folder in entries.flatten().map(|entry| entry.path()) {
            let Some(meta) = Meta::load(&folder).map_err(damaged(&folder))? else {
                // An index that was never finished, or whose deletion was not.
                std::fs::remove_dir_all(&folder)
                    .map_err(|source| SearchError::Folder { path: folder.clone(), source })?;
                continue;
            };
            let index = Index::open(&folder, meta, now()).map_err(damaged(&folder))?;
            indices.insert(index.name.clone(), Arc::new(index));
        }
        let templates = templates::load(&self.path).map_err(damaged(&self.path.join("templates.json")))?;
        Ok(Node {
            data: self.path.clone(),
            limits,
            cluster_uuid: self.cluster_uuid.clone(),
            address,
            started: now(),
            indices: RwLock::new(indices),
            templates: RwLock::new(templates),
            changes: Mutex::new(()),
            pits: Mutex::new(Pits::default()),
            counters: Counters::default(),
        })
    }
}

/// Checks the `format` file, or writes it in a new folder. Gives the cluster's uuid.
fn check_format(folder: &Path) -> Result<String, SearchError> {
    let path = folder.join("format");
    let at = |source| SearchError::Folder { path: path.clone(), source };
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let uuid = uuid::Uuid::new_v4().simple().to_string();
            write_atomically(&path, json!({"format": FORMAT, "cluster_uuid": uuid}).to_string().as_bytes())
                .map_err(at)?;
            return Ok(uuid);
        }
        Err(error) => return Err(at(error)),
    };
    let json: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let damaged = |reason: &str| SearchError::Damaged { path: path.clone(), reason: reason.to_owned() };
    let found = json["format"].as_u64().ok_or_else(|| damaged("it does not name a format"))?;
    if found > FORMAT {
        return Err(SearchError::Format { path: folder.to_owned(), found, supported: FORMAT });
    }
    Ok(json["cluster_uuid"].as_str().unwrap_or("weir").to_owned())
}
