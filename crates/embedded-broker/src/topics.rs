//! The topics and their partitions, and the file that lists them.

mod config;
mod partition;
#[cfg(test)]
mod tests;

pub(crate) use config::{KEYS, Key, Override, TopicConfig};
pub(crate) use partition::Partition;

use crate::clock::now_ms;
use crate::codes::Code;
use crate::error::BrokerError;
use crate::files;
use crate::locks::{lock, read, write};
use crate::metrics::Metrics;
use crate::settings::Limits;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use uuid::Uuid;

/// Longest name a topic may have.
const MAX_NAME_BYTES: usize = 249;

/// A topic.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    folder: String,
    config: RwLock<Arc<TopicConfig>>,
    partitions: RwLock<Vec<Arc<Partition>>>,
}

impl Topic {
    pub(crate) fn config(&self) -> Arc<TopicConfig> {
        Arc::clone(&read(&self.config))
    }

    pub(crate) fn partitions(&self) -> Vec<Arc<Partition>> {
        read(&self.partitions).clone()
    }

    pub(crate) fn partition_count(&self) -> usize {
        read(&self.partitions).len()
    }

    pub(crate) fn partition(&self, index: i32) -> Option<Arc<Partition>> {
        read(&self.partitions).get(usize::try_from(index).ok()?).cloned()
    }
}

/// The file that lists the topics.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Catalog {
    topics: Vec<CatalogEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CatalogEntry {
    name: String,
    folder: String,
    partitions: usize,
    config: BTreeMap<String, String>,
}

/// All topics. Look-ups take a short shared lock; changes are serialised by a mutex of their own and are stored before
/// they are seen.
#[derive(Debug)]
pub(crate) struct Topics {
    root: PathBuf,
    catalog: PathBuf,
    limits: Limits,
    metrics: Arc<Metrics>,
    by_name: RwLock<BTreeMap<String, Arc<Topic>>>,
    change: Mutex<()>,
}

fn is_valid_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && name != "." && name != ".." && name.chars().all(allowed)
}

impl Topics {
    /// Opens all topics under a data folder and recovers their logs; folders of topics that are no longer listed are
    /// removed. Blocks.
    ///
    /// # Errors
    /// If the list is damaged, or a file or folder cannot be read or written.
    pub(crate) fn open(data: &Path, limits: Limits, metrics: Arc<Metrics>) -> Result<Self, BrokerError> {
        let root = data.join("topics");
        fs::create_dir_all(&root).map_err(BrokerError::storage(&root, "created"))?;
        let catalog_path = data.join("topics.json");
        let catalog = read_catalog(&catalog_path)?;
        let folders: BTreeSet<_> = catalog.topics.iter().map(|entry| entry.folder.clone()).collect();
        remove_unlisted(&root, &folders)?;
        let topics =
            Self { root, catalog: catalog_path, limits, metrics, by_name: RwLock::default(), change: Mutex::default() };
        for entry in catalog.topics {
            let topic = topics.open_topic(&entry)?;
            write(&topics.by_name).insert(entry.name, Arc::new(topic));
        }
        Ok(topics)
    }

    fn open_topic(&self, entry: &CatalogEntry) -> Result<Topic, BrokerError> {
        let config = TopicConfig::new(entry.config.clone(), &self.limits).map_err(|error| {
            let reason = format!("topic {}: {error}", entry.name);
            BrokerError::Damaged { path: self.catalog.clone(), reason }
        })?;
        let folder = self.root.join(&entry.folder);
        let partitions = self.open_partitions(&entry.name, &folder, 0..entry.partitions)?;
        Ok(Topic {
            name: entry.name.clone(),
            folder: entry.folder.clone(),
            config: RwLock::new(Arc::new(config)),
            partitions: RwLock::new(partitions),
        })
    }

    fn open_partitions(
        &self,
        topic: &str,
        folder: &Path,
        indexes: std::ops::Range<usize>,
    ) -> Result<Vec<Arc<Partition>>, BrokerError> {
        let limit = self.producer_limit();
        let open = |index: usize| {
            let path = folder.join(index.to_string());
            let (partition, truncated) =
                Partition::open(&path, limit, now_ms()).map_err(BrokerError::storage(&path, "read"))?;
            if truncated > 0 {
                tracing::warn!(topic, index, truncated, "torn end of log removed");
                self.metrics.recovery_bytes_truncated.add(usize::try_from(truncated).unwrap_or(usize::MAX));
            }
            Ok(Arc::new(partition))
        };
        indexes.map(open).collect()
    }

    fn producer_limit(&self) -> crate::log::ProducerLimit {
        partition::producer_limit(&self.limits)
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Topic>> {
        read(&self.by_name).get(name).cloned()
    }

    pub(crate) fn partition(&self, topic: &str, index: i32) -> Option<Arc<Partition>> {
        self.get(topic)?.partition(index)
    }

    /// All topics by name.
    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        read(&self.by_name).values().cloned().collect()
    }

    fn total_partitions(&self) -> usize {
        read(&self.by_name).values().map(|topic| topic.partition_count()).sum()
    }

    /// Checks that a topic may be created.
    ///
    /// # Errors
    /// The protocol's code.
    pub(crate) fn check_new(&self, name: &str, partitions: usize) -> Result<(), Code> {
        if !is_valid_name(name) {
            return Err(Code::INVALID_TOPIC_EXCEPTION);
        }
        if self.get(name).is_some() {
            return Err(Code::TOPIC_ALREADY_EXISTS);
        }
        if partitions == 0 {
            return Err(Code::INVALID_PARTITIONS);
        }
        if self.total_partitions().saturating_add(partitions) > self.limits.partitions {
            self.metrics.partitions_refused.increment();
            return Err(Code::POLICY_VIOLATION);
        }
        Ok(())
    }

    /// Creates a topic. Blocks.
    ///
    /// # Errors
    /// The protocol's code.
    pub(crate) fn create(&self, name: &str, partitions: usize, config: TopicConfig) -> Result<(), Code> {
        let _change = lock(&self.change);
        self.check_new(name, partitions)?;
        let folder = Uuid::new_v4().simple().to_string();
        let opened = self
            .open_partitions(name, &self.root.join(&folder), 0..partitions)
            .map_err(|error| self.storage_failed(&error))?;
        let topic = Arc::new(Topic {
            name: name.to_owned(),
            folder,
            config: RwLock::new(Arc::new(config)),
            partitions: RwLock::new(opened),
        });
        let mut topics = read(&self.by_name).clone();
        topics.insert(name.to_owned(), topic);
        self.store(topics)
    }

    /// Deletes a topic with all its records. Blocks.
    ///
    /// # Errors
    /// The protocol's code.
    pub(crate) fn delete(&self, name: &str) -> Result<(), Code> {
        let _change = lock(&self.change);
        let mut topics = read(&self.by_name).clone();
        let topic = topics.remove(name).ok_or(Code::UNKNOWN_TOPIC_OR_PARTITION)?;
        self.store(topics)?;
        for partition in topic.partitions() {
            partition.wake_readers();
        }
        if let Err(error) = fs::remove_dir_all(self.root.join(&topic.folder)) {
            // What is left is removed at the next start.
            tracing::warn!(topic = name, %error, "folder of deleted topic not removed");
            self.metrics.storage_errors.increment();
        }
        Ok(())
    }

    /// Adds partitions to a topic so that it has `count`. Blocks.
    ///
    /// # Errors
    /// The protocol's code.
    pub(crate) fn grow(&self, name: &str, count: usize, validate_only: bool) -> Result<(), Code> {
        let _change = lock(&self.change);
        let topic = self.get(name).ok_or(Code::UNKNOWN_TOPIC_OR_PARTITION)?;
        let present = topic.partition_count();
        if count <= present {
            return Err(Code::INVALID_PARTITIONS);
        }
        if self.total_partitions().saturating_add(count - present) > self.limits.partitions {
            self.metrics.partitions_refused.increment();
            return Err(Code::POLICY_VIOLATION);
        }
        if validate_only {
            return Ok(());
        }
        let added = self
            .open_partitions(name, &self.root.join(&topic.folder), present..count)
            .map_err(|error| self.storage_failed(&error))?;
        let mut entries = self.entries(&read(&self.by_name));
        for entry in entries.iter_mut().filter(|entry| entry.name == name) {
            entry.partitions = count;
        }
        self.store_entries(entries)?;
        write(&topic.partitions).extend(added);
        Ok(())
    }

    /// Changes the settings of a topic. Blocks.
    ///
    /// # Errors
    /// The protocol's code.
    pub(crate) fn configure(&self, topic: &Topic, config: TopicConfig) -> Result<(), Code> {
        let _change = lock(&self.change);
        let mut entries = self.entries(&read(&self.by_name));
        for entry in entries.iter_mut().filter(|entry| entry.folder == topic.folder) {
            entry.config.clone_from(config.overrides());
        }
        self.store_entries(entries)?;
        *write(&topic.config) = Arc::new(config);
        Ok(())
    }

    fn entries(&self, topics: &BTreeMap<String, Arc<Topic>>) -> Vec<CatalogEntry> {
        let entry = |topic: &Arc<Topic>| CatalogEntry {
            name: topic.name.clone(),
            folder: topic.folder.clone(),
            partitions: topic.partition_count(),
            config: topic.config().overrides().clone(),
        };
        topics.values().map(entry).collect()
    }

    fn store(&self, topics: BTreeMap<String, Arc<Topic>>) -> Result<(), Code> {
        self.store_entries(self.entries(&topics))?;
        *write(&self.by_name) = topics;
        Ok(())
    }

    fn store_entries(&self, topics: Vec<CatalogEntry>) -> Result<(), Code> {
        let stored = serde_json::to_vec_pretty(&Catalog { topics })
            .map_err(std::io::Error::from)
            .and_then(|json| files::replace(&self.catalog, &json));
        stored.map_err(|error| self.storage_failed(&error))
    }

    fn storage_failed(&self, error: &dyn std::error::Error) -> Code {
        tracing::warn!(%error, "topics not stored");
        self.metrics.storage_errors.increment();
        Code::KAFKA_STORAGE_ERROR
    }
}

fn read_catalog(path: &Path) -> Result<Catalog, BrokerError> {
    match fs::read(path) {
        Ok(json) => serde_json::from_slice(&json)
            .map_err(|error| BrokerError::Damaged { path: path.to_path_buf(), reason: error.to_string() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Catalog::default()),
        Err(error) => Err(BrokerError::storage(path, "read")(error)),
    }
}

fn remove_unlisted(root: &Path, listed: &BTreeSet<String>) -> Result<(), BrokerError> {
    for entry in fs::read_dir(root).map_err(BrokerError::storage(root, "read"))? {
        let entry = entry.map_err(BrokerError::storage(root, "read"))?;
        if !entry.file_name().to_str().is_some_and(|name| listed.contains(name)) {
            let path = entry.path();
            fs::remove_dir_all(&path).map_err(BrokerError::storage(&path, "removed"))?;
        }
    }
    Ok(())
}
