//! Names of indices and aliases, and which indices an expression means.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::Node;
use crate::error::{ApiError, ApiResult};
use crate::index::Index;

/// What to do about names that mean nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lenience {
    pub(crate) ignore_unavailable: bool,
    pub(crate) allow_no_indices: bool,
    pub(crate) expand_wildcards: bool,
    pub(crate) aliases: bool,
}

impl Default for Lenience {
    fn default() -> Self {
        Self { ignore_unavailable: false, allow_no_indices: true, expand_wildcards: true, aliases: true }
    }
}

/// Whether `text` matches a pattern in which `*` stands for any text.
pub(crate) fn glob_matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, tail)) => rest = tail,
            None => return false,
        }
    }
    rest.ends_with(last)
}

pub(super) fn check_index_name(name: &str) -> ApiResult<()> {
    let refuse = |reason: &str| {
        Err(ApiError::new(400, "invalid_index_name_exception", format!("Invalid index name [{name}], {reason}"))
            .with("index_uuid", "_na_")
            .with("index", name))
    };
    if name.is_empty() || name == "." || name == ".." {
        return refuse("must not be empty, '.' or '..'");
    }
    if name.contains(['\\', '/', '*', '?', '"', '<', '>', '|', ' ', ',', '#', ':'])
        || name.chars().any(char::is_control)
    {
        return refuse("must not contain the following characters ['\\','/','*','?','\"','<','>','|',' ',',','#',':']");
    }
    if name.starts_with(['_', '-', '+']) {
        return refuse("must not start with '_', '-', or '+'");
    }
    if name.len() > 255 {
        return refuse("index name is too long, (more than 255 bytes)");
    }
    if name.to_lowercase() != name {
        return refuse("must be lowercase");
    }
    Ok(())
}

pub(super) fn check_alias_name(name: &str) -> ApiResult<()> {
    if name.is_empty()
        || name.len() > 255
        || name.contains(['\\', '/', '*', '?', '"', '<', '>', '|', ' ', ',', '#', ':'])
        || name.starts_with(['_', '-', '+'])
    {
        return Err(ApiError::new(400, "invalid_alias_name_exception", format!("Invalid alias name [{name}]")));
    }
    Ok(())
}

pub(super) fn alias_is_index(name: &str) -> ApiError {
    ApiError::new(
        400,
        "invalid_alias_name_exception",
        format!("Invalid alias name [{name}]: an index or data stream exists with the same name as the alias"),
    )
}

pub(super) fn not_an_alias(name: &str) -> ApiError {
    let reason =
        format!("no such index [{name}] and [require_alias] request flag is [true] and [{name}] is not an alias");
    ApiError::new(404, "index_not_found_exception", reason).with("index_uuid", "_na_").with("index", name)
}

/// The index that writes through an alias go to.
pub(super) fn write_index(alias: &str, holders: &[Arc<Index>]) -> ApiResult<Arc<Index>> {
    let flag = |index: &Index| {
        index.meta().aliases.get(alias).and_then(|alias| alias.get("is_write_index")).and_then(Value::as_bool)
    };
    let chosen = holders.iter().find(|index| flag(index) == Some(true));
    match (chosen, holders) {
        (Some(index), _) => Ok(index.clone()),
        (None, [only]) if flag(only) != Some(false) => Ok(only.clone()),
        _ => Err(ApiError::illegal(format!(
            "no write index is defined for alias [{alias}]. The write index may be explicitly disabled using is_write_index=false or the alias points to multiple indices without one being designated as a write index"
        ))),
    }
}

impl Node {
    /// The indices that carry an alias.
    pub(crate) fn with_alias(&self, alias: &str) -> Vec<Arc<Index>> {
        self.all().into_iter().filter(|index| index.meta().aliases.contains_key(alias)).collect()
    }

    /// The indices that an expression (names, aliases, wildcards, exclusions) means, in order of names.
    pub(crate) fn resolve(&self, expression: &str, lenience: Lenience) -> ApiResult<Vec<Arc<Index>>> {
        let mut found: Vec<Arc<Index>> = Vec::new();
        let mut wildcard_seen = false;
        for part in expression.split(',').map(str::trim) {
            if let (true, Some(excluded)) = (wildcard_seen, part.strip_prefix('-')) {
                found.retain(|index| !glob_matches(excluded, &index.name));
                continue;
            }
            let is_all = part.is_empty() || part == "_all";
            if is_all || part.contains('*') {
                wildcard_seen = true;
                let pattern = if is_all { "*" } else { part };
                let matched = self.matching(pattern, lenience);
                if matched.is_empty() && !lenience.allow_no_indices {
                    return Err(ApiError::index_not_found(if is_all { "_all" } else { part }));
                }
                found.extend(matched);
                continue;
            }
            let named = match self.index(part) {
                Some(index) => vec![index],
                None if lenience.aliases => self.with_alias(part),
                None if !self.with_alias(part).is_empty() => return Err(alias_refused(part)),
                None => Vec::new(),
            };
            if named.is_empty() && !lenience.ignore_unavailable {
                check_searched_name(part)?;
                return Err(ApiError::index_not_found(part));
            }
            found.extend(named);
        }
        if found.is_empty() && !lenience.allow_no_indices {
            return Err(ApiError::index_not_found(expression));
        }
        found.sort_by(|left, right| left.name.cmp(&right.name));
        found.dedup_by(|left, right| left.name == right.name);
        Ok(found)
    }

    fn matching(&self, pattern: &str, lenience: Lenience) -> Vec<Arc<Index>> {
        if !lenience.expand_wildcards {
            return Vec::new();
        }
        let hidden = |index: &Index| index.name.starts_with('.') && !pattern.starts_with('.');
        self.all()
            .into_iter()
            .filter(|index| {
                (glob_matches(pattern, &index.name) && !hidden(index))
                    || (lenience.aliases && index.meta().aliases.keys().any(|alias| glob_matches(pattern, alias)))
            })
            .collect()
    }

    /// Carries out the actions of `POST _aliases`, all or none.
    pub(crate) fn change_aliases(&self, actions: &[AliasAction]) -> ApiResult<()> {
        let _guard = self.changes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for action in actions {
            if let AliasAction::Add { alias, properties, .. } = action {
                check_alias_name(alias)?;
                if self.index(alias).is_some() {
                    return Err(alias_is_index(alias));
                }
                if properties.get("filter").is_some() || properties.keys().any(|key| key.contains("routing")) {
                    return Err(ApiError::unsupported("an alias with [filter] or [routing]"));
                }
            }
        }
        for action in actions {
            match action {
                AliasAction::Add { index, alias, properties } => index.change_meta(|meta| {
                    meta.aliases.insert(alias.clone(), properties.clone());
                    Ok(())
                })?,
                AliasAction::Remove { index, alias } => index.change_meta(|meta| {
                    meta.aliases.retain(|name, _| !glob_matches(alias, name));
                    Ok(())
                })?,
            }
        }
        Ok(())
    }
}

fn alias_refused(name: &str) -> ApiError {
    ApiError::illegal(format!(
        "The provided expression [{name}] matches an alias, specify the corresponding concrete indices instead."
    ))
}

fn check_searched_name(name: &str) -> ApiResult<()> {
    if name.starts_with('_') {
        return Err(ApiError::new(
            400,
            "invalid_index_name_exception",
            format!("Invalid index name [{name}], must not start with '_'."),
        )
        .with("index_uuid", "_na_")
        .with("index", name));
    }
    Ok(())
}

/// One action of `POST _aliases`.
pub(crate) enum AliasAction {
    Add { index: Arc<Index>, alias: String, properties: Map<String, Value> },
    Remove { index: Arc<Index>, alias: String },
}
