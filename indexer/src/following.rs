//! Compacted topics that are read to their end at the start, and followed from then on.

use std::time::Duration;
use tokio_util::sync::CancellationToken;
use weir_service::rate_limited;
use weir_stream::{Log, Partitions, Reader, Record, Start, StreamError};

/// How long the log may be silent while what is there is read.
const IDLE: Duration = Duration::from_secs(30);
/// How long to wait before reading anew after an error.
const AGAIN: Duration = Duration::from_secs(1);

/// What a compacted topic says; clones share it.
pub(crate) trait Followed: Clone + Send + Sync + 'static {
    /// The topic.
    const TOPIC: &'static str;

    /// Takes records into account, in their order.
    fn apply(&self, records: &[Record]);

    /// Reads all that is there, and hands back where reading goes on.
    fn read(&self, log: &Log) -> impl Future<Output = Result<Reader, StreamError>> + Send {
        async {
            let mut reader = log.reader(Self::TOPIC, Partitions::All, Start::Beginning).await?;
            while let Some(records) = reader.next_before_end(IDLE).await? {
                self.apply(&records);
            }
            Ok(reader)
        }
    }

    /// Takes what comes into account until it is told to stop.
    fn follow(self, log: Log, mut reader: Reader, token: CancellationToken) -> impl Future<Output = ()> + Send {
        async move {
            loop {
                let batch = tokio::select! {
                    () = token.cancelled() => return,
                    batch = reader.next(IDLE) => batch,
                };
                match batch {
                    Ok(records) => self.apply(&records),
                    Err(error) => {
                        rate_limited!(warn, topic = Self::TOPIC, "topic cannot be followed: {error}");
                        tokio::time::sleep(AGAIN).await;
                        if let Ok(again) = self.read(&log).await {
                            reader = again;
                        }
                    }
                }
            }
        }
    }
}
