//! Streams: who gets what, and what a slow one loses.

use weir_service::CancellationToken;

use super::*;
use crate::filter::Parameters;
use crate::row::tests::record;

fn filter(namespace: Option<&str>) -> Filter {
    let parameters = Parameters { namespace: namespace.map(str::to_owned), ..Parameters::default() };
    Filter::parse(&parameters, 1, 0).unwrap()
}

fn hub(queue: usize) -> (Arc<Hub>, Metrics) {
    let metrics = Metrics::new();
    (Arc::new(Hub::new(2, queue, &metrics)), metrics)
}

#[tokio::test]
async fn stream_gets_what_passes_its_filter() {
    let (hub, _) = hub(10);
    let mut shop = hub.subscribe(filter(Some("shop"))).unwrap();
    let mut bank = hub.subscribe(filter(Some("bank"))).unwrap();
    hub.publish(&record("a"));
    hub.publish(&Enriched { kind: Kind::Delete, ..record("b") });
    let Some(Event::Flow(json)) = shop.next().await else { panic!("flow expected") };
    assert!(json.contains("\"namespace\":\"shop\""), "{json}");
    // Whether a deleted flow was shown cannot be told from the deletion, so everybody hears of it.
    let id: Arc<str> = document_id(&record("b").id).into();
    assert_eq!(shop.next().await, Some(Event::Delete(Arc::clone(&id))));
    assert_eq!(bank.next().await, Some(Event::Delete(id)));
}

#[tokio::test]
async fn slow_stream_loses_and_is_told_how_many() {
    let (hub, metrics) = hub(2);
    let mut slow = hub.subscribe(filter(None)).unwrap();
    for name in ["a", "b", "c", "d", "e"] {
        hub.publish(&record(name));
    }
    assert_eq!(slow.next().await, Some(Event::Dropped(3)));
    assert!(matches!(slow.next().await, Some(Event::Flow(_))));
    assert!(matches!(slow.next().await, Some(Event::Flow(_))));
    hub.publish(&record("f"));
    assert!(matches!(slow.next().await, Some(Event::Flow(_))));
    assert_eq!(metrics.value("weir_console_stream_dropped_total", &[]), Some(3.0));
}

#[tokio::test]
async fn streams_are_limited_and_a_closed_one_makes_room() {
    let (hub, metrics) = hub(1);
    let first = hub.subscribe(filter(None)).unwrap();
    let _second = hub.subscribe(filter(None)).unwrap();
    assert_eq!(hub.subscribe(filter(None)).err(), Some(TooManyStreams { most: 2 }));
    assert_eq!(metrics.value("weir_console_streams", &[]), Some(2.0));
    drop(first);
    assert_eq!(hub.streams(), 1);
    assert!(hub.subscribe(filter(None)).is_ok());
    assert_eq!(metrics.value("weir_console_stream_refused_total", &[]), Some(1.0));
}

#[tokio::test]
async fn topic_that_is_made_later_is_read_from_its_beginning() {
    let memory = weir_stream::MemoryLog::new();
    let log = weir_stream::Log::from(memory);
    let (hub, _) = hub(10);
    let mut stream = hub.subscribe(filter(None)).unwrap();
    let token = CancellationToken::new();
    let task = tokio::spawn(follow(log.clone(), "t".to_owned(), Arc::clone(&hub), token.clone()));
    while hub.following().error.is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(!hub.following().connected);
    log.ensure_topics(&[weir_stream::TopicSpec { name: "t".to_owned(), partitions: 1, configs: Vec::new() }])
        .await
        .unwrap();
    let producer = log.producer(&weir_stream::ProducerSettings::new("test")).unwrap();
    let send = |value: Vec<u8>| producer.send(weir_stream::NewRecord::new("t", "k", value)).unwrap();
    send(b"nonsense".to_vec()).await.unwrap();
    send(weir_schemas::encode(&record("a")).unwrap()).await.unwrap();
    assert!(matches!(stream.next().await, Some(Event::Flow(_))));
    let following = hub.following().clone();
    assert!(following.connected && following.error.is_none());
    assert_eq!((following.records, following.undecodable, following.cluster_known), (1, 1, Some(true)));
    token.cancel();
    task.await.unwrap();
}
