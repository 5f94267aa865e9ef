//! Starts the program, asks its Elasticsearch port, reads its Kafka port.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use weir_schemas::dns::Dns;
use weir_schemas::raw::{End, OpenedBy, RawBatch};
use weir_stream::{KafkaSettings, Log, Partitions, Start};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_weir");

/// Which engines a scenario runs on.
#[derive(Clone, Debug)]
pub(crate) enum Engines {
    Embedded,
    Real { kafka: String, elasticsearch: String },
}

impl Engines {
    /// The embedded pair, and the real one where the environment names it.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![Self::Embedded];
        match (std::env::var("WEIR_TEST_KAFKA"), std::env::var("WEIR_TEST_ELASTICSEARCH")) {
            (Ok(kafka), Ok(elasticsearch)) => all.push(Self::Real { kafka, elasticsearch }),
            _ => eprintln!("skipped: the real engines (set WEIR_TEST_KAFKA and WEIR_TEST_ELASTICSEARCH)"),
        }
        all
    }
}

/// Ports that nobody uses now.
pub(crate) struct Ports {
    pub(crate) kafka: u16,
    pub(crate) elasticsearch: u16,
    pub(crate) console: u16,
}

impl Ports {
    pub(crate) fn free() -> Self {
        let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> = listeners.iter().map(|l| l.local_addr().unwrap().port()).collect();
        Self { kafka: ports[0], elasticsearch: ports[1], console: ports[2] }
    }
}

/// A running `weir up`.
pub(crate) struct Up {
    child: Child,
    pub(crate) ports: Ports,
    engines: Engines,
    namespace: Option<String>,
    log: PathBuf,
}

impl Up {
    /// Starts it on a data folder, in a network namespace if one is named.
    pub(crate) fn start(data: &Path, engines: &Engines, namespace: Option<&str>, arguments: &[&str]) -> Self {
        let ports = Ports::free();
        let mut command = match namespace {
            Some(name) => {
                let mut c = Command::new("nsenter");
                c.arg(format!("--net=/run/netns/{name}")).arg(PROGRAM);
                c
            }
            None => Command::new(PROGRAM),
        };
        command.arg("up").arg("--data").arg(data).args(arguments);
        command.args(["--console-listen", &format!("127.0.0.1:{}", ports.console)]);
        match engines {
            Engines::Embedded => {
                command.args(["--kafka-listen", &format!("127.0.0.1:{}", ports.kafka)]);
                command.args(["--elasticsearch-listen", &format!("127.0.0.1:{}", ports.elasticsearch)]);
            }
            Engines::Real { kafka, elasticsearch } => {
                command.args(["--kafka", kafka, "--elasticsearch", elasticsearch]);
            }
        }
        std::fs::create_dir_all(data).unwrap();
        let log = data.join("test-output.log");
        let output = std::fs::File::options().create(true).append(true).open(&log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap();
        Self { child, ports, engines: engines.clone(), namespace: namespace.map(str::to_owned), log }
    }

    pub(crate) fn kafka(&self) -> String {
        match &self.engines {
            Engines::Embedded => format!("127.0.0.1:{}", self.ports.kafka),
            Engines::Real { kafka, .. } => kafka.clone(),
        }
    }

    pub(crate) fn elasticsearch(&self) -> String {
        match &self.engines {
            Engines::Embedded => format!("http://127.0.0.1:{}", self.ports.elasticsearch),
            Engines::Real { elasticsearch, .. } => elasticsearch.clone(),
        }
    }

    /// What it has printed.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ctrl-C; the exit code.
    pub(crate) fn interrupt(mut self) -> Option<i32> {
        self.signal_and_wait()
    }

    fn signal_and_wait(&mut self) -> Option<i32> {
        Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("weir up did not stop within 60 s:\n{}", self.output());
    }

    /// The answer to a search, asked inside the namespace where the program runs.
    pub(crate) fn search(&self, body: &Value) -> Result<Value, String> {
        let url = format!("{}/weir-flows/_search?ignore_unavailable=true", self.elasticsearch());
        let text = self.curl(&["-XPOST", "-H", "content-type: application/json", "-d", &body.to_string(), &url])?;
        let answer: Value = serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))?;
        if answer["error"].is_null() { Ok(answer) } else { Err(text) }
    }

    pub(crate) fn curl(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = match &self.namespace {
            Some(name) => {
                let mut c = Command::new("nsenter");
                c.arg(format!("--net=/run/netns/{name}")).arg("curl");
                c
            }
            None => Command::new("curl"),
        };
        let output = command.args(["-sS", "-m", "10"]).args(arguments).output().unwrap();
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Documents of a level that match a filter.
    pub(crate) fn documents(&self, level: u8, filter: &[Value]) -> Vec<Value> {
        let mut filter = filter.to_vec();
        filter.push(json!({"term": {"weir.level": level}}));
        let body = json!({"size": 5000, "query": {"bool": {"filter": filter}}});
        let Ok(answer) = self.search(&body) else { return Vec::new() };
        let hits = answer["hits"]["hits"].as_array().cloned().unwrap_or_default();
        hits.into_iter().map(|h| h["_source"].clone()).collect()
    }

    /// Waits until a question has an answer; says what the program printed when it never has.
    pub(crate) fn wait_for<T>(&self, what: &str, seconds: u64, mut ask: impl FnMut(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        loop {
            if let Some(answer) = ask(self) {
                return answer;
            }
            assert!(Instant::now() < deadline, "{what}: not within {seconds} s; it printed:\n{}", self.output());
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the program to its end.
pub(crate) fn weir(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// A field of a document by its dotted name, as a number.
pub(crate) fn number(document: &Value, field: &str) -> u64 {
    field.split('.').fold(document, |value, key| &value[key]).as_u64().unwrap_or(0)
}

/// Sums of bytes per window start over documents.
pub(crate) fn bytes_by_window(documents: &[Value]) -> BTreeMap<i64, u64> {
    let mut sums = BTreeMap::new();
    for document in documents {
        let window: jiff::Timestamp = document["@timestamp"].as_str().unwrap().parse().unwrap();
        *sums.entry(window.as_millisecond()).or_default() += number(document, "network.bytes");
    }
    sums
}

/// What the raw topic says: bytes per window that the initiators' reporters counted, and the highest tick's end.
pub(crate) fn raw_by_window(kafka: &str, topic: &str, window: i64) -> (BTreeMap<i64, u64>, i64) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let log = Log::kafka(&KafkaSettings::at(kafka)).unwrap();
        let mut reader = log.reader(topic, Partitions::All, Start::Beginning).await.unwrap();
        let mut sums = BTreeMap::new();
        let mut last = 0;
        for record in reader.read_to_end(Duration::from_secs(10)).await.unwrap() {
            let batch: RawBatch = weir_schemas::decode(record.value.as_ref().unwrap()).unwrap();
            last = last.max(batch.tick + batch.tick_length);
            for sample in &batch.samples {
                let at_source = sample.end == End::Source;
                let initiator = match sample.opened_by {
                    OpenedBy::Source => at_source,
                    OpenedBy::Destination => !at_source,
                    OpenedBy::Unknown => panic!("the demo knows who opened"),
                };
                // What was dropped never passed; the sender's end still counted it as sent.
                if initiator {
                    *sums.entry(batch.tick.div_euclid(window) * window).or_default() += sample.bytes;
                }
            }
        }
        (sums, last)
    })
}

/// What is on the topic of DNS records.
pub(crate) fn questions(kafka: &str) -> Vec<Dns> {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let log = Log::kafka(&KafkaSettings::at(kafka)).unwrap();
        let mut reader = log.reader(weir_schemas::topics::DNS, Partitions::All, Start::Beginning).await.unwrap();
        let records = reader.read_to_end(Duration::from_secs(10)).await.unwrap();
        records.iter().map(|record| weir_schemas::decode(record.value.as_ref().unwrap()).unwrap()).collect()
    })
}

/// Whether this process may make network namespaces; says so when it may not.
pub(crate) fn is_root(test: &str) -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    let root = output.stdout.starts_with(b"0\n");
    if !root {
        eprintln!("skipped: {test} needs root");
    }
    root
}
