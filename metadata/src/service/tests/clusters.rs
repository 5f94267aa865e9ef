//! Two clusters whose services write one topic.

use super::*;
use weir_embedded_broker::{Broker, BrokerSettings};
use weir_stream::KafkaSettings;

/// One's name begins with the other's.
const CLUSTERS: [&str; 2] = ["shop", "shop-eu"];
const ADDRESS: &str = "10.0.0.1";

/// A cluster of manifests. Both have a pod of the same name, UID and address: nothing but the cluster tells them apart.
struct Place {
    folder: tempfile::TempDir,
    cluster: &'static str,
}

impl Place {
    fn new(cluster: &'static str) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap(), cluster };
        std::fs::create_dir(place.manifests()).unwrap();
        place.show(cluster);
        place
    }

    fn manifests(&self) -> std::path::PathBuf {
        self.folder.path().join("manifests")
    }

    fn show(&self, label: &str) {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: web, namespace: shop, labels: {{of: {label}}}}}\nstatus: {{podIP: {ADDRESS}}}\n"
        );
        std::fs::write(self.manifests().join("pod.yaml"), text).unwrap();
    }

    fn start(&self, log: &Log) -> Running {
        Running::start(MetadataSettings { cluster: self.cluster.to_owned(), ..manifests(&self.manifests()) }, log)
    }

    /// Waits until its table names its pod with a label as of the newest time that is promised.
    async fn eventually_named(&self, log: &Log, label: &str) -> Table {
        for _ in 0..300 {
            let table = table_of(log, self.cluster).await;
            if named(&table, table.complete_to()) == [format!("of={label}")] {
                return table;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{}: nobody is named of={label}", self.cluster);
    }

    /// The revisions of its objects that were written, oldest first.
    async fn written(&self, log: &Log) -> Vec<Revision> {
        let mut reader = log.reader(topics::METADATA, Partitions::All, Start::Beginning).await.unwrap();
        let records = reader.read_to_end(Duration::from_secs(5)).await.unwrap();
        let messages = records.into_iter().filter_map(|record| decode(&record.value?).ok());
        messages
            .filter_map(|message| match message {
                Metadata::Revision(revision) => Some(revision).filter(|revision| revision.cluster == self.cluster),
                Metadata::Heartbeat(_) => None,
            })
            .collect()
    }
}

fn named(table: &Table, at: Millis) -> Vec<String> {
    table.side(&Ask::address(at, ADDRESS.parse().unwrap())).labels
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_on_one_topic_know_nothing_of_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(BrokerSettings::new(folder.path(), ([127, 0, 0, 1], 0).into())).await.unwrap();
    let log = Log::kafka(&KafkaSettings::at(broker.address().to_string())).unwrap();
    let [one, two] = CLUSTERS.map(Place::new);
    let (first, second) = (one.start(&log), two.start(&log));
    one.eventually_named(&log, "shop").await;
    let both_at = two.eventually_named(&log, "shop-eu").await.complete_to();

    // The first one's manifests are away: it stands still, and the other goes on and names what is new.
    let away = one.folder.path().join("away");
    std::fs::rename(one.manifests(), &away).unwrap();
    tokio::time::sleep(SCAN + TICK).await;
    let still = table_of(&log, one.cluster).await.complete_to();
    two.show("new");
    let table = two.eventually_named(&log, "new").await;
    assert_eq!(named(&table, both_at), ["of=shop-eu"], "of then it says what was");
    assert!(table.complete_to() > still, "{} and {still}", table.complete_to());
    let table = table_of(&log, one.cluster).await;
    assert_eq!((table.complete_to(), named(&table, still)), (still, vec!["of=shop".to_owned()]));

    // The first comes back, and each is started again: neither closes or writes anything of the other's.
    let before = (one.written(&log).await, two.written(&log).await);
    first.stop().await;
    std::fs::rename(&away, one.manifests()).unwrap();
    let first = one.start(&log);
    let moved = eventually_complete(&log, one.cluster, still).await;
    assert_eq!(named(&moved, moved.complete_to()), ["of=shop"]);
    second.stop().await;
    let second = two.start(&log);
    let passed = table_of(&log, two.cluster).await.complete_to();
    let moved = eventually_complete(&log, two.cluster, passed).await;
    assert_eq!(named(&moved, moved.complete_to()), ["of=new"]);
    assert_eq!((one.written(&log).await, two.written(&log).await), before);
    first.stop().await;
    second.stop().await;
}

/// The table of a cluster once it is complete to later than a time.
async fn eventually_complete(log: &Log, cluster: &str, after: Millis) -> Table {
    for _ in 0..300 {
        let table = table_of(log, cluster).await;
        if table.complete_to() > after {
            return table;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{cluster} did not become complete to after {after}");
}
