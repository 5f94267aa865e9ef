//! `docs/reference-schemas.md`, made from the Avro schemas.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fmt::Write as _;

/// The topics, without their version, and the version of the schema with which they are written.
const TOPICS: [(&str, u32); 11] = [
    ("flows.raw", 1),
    ("k8s.metadata", 1),
    ("weir.settings", 2),
    ("flows.partial", 3),
    ("weir.checkpoint", 1),
    ("flows.enriched", 2),
    ("dns.enriched", 1),
    ("weir.ledger", 3),
    ("weir.dlq", 1),
    ("weir.horizon", 2),
    ("weir.audit", 1),
];

/// Writes the page, or compares it with the committed one.
///
/// # Errors
/// When a schema cannot be read, a field has no documentation, or the page is stale.
pub(crate) fn run(check: bool) -> Result<()> {
    let mut page = String::from(
        "# Schemas\n\nMade from `schemas/*/v*.avsc` by `cargo xtask schemas`. Values are Avro in single-object encoding. \
         Times are ms since the epoch unless said otherwise.\n",
    );
    for (topic, version) in TOPICS {
        let path = crate::root().join("schemas").join(topic).join(format!("v{version}.avsc"));
        let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        let schema: Value = serde_json::from_str(&text).with_context(|| format!("{}", path.display()))?;
        let older = if version > 1 { format!(" (schema v{version}; older ones are read)") } else { String::new() };
        write!(page, "\n## `{topic}.v1`{older}\n")?;
        named_types(&schema, &mut page)?;
    }
    let path = crate::root().join("docs/reference-schemas.md");
    if check {
        let committed = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        if committed != page {
            bail!("docs/reference-schemas.md is stale; run `cargo xtask schemas`");
        }
        return Ok(());
    }
    std::fs::write(&path, page).with_context(|| format!("{}", path.display()))
}

fn named_types(schema: &Value, page: &mut String) -> Result<()> {
    match schema {
        Value::Array(branches) => branches.iter().try_for_each(|b| named_types(b, page)),
        Value::Object(object) => match object.get("type").and_then(Value::as_str) {
            Some("record") => record(schema, page),
            Some("enum") => {
                write!(page, "\n**{}** (enum): {}\n", text(schema, "name")?, text(schema, "doc")?)?;
                Ok(())
            }
            Some("array") => named_types(&schema["items"], page),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn record(schema: &Value, page: &mut String) -> Result<()> {
    write!(
        page,
        "\n### {}\n\n{}\n\n| field | type | meaning |\n|---|---|---|\n",
        text(schema, "name")?,
        text(schema, "doc")?
    )?;
    let fields = schema["fields"].as_array().context("a record without fields")?;
    for field in fields {
        let doc = text(field, "doc")?;
        if doc.is_empty() {
            bail!("{}.{} has no documentation", text(schema, "name")?, text(field, "name")?);
        }
        writeln!(page, "| `{}` | {} | {} |", text(field, "name")?, type_name(&field["type"]), doc.replace('|', "\\|"))?;
    }
    fields.iter().try_for_each(|f| named_types(&f["type"], page))
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("a schema part without {key}: {value}"))
}

fn type_name(schema: &Value) -> String {
    match schema {
        Value::String(name) => name.clone(),
        Value::Array(branches) => branches.iter().map(type_name).collect::<Vec<_>>().join(" or "),
        Value::Object(object) => match object.get("type").and_then(Value::as_str) {
            Some("array") => format!("array of {}", type_name(&schema["items"])),
            _ => object.get("name").and_then(Value::as_str).unwrap_or("?").to_owned(),
        },
        _ => "?".to_owned(),
    }
}
