//! The databases of places: read when the settings name one that is not there yet, and refused when they are not those that
//! the settings name.

use crate::history::SettingsHistory;
use crate::join::Places;
use anyhow::{Context as _, anyhow};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weir_join::Geography;
use weir_service::HintExt as _;

#[cfg(test)]
mod tests;

/// The files that were given, and what is known of their contents. They may be hundreds of MB, so that one is read whole only
/// where it must be: not because other settings came that name the same ones.
#[derive(Debug, Default)]
pub(super) struct Databases {
    files: Vec<File>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    content: Option<Content>,
}

/// What was found when a file was read.
#[derive(Debug)]
struct Content {
    stamp: Stamp,
    fingerprint: String,
    /// Absent where no settings named it when it was read.
    database: Option<Arc<Geography>>,
}

/// By what a changed file is told from one that is the same.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self {
            inode: (file.dev(), file.ino()),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

impl Databases {
    /// These files; nothing is read yet.
    pub(super) fn new(files: &[PathBuf]) -> Self {
        let file = |path: &PathBuf| File { path: path.clone(), content: None };
        Self { files: files.iter().map(file).collect() }
    }

    /// The databases that the settings name. Records are a function of the settings, so that a file which they do not name is
    /// not asked, and one that they name must be there. Where all that are named were read before, no file is looked at;
    /// else each that was changed since, or is named for the first time, is read.
    ///
    /// # Errors
    /// A file that cannot be read or is no such database; settings that name one which is not given.
    pub(super) fn load(&mut self, history: &SettingsHistory) -> anyhow::Result<Places> {
        let is_named =
            |fingerprint: &str| history.entries().any(|settings| settings.geography.iter().any(|n| n == fingerprint));
        if self.files.iter().any(|file| file.content.is_none()) || self.missing(history).is_some() {
            for file in &mut self.files {
                let name = || format!("--mmdb {}", file.path.display());
                let stamp = std::fs::metadata(&file.path).map(|found| Stamp::of(&found)).with_context(name)?;
                let is_same = file.content.as_ref().is_some_and(|content| {
                    content.stamp == stamp && (content.database.is_some() || !is_named(&content.fingerprint))
                });
                if !is_same {
                    file.content = Some(read(&file.path, stamp, is_named).with_context(name)?);
                }
            }
        }
        if let Some((cluster, missing)) = self.missing(history) {
            return Err(anyhow!(
                "settings of cluster {cluster} name the database with fingerprint {missing}, which is not given"
            ))
            .hint("give that very file with --mmdb: another one would make other records (its fingerprint is its SHA-256)");
        }
        let known = self.files.iter().filter_map(|file| file.content.as_ref());
        let databases = known.filter_map(|content| Some((content.fingerprint.clone(), content.database.clone()?)));
        Ok(databases.collect())
    }

    /// The first fingerprint that settings name and no file that was read has, with the cluster.
    fn missing<'h>(&self, history: &'h SettingsHistory) -> Option<(&'h str, &'h str)> {
        let is_there = |fingerprint: &str| {
            let mut known = self.files.iter().filter_map(|file| file.content.as_ref());
            known.any(|content| content.database.is_some() && content.fingerprint == fingerprint)
        };
        history.entries().find_map(|settings| {
            let missing = settings.geography.iter().find(|fingerprint| !is_there(fingerprint))?;
            Some((settings.cluster.as_str(), missing.as_str()))
        })
    }
}

fn read(file: &Path, stamp: Stamp, is_named: impl Fn(&str) -> bool) -> anyhow::Result<Content> {
    let bytes = std::fs::read(file)?;
    let fingerprint = Geography::fingerprint(&bytes);
    if !is_named(&fingerprint) {
        tracing::warn!(
            file = %file.display(),
            fingerprint,
            "the cluster's settings do not name this database: it is not used; `weir init --mmdb FILE` names it for a new cluster"
        );
        return Ok(Content { stamp, fingerprint, database: None });
    }
    let database = Some(Arc::new(Geography::open(bytes)?));
    Ok(Content { stamp, fingerprint, database })
}
