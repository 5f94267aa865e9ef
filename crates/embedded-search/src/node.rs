//! Everything the server holds: indices, templates, aliases, points in time.

mod names;
mod open;
mod pits;
mod templates;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde_json::{Map, Value};

pub(crate) use self::names::{AliasAction, Lenience, glob_matches};
pub(crate) use self::open::Folder;
pub(crate) use self::pits::Pits;
pub(crate) use self::templates::Template;
use crate::Limits;
use crate::error::{ApiError, ApiResult};
use crate::index::{Index, Meta};
use crate::mapping::Mapping;

/// Counters of the server, in the order of [`Counters::list`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) requests: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) bodies_too_large: AtomicU64,
    pub(crate) overloaded: AtomicU64,
    pub(crate) item_failures: AtomicU64,
    pub(crate) indices_refused: AtomicU64,
    pub(crate) buckets_refused: AtomicU64,
}

/// Adds one to a counter.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The state of the server.
pub(crate) struct Node {
    pub(crate) data: PathBuf,
    pub(crate) limits: Limits,
    pub(crate) cluster_uuid: String,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) started: i64,
    indices: RwLock<BTreeMap<String, Arc<Index>>>,
    templates: RwLock<BTreeMap<String, Template>>,
    /// Held while indices, templates or aliases change, so that names stay unique.
    changes: Mutex<()>,
    pub(crate) pits: Mutex<Pits>,
    pub(crate) counters: Counters,
}

/// Milliseconds since 1970, by this machine's clock.
pub(crate) fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}

impl Node {
    /// All indices, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Index>> {
        self.indices.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The index with exactly this name.
    pub(crate) fn index(&self, name: &str) -> Option<Arc<Index>> {
        self.indices.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Creates an index; the best matching template gives what `body` leaves out.
    pub(crate) fn create(&self, name: &str, body: &Value) -> ApiResult<Arc<Index>> {
        names::check_index_name(name)?;
        let _guard = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if self.index(name).is_some() {
            return Err(self.exists(name));
        }
        if !self.with_alias(name).is_empty() {
            return Err(ApiError::new(
                400,
                "invalid_index_name_exception",
                format!("Invalid index name [{name}], already exists as alias"),
            )
            .with("index_uuid", "_na_")
            .with("index", name));
        }
        if self.all().len() >= self.limits.max_indices {
            count(&self.counters.indices_refused);
            let reason = format!(
                "Validation Failed: 1: this action would add [1] shards, but this cluster currently has [{0}]/[{0}] maximum normal shards open;",
                self.limits.max_indices
            );
            return Err(ApiError::new(400, "validation_exception", reason));
        }
        let meta = self.new_meta(name, body)?;
        let folder = self.data.join("indices").join(&meta.uuid);
        let index = Arc::new(Index::create(&folder, meta, now())?);
        self.indices.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), index.clone());
        Ok(index)
    }

    fn exists(&self, name: &str) -> ApiError {
        let uuid = self.index(name).map(|index| index.meta().uuid.clone()).unwrap_or_default();
        ApiError::new(400, "resource_already_exists_exception", format!("index [{name}/{uuid}] already exists"))
            .with("index_uuid", uuid)
            .with("index", name)
    }

    fn new_meta(&self, name: &str, body: &Value) -> ApiResult<Meta> {
        let own = templates::Content::parse(body)?;
        let template = self.template_for(name);
        let mut content = template.map(|template| template.content).unwrap_or_default();
        content.settings.extend(own.settings);
        content.mapping = content.mapping.merged(&own.mapping, self.limits.max_fields)?;
        content.aliases.extend(own.aliases);
        templates::check_settings(&content.settings)?;
        for alias in content.aliases.keys() {
            names::check_alias_name(alias)?;
            if self.index(alias).is_some() {
                return Err(names::alias_is_index(alias));
            }
        }
        Ok(Meta {
            name: name.to_owned(),
            uuid: uuid::Uuid::new_v4().simple().to_string(),
            created: now(),
            settings: content.settings,
            mapping: Arc::new(content.mapping),
            aliases: content.aliases,
        })
    }

    /// The index that writes to `name` go to, created if it does not exist.
    pub(crate) fn write_target(&self, name: &str, require_alias: bool) -> ApiResult<Arc<Index>> {
        if let Some(index) = self.index(name) {
            if require_alias {
                return Err(names::not_an_alias(name));
            }
            return Ok(index);
        }
        let holders = self.with_alias(name);
        if holders.is_empty() {
            if require_alias {
                return Err(names::not_an_alias(name));
            }
            return match self.create(name, &Value::Object(Map::new())) {
                // Someone else was faster.
                Err(error) if error.kind == "resource_already_exists_exception" => {
                    self.index(name).ok_or_else(|| ApiError::index_not_found(name))
                }
                created => created,
            };
        }
        names::write_index(name, &holders)
    }

    /// Deletes indices.
    pub(crate) fn delete(&self, indices: &[Arc<Index>]) -> ApiResult<()> {
        let _guard = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        for index in indices {
            self.indices.write().unwrap_or_else(PoisonError::into_inner).remove(&index.name);
            index.delete()?;
        }
        Ok(())
    }

    /// Adds fields to the mapping of indices.
    pub(crate) fn put_mapping(&self, indices: &[Arc<Index>], addition: &Mapping) -> ApiResult<()> {
        for index in indices {
            index.change_meta(|meta| {
                meta.mapping = Arc::new(meta.mapping.merged(addition, self.limits.max_fields)?);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Housekeeping: refreshes, closes idle writers and expired points in time.
    pub(crate) fn tick(&self) {
        let now = now();
        self.pits.lock().unwrap_or_else(PoisonError::into_inner).expire(now);
        let mut open: Vec<Arc<Index>> = self.all().into_iter().filter(|index| index.tick(now)).collect();
        if open.len() > self.limits.max_open_writers {
            open.sort_by_key(|index| index.last_write());
            for index in &open[..open.len() - self.limits.max_open_writers] {
                index.release_writer(now);
            }
        }
    }

    /// Commits everything, for an orderly stop.
    pub(crate) fn shutdown(&self) {
        self.pits.lock().unwrap_or_else(PoisonError::into_inner).clear();
        for index in self.all() {
            index.shutdown(now());
        }
    }
}
