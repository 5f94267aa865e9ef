//! Tombstones for what nobody can ask about any more.

use super::{Session, millis};
use crate::now;
use crate::revisions::History;
use crate::writer::{Writer, WriterError};
use std::time::Duration;
use tokio::time::Instant;
use weir_flow::Millis;
use weir_schemas::metadata::Proof;
use weir_schemas::topics;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(600);
/// The first look after the start.
const FIRST: Duration = Duration::from_secs(30);
/// The most tombstones of one look.
const TOMBSTONES: usize = 20_000;
/// How much longer than raw samples the metadata of their time is kept, ms: segments go as a whole, and late samples are
/// placed before the time at which they were appended.
const MARGIN: Millis = 86_400_000;

/// When to look next.
pub(super) struct Expiry {
    due: Instant,
}

impl Expiry {
    /// A first look half a minute from now.
    pub(super) fn new() -> Self {
        Self { due: Instant::now() + FIRST }
    }

    #[cfg(test)]
    pub(super) fn due_now() -> Self {
        Self { due: Instant::now() }
    }
}

impl Session<'_> {
    /// Writes tombstones for revisions that ended before anything that the raw topic may still hold, when it is time to.
    pub(super) async fn expire(
        &self,
        expiry: &mut Expiry,
        writer: &mut Writer,
        history: &mut History,
    ) -> Result<(), WriterError> {
        if Instant::now() < expiry.due {
            return Ok(());
        }
        expiry.due = Instant::now() + EVERY;
        let Some(kept) = self.kept().await else { return Ok(()) };
        let before = now().saturating_sub(kept);
        let keys = history.expire(before, TOMBSTONES);
        if keys.is_empty() {
            return Ok(());
        }
        let whole_from = history.heartbeat_message(before, Proof::Probed, true);
        writer.bury(&keys, whole_from, &self.token).await?;
        self.meters.tombstones.inc_by(u64::try_from(keys.len()).unwrap_or(u64::MAX));
        tracing::info!(revisions = keys.len(), before, "revisions that ended before anything raw were forgotten");
        Ok(())
    }

    /// How long revisions are kept after their end, ms; nothing when that is for ever, or cannot be told.
    async fn kept(&self) -> Option<Millis> {
        let topic = topics::raw(&self.settings.cluster);
        let raw = match self.log.topic_config(&topic, "retention.ms").await {
            Ok(value) => value.and_then(|value| value.parse::<Millis>().ok()),
            Err(error) => {
                weir_service::rate_limited!(warn, error = %error, "how long raw samples are kept is not known: nothing is forgotten");
                return None;
            }
        };
        let raw = raw.filter(|kept| *kept >= 0)?;
        Some(raw.max(millis(self.settings.keep_history)).saturating_add(MARGIN))
    }
}
