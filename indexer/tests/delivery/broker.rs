//! A broker as a process of its own, which can be killed and whose disk can be full: the embedded one, or a real Kafka where
//! `WEIR_TEST_KAFKA_SCRIPT` names `xtask/engines/kafka/kafka.sh`.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use weir_embedded_broker::{Broker, BrokerSettings};

const DATA: &str = "WEIR_TEST_BROKER_DATA";
const LISTEN: &str = "WEIR_TEST_BROKER_LISTEN";

/// No test: what the broker process runs, until its standard input ends.
#[test]
fn broker_process() {
    let (Ok(data), Ok(listen)) = (std::env::var(DATA), std::env::var(LISTEN)) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let broker = Broker::start(BrokerSettings::new(&data, listen.parse().unwrap())).await.unwrap();
        let address = Path::new(&data).join("address.tmp");
        std::fs::write(&address, broker.address().to_string()).unwrap();
        std::fs::rename(&address, Path::new(&data).join("address")).unwrap();
        tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await.unwrap().unwrap();
        broker.shutdown().await;
    });
}

/// A broker as a process of its own.
pub(crate) struct BrokerProcess {
    data: PathBuf,
    address: SocketAddr,
    kind: Kind,
}

enum Kind {
    Embedded(Child),
    /// A real Kafka, by its script.
    Real {
        script: PathBuf,
        controller: SocketAddr,
    },
}

impl BrokerProcess {
    /// Megabytes that either kind finds enough for a test's topics and its own.
    pub(crate) const DISK: u32 = 128;

    pub(crate) fn start(data: &Path) -> Self {
        let data = data.to_owned();
        if let Ok(script) = std::env::var("WEIR_TEST_KAFKA_SCRIPT") {
            let (address, controller) = (free_address(), free_address());
            let broker = Self { data, address, kind: Kind::Real { script: script.into(), controller } };
            let _ = broker.script("start");
            return broker;
        }
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let child = spawn(&data, nowhere);
        let until = Instant::now() + Duration::from_secs(30);
        let address = loop {
            if let Ok(address) = std::fs::read_to_string(data.join("address")) {
                break address.parse().unwrap();
            }
            assert!(Instant::now() < until, "no broker");
            std::thread::sleep(Duration::from_millis(20));
        };
        Self { data, address, kind: Kind::Embedded(child) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Embedded(_) => "embedded broker",
            Kind::Real { .. } => "real Kafka",
        }
    }

    /// Ends it, cleanly or by SIGKILL, and starts it again on the same address.
    pub(crate) fn restart(&mut self, cleanly: bool) {
        match &mut self.kind {
            Kind::Embedded(child) => {
                if cleanly {
                    child.stdin.take().unwrap().write_all(b"\n").unwrap();
                } else {
                    child.kill().unwrap();
                }
                child.wait().unwrap();
                *child = spawn(&self.data, self.address);
            }
            Kind::Real { .. } => {
                let _ = self.script(if cleanly { "stop" } else { "kill9" });
                let _ = self.script("start");
            }
        }
    }

    /// Starts it again if it ended by itself; whether it had.
    pub(crate) fn start_if_ended(&mut self) -> bool {
        match &mut self.kind {
            Kind::Embedded(child) => {
                let ended = child.try_wait().unwrap().is_some();
                if ended {
                    *child = spawn(&self.data, self.address);
                }
                ended
            }
            // It does nothing where one runs, and says so.
            Kind::Real { .. } => self.script("start").starts_with("started"),
        }
    }

    /// Runs the script of a real Kafka; what it said.
    fn script(&self, command: &str) -> String {
        let Kind::Real { script, controller } = &self.kind else { unreachable!("a real one") };
        let output = Command::new("bash")
            .arg(script)
            .args([command.as_ref(), self.data.as_os_str()])
            .arg(self.address.port().to_string())
            .env("KAFKA_CONTROLLER_PORT", controller.port().to_string())
            .env("KAFKA_HEAP", "256m")
            // A killed broker's session ends sooner than by itself, so that it may come back.
            .env("KAFKA_EXTRA", "broker.session.timeout.ms=3000 broker.heartbeat.interval.ms=500")
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        match &mut self.kind {
            Kind::Embedded(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Kind::Real { .. } => drop(self.script("kill9")),
        }
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap()
}

fn spawn(data: &Path, listen: SocketAddr) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "broker::broker_process", "--nocapture"])
        .env(DATA, data)
        .env(LISTEN, listen.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}
