//! Index templates, kept in `templates.json`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::PoisonError;

use serde_json::{Map, Value, json};

use super::{Node, glob_matches};
use crate::error::{ApiError, ApiResult};
use crate::index::{flatten_settings, write_atomically};
use crate::mapping::Mapping;

/// Settings, mapping and aliases, of a template or of a request that creates an index.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    pub(crate) settings: BTreeMap<String, Value>,
    pub(crate) mapping: Mapping,
    pub(crate) aliases: BTreeMap<String, Map<String, Value>>,
}

impl Content {
    pub(super) fn parse(json: &Value) -> ApiResult<Self> {
        let mut content = Self::default();
        let Some(map) = json.as_object() else {
            return Err(ApiError::parsing("an object with [settings], [mappings] and [aliases] is expected"));
        };
        for (key, value) in map {
            match key.as_str() {
                "settings" => flatten_settings(value, &mut content.settings),
                "mappings" => content.mapping = Mapping::parse(value)?,
                "aliases" => {
                    for (alias, properties) in value.as_object().into_iter().flatten() {
                        let properties = properties.as_object().cloned().unwrap_or_default();
                        if properties.keys().any(|key| key != "is_write_index" && key != "is_hidden") {
                            return Err(ApiError::unsupported("an alias with [filter] or [routing]"));
                        }
                        content.aliases.insert(alias.clone(), properties);
                    }
                }
                other => return Err(ApiError::parsing(format!("unknown key [{other}] for create index"))),
            }
        }
        check_settings(&content.settings)?;
        Ok(content)
    }
}

/// Refuses settings that Elasticsearch does not know, and those that would change what is found.
pub(super) fn check_settings(settings: &BTreeMap<String, Value>) -> ApiResult<()> {
    const KNOWN: [&str; 20] = [
        "number_of_shards",
        "number_of_replicas",
        "refresh_interval",
        "codec",
        "sort.",
        "mapping.",
        "translog.",
        "max_result_window",
        "auto_expand_replicas",
        "lifecycle.",
        "routing.",
        "merge.",
        "hidden",
        "priority",
        "query.",
        "search.",
        "unassigned.",
        "blocks.",
        "gc_deletes",
        "mode",
    ];
    for (name, value) in settings {
        if !KNOWN.iter().any(|known| name == known || (known.ends_with('.') && name.starts_with(known))) {
            return Err(ApiError::illegal(format!(
                "unknown setting [index.{name}] please check that any required plugins are installed, or check the breaking changes documentation for removed settings"
            )));
        }
        if name == "mode" && value != "standard" {
            return Err(ApiError::unsupported(format!("index.mode [{}]", crate::document::plain_text(value))));
        }
        if name == "mapping.source.mode" && value != "stored" {
            return Err(ApiError::unsupported("a synthetic or disabled _source"));
        }
    }
    Ok(())
}

/// An index template.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    /// The body as it was put.
    pub(crate) body: Value,
    pub(crate) patterns: Vec<String>,
    priority: u64,
    pub(super) content: Content,
}

impl Template {
    pub(crate) fn parse(body: &Value) -> ApiResult<Self> {
        let map = body.as_object().ok_or_else(|| ApiError::parsing("an index template must be an object"))?;
        for (key, value) in map {
            match key.as_str() {
                "index_patterns" | "template" | "priority" | "version" | "_meta" => {}
                "composed_of" if value.as_array().is_some_and(Vec::is_empty) => {}
                "composed_of" | "data_stream" | "ignore_missing_component_templates" => {
                    return Err(ApiError::unsupported(format!("[{key}] in an index template")));
                }
                other => {
                    return Err(ApiError::new(
                        400,
                        "x_content_parse_exception",
                        format!("[index_template] unknown field [{other}]"),
                    ));
                }
            }
        }
        let patterns: Vec<String> = match &body["index_patterns"] {
            Value::String(pattern) => vec![pattern.clone()],
            Value::Array(patterns) => patterns.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        if patterns.is_empty() {
            return Err(ApiError::illegal("Required [index_patterns]"));
        }
        let empty = json!({});
        let content = Content::parse(map.get("template").unwrap_or(&empty))?;
        Ok(Self { body: body.clone(), patterns, priority: body["priority"].as_u64().unwrap_or(0), content })
    }

    /// The template as `GET _index_template` shows it.
    pub(crate) fn to_json(&self, name: &str) -> Value {
        let mut shown = self.body.clone();
        shown["index_patterns"] = json!(self.patterns);
        shown["composed_of"] = json!([]);
        if !self.content.settings.is_empty() {
            let mut nested = json!({});
            for (key, value) in &self.content.settings {
                let mut slot = &mut nested["index"];
                for part in key.split('.') {
                    slot = &mut slot[part];
                }
                *slot = value.clone();
            }
            shown["template"]["settings"] = nested;
        }
        json!({"name": name, "index_template": shown})
    }
}

/// Whether two patterns can match the same name.
fn overlap(left: &[u8], right: &[u8]) -> bool {
    match (left.first(), right.first()) {
        (None, None) => true,
        (Some(b'*'), _) => overlap(&left[1..], right) || (!right.is_empty() && overlap(left, &right[1..])),
        (_, Some(b'*')) => overlap(right, left),
        (Some(a), Some(b)) => a == b && overlap(&left[1..], &right[1..]),
        _ => false,
    }
}

impl Node {
    /// The template with the highest priority that matches the name.
    pub(super) fn template_for(&self, name: &str) -> Option<Template> {
        let templates = self.templates.read().unwrap_or_else(PoisonError::into_inner);
        let matching =
            templates.values().filter(|template| template.patterns.iter().any(|pattern| glob_matches(pattern, name)));
        matching.max_by_key(|template| template.priority).cloned()
    }

    /// The templates whose names match, by name.
    pub(crate) fn templates(&self, pattern: &str) -> Vec<(String, Template)> {
        let templates = self.templates.read().unwrap_or_else(PoisonError::into_inner);
        templates
            .iter()
            .filter(|(name, _)| glob_matches(pattern, name))
            .map(|(name, template)| (name.clone(), template.clone()))
            .collect()
    }

    pub(crate) fn put_template(&self, name: &str, body: &Value, create: bool) -> ApiResult<()> {
        let template = Template::parse(body)?;
        template.content.mapping.check_limits(self.limits.max_fields)?;
        let mut templates = self.templates.write().unwrap_or_else(PoisonError::into_inner);
        if create && templates.contains_key(name) {
            return Err(ApiError::illegal(format!("index template [{name}] already exists")));
        }
        if templates.len() >= self.limits.max_templates && !templates.contains_key(name) {
            return Err(ApiError::illegal(format!(
                "there are already [{}] index templates, the most that are kept",
                templates.len()
            )));
        }
        for (other, existing) in
            templates.iter().filter(|(other, existing)| *other != name && existing.priority == template.priority)
        {
            let clash = |pattern: &String| {
                existing.patterns.iter().any(|theirs| overlap(pattern.as_bytes(), theirs.as_bytes()))
            };
            if template.patterns.iter().any(clash) {
                return Err(ApiError::illegal(format!(
                    "index template [{name}] has index patterns [{}] matching patterns from existing templates [{other}] with patterns ({other} => [{}]) that have the same priority [{}], multiple index templates may not match during index creation, please use a different priority",
                    template.patterns.join(", "),
                    existing.patterns.join(", "),
                    template.priority
                )));
            }
        }
        let mut changed = templates.clone();
        changed.insert(name.to_owned(), template);
        save(&self.data, &changed)?;
        *templates = changed;
        Ok(())
    }

    /// Deletes the templates whose names match; says how many there were.
    pub(crate) fn delete_templates(&self, pattern: &str) -> ApiResult<usize> {
        let mut templates = self.templates.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = templates.clone();
        changed.retain(|name, _| !glob_matches(pattern, name));
        let removed = templates.len() - changed.len();
        save(&self.data, &changed)?;
        *templates = changed;
        Ok(removed)
    }
}

const FILE: &str = "templates.json";

fn save(data: &Path, templates: &BTreeMap<String, Template>) -> ApiResult<()> {
    let bodies: Map<String, Value> =
        templates.iter().map(|(name, template)| (name.clone(), template.body.clone())).collect();
    write_atomically(&data.join(FILE), Value::Object(bodies).to_string().as_bytes())?;
    Ok(())
}

/// Reads the templates of a data folder.
pub(super) fn load(data: &Path) -> ApiResult<BTreeMap<String, Template>> {
    let bytes = match std::fs::read(data.join(FILE)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.into()),
    };
    let bodies: BTreeMap<String, Value> = serde_json::from_slice(&bytes).map_err(ApiError::internal)?;
    bodies.into_iter().map(|(name, body)| Ok((name, Template::parse(&body)?))).collect()
}
