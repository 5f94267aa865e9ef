//! Server-sent events, from the topic to the browser's side of the wire.

use serde_json::Value;
use weir_console::ConsoleSettings;
use weir_console::row::from_record;
use weir_schemas::enriched::{Enriched, Kind, document_id};

use crate::Stage;
use crate::http::Events;
use crate::samples::flows;

#[tokio::test]
async fn new_records_arrive_as_the_rows_that_the_api_gives() {
    let stage = Stage::new().await;
    let records = flows();
    // Before anybody listened: not for the stream, which is for new flows.
    stage.publish(&records[0]).await;
    while stage.metrics.value("weir_console_live_records_total", &[]) != Some(1.0) {
        tokio::task::yield_now().await;
    }
    let mut events = Events::open(stage.address, "/api/flows/stream?action=deny").await;
    for record in &records {
        stage.publish(record).await;
    }
    let (name, data) = events.next().await.unwrap();
    assert_eq!(name, "flow");
    let expected = serde_json::to_value(from_record(&records[2])).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&data).unwrap(), expected);
    stage.publish(&Enriched { kind: Kind::Delete, ..records[2].clone() }).await;
    let (name, data) = events.next().await.unwrap();
    assert_eq!((name.as_str(), data), ("delete", format!("{{\"id\":\"{}\"}}", document_id(&records[2].id))));
}

#[tokio::test]
async fn streams_end_with_the_console_and_their_number_is_limited() {
    let stage = Stage::with(ConsoleSettings { console_streams: 1, ..ConsoleSettings::default() }).await;
    let mut events = Events::open(stage.address, "/api/flows/stream").await;
    let refused = stage.get("/api/flows/stream").await;
    assert_eq!(refused.status, 503);
    assert!(refused.body.contains("--console-streams"));
    stage.token.cancel();
    assert_eq!(events.next().await, None);
    stage.console.join().await.unwrap();
}
