use super::*;
use weir_join::{Ask, Table};
use weir_schemas::enriched::{Attribution, NoneReason};
use weir_schemas::metadata::{Metadata, is_source_key};
use weir_schemas::{decode, topics};
use weir_stream::{Partitions, Start};

mod clusters;

struct Running {
    token: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
    metrics: Metrics,
    health: Health,
}

impl Running {
    fn start(settings: MetadataSettings, log: &Log) -> Self {
        let (token, metrics, health) = (CancellationToken::new(), Metrics::new(), Health::new());
        let (log, given, shared, told) = (log.clone(), token.clone(), metrics.clone(), health.clone());
        let task = tokio::spawn(async move { run(settings, log, &shared, &told, given).await });
        Self { token, task, metrics, health }
    }

    async fn stop(self) -> f64 {
        self.token.cancel();
        self.task.await.unwrap().unwrap();
        self.metrics.value("weir_metadata_revisions_written_total", &[]).unwrap_or_default()
    }
}

async fn table(log: &Log) -> Table {
    table_of(log, "local").await
}

async fn table_of(log: &Log, cluster: &str) -> Table {
    let mut table = Table::new(cluster, 1);
    let first = format!("{cluster}/heartbeat/first");
    let Ok(mut reader) = log.reader(topics::METADATA, Partitions::All, Start::Beginning).await else { return table };
    for record in reader.read_to_end(Duration::from_secs(5)).await.unwrap() {
        match &record.value {
            Some(value) => {
                let message: Metadata = decode(value).unwrap();
                let key = std::str::from_utf8(record.key.as_deref().unwrap()).unwrap();
                match &message {
                    Metadata::Heartbeat(source) if is_source_key(key, cluster) => table.change_source(source),
                    message => table.apply(0, message),
                }
                if let Metadata::Heartbeat(heartbeat) = &message
                    && key == first
                {
                    table.whole_from(heartbeat.complete_to);
                }
            }
            None => table.forget(std::str::from_utf8(record.key.as_deref().unwrap()).unwrap()),
        }
    }
    table
}

async fn eventually(log: &Log, what: &str, holds: impl Fn(&Table) -> bool) -> Table {
    for _ in 0..200 {
        let table = table(log).await;
        if holds(&table) {
            return table;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what} did not come true");
}

fn manifests(folder: &Path) -> MetadataSettings {
    MetadataSettings { manifests: Some(folder.to_owned()), node: Some("h".to_owned()), ..MetadataSettings::default() }
}

fn pod(name: &str, address: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop}}\nstatus: {{podIP: {address}}}\n")
}

fn name(table: &Table, at: Millis, address: &str) -> Option<String> {
    table.side(&Ask::address(at, address.parse().unwrap())).pod
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kubernetes_the_host_is_named_and_nothing_is_awaited() {
    let log = Log::memory();
    let settings = MetadataSettings { node: Some("h".to_owned()), ..MetadataSettings::default() };
    let running = Running::start(settings.clone(), &log);
    let table = eventually(&log, "a heartbeat", |table| table.complete_to() == FOR_EVER).await;
    assert!(!table.cluster_known(0));
    assert!(running.health.is_ready());
    let ask = Ask { local_host: Some("h"), ..Ask::address(0, "127.0.0.1".parse().unwrap()) };
    let resolution = table.resolve(&ask);
    assert_eq!(resolution.host.as_deref(), Some("h"));
    assert!(table.covered(&resolution, ask.address, 0));
    let outside = table.side(&Ask::address(0, "192.0.2.1".parse().unwrap()));
    assert_eq!(outside.reason, Some(NoneReason::NoCluster));
    running.stop().await;
    let written = Running::start(settings, &log);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(written.stop().await <= 2.0, "at most what has changed of this host");
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_name_flows_and_what_changes_holds_from_then_on() {
    let (log, dir) = (Log::memory(), tempfile::tempdir().unwrap());
    std::fs::write(dir.path().join("a.yaml"), pod("a", "10.0.0.1")).unwrap();
    let running = Running::start(manifests(dir.path()), &log);
    let table = eventually(&log, "a heartbeat", |table| table.complete_to() > NEVER).await;
    let first = table.complete_to();
    assert_eq!(name(&table, 5, "10.0.0.1").as_deref(), Some("a"), "always valid");
    assert!(table.side(&Ask::address(5, "10.0.0.1".parse().unwrap())).always_valid);

    std::fs::write(dir.path().join("a.yaml"), pod("b", "10.0.0.1")).unwrap();
    let later = now();
    let table = eventually(&log, "the change", |table| {
        table.complete_to() > later && name(table, table.complete_to(), "10.0.0.1").as_deref() == Some("b")
    })
    .await;
    assert_eq!(name(&table, first, "10.0.0.1").as_deref(), Some("a"), "nothing before a heartbeat changes");

    std::fs::write(dir.path().join("a.yaml"), "kind: [").unwrap();
    let later = now();
    let table = eventually(&log, "a heartbeat after it", |table| table.complete_to() > later).await;
    assert_eq!(name(&table, later, "10.0.0.1").as_deref(), Some("b"), "the last good version stays");
    assert!(running.metrics.value("weir_metadata_manifests_invalid_total", &[]).unwrap() >= 1.0);
    running.stop().await;

    // While the service is down, the pod is taken out.
    let down = now();
    std::fs::write(dir.path().join("a.yaml"), pod("c", "10.0.0.2")).unwrap();
    let running = Running::start(manifests(dir.path()), &log);
    let table = eventually(&log, "the removal", |table| {
        table.complete_to() > down && name(table, table.complete_to(), "10.0.0.1").is_none()
    })
    .await;
    let during = table.side(&Ask::address(down, "10.0.0.1".parse().unwrap()));
    assert_ne!(during.attribution, Attribution::None, "it may still have been there");
    assert_eq!(running.stop().await, 2.0, "one closed, one opened");
    let running = Running::start(manifests(dir.path()), &log);
    let again = now();
    eventually(&log, "a heartbeat", |table| table.complete_to() > again).await;
    assert_eq!(running.stop().await, 0.0, "nothing is written twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_no_record_could_hold_ends_nothing() {
    let (log, dir) = (Log::memory(), tempfile::tempdir().unwrap());
    let domains: Vec<String> =
        (0..10_000).map(|number| format!("    d{number}.{0}.{0}.example", "x".repeat(63))).collect();
    let domains = domains.iter().flat_map(|domain| [domain.clone(), domain.replace(".example", ".test")]);
    let set = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: big, namespace: weir, labels: {{weir.dev/network-set: 'true'}}}}\n\
         data:\n  networks: 198.51.100.0/24\n  domains: |\n{}\n",
        domains.collect::<Vec<_>>().join("\n")
    );
    assert!(set.len() > 1 << 20);
    std::fs::write(dir.path().join("set.yaml"), set).unwrap();
    std::fs::write(dir.path().join("pod.yaml"), pod("a", "10.0.0.1")).unwrap();
    for start in 0..2 {
        let began = now();
        let running = Running::start(manifests(dir.path()), &log);
        let table = eventually(&log, "a heartbeat", |table| table.complete_to() > began).await;
        assert_eq!(name(&table, 5, "10.0.0.1").as_deref(), Some("a"));
        let cut = running.metrics.value("weir_metadata_left_out_total", &[("what", "network_set_member")]);
        assert!(cut.unwrap() >= 10_000.0, "{cut:?}");
        assert_eq!(running.stop().await == 0.0, start == 1, "a restart finds the same");
    }
}

#[tokio::test]
async fn a_capture_is_complete_at_once() {
    let (log, dir) = (Log::memory(), tempfile::tempdir().unwrap());
    std::fs::write(dir.path().join("a.yaml"), pod("a", "10.0.0.1")).unwrap();
    write_capture(&log, "local", Some(dir.path())).await.unwrap();
    let table = table(&log).await;
    assert_eq!((table.complete_to(), table.cluster_known(0)), (FOR_EVER, true));
    assert!(table.one_observer(0));
    assert_eq!(name(&table, 0, "10.0.0.1").as_deref(), Some("a"));
    let ask = Ask::address(0, "192.0.2.1".parse().unwrap());
    assert!(table.covered(&table.resolve(&ask), ask.address, 0));
    write_capture(&log, "local", Some(dir.path())).await.unwrap();
    std::fs::write(dir.path().join("a.yaml"), pod("b", "10.0.0.1")).unwrap();
    let error = write_capture(&log, "local", Some(dir.path())).await.unwrap_err().to_string();
    assert!(error.contains("cluster id of its own"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_after_a_run_without_one_holds_from_then_on() {
    let (log, dir) = (Log::memory(), tempfile::tempdir().unwrap());
    let host = MetadataSettings { node: Some("h".to_owned()), ..MetadataSettings::default() };
    let running = Running::start(host, &log);
    eventually(&log, "a heartbeat", |table| table.complete_to() == FOR_EVER).await;
    running.stop().await;
    let before = now();
    std::fs::write(dir.path().join("a.yaml"), pod("a", "10.0.0.1")).unwrap();
    let running = Running::start(manifests(dir.path()), &log);
    let named = eventually(&log, "a heartbeat", |table| {
        (before..FOR_EVER).contains(&table.complete_to()) && table.revisions() > 2
    })
    .await;
    running.stop().await;
    let until = named.complete_to();
    assert!(until >= before + crate::revisions::LEAD, "no flow of a time that was joined already gets another name");
    assert_eq!((named.cluster_known(until), named.cluster_known(until + 1)), (false, true));
    let reason = |table: &Table, at| table.side(&Ask::address(at, "10.0.0.1".parse().unwrap())).reason;
    assert_eq!(reason(&named, before), Some(NoneReason::NoCluster));
    assert_eq!(name(&named, until + 1_000, "10.0.0.1").as_deref(), Some("a"));

    // The source is taken away: what was named stays so.
    let host = MetadataSettings { node: Some("h".to_owned()), ..MetadataSettings::default() };
    let running = Running::start(host, &log);
    let table = eventually(&log, "a heartbeat", |table| table.complete_to() == FOR_EVER).await;
    running.stop().await;
    let known = |at| table.cluster_known(at);
    assert_eq!([before, until, until + 1_000].map(known), [false, false, false], "no heartbeat had passed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_source_was_survives_compaction() {
    let log = Log::memory();
    let token = CancellationToken::new();
    let beat = |history: &History, to, known| history.heartbeat_message(to, Proof::Manifests, known);
    let mut changes = Vec::new();
    for (named, promise) in [(false, FOR_EVER), (true, 50_000), (true, 60_000), (false, FOR_EVER), (true, 90_000)] {
        let (mut writer, mut history) = Writer::open(&log, "local").await.unwrap();
        let now = if promise == 90_000 { 70_000 } else { 20_000 };
        if let Some((sources, former)) = history.begin(named, now) {
            writer.change_source(&sources, &former, &token).await.unwrap();
            changes.push((former.complete_to, former.cluster_known));
        }
        writer.write(&[], Some(&beat(&history, promise, named)), &token).await.unwrap();
    }
    assert_eq!(changes, [(30_000, false), (60_000, true), (80_000, false)]);
    let mut reader = log.reader(topics::METADATA, Partitions::All, Start::Beginning).await.unwrap();
    let mut last: std::collections::BTreeMap<String, (i64, Metadata)> = std::collections::BTreeMap::new();
    for record in reader.read_to_end(Duration::from_secs(5)).await.unwrap() {
        let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
        last.insert(key, (record.offset, decode(&record.value.unwrap()).unwrap()));
    }
    let mut kept: Vec<_> = last.into_iter().collect();
    kept.sort_by_key(|(_, (offset, _))| *offset);
    let mut table = Table::new("local", 1);
    for (key, (_, message)) in &kept {
        match message {
            Metadata::Heartbeat(source) if is_source_key(key, "local") => table.change_source(source),
            message => table.apply(0, message),
        }
    }
    let times = [NEVER + 1, 0, 30_000, 30_001, 60_000, 60_001, 80_000, 80_001, FOR_EVER];
    let known = [false, false, false, true, true, false, false, true, true];
    assert_eq!(times.map(|at| table.cluster_known(at)), known);
    assert_eq!(table.complete_to(), 90_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_writer_fences_the_first() {
    let log = Log::memory();
    let (mut first, history) = Writer::open(&log, "local").await.unwrap();
    let (mut second, _) = Writer::open(&log, "local").await.unwrap();
    let heartbeat = history.heartbeat_message(5, Proof::Manifests, true);
    let token = CancellationToken::new();
    let error = first.write(&[], Some(&heartbeat), &token).await.unwrap_err();
    assert!(error.needs_rebuild(), "{error}");
    second.write(&[], Some(&heartbeat), &token).await.unwrap();
    assert_eq!(table(&log).await.complete_to(), 5);
}

#[tokio::test]
async fn another_clusters_record_that_cannot_be_read_stops_no_writer() {
    let log = Log::memory();
    let (mut writer, history) = Writer::open(&log, "local").await.unwrap();
    writer
        .write(&[], Some(&history.heartbeat_message(5, Proof::Manifests, true)), &CancellationToken::new())
        .await
        .unwrap();
    let producer = log.producer(&weir_stream::ProducerSettings::new("test")).unwrap();
    let poisoned = |key: &'static str| weir_stream::NewRecord::new(topics::METADATA, key, &b"nonsense"[..]);
    producer.send(poisoned("local2/Pod/uid/1")).unwrap().await.unwrap();
    assert_eq!(Writer::open(&log, "local").await.unwrap().1.heartbeat(), 5);
    producer.send(poisoned("local/Pod/uid/1")).unwrap().await.unwrap();
    let own = Writer::open(&log, "local").await.unwrap_err().to_string();
    assert!(own.contains("offset"), "one's own is named: {own}");
}

#[tokio::test]
async fn the_start_says_what_is_wrong_with_a_source() {
    let wrong = |settings: MetadataSettings| async {
        let (metrics, health) = (Metrics::new(), Health::new());
        let run = run(settings, Log::memory(), &metrics, &health, CancellationToken::new());
        run.await.unwrap_err().to_string()
    };
    let away = wrong(manifests(Path::new("/nonexistent/weir"))).await;
    assert!(away.contains("/nonexistent/weir") && away.contains("--manifests"), "{away}");
    let config = MetadataSettings { kubeconfig: Some("/nonexistent/config".into()), ..MetadataSettings::default() };
    let config = wrong(config).await;
    assert!(config.contains("/nonexistent/config") && config.contains("--kubeconfig"), "{config}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config");
    let text = "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n\
                users: [{name: a, user: {token: x}}]\nclusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}]\n";
    std::fs::write(&path, text).unwrap();
    let refused = wrong(MetadataSettings { kubeconfig: Some(path), ..MetadataSettings::default() }).await;
    assert!(refused.contains("127.0.0.1:1") && refused.contains("check the server's address"), "{refused}");
}

#[tokio::test]
async fn tombstones_wait_for_the_raw_topics_retention() {
    let log = Log::memory();
    let settings = MetadataSettings { node: Some("h".to_owned()), ..MetadataSettings::default() };
    let (metrics, health) = (Metrics::new(), Health::new());
    let session = Session {
        settings: &settings,
        log: &log,
        meters: Meters::new(&metrics),
        health: &health,
        token: CancellationToken::new(),
    };
    let (mut writer, mut history) = Writer::open(&log, "local").await.unwrap();
    let day = 86_400_000;
    let gone = Observed { since: None, ..host::agent("gone", &[]) };
    let mut revisions = history.observe(gone.clone(), now() - 20 * day);
    revisions.extend(history.vanish(Kind::Agent, &gone.uid, None, now() - 10 * day));
    let begun = history.heartbeat_message(now() - 30 * day, Proof::Probed, true);
    writer.write(&revisions, Some(&begun), &session.token).await.unwrap();
    assert_eq!(table(&log).await.history_start(), begun.complete_to);
    let buried = async |kept: &str, writer: &mut Writer, history: &mut History| {
        let raw = topics::raw("local");
        log.ensure_topics(&[weir_stream::TopicSpec::new(&raw, 1).with("retention.ms", kept)]).await.unwrap();
        session.expire(&mut Expiry::due_now(), writer, history).await.unwrap();
        metrics.value("weir_metadata_tombstones_written_total", &[]).unwrap_or_default()
    };
    session.expire(&mut Expiry::due_now(), &mut writer, &mut history).await.unwrap();
    assert_eq!(table(&log).await.revisions(), 1, "without a raw topic nothing is known of what it keeps");
    assert_eq!(buried(&(7 * day).to_string(), &mut writer, &mut history).await, 1.0);
    let forgotten = table(&log).await;
    assert_eq!(forgotten.revisions(), 0);
    assert!(((now() - 8 * day - 5_000)..=(now() - 8 * day)).contains(&forgotten.history_start()), "whole from then on");
    let (_, history) = Writer::open(&log, "local").await.unwrap();
    assert_eq!(history.open(), 0);
}

#[tokio::test]
async fn where_raw_samples_are_kept_for_long_or_for_ever_so_is_metadata() {
    for kept in ["-1", "1209600000"] {
        let log = Log::memory();
        let settings = MetadataSettings::default();
        let (metrics, health) = (Metrics::new(), Health::new());
        let meters = Meters::new(&metrics);
        let token = CancellationToken::new();
        let session = Session { settings: &settings, log: &log, meters, health: &health, token };
        let raw = topics::raw("local");
        log.ensure_topics(&[weir_stream::TopicSpec::new(&raw, 1).with("retention.ms", kept)]).await.unwrap();
        let (mut writer, mut history) = Writer::open(&log, "local").await.unwrap();
        let gone = Observed { since: None, ..host::agent("gone", &[]) };
        let _ = history.observe(gone.clone(), now() - 20 * 86_400_000);
        let _ = history.vanish(Kind::Agent, &gone.uid, None, now() - 10 * 86_400_000);
        session.expire(&mut Expiry::due_now(), &mut writer, &mut history).await.unwrap();
        assert_eq!(metrics.value("weir_metadata_tombstones_written_total", &[]).unwrap_or_default(), 0.0, "{kept}");
    }
}
