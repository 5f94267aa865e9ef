//! The databases of places: read whole at the start, and refused when they are not those that the settings name.

use crate::history::SettingsHistory;
use crate::join::Places;
use anyhow::{Context as _, anyhow};
use std::path::PathBuf;
use weir_join::Geography;
use weir_service::HintExt as _;

/// Reads the files. Records are a function of the settings, so that a file which they do not name is not asked, and one
/// that they name must be there.
///
/// # Errors
/// A file that cannot be read or is no such database; settings that name one which is not given.
pub(super) fn load(files: &[PathBuf], history: &SettingsHistory) -> anyhow::Result<Places> {
    let mut places = Places::new();
    for file in files {
        let name = || format!("--mmdb {}", file.display());
        let bytes = std::fs::read(file).with_context(name)?;
        let fingerprint = Geography::fingerprint(&bytes);
        if !history.entries().any(|settings| settings.geography.contains(&fingerprint)) {
            tracing::warn!(
                file = %file.display(),
                fingerprint,
                "the cluster's settings do not name this database: it is not used; `weir init --mmdb FILE` names it for a new cluster"
            );
            continue;
        }
        places.insert(fingerprint, Geography::open(bytes).with_context(name)?);
    }
    for settings in history.entries() {
        if let Some(missing) = settings.geography.iter().find(|fingerprint| !places.contains_key(*fingerprint)) {
            return Err(anyhow!(
                "settings of cluster {} name the database with fingerprint {missing}, which is not given",
                settings.cluster
            ))
            .hint("give that very file with --mmdb: another one would make other records (its fingerprint is its SHA-256)");
        }
    }
    Ok(places)
}
