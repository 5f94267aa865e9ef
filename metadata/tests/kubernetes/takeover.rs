//! What becomes of the history when the lease's holder is killed, or stands still and wakes up again: two processes on one
//! broker, the embedded one or the real one that `WEIR_TEST_KAFKA` names.

use super::*;
use k8s_openapi::api::coordination::v1::Lease;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use weir_embedded_broker::{Broker, BrokerSettings};
use weir_schemas::metadata::Heartbeat;
use weir_stream::KafkaSettings;

/// The lease's 15 s, which count from when the other saw it renewed: at most one look after that, and taken at the next
/// look, every 4 s; then the topic and the API are read, on a machine that runs other tests.
const TAKEN_OVER_WITHIN: Millis = 32_000;
/// Time between two edits, and after every fifth: longer than the whole seconds of Kubernetes' times leave open.
const EVERY: [Duration; 2] = [Duration::from_millis(150), Duration::from_millis(2_500)];

/// The service as a process.
struct Process {
    child: Child,
    output: PathBuf,
}

impl Process {
    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success(), "kill {name}");
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An edit of a network set: its number, when it was asked for and when it had been answered.
type Edit = (u32, Millis, Millis);

struct Stage {
    folder: TempDir,
    broker: Option<Broker>,
    kafka: String,
    log: Log,
    cluster: String,
    kubeconfig: PathBuf,
    client: Client,
    edits: Arc<Mutex<Vec<Edit>>>,
    editing: CancellationToken,
}

impl Stage {
    async fn new(kubeconfig: PathBuf, client: Client, what: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (broker, kafka) = match std::env::var("WEIR_TEST_KAFKA") {
            Ok(address) => (None, address),
            Err(_) => {
                let settings = BrokerSettings::new(folder.path().join("broker"), ([127, 0, 0, 1], 0).into());
                let broker = Broker::start(settings).await.unwrap();
                let address = broker.address().to_string();
                (Some(broker), address)
            }
        };
        let log = Log::kafka(&KafkaSettings::at(&kafka)).unwrap();
        let cluster = format!("{what}-{}", now());
        let spaces: Api<Namespace> = Api::all(client.clone());
        spaces.create(&PostParams::default(), &object(json!({"metadata": {"name": cluster}}))).await.unwrap();
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &cluster);
        let map = object(json!({"metadata": {"name": "set", "labels": {"weir.dev/network-set": "true"}},
            "data": {"networks": network(0)}}));
        let asked = now();
        maps.create(&PostParams::default(), &map).await.unwrap();
        let edits = Arc::new(Mutex::new(vec![(0, asked, now())]));
        let editing = CancellationToken::new();
        tokio::spawn(edit(maps, edits.clone(), editing.clone()));
        Self { folder, broker, kafka, log, cluster, kubeconfig, client, edits, editing }
    }

    fn start(&self, name: &str) -> Process {
        let output = self.folder.path().join(name);
        let file = File::create(&output).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_weir-metadata"))
            .args([
                "--kafka",
                &self.kafka,
                "--cluster",
                &self.cluster,
                "--kube-namespace",
                &self.cluster,
                "--kubeconfig",
            ])
            .arg(&self.kubeconfig)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Process { child, output }
    }

    /// The cluster's messages in the order of the topic, with when each was written and its key.
    async fn read(&self) -> Vec<(Millis, String, Metadata)> {
        let mut messages = Vec::new();
        // The service makes the topic.
        let Ok(mut reader) = self.log.reader(topics::METADATA, Partitions::All, Start::Beginning).await else {
            return messages;
        };
        for record in reader.read_to_end(Duration::from_secs(30)).await.unwrap() {
            let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
            if key.starts_with(&format!("{}/", self.cluster)) {
                messages.push((record.timestamp, key, decode(&record.value.unwrap()).unwrap()));
            }
        }
        messages
    }

    /// Waits for a heartbeat that is written after `since` and for a time after it: when it was written.
    async fn heartbeat(&self, since: Millis, within: Millis) -> Millis {
        while now() < since + within {
            let written = self.read().await.into_iter().find_map(|(written, _, message)| match message {
                Metadata::Heartbeat(Heartbeat { complete_to, .. }) if complete_to > since => Some(written),
                _ => None,
            });
            if let Some(written) = written {
                return written;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("no heartbeat for after {since} in {within} ms");
    }

    /// Ends the edits, waits until the history has the last of them, and compares.
    async fn compare(self) {
        self.editing.cancel();
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.heartbeat(now(), 30_000).await;
        let messages = self.read().await;
        assert_whole(&messages, &self.edits.lock().unwrap());
        let spaces: Api<Namespace> = Api::all(self.client);
        spaces.delete(&self.cluster, &DeleteParams::default()).await.unwrap();
    }
}

fn network(number: u32) -> String {
    let [_, a, b, c] = number.to_be_bytes();
    format!("10.{a}.{b}.{c}/32")
}

fn number(revision: &Revision) -> u32 {
    let Object::NetworkSet(set) = &revision.object else { panic!("{revision:?}") };
    let text = set.networks[0].strip_prefix("10.").unwrap().strip_suffix("/32").unwrap();
    text.split('.').fold(0, |number, part| number * 256 + part.parse::<u32>().unwrap())
}

/// Edits the set until the token is cancelled.
async fn edit(maps: Api<ConfigMap>, edits: Arc<Mutex<Vec<Edit>>>, token: CancellationToken) {
    for next in 1_u32.. {
        tokio::time::sleep(EVERY[usize::from(next.is_multiple_of(5))]).await;
        if token.is_cancelled() {
            return;
        }
        let asked = now();
        let patch = json!({"data": {"networks": network(next)}});
        maps.patch("set", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        edits.lock().unwrap().push((next, asked, now()));
    }
}

/// The set's history has each state once, one after the other without a hole, and says of no time anything but what was.
fn assert_whole(messages: &[(Millis, String, Metadata)], edits: &[Edit]) {
    let mut promised = Millis::MIN;
    let mut line: BTreeMap<u64, (usize, Revision)> = BTreeMap::new();
    for (_, key, message) in messages {
        match message {
            Metadata::Heartbeat(heartbeat) if key.contains("/heartbeat/0") => {
                assert!(heartbeat.complete_to > promised, "{key}: {} after {promised}", heartbeat.complete_to);
                promised = heartbeat.complete_to;
            }
            Metadata::Revision(revision) if matches!(revision.object, Object::NetworkSet(_)) => {
                let known = line.entry(revision.revision).or_insert((0, revision.clone()));
                assert_eq!(number(&known.1), number(revision), "{key} became another");
                *known = (known.0 + 1, revision.clone());
            }
            _ => {}
        }
    }
    assert!(line.keys().copied().eq(1..=u64::try_from(line.len()).unwrap()), "a hole: {:?}", line.keys());
    assert!(line.values().all(|(written, _)| *written <= 2), "each is opened once and closed once: {line:?}");
    let line: Vec<Revision> = line.into_values().map(|(_, revision)| revision).collect();
    for pair in line.windows(2) {
        assert!(number(&pair[0]) < number(&pair[1]), "a duplicate, or one out of order: {pair:?}");
        assert_eq!(pair[0].valid_to, Some(pair[1].valid_from), "{pair:?}");
    }
    let last = line.last().unwrap();
    assert_eq!((number(last), last.valid_to), (edits.last().unwrap().0, None), "the last edit is what holds");
    let mut certain = 0;
    for pair in edits.windows(2) {
        let ((edit, _, answered), (_, asked, _)) = (pair[0], pair[1]);
        let at = answered.midpoint(asked);
        let first = line[0].valid_from.latest;
        if at < first || at > promised {
            continue;
        }
        let end =
            |revision: &Revision| revision.valid_to.map_or((Millis::MAX, Millis::MAX), |to| (to.earliest, to.latest));
        let possible = line.iter().filter(|of| of.valid_from.earliest <= at && at < end(of).1);
        assert!(possible.count() > 0, "nothing holds at {at}, when edit {edit} did");
        let named = line.iter().find(|of| of.valid_from.latest <= at && at < end(of).0);
        if let Some(named) = named {
            assert_eq!(number(named), edit, "at {at}: {named:?}");
            certain += 1;
        }
    }
    assert!(certain > 0, "of no edit it is certain that it held");
    eprintln!("{} edits, {} revisions, {certain} edits certain in the middle of their time", edits.len(), line.len());
}

/// Two processes, of which the first writes.
async fn two(stage: &Stage) -> [Process; 2] {
    let begun = now();
    let first = stage.start("first");
    stage.heartbeat(begun, 60_000).await;
    let second = stage.start("second");
    // It looks at the lease, and waits.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!second.said().contains("beginning anew"), "{}", second.said());
    [first, second]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_holder_of_the_lease_is_followed_without_a_hole() {
    let Some((path, client)) = control_plane().await else { return };
    let stage = Stage::new(path, client, "killed").await;
    let [first, second] = two(&stage).await;
    first.signal("-KILL");
    let killed = now();
    let written = stage.heartbeat(killed, TAKEN_OVER_WITHIN).await;
    eprintln!("killed: the second wrote {} ms later", written - killed);
    assert!(written - killed > 5_000, "the lease kept it waiting");
    stage.compare().await;
    drop((first, second));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_stood_still_writes_nothing_more() {
    let Some((path, client)) = control_plane().await else { return };
    let stage = Stage::new(path, client, "stopped").await;
    let [first, second] = two(&stage).await;
    let leases: Api<Lease> = Api::namespaced(stage.client.clone(), &stage.cluster);
    let lease = format!("weir-metadata-{}", stage.cluster);
    let holder = leases.get(&lease).await.unwrap().spec.unwrap().holder_identity.unwrap();
    // In the middle of a transaction, if the broker shows it.
    if stage.broker.is_some() {
        let size = || size_of(&stage.folder.path().join("broker/topics"));
        let begun = size();
        for _ in 0..2_000 {
            if size() > begun {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    first.signal("-STOP");
    let stopped = now();
    let written = stage.heartbeat(stopped, TAKEN_OVER_WITHIN).await;
    eprintln!("stopped: the second wrote {} ms later", written - stopped);
    // Even if the lease said that it may: what it writes is refused.
    let taken = json!({"spec": {"holderIdentity": holder}});
    leases.patch(&lease, &PatchParams::default(), &Patch::Merge(taken)).await.unwrap();
    first.signal("-CONT");
    for _ in 0..200 {
        if first.said().contains("beginning anew") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let said = first.said();
    let refused = said.lines().find(|line| line.contains("beginning anew")).unwrap_or_else(|| panic!("{said}"));
    eprintln!("stopped: it said {refused}");
    assert!(refused.contains("fenced"), "{refused}");
    stage.compare().await;
    drop((first, second));
}

/// The size of all files under a folder.
fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let sizes = entries.filter_map(Result::ok).map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}
