//! Holds bulks back before a disk of the engine with indices of Weir's reaches flood stage, where each of them would become
//! read-only: what is held back stays in Kafka, and retention still has room to work. A full disk with none of them is others': no
//! bulk goes there, and the engine makes no index on it.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::info;
use weir_elastic::{Elastic, Error, ErrorKind, NodeDisk, Watermarks};
use weir_schemas::indices::PATTERN;
use weir_service::rate_limited;

#[cfg(test)]
mod tests;

/// How often disks are looked at; engines refresh what they say of them twice a minute.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What a person can do.
const HINT: &str = "let retention delete more: raise --disk-reserve or lower --budget of weir-retention, lower --min-age \
     where that holds indices (weir retention plan says what may go and what holds the rest); or add disk";

/// Whether bulks are held back, and why; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    why: Arc<RwLock<Option<String>>>,
}

impl Guard {
    /// Passes, or says why nothing may be sent now.
    ///
    /// # Errors
    /// While a disk is too full; kind Unavailable.
    pub fn pass(&self) -> Result<(), Error> {
        let why = self.why.read().unwrap_or_else(PoisonError::into_inner);
        match why.as_ref() {
            None => Ok(()),
            Some(why) => Err(Error {
                kind: ErrorKind::Unavailable,
                operation: "bulk",
                host: "".into(),
                status: None,
                code: String::new(),
                cause: why.clone(),
                hint: HINT,
            }),
        }
    }

    /// Looks at the disks until it is told to stop. An engine that does not answer leaves things as they are.
    pub async fn watch(self, elastic: Elastic, token: CancellationToken) {
        loop {
            match self.look(&elastic).await {
                Ok(()) => {}
                Err(error) => rate_limited!(warn, per_minute = 2, "disks of the engine are not known: {error}"),
            }
            tokio::select! {
                () = token.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn look(&self, elastic: &Elastic) -> Result<(), Error> {
        let marks = elastic.watermarks().await?;
        let disks = if marks.is_some() { ours(elastic).await? } else { Vec::new() };
        let mut why = self.why.write().unwrap_or_else(PoisonError::into_inner);
        let now = marks.and_then(|marks| too_full(&disks, &marks, why.is_some()));
        if why.is_some() && now.is_none() {
            info!("disks have room again");
        }
        *why = now;
        Ok(())
    }
}

/// The disks that hold shards of the indices that are written to.
async fn ours(elastic: &Elastic) -> Result<Vec<NodeDisk>, Error> {
    let mut disks = elastic.nodes_disk().await?;
    let shards = elastic.shards(PATTERN).await?;
    let nodes: BTreeSet<&str> = shards.iter().map(|copy| copy.node.as_str()).collect();
    disks.retain(|disk| nodes.contains(disk.id.as_str()));
    Ok(disks)
}

/// Why nothing may be written, if a disk is too full: from a quarter of the way before flood stage on (between the high
/// watermark and it), and once held back until half of that way is free.
fn too_full(disks: &[NodeDisk], marks: &Watermarks, held_back: bool) -> Option<String> {
    disks.iter().find_map(|disk| {
        let flood = marks.flood.free(disk.total);
        let way = marks.high.free(disk.total).saturating_sub(flood);
        let floor = flood.saturating_add(if held_back { way / 2 } else { way / 4 });
        (disk.available < floor).then(|| {
            format!(
                "the disk of {} is nearly at flood stage: {} bytes are free, of which {flood} must stay so",
                disk.node, disk.available
            )
        })
    })
}
