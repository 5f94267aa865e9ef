//! Makes indices before they are written; a bulk never makes one.

use crate::document::Prepared;
use crate::index::{Index, IndexKind};
use crate::metrics::IndexerMetrics;
use crate::template;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use tokio::sync::OnceCell;
use tracing::{info, warn};
use weir_elastic::bulk::{Body, Operation};
use weir_elastic::{Created, Elastic, Error, ErrorKind, Info};

/// Whose mappings are looked at when the indexer starts.
const PATTERN: &str = "weir-*";
/// The most indices that are remembered to exist; forgetting one costs a request.
const REMEMBERED: usize = 10_000;

/// The most indices of which is remembered that it was tried to make them ahead of their time; forgetting one costs a request.
const TRIED: usize = 100;

/// What to do about an index of a newer version.
const UPGRADE: &str = "upgrade this indexer";

/// Which ids the documents of an index have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ids {
    /// Those that a template of this version says.
    Short,
    /// Those of the records, whole: the index is of an older version.
    Whole,
}

/// What an index is known to be.
#[derive(Clone, Copy, Debug)]
struct Known {
    ids: Ids,
    /// The version of its mapping, if that is newer than this program's.
    newer: Option<u64>,
}

/// The indices that are known to exist.
#[derive(Debug)]
pub struct Indices {
    elastic: Elastic,
    templates: BTreeMap<IndexKind, Value>,
    metrics: IndexerMetrics,
    known: Mutex<HashMap<Index, Known>>,
    /// What it was tried to make ahead of its time: once each.
    tried_ahead: Mutex<BTreeSet<Index>>,
    /// Which engine it is, once it has said so; nothing where it may not be asked.
    engine: OnceCell<Option<Info>>,
}

impl Indices {
    /// Knows none yet.
    ///
    /// # Errors
    /// Never: the templates are part of the program, and a test parses them.
    pub fn new(elastic: Elastic, metrics: IndexerMetrics) -> Result<Self, serde_json::Error> {
        let templates = IndexKind::ALL.into_iter().map(|kind| Ok((kind, template::of(kind)?)));
        let templates = templates.collect::<Result<_, serde_json::Error>>()?;
        let (known, tried_ahead) = (Mutex::default(), Mutex::default());
        Ok(Self { elastic, templates, metrics, known, tried_ahead, engine: OnceCell::new() })
    }

    /// Puts the index templates, for indices that somebody else makes.
    ///
    /// # Errors
    /// When the engine refuses one or does not answer.
    pub async fn put_templates(&self) -> Result<(), Error> {
        for (kind, template) in self.templates.iter().filter(|(kind, _)| **kind != IndexKind::Capture) {
            let name = template::read_alias(*kind);
            if let Some(compact) = self.compact(template).await? {
                match self.elastic.put_index_template(name, &compact).await {
                    Err(error) if error.kind == ErrorKind::Rejected => {}
                    put => {
                        put?;
                        continue;
                    }
                }
            }
            self.elastic.put_index_template(name, template).await?;
        }
        Ok(())
    }

    /// The same with the settings that this engine knows besides, if it knows some. It may refuse them all the same: while
    /// an engine is upgraded, the node that answers may be newer than the one that decides.
    async fn compact(&self, content: &Value) -> Result<Option<Value>, Error> {
        let ask = || async {
            match self.elastic.info().await {
                Ok(engine) => Ok(Some(engine)),
                Err(error) if error.kind == ErrorKind::Auth => Ok(None),
                Err(error) => Err(error),
            }
        };
        let engine = self.engine.get_or_try_init(ask).await?;
        Ok(engine.as_ref().and_then(|engine| template::compact(content, engine)))
    }

    /// Creates an index and its aliases, unless it exists.
    async fn create(&self, index: Index) -> Result<Created, Error> {
        let (name, body) = (index.to_string(), self.body(index));
        if let Some(compact) = self.compact(&body).await? {
            match self.elastic.create_index(&name, &compact).await {
                Err(error) if error.kind == ErrorKind::Rejected => {}
                created => return created,
            }
        }
        self.elastic.create_index(&name, &body).await
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
            let ours = [format!("{name}-WRITE"), format!("{name}-write")];
            if !ours.iter().any(|alias| state.aliases.contains_key(alias)) {
                continue;
            }
            let kind = IndexKind::ALL.into_iter().find(|kind| name.starts_with(&format!("weir-{}-", kind.as_str())));
            if let Some(kind) = kind {
                let older = template::version(&state.mappings) < template::version(&self.template(kind)["mappings"]);
                if older {
                    self.update(&name, kind).await?;
                    self.metrics.mappings_updated.inc();
                    info!(index = name, "mapping of an older version is up to date");
                    changed += 1;
                }
            }
        }
        Ok(changed)
    }

    /// Adds what the mapping lacks.
    async fn update(&self, name: &str, kind: IndexKind) -> Result<(), Error> {
        let theirs = self.elastic.mapping(name).await?.unwrap_or_default();
        self.elastic.put_mapping(name, &template::additions(&theirs, &self.template(kind)["mappings"])).await
    }

    /// The body of a bulk of these records, after it has made sure of their indices. `operation` hands out the operation of one of
    /// them; `whole` is the body, where there is one already.
    ///
    /// # Errors
    /// When the engine refuses an index or does not answer.
    pub async fn bulk<'a, O: 'a>(
        &self,
        records: impl Iterator<Item = &'a Prepared<O>> + Clone,
        operation: impl Fn(&'a Prepared<O>) -> Operation,
        whole: Option<&Body>,
    ) -> Result<Body, Error> {
        let mut indices = BTreeSet::new();
        let mut last = None;
        for record in records.clone() {
            // Those that stand together are mostly of one.
            if last.replace(record.index) != Some(record.index) {
                indices.insert(record.index);
            }
        }
        let mut of_whole_ids = BTreeSet::new();
        for index in indices {
            if self.ensure(index).await? == Ids::Whole {
                of_whole_ids.insert(index);
            }
        }
        if let Some(whole) = whole.filter(|_| of_whole_ids.is_empty()) {
            return Ok(whole.clone());
        }
        let operations: Vec<Operation> = records
            .map(|record| match of_whole_ids.contains(&record.index) {
                true => record.under_whole_id(&operation(record)),
                false => operation(record),
            })
            .collect();
        Ok(Body::of(operations.iter()))
    }

    /// Whether all of these are known to exist, so that none of them would be made.
    pub fn know_all(&self, mut indices: impl Iterator<Item = Index>) -> bool {
        let known = self.known();
        let mut last = None;
        // Those that stand together are mostly of one.
        indices.all(|index| last.replace(index) == Some(index) || known.contains_key(&index))
    }

    /// Makes sure that an index and its aliases exist.
    async fn ensure(&self, index: Index) -> Result<Ids, Error> {
        if let Some(known) = self.known().get(&index) {
            return Ok(known.ids);
        }
        let name = index.to_string();
        let mut made = Known { ids: Ids::Short, newer: None };
        match self.create(index).await? {
            Created::New => {
                self.metrics.indices_created.inc();
                info!(index = name, "index created");
            }
            Created::Existing => {
                // Whoever made it may have been an older version: mappings only grow, and the same one again changes nothing.
                // A newer one's is left as it is, because it would else be taken for ours.
                let states = self.elastic.states(&name).await?;
                let nothing = Value::Null;
                let theirs = states.get(&name).map_or(&nothing, |state| &state.mappings);
                let (version, ours) =
                    (template::version(theirs), template::version(&self.template(index.kind())["mappings"]));
                if template::has_whole_ids(theirs) {
                    made.ids = Ids::Whole;
                }
                if version <= ours {
                    self.update(&name, index.kind()).await?;
                } else {
                    self.metrics.newer_indices.inc();
                    made.newer = Some(version);
                    warn!(index = name, version, ours, "a newer version made this index; {UPGRADE}");
                    if template::has_other_ids(theirs) {
                        return Err(other_ids(&name, version));
                    }
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
        known.insert(index, made);
        Ok(made.ids)
    }

    /// Makes an index whose period has not begun. One that cannot be made now is made by the first bulk that needs it.
    pub async fn prepare(&self, index: Index) {
        if self.know_all([index].into_iter()) || !self.not_tried_ahead(index) {
            return;
        }
        match self.ensure(index).await {
            Ok(_) => {
                self.metrics.indices_ahead.inc();
            }
            Err(error) => warn!(%index, %error, "index is not made ahead of its time"),
        }
    }

    /// Whether it was not tried yet to make this index ahead of its time; notes that it is.
    fn not_tried_ahead(&self, index: Index) -> bool {
        let mut tried = self.tried_ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if tried.len() >= TRIED {
            tried.clear();
        }
        tried.insert(index)
    }

    /// Why an index may refuse what this program writes.
    pub fn blame(&self, index: Index) -> String {
        match self.known().get(&index).and_then(|known| known.newer) {
            Some(version) => format!("{index} is of a newer version (mapping {version}): {UPGRADE}"),
            None => format!("is the mapping of {index} older than this version?"),
        }
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

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<Index, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nothing may be written under ids that this version does not know: the same records would stand there twice.
fn other_ids(index: &str, version: u64) -> Error {
    Error {
        kind: ErrorKind::Unavailable,
        operation: "bulk",
        host: "".into(),
        status: None,
        code: String::new(),
        cause: format!("{index} is of a newer version (mapping {version}), whose documents have other ids"),
        hint: UPGRADE,
    }
}
