//! Reading the enriched topic for the hub, again and again after errors.

use std::sync::Arc;
use std::time::Duration;

use weir_schemas::enriched::Enriched;
use weir_service::{CancellationToken, rate_limited};
use weir_stream::{Log, Partitions, Reader, Record, Start, StreamError};

use super::Hub;

/// How long one call waits for records.
const WAIT: Duration = Duration::from_secs(1);
/// The first pause after an error; it doubles up to [`PAUSE_MOST`].
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MOST: Duration = Duration::from_secs(10);

/// Reads the topic from its end on, until the token is cancelled.
pub(crate) async fn follow(log: Log, topic: String, hub: Arc<Hub>, token: CancellationToken) {
    let mut start = Start::End;
    let mut pause = PAUSE;
    loop {
        let error = tokio::select! {
            () = token.cancelled() => return,
            error = read(&log, &topic, &mut start, &hub, &mut pause) => error,
        };
        rate_limited!(warn, topic, %error, "live flows stopped; trying again");
        {
            let mut following = hub.following();
            following.connected = false;
            following.error = Some(error.to_string());
        }
        tokio::select! {
            () = token.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(PAUSE_MOST);
    }
}

/// Reads until an error; `start` is then where to go on.
async fn read(log: &Log, topic: &str, start: &mut Start, hub: &Hub, pause: &mut Duration) -> StreamError {
    let mut reader = match log.reader(topic, Partitions::All, start.clone()).await {
        Ok(reader) => reader,
        Err(error) => {
            if matches!(error, StreamError::UnknownTopic(_)) && *start == Start::End {
                // Whatever a topic holds that is made after this is new.
                *start = Start::Beginning;
            }
            return error;
        }
    };
    {
        let mut following = hub.following();
        following.connected = true;
        following.error = None;
    }
    *pause = PAUSE;
    loop {
        match batch(&mut reader, hub).await {
            Ok(()) => *start = Start::Offsets(reader.positions()),
            Err(error) => return error,
        }
    }
}

async fn batch(reader: &mut Reader, hub: &Hub) -> Result<(), StreamError> {
    let records = reader.next(WAIT).await?;
    records.iter().for_each(|record| publish(record, hub));
    hub.following().positions = reader.positions();
    Ok(())
}

fn publish(record: &Record, hub: &Hub) {
    let Some(value) = &record.value else {
        return;
    };
    match weir_schemas::decode::<Enriched>(value) {
        Ok(enriched) => hub.publish(&enriched),
        Err(error) => {
            hub.undecodable();
            let (partition, offset) = (record.partition, record.offset);
            rate_limited!(warn, partition, offset, %error, "message cannot be decoded");
        }
    }
}
