//! Giving up on a stall: a person's word that nobody will learn what was in a cluster between the last heartbeat and a time.
//!
//! Windows wait for metadata, so that a service that is gone for good, or an API server that is, holds its cluster's windows for
//! ever. A gap ends that: metadata is complete to its end, and of the times in it nothing is known. Flows of then have no names,
//! `not_yet_reported`, whatever is learnt later; whose report counts goes by what was last known.

use crate::writer::{Writer, WriterError};
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use weir_flow::Millis;
use weir_flow::time::{FOR_EVER, NEVER};
use weir_schemas::decode;
use weir_schemas::metadata::{Heartbeat, Metadata, Proof, is_of_cluster};
use weir_schemas::topics;
use weir_stream::{Log, Partitions, Start, StreamError};

#[cfg(test)]
mod tests;

/// A heartbeat that was written within this time, ms, is a sign of a service that goes on.
pub const ALIVE: Millis = 60_000;
/// A gap ends just before a whole minute, ms, so that no tick is in it by half.
pub const ALIGNED: Millis = 60_000;
/// How long the topic may be silent while it is read.
const IDLE: std::time::Duration = std::time::Duration::from_secs(30);

/// What the topic says of a cluster's heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// H, ms since the epoch; [`NEVER`] before the first heartbeat.
    pub complete_to: Millis,
    /// When the last heartbeat was written, ms since the epoch.
    pub written_at: Millis,
    /// Whether the source has names.
    pub cluster_known: bool,
}

/// Times of which nothing will be known: after one, up to another, ms since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last time of which all is known.
    pub after: Millis,
    /// The last time of which nothing is.
    pub to: Millis,
}

/// Why nothing is given up.
#[derive(Debug, Error)]
pub enum GapError {
    /// No heartbeat yet.
    #[error("cluster {0} has no heartbeat on this log: nothing of it waits; check --cluster")]
    Unknown(String),
    /// Nothing can be learnt any more.
    #[error("metadata of cluster {0} is complete for ever: nothing waits for it")]
    Complete(String),
    /// It is being written.
    #[error(
        "metadata of cluster {cluster} was written {seconds} s ago: its service goes on; stop it, or wait a minute after it has stalled"
    )]
    Alive {
        /// The cluster.
        cluster: String,
        /// How long ago.
        seconds: Millis,
    },
    /// Too late a time.
    #[error("{to} ms is in the future: give up times that have passed")]
    Future {
        /// The time asked for.
        to: Millis,
    },
    /// Too early a time.
    #[error(
        "metadata is complete up to {complete_to} ms already, and the gap would end at {to} ms, before a whole minute: give a later --to"
    )]
    Known {
        /// H.
        complete_to: Millis,
        /// The end of the gap.
        to: Millis,
    },
    /// The topic.
    #[error(transparent)]
    Writer(#[from] WriterError),
    /// The log.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// What the topic says of a cluster's heartbeat; nobody is disturbed. Records that cannot be read say nothing here.
///
/// # Errors
/// When the log cannot be read.
pub async fn standing(log: &Log, cluster: &str) -> Result<Standing, GapError> {
    let mut standing = Standing { complete_to: NEVER, written_at: NEVER, cluster_known: false };
    let mut reader = log.reader(topics::METADATA, Partitions::All, Start::Beginning).await?;
    while let Some(records) = reader.next_before_end(IDLE).await? {
        for record in records {
            let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).unwrap_or_default();
            let is_heartbeat =
                is_of_cluster(key, cluster) && key == format!("{cluster}/heartbeat/{}", record.partition);
            let value = record.value.as_deref().filter(|_| is_heartbeat);
            let Some(Ok(Metadata::Heartbeat(heartbeat))) = value.map(decode::<Metadata>) else { continue };
            standing.complete_to = heartbeat.complete_to;
            standing.cluster_known = heartbeat.cluster_known;
            standing.written_at = standing.written_at.max(record.timestamp);
        }
    }
    Ok(standing)
}

/// The gap that giving up to a time makes, as of `now`, ms since the epoch.
///
/// # Errors
/// Why there can be none.
pub fn decide(cluster: &str, standing: Standing, to: Millis, now: Millis) -> Result<Gap, GapError> {
    let after = standing.complete_to;
    match after {
        NEVER => return Err(GapError::Unknown(cluster.to_owned())),
        FOR_EVER => return Err(GapError::Complete(cluster.to_owned())),
        _ => {}
    }
    let age = now.saturating_sub(standing.written_at);
    if age < ALIVE {
        return Err(GapError::Alive { cluster: cluster.to_owned(), seconds: age / 1_000 });
    }
    if to > now {
        return Err(GapError::Future { to });
    }
    let to = to.saturating_add(1).div_euclid(ALIGNED).saturating_mul(ALIGNED).saturating_sub(1);
    if to <= after {
        return Err(GapError::Known { complete_to: after, to });
    }
    Ok(Gap { after, to })
}

/// Gives up to a time: writes the gap as the cluster's one writer. A service that stands still meanwhile is fenced by it, and
/// begins anew from what the topic holds, the gap included.
///
/// # Errors
/// As [`decide`], also when a heartbeat came in between; and when the log cannot be written.
pub async fn give_up(log: &Log, cluster: &str, to: Millis, now: Millis) -> Result<Gap, GapError> {
    decide(cluster, standing(log, cluster).await?, to, now)?;
    let (mut writer, history) = Writer::open(log, cluster).await?;
    // Nobody else writes any more: what is read is what holds.
    let standing = standing(log, cluster).await?;
    let gap = decide(cluster, standing, to, now)?;
    let heartbeat: Heartbeat = history.heartbeat_message(gap.to, Proof::Gap, standing.cluster_known);
    writer.leave_gap(gap.after, &heartbeat, &CancellationToken::new()).await?;
    Ok(gap)
}
