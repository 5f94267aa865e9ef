//! What is known about an index apart from its documents, kept in `index.json`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::error::{ApiError, ApiResult};
use crate::mapping::Mapping;

const FILE: &str = "index.json";

/// Name, settings, mapping and aliases of an index.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Meta {
    pub(crate) name: String,
    pub(crate) uuid: String,
    /// Milliseconds since 1970.
    pub(crate) created: i64,
    /// Settings without the `index.` prefix, dotted, as text or list.
    pub(crate) settings: BTreeMap<String, Value>,
    pub(crate) mapping: Arc<Mapping>,
    pub(crate) aliases: BTreeMap<String, Map<String, Value>>,
}

impl Meta {
    /// How often a refresh happens, in milliseconds; `None` when only on request.
    pub(crate) fn refresh_interval(&self) -> Option<i64> {
        let text = self.settings.get("refresh_interval").and_then(Value::as_str).unwrap_or("1s");
        crate::dates::read_duration(text).filter(|interval| *interval >= 0)
    }

    /// Copies that a write is reported for: the primary and the replicas, which never exist here.
    pub(crate) fn copies(&self) -> u64 {
        1 + self
            .settings
            .get("number_of_replicas")
            .and_then(Value::as_str)
            .and_then(|text| text.parse().ok())
            .unwrap_or(1_u64)
    }

    /// Writes the file in one step, so that a crash leaves the old one or the new one.
    pub(crate) fn save(&self, folder: &Path) -> ApiResult<()> {
        let json = json!({"name": self.name, "uuid": self.uuid, "created": self.created, "settings": self.settings,
            "mappings": self.mapping.to_json(), "aliases": self.aliases});
        write_atomically(&folder.join(FILE), json.to_string().as_bytes())?;
        Ok(())
    }

    /// Reads the file of a folder; `None` when it has none.
    pub(crate) fn load(folder: &Path) -> ApiResult<Option<Self>> {
        let bytes = match std::fs::read(folder.join(FILE)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let json: Value = serde_json::from_slice(&bytes).map_err(ApiError::internal)?;
        let text = |key: &str| {
            json[key].as_str().map(str::to_owned).ok_or_else(|| ApiError::internal(format!("{FILE} has no [{key}]")))
        };
        Ok(Some(Self {
            name: text("name")?,
            uuid: text("uuid")?,
            created: json["created"].as_i64().unwrap_or(0),
            settings: serde_json::from_value(json["settings"].clone()).map_err(ApiError::internal)?,
            mapping: Arc::new(Mapping::parse(&json["mappings"])?),
            aliases: serde_json::from_value(json["aliases"].clone()).map_err(ApiError::internal)?,
        }))
    }

    /// Removes the file: from then on the folder is no index.
    pub(crate) fn remove(folder: &Path) -> ApiResult<()> {
        match std::fs::remove_file(folder.join(FILE)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The settings as `GET /index` shows them.
    pub(crate) fn settings_json(&self) -> Value {
        let mut settings = self.settings.clone();
        settings.entry("number_of_shards".into()).or_insert_with(|| "1".into());
        settings.entry("number_of_replicas".into()).or_insert_with(|| "1".into());
        settings.insert("uuid".into(), self.uuid.clone().into());
        settings.insert("provided_name".into(), self.name.clone().into());
        settings.insert("creation_date".into(), self.created.to_string().into());
        settings.insert("version.created".into(), crate::INDEX_VERSION.into());
        let mut nested = Map::new();
        for (key, value) in settings {
            insert_dotted(&mut nested, &key, value);
        }
        json!({"index": nested})
    }
}

fn insert_dotted(map: &mut Map<String, Value>, key: &str, value: Value) {
    if let Some((head, tail)) = key.split_once('.') {
        if let Value::Object(inner) = map.entry(head.to_owned()).or_insert_with(|| json!({})) {
            insert_dotted(inner, tail, value);
        }
    } else {
        map.insert(key.to_owned(), value);
    }
}

/// Flattens settings to dotted names without `index.`, values as text.
pub(crate) fn flatten_settings(json: &Value, out: &mut BTreeMap<String, Value>) {
    flatten(json, "", out, 0);
}

fn flatten(json: &Value, prefix: &str, out: &mut BTreeMap<String, Value>, depth: usize) {
    if let (Value::Object(map), true) = (json, depth < 20) {
        for (key, value) in map {
            flatten(value, &crate::mapping::join(prefix, key), out, depth + 1);
        }
        return;
    }
    let name = prefix.strip_prefix("index.").unwrap_or(prefix).to_owned();
    match json {
        Value::Null => {
            out.remove(&name);
        }
        Value::Array(values) => {
            out.insert(name, values.iter().map(|value| Value::String(crate::document::plain_text(value))).collect());
        }
        other => {
            out.insert(name, Value::String(crate::document::plain_text(other)));
        }
    }
}

/// Writes a file so that it is either the old one or the new one, whole.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, bytes)?;
    std::fs::rename(temporary, path)
}
