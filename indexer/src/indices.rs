//! Makes indices before they are written; a bulk never makes one.

use crate::index::{Index, IndexKind};
use crate::metrics::IndexerMetrics;
use crate::template;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};
use tracing::info;
use weir_elastic::{Created, Elastic, Error};

/// Whose mappings are looked at when the indexer starts.
const PATTERN: &str = "weir-*";
/// The most indices that are remembered to exist; forgetting one costs a request.
const REMEMBERED: usize = 10_000;

/// The indices that are known to exist.
#[derive(Debug)]
pub struct Indices {
    elastic: Elastic,
    templates: BTreeMap<IndexKind, Value>,
    metrics: IndexerMetrics,
    known: Mutex<HashSet<Index>>,
}

impl Indices {
    /// Knows none yet.
    ///
    /// # Errors
    /// Never: the templates are part of the program, and a test parses them.
    pub fn new(elastic: Elastic, metrics: IndexerMetrics) -> Result<Self, serde_json::Error> {
        let templates = IndexKind::ALL.into_iter().map(|kind| Ok((kind, template::of(kind)?)));
        let templates = templates.collect::<Result<_, serde_json::Error>>()?;
        Ok(Self { elastic, templates, metrics, known: Mutex::default() })
    }

    /// Puts the index templates, for indices that somebody else makes.
    ///
    /// # Errors
    /// When the engine refuses one or does not answer.
    pub async fn put_templates(&self) -> Result<(), Error> {
        for (kind, template) in self.templates.iter().filter(|(kind, _)| **kind != IndexKind::Capture) {
            self.elastic.put_index_template(template::read_alias(*kind), template).await?;
        }
        Ok(())
    }

    /// Brings the open indices that an older version made up to date, so that no record meets a mapping that lacks a field.
    /// An index that a newer version made is left as it is. Hands back how many had to be changed.
    ///
    /// # Errors
    /// When the engine refuses it or does not answer.
    pub async fn update_open(&self) -> Result<usize, Error> {
        let mut changed = 0;
        for (name, state) in self.elastic.states(PATTERN).await? {
            // Only what has the write alias of its own name is an index of ours, and not somebody's copy.
            if !state.aliases.contains_key(&format!("{name}-write")) {
                continue;
            }
            let kind = IndexKind::ALL.into_iter().find(|kind| name.starts_with(&format!("weir-{}-", kind.as_str())));
            if let Some(kind) = kind {
                let older = template::version(&state.mappings) < template::version(&self.template(kind)["mappings"]);
                if older {
                    self.update(&name, kind).await?;
                    changed += 1;
                }
            }
        }
        Ok(changed)
    }

    /// Adds what the mapping lacks.
    async fn update(&self, name: &str, kind: IndexKind) -> Result<(), Error> {
        self.elastic.put_mapping(name, &self.template(kind)["mappings"]).await?;
        self.metrics.mappings_updated.inc();
        info!(index = name, "mapping of an older version is up to date");
        Ok(())
    }

    /// Makes sure that an index and its aliases exist.
    ///
    /// # Errors
    /// When the engine refuses it or does not answer.
    pub async fn ensure(&self, index: Index) -> Result<(), Error> {
        if self.known().contains(&index) {
            return Ok(());
        }
        let name = index.to_string();
        match self.elastic.create_index(&name, &self.body(index)).await? {
            Created::New => {
                self.metrics.indices_created.inc();
                info!(index = name, "index created");
            }
            Created::Existing => {
                // Whoever made it may have been an older version: mappings only grow, and the same one again changes nothing.
                // A newer one's is left as it is, because it would else be taken for ours.
                let states = self.elastic.states(&name).await?;
                let theirs = states.get(&name).map_or(0, |state| template::version(&state.mappings));
                if theirs <= template::version(&self.template(index.kind())["mappings"]) {
                    self.elastic.put_mapping(&name, &self.template(index.kind())["mappings"]).await?;
                }
                for alias in [template::read_alias(index.kind()).to_owned(), index.write_alias()] {
                    self.elastic.put_alias(&name, &alias).await?;
                }
            }
        }
        let mut known = self.known();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(index);
        Ok(())
    }

    /// Forgets an index that turned out to be missing.
    pub fn forget(&self, index: Index) {
        self.known().remove(&index);
    }

    /// The body that creates an index: whole, so that it does not depend on the template being there.
    fn body(&self, index: Index) -> Value {
        let template = self.template(index.kind());
        json!({
            "settings": template["settings"],
            "mappings": template["mappings"],
            "aliases": { template::read_alias(index.kind()): {}, index.write_alias(): {} },
        })
    }

    /// Settings, mappings and aliases of a kind.
    fn template(&self, kind: IndexKind) -> &Value {
        // `new` made one for each kind.
        &self.templates[&kind]["template"]
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<Index>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
