//! Replayed records against those that stand: what is the same, and what would correct the rest. Without IO.

use super::kind::Replayed;
use super::standing::{AllStanding, Standing, fingerprint, number};
use anyhow::Result;
use weir_flow::Millis;
use weir_schemas::enriched::Kind;

#[cfg(test)]
mod tests;

/// How many records fell into which class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// The same to the byte.
    pub(super) identical: u64,
    /// Replayed, and nothing stands.
    pub(super) missing: u64,
    /// Something else stands.
    pub(super) different: u64,
    /// Something stands that is not replayed.
    pub(super) extra: u64,
    /// Of generations that the enricher has not written yet.
    pub(super) not_yet_written: u64,
}

impl Counts {
    /// How many must be corrected.
    pub(super) fn wrong(self) -> u64 {
        self.missing.saturating_add(self.different).saturating_add(self.extra)
    }
}

/// A replayed record and what stands instead of it.
#[derive(Clone, Debug)]
pub(super) struct Difference<R> {
    /// What was replayed.
    pub(super) replayed: R,
    /// What stands; nothing when it is missing.
    pub(super) standing: Option<Standing>,
}

/// A comparison under way.
#[derive(Debug)]
pub(super) struct Comparison<R> {
    standing: AllStanding,
    /// The last generation that the enricher has written, where it says so.
    written: Option<Millis>,
    most: usize,
    /// How many of which.
    pub(super) counts: Counts,
    /// The first differences.
    pub(super) first: Vec<Difference<R>>,
}

impl<R: Replayed> Comparison<R> {
    /// Lists at most `most` differences.
    pub(super) fn new(standing: AllStanding, written: Option<Millis>, most: usize) -> Self {
        Self { standing, written, most, counts: Counts::default(), first: Vec::new() }
    }

    /// Compares replayed records; the upserts that would make what stands the same.
    pub(super) fn judge(&mut self, records: Vec<R>) -> Result<Vec<R>> {
        let mut upserts = Vec::new();
        for record in records {
            let standing = self.standing.remove(&number(record.id())?);
            let corrected = match standing {
                Some(standing) if !standing.deleted && standing.fingerprint == fingerprint(&record)? => {
                    self.counts.identical += 1;
                    continue;
                }
                // It will be written, and not as a correction.
                None if self.written.is_some_and(|written| record.generation() > written) => {
                    self.counts.not_yet_written += 1;
                    continue;
                }
                // What never was is written as it should have been.
                None => (0, None),
                Some(standing) => (standing.correction.saturating_add(1), Some(standing)),
            };
            let (correction, standing) = corrected;
            let standing = standing.filter(|standing| !standing.deleted);
            match standing {
                Some(_) => self.counts.different += 1,
                None => self.counts.missing += 1,
            }
            if self.first.len() < self.most {
                self.first.push(Difference { replayed: record.clone(), standing });
            }
            upserts.push(record.corrected(Kind::Upsert, correction));
        }
        Ok(upserts)
    }

    /// What stands up to generation `complete` and was not replayed, by generation and id.
    pub(super) fn finish(&mut self, complete: Millis) -> Vec<Standing> {
        let left = std::mem::take(&mut self.standing).into_values();
        let mut extra: Vec<Standing> = left.filter(|s| !s.deleted && s.generation <= complete).collect();
        extra.sort_unstable_by_key(|standing| (standing.generation, standing.id));
        self.counts.extra = u64::try_from(extra.len()).unwrap_or(u64::MAX);
        extra
    }
}
