//! Enrichers and a broker as processes, to be killed and stopped.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use weir_embedded_broker::{Broker, BrokerSettings};

const DATA: &str = "WEIR_TEST_BROKER_DATA";
const LISTEN: &str = "WEIR_TEST_BROKER_LISTEN";

/// How long a silent enricher keeps its partitions, s.
pub(crate) const SESSION: u64 = 6;

/// No test: what the broker's process runs.
#[test]
fn broker_process() {
    let (Ok(data), Ok(listen)) = (std::env::var(DATA), std::env::var(LISTEN)) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let broker = Broker::start(BrokerSettings::new(&data, listen.parse().unwrap())).await.unwrap();
        let address = Path::new(&data).join("address.tmp");
        std::fs::write(&address, broker.address().to_string()).unwrap();
        std::fs::rename(&address, Path::new(&data).join("address")).unwrap();
        // It ends with the test: its standard input does.
        let _ = tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin())).await;
    });
}

/// The Kafka of a test: the embedded broker in a process of its own, the real one that `WEIR_TEST_KAFKA` names, or one that
/// the script in `WEIR_TEST_KAFKA_SCRIPT` starts for the test alone.
pub(crate) struct Kafka {
    pub(crate) address: String,
    own: Option<(PathBuf, Child)>,
    script: Option<Script>,
}

/// A real Kafka of a test's own, by `xtask/engines/kafka/kafka.sh`.
struct Script {
    script: PathBuf,
    data: PathBuf,
    port: u16,
    controller: u16,
}

impl Script {
    fn run(&self, command: &str) -> String {
        let output = Command::new("bash")
            .arg(&self.script)
            .args([command.as_ref(), self.data.as_os_str()])
            .arg(self.port.to_string())
            .env("KAFKA_CONTROLLER_PORT", self.controller.to_string())
            .env("KAFKA_HEAP", "512m")
            // A killed broker's session ends sooner than by itself, so that it may come back.
            .env("KAFKA_EXTRA", "broker.session.timeout.ms=3000 broker.heartbeat.interval.ms=500")
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Kafka {
    pub(crate) fn start(folder: &Path) -> Self {
        if let Ok(address) = std::env::var("WEIR_TEST_KAFKA") {
            return Self { address, own: None, script: None };
        }
        if let Ok(script) = std::env::var("WEIR_TEST_KAFKA_SCRIPT") {
            let (port, controller) = (free_port(), free_port());
            let script = Script { script: script.into(), data: folder.join("kafka"), port, controller };
            script.run("start");
            return Self { address: format!("127.0.0.1:{port}"), own: None, script: Some(script) };
        }
        Self::embedded(&folder.join("broker"))
    }

    /// The embedded broker on a folder, which may hold topics already.
    pub(crate) fn embedded(data: &Path) -> Self {
        std::fs::create_dir_all(data).unwrap();
        // The address of a broker that had this folder before.
        let _ = std::fs::remove_file(data.join("address"));
        let data = data.to_owned();
        let child = spawn_broker(&data, "127.0.0.1:0");
        let deadline = Instant::now() + Duration::from_secs(30);
        let address = loop {
            if let Ok(address) = std::fs::read_to_string(data.join("address")) {
                break address;
            }
            assert!(Instant::now() < deadline, "the broker does not start");
            std::thread::sleep(Duration::from_millis(20));
        };
        Self { address, own: Some((data, child)), script: None }
    }

    /// Kills the broker with -9 and starts it again, if the test can: a real one by the command in
    /// `WEIR_TEST_KAFKA_KILL`.
    pub(crate) fn kill_and_start(&mut self) -> bool {
        if let Some((data, child)) = &mut self.own {
            child.kill().unwrap();
            child.wait().unwrap();
            let listen: SocketAddr = self.address.parse().unwrap();
            *child = spawn_broker(data, &listen.to_string());
            return true;
        }
        if let Some(script) = &self.script {
            script.run("kill9");
            script.run("start");
            return true;
        }
        self.kill_by_command()
    }

    /// Ends transactions that hang in a broker that the test has started by a script: the partitions.
    pub(crate) fn end_hanging(&self) -> Vec<String> {
        let said = self.script.as_ref().map(|script| script.run("end-hanging")).unwrap_or_default();
        said.lines().filter_map(|line| line.strip_prefix("ended ")).map(str::to_owned).collect()
    }

    fn kill_by_command(&self) -> bool {
        let Ok(command) = std::env::var("WEIR_TEST_KAFKA_KILL") else { return false };
        assert!(Command::new("bash").args(["-c", &command]).stdout(Stdio::null()).status().unwrap().success());
        true
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if let Some((_, child)) = &mut self.own {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(script) = &self.script {
            script.run("kill9");
        }
    }
}

fn spawn_broker(data: &Path, listen: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::broker_process", "--nocapture"])
        .env(DATA, data)
        .env(LISTEN, listen)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// An enricher's process.
pub(crate) struct Enricher {
    child: Child,
    stopped: bool,
}

/// How enrichers are started.
#[derive(Clone, Debug)]
pub(crate) struct HowToStart {
    pub(crate) kafka: String,
    pub(crate) cluster: String,
    pub(crate) output: PathBuf,
    pub(crate) memory: &'static str,
    /// Further arguments.
    pub(crate) arguments: &'static [&'static str],
}

impl HowToStart {
    /// Starts the enricher of a name; of one name there is one at a time.
    pub(crate) fn enricher(&self, name: &str) -> Enricher {
        let output = File::options().create(true).append(true).open(&self.output).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_weir-enricher"))
            .args(["--kafka", &self.kafka, "--cluster", &self.cluster, "--instance", name])
            .args(["--enricher-memory-limit", self.memory, "--enricher-retry-limit", "500ms"])
            .args(["--enricher-session-timeout", &format!("{SESSION}s")])
            .args(self.arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Enricher { child, stopped: false }
    }
}

/// Lets a process run for a share of the time only, by stopping it again and again. When it is dropped, it runs freely.
pub(crate) struct Throttle {
    shell: Child,
    pid: u32,
}

impl Throttle {
    /// `share` of the time, in thousandths.
    pub(crate) fn new(enricher: &Enricher, share: u32) -> Self {
        let pid = enricher.child.id();
        // A second is well below the session's time, and long beside what a shell takes to begin a `sleep`.
        let on = share.clamp(1, 999);
        let off = 1_000 - on;
        let script =
            format!("while kill -CONT {pid}; do sleep 0.{on:03}; kill -STOP {pid}; sleep 0.{off:03}; done 2>/dev/null");
        let shell = Command::new("bash").args(["-c", &script]).stdin(Stdio::null()).spawn().unwrap();
        Self { shell, pid }
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
        let _ = Command::new("kill").args(["-CONT", &self.pid.to_string()]).status();
    }
}

impl Enricher {
    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success(), "kill {name} {pid}");
    }

    /// SIGSTOP.
    pub(crate) fn stop(&mut self) {
        self.signal("-STOP");
        self.stopped = true;
    }

    /// SIGCONT.
    pub(crate) fn go_on(&mut self) {
        self.signal("-CONT");
        self.stopped = false;
    }

    /// SIGTERM, and waits until it has ended, which must be well.
    pub(crate) fn end(mut self) {
        self.signal("-TERM");
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "an enricher ended with {status}");
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("an enricher did not end in half a minute");
    }

    /// Whether it runs. One that ended by itself is a failure of the test.
    pub(crate) fn assert_running(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "an enricher ended by itself with {ended:?}");
    }

    /// The most memory that it has had, kB.
    pub(crate) fn peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Memory that it has, kB.
    pub(crate) fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    fn status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
    }
}

impl Drop for Enricher {
    /// SIGKILL.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
