//! What the indexer sets up besides indices: templates with their aliases, and data views.

use crate::template;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use weir_elastic::{Elastic, ErrorKind};

#[cfg(test)]
mod tests;

/// The data views, by name, with the aliases that they read: one for each read alias.
pub const DATA_VIEWS: [&str; 5] = ["weir-flows", "weir-replay", "weir-dns", "weir-ledger", "weir-audit"];

/// How often data views are tried to be put.
const ATTEMPTS: u32 = 20;
const BETWEEN: Duration = Duration::from_secs(15);

/// Everything that would be set up, as requests that a person can send.
///
/// # Errors
/// Never: the templates are part of the program.
pub fn describe() -> Result<String, serde_json::Error> {
    let mut text = String::new();
    let mut request = |line: &str, body: &Value| {
        let body = serde_json::to_string_pretty(body)?;
        // Writing to memory cannot fail.
        let _ = write!(text, "{line}\n{body}\n\n");
        Ok::<_, serde_json::Error>(())
    };
    for (name, template) in template::all()? {
        request(&format!("PUT /_index_template/{name}"), &template)?;
    }
    for name in DATA_VIEWS {
        let view = json!({"override": true, "data_view": {"id": name, "title": name, "name": name, "timeFieldName": "@timestamp"}});
        request("POST kbn:/api/data_views/data_view", &view)?;
    }
    let (major, minor) = template::COMPACT_SINCE;
    let compact = template::compact_settings();
    // Writing to memory cannot fail.
    let _ =
        writeln!(text, "# For Elasticsearch {major}.{minor} and later, settings.index of each has besides: {compact}");
    text.push_str("# Each index is made with its template's settings, mappings and read alias, and an alias INDEX-WRITE of its own.\n");
    Ok(text)
}

/// Puts the data views into Kibana or OpenSearch Dashboards, now or when it answers; gives up after some minutes, because
/// nothing depends on them.
pub async fn put_data_views(dashboards: Elastic, token: CancellationToken) {
    for _ in 0..ATTEMPTS {
        let mut last = None;
        for name in DATA_VIEWS {
            if let Err(error) = dashboards.put_data_view(name, &format!("Weir {}", &name["weir-".len()..])).await {
                last = Some(error);
                break;
            }
        }
        match last {
            None => return info!("data views are put"),
            Some(error) if matches!(error.kind, ErrorKind::Auth | ErrorKind::Rejected) => {
                return warn!(%error, "data views are not put");
            }
            Some(error) => warn!(%error, "data views are not put, trying again"),
        }
        tokio::select! { () = token.cancelled() => return, () = tokio::time::sleep(BETWEEN) => {} }
    }
}
