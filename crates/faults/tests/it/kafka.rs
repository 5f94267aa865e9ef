use std::time::Duration;
use weir_embedded_broker::{Broker, BrokerSettings};
use weir_faults::{Api, Fault, Kind, Plan, Proxy, Rule};
use weir_stream::{KafkaSettings, Log, NewRecord, Partitions, ProducerSettings, Start, TopicSpec, TransactionSettings};

const LONG: Duration = Duration::from_secs(60);

async fn broker() -> (Broker, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let settings = BrokerSettings::new(folder.path(), "127.0.0.1:0".parse().unwrap());
    (Broker::start(settings).await.unwrap(), folder)
}

fn log(address: std::net::SocketAddr) -> Log {
    Log::kafka(&KafkaSettings::at(address.to_string())).unwrap()
}

async fn values(log: &Log, topic: &str) -> Vec<String> {
    let mut reader = log.reader(topic, Partitions::All, Start::Beginning).await.unwrap();
    let records = reader.read_to_end(LONG).await.unwrap();
    records.iter().map(|record| String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_never_go_around_the_proxy() {
    let (broker, _folder) = broker().await;
    let proxy = Proxy::kafka(&broker.address().to_string(), Plan::new(1)).await.unwrap();
    let through = log(proxy.address());
    through.ensure_topics(&[TopicSpec::new("t", 1)]).await.unwrap();
    let producer = through.producer(&ProducerSettings::new("p")).unwrap();
    producer.send(NewRecord::new("t", "k", "v")).unwrap().await.unwrap();
    let mut transactional = through.transactional_producer(&TransactionSettings::new("id")).await.unwrap();
    transactional.begin().await.unwrap();
    transactional.send(NewRecord::new("t", "k", "w")).await.unwrap();
    proxy.refuse(true);
    proxy.reset_connections();
    // Nothing is reachable when the proxy refuses: nobody has learnt of another address.
    let cut_off = tokio::time::timeout(Duration::from_secs(2), transactional.commit()).await;
    assert!(cut_off.is_err(), "{cut_off:?}");
    proxy.refuse(false);
    transactional.commit().await.unwrap();
    assert_eq!(values(&through, "t").await, ["v", "w"]);
    assert!(proxy.counts().broken > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotent_producer_writes_once_and_in_order_through_faults() {
    let (broker, _folder) = broker().await;
    let produce = [Api::Produce];
    let plan = Plan::new(11)
        .with(Rule::new(Fault::DropAnswer).share(0.15).apis(&produce))
        .with(Rule::new(Fault::Reset { within: 0 }).share(0.1).apis(&produce))
        .with(Rule::new(Fault::Cut { within: 20 }).share(0.1).apis(&produce))
        .with(Rule::new(Fault::Delay { at_most: Duration::from_millis(20) }).share(0.3));
    let proxy = Proxy::kafka(&broker.address().to_string(), plan).await.unwrap();
    let through = log(proxy.address());
    through.ensure_topics(&[TopicSpec::new("t", 1)]).await.unwrap();
    let producer = through.producer(&ProducerSettings::new("p")).unwrap();
    let expected: Vec<String> = (0..60).map(|number| number.to_string()).collect();
    for value in &expected {
        producer.send(NewRecord::new("t", "k", value.clone())).unwrap().await.unwrap();
    }
    let counts = proxy.counts();
    assert!(counts.of(Kind::DropAnswer) > 0 && counts.of(Kind::Reset) > 0 && counts.of(Kind::Cut) > 0, "{counts:?}");
    assert_eq!(values(&log(broker.address()), "t").await, expected);
}
