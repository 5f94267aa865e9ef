//! Makes indices before they are written; a bulk never makes one.

use crate::index::{Index, READ_ALIAS, TEMPLATE, TEMPLATE_NAME};
use crate::metrics::IndexerMetrics;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use tracing::info;
use weir_elastic::{Created, Elastic, Error};

/// The most indices that are remembered to exist; forgetting one costs a request.
const REMEMBERED: usize = 10_000;

/// The indices that are known to exist.
#[derive(Debug)]
pub struct Indices {
    elastic: Elastic,
    template: Value,
    metrics: IndexerMetrics,
    known: Mutex<HashSet<Index>>,
}

impl Indices {
    /// Knows none yet.
    ///
    /// # Errors
    /// Never: the template is part of the program, and a test parses it.
    pub fn new(elastic: Elastic, metrics: IndexerMetrics) -> Result<Self, serde_json::Error> {
        Ok(Self { elastic, template: serde_json::from_str(TEMPLATE)?, metrics, known: Mutex::default() })
    }

    /// Puts the index template, for indices that somebody else makes.
    ///
    /// # Errors
    /// When the engine refuses it or does not answer.
    pub async fn put_template(&self) -> Result<(), Error> {
        self.elastic.put_index_template(TEMPLATE_NAME, &self.template).await
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
                // An older version may have made it: the mapping only grows, and the same one again changes nothing.
                self.elastic.put_mapping(&name, &self.template["template"]["mappings"]).await?;
                for alias in [READ_ALIAS.to_owned(), index.write_alias()] {
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
        let template = &self.template["template"];
        json!({
            "settings": template["settings"],
            "mappings": template["mappings"],
            "aliases": { READ_ALIAS: {}, index.write_alias(): {} },
        })
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<Index>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
