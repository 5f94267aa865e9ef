//! Documents written at once, without a topic: for commands.

use crate::delivery::{Delivery, Next, Patience, Refusals, Why};
use crate::document::Prepared;
use crate::indices::Indices;
use crate::metrics::IndexerMetrics;
use anyhow::{Context as _, bail};
use bytes::BytesMut;
use weir_elastic::Elastic;
use weir_service::Metrics;

/// How often in a row an engine may be unable before a command gives up: half a minute or so.
const ATTEMPTS: u32 = 8;

/// Writes documents into their indices, which it makes.
#[derive(Debug)]
pub struct Direct {
    elastic: Elastic,
    indices: Indices,
}

impl Direct {
    /// Ready to write.
    ///
    /// # Errors
    /// Never: the templates are part of the program.
    pub fn new(elastic: Elastic, metrics: &Metrics) -> anyhow::Result<Self> {
        let indices = Indices::new(elastic.clone(), IndexerMetrics::new(metrics)).context("index templates")?;
        Ok(Self { elastic, indices })
    }

    /// Writes all of them, and returns when each is stored (or a higher correction is).
    ///
    /// # Errors
    /// When one is refused, or the engine stays away.
    pub async fn write(&self, documents: &[Prepared]) -> anyhow::Result<()> {
        let mut delivery = Delivery::new(documents.len(), Patience::default());
        let mut failures = 0;
        loop {
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
                    for position in &outcome.missing {
                        self.indices.forget(documents[*position].index);
                    }
                    outcome.next
                }
                Err(error) => delivery.failed(&error, rand::random()),
            };
            match next {
                Next::Finished => return Ok(()),
                Next::More => failures = 0,
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
        let body = self.indices.bulk(batch.iter().map(|position| &documents[*position]), BytesMut::new()).await?;
        self.elastic.bulk(&body).await
    }
}
