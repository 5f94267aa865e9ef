//! Who may depend on whom, over `cargo metadata`.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::process::Command;

#[cfg(test)]
mod tests;

const EDGES: [&str; 5] = ["weir-flow", "weir-schemas", "weir-stream", "weir-elastic", "weir-service"];

/// Each of our crates and those of ours that it may use (normal dependencies; tests may use more).
const ALLOWED: [(&str, &[&str]); 20] = [
    ("weir-flow", &[]),
    ("weir-filter", &["weir-flow"]),
    ("weir-schemas", &["weir-flow"]),
    ("weir-join", &["weir-flow", "weir-schemas"]),
    ("weir-policy", &["weir-flow"]),
    ("weir-preview", &["weir-flow", "weir-policy", "weir-schemas", "weir-service", "weir-stream"]),
    ("weir-stream", &[]),
    ("weir-elastic", &[]),
    ("weir-service", &[]),
    ("weir-embedded-broker", &[]),
    ("weir-embedded-search", &[]),
    ("weir-faults", &[]),
    ("weir-agent", &["weir-filter", "weir-flow", "weir-schemas", "weir-service", "weir-stream"]),
    ("weir-metadata", &["weir-flow", "weir-schemas", "weir-service", "weir-stream"]),
    (
        "weir-enricher",
        &["weir-filter", "weir-flow", "weir-join", "weir-policy", "weir-schemas", "weir-service", "weir-stream"],
    ),
    ("weir-indexer", &EDGES),
    ("weir-retention", &EDGES),
    (
        "weir-console",
        &[
            "weir-elastic",
            "weir-filter",
            "weir-flow",
            "weir-policy",
            "weir-preview",
            "weir-schemas",
            "weir-service",
            "weir-stream",
        ],
    ),
    // The host of everything: the only crate that may know the services.
    (
        "weir",
        &[
            "weir-agent",
            "weir-console",
            "weir-elastic",
            "weir-embedded-broker",
            "weir-embedded-search",
            "weir-enricher",
            "weir-filter",
            "weir-flow",
            "weir-indexer",
            "weir-join",
            "weir-metadata",
            "weir-policy",
            "weir-preview",
            "weir-retention",
            "weir-schemas",
            "weir-service",
            "weir-stream",
        ],
    ),
    ("xtask", &[]),
];

/// Crates that decide and therefore may not reach IO, threads' clocks or the network.
const PURE: [&str; 4] = ["weir-filter", "weir-flow", "weir-join", "weir-policy"];
const IMPURE: [&str; 6] = ["tokio", "rdkafka", "axum", "reqwest", "rand", "kube"];

/// Every arrow that is not allowed, in words.
pub(crate) fn violations(metadata: &Value) -> Result<Vec<String>> {
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let mut found = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ALLOWED.iter().find(|(n, _)| *n == name) else {
            found.push(format!("{name} is not in the table of borders (xtask/src/borders.rs)"));
            continue;
        };
        let dependencies = package["dependencies"].as_array().context("a package has no dependencies")?;
        for dependency in dependencies.iter().filter(|d| d["kind"].is_null()) {
            let to = dependency["name"].as_str().unwrap_or_default();
            if (to == "weir" || to.starts_with("weir-")) && !allowed.contains(&to) {
                found.push(format!("{name} must not depend on {to}"));
            }
            if PURE.contains(&name) && IMPURE.contains(&to) {
                found.push(format!("{name} is pure and must not depend on {to}"));
            }
        }
    }
    Ok(found)
}

/// Reads `cargo metadata` of this workspace and fails on every arrow that is not allowed.
///
/// # Errors
/// When there is one, or cargo cannot be asked.
pub(crate) fn run() -> Result<()> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(crate::root())
        .output()
        .context("cargo metadata")?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let found = violations(&metadata)?;
    if found.is_empty() {
        return Ok(());
    }
    bail!("borders crossed:\n  {}", found.join("\n  "))
}
