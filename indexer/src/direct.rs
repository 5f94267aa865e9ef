//! Documents written at once, without a topic: for commands.

use crate::delivery::{Delivery, Next, Patience, Refusals, Why};
use crate::document::Prepared;
use crate::following::Followed as _;
use crate::horizons::Horizons;
use crate::indices::Indices;
use crate::metrics::IndexerMetrics;
use anyhow::{Context as _, bail};
use tokio_util::sync::{CancellationToken, DropGuard};
use weir_elastic::Elastic;
use weir_flow::Millis;
use weir_service::Metrics;
use weir_stream::{Log, StreamError};

/// How often in a row an engine may be unable before a command gives up: half a minute or so.
const ATTEMPTS: u32 = 8;

/// Writes documents into their indices, which it makes; none anew that retention deletes meanwhile.
#[derive(Debug)]
pub struct Direct {
    elastic: Elastic,
    indices: Indices,
    horizons: Horizons,
    /// When writing began, ms since the epoch: all that is written counts as written then.
    began: Millis,
    /// Ends following the horizons.
    _following: DropGuard,
}

impl Direct {
    /// Ready to write from `began` (now, ms since the epoch) on.
    ///
    /// # Errors
    /// When Kafka does not tell what retention has deleted.
    pub async fn start(log: &Log, elastic: Elastic, metrics: &Metrics, began: Millis) -> anyhow::Result<Self> {
        let indices = Indices::new(elastic.clone(), IndexerMetrics::new(metrics)).context("index templates")?;
        let (horizons, token) = (Horizons::default(), CancellationToken::new());
        match horizons.read(log).await {
            Ok(reader) => drop(tokio::spawn(horizons.clone().follow(log.clone(), reader, token.clone()))),
            // Nobody has ever deleted anything.
            Err(StreamError::UnknownTopic(_)) => {}
            Err(error) => return Err(error).context("what retention has deleted"),
        }
        Ok(Self { elastic, indices, horizons, began, _following: token.drop_guard() })
    }

    /// Writes all of them, and returns when each is stored (or a higher correction is).
    ///
    /// # Errors
    /// When one is refused, the engine stays away, or retention has deleted an index since writing began.
    pub async fn write(&self, documents: &[Prepared]) -> anyhow::Result<()> {
        let mut delivery = Delivery::new(documents.len(), Patience::default());
        let mut failures = 0;
        loop {
            if let Some(gone) = documents.iter().find(|document| self.horizons.is_below(document, self.began)) {
                return Err(gone_meanwhile(gone));
            }
            let batch = delivery.batch().to_vec();
            if batch.is_empty() {
                return Ok(());
            }
            let next = match self.attempt(documents, &batch).await {
                Ok(answer) => {
                    let outcome = delivery.answered(&answer, &mut Refusals::default(), rand::random());
                    if let Some((position, cause)) = outcome.dead.first() {
                        bail!("{}: {}: {}", documents[*position].index, cause.code, cause.reason);
                    }
                    // It was there before it was written into.
                    if let Some(position) = outcome.missing.first() {
                        return Err(gone_meanwhile(&documents[*position]));
                    }
                    outcome.next
                }
                Err(error) => delivery.failed(&error, rand::random()),
            };
            match next {
                Next::Finished => return Ok(()),
                Next::More => failures = 0,
                Next::Later(wait) => {
                    failures = 0;
                    tokio::time::sleep(wait).await;
                }
                Next::Wait(_, Why::Refusals(text) | Why::Forbidden(text)) => bail!(text),
                Next::Wait(_, why) if failures >= ATTEMPTS => bail!("documents are not written: {}", why.as_str()),
                Next::Wait(wait, _) => {
                    failures += 1;
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    async fn attempt(
        &self,
        documents: &[Prepared],
        batch: &[usize],
    ) -> Result<weir_elastic::bulk::Answer, weir_elastic::Error> {
        let records = batch.iter().map(|position| &documents[*position]);
        let body = self.indices.bulk(records, |document| document.operation.clone(), None).await?;
        self.elastic.bulk(&body).await
    }
}

fn gone_meanwhile(document: &Prepared) -> anyhow::Error {
    let (index, kind) = (document.index, document.index.kind().as_str());
    anyhow::anyhow!(
        "{index} was deleted by retention while it was written: give {kind} more room there (--keep {kind}:budget=SIZE), and begin again"
    )
}
