//! The long suites, whole: hundreds of kills instead of a handful, many more random cases.
//!
//! CI runs them scaled down. The log says when, on what, with which seed and how it ended; it is committed.

use crate::engines::{ControlPlane, Engine, SearchEngine};
use anyhow::{Context, Result, bail};
use std::io::Write as _;
use std::process::Command;

/// The first TCP port of a suite's own control plane.
const KUBERNETES_PORT: u16 = 18_440;
/// That of its own search engine.
const SEARCH_PORT: u16 = 18_200;

/// One suite: what it is called, the arguments of `cargo test`, the environment that makes it long, and what it needs.
struct Suite {
    name: &'static str,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
    needs: Needs,
}

/// What a suite runs against besides what is embedded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// A control plane of its own.
    Kubernetes,
    /// The script of a real Kafka, of which it starts its own.
    Kafka,
    /// Each real search engine in turn, its own, and the script to start others.
    Search,
}

const SUITES: &[Suite] = &[
    Suite {
        name: "kill -9 of weir up",
        arguments: &["--test", "end_to_end", "kill"],
        environment: &[("WEIR_TEST_KILLS", "20")],
        needs: Needs::Nothing,
    },
    Suite {
        name: "decoders on random bytes",
        arguments: &["-p", "weir-schemas", "--lib"],
        environment: &[("PROPTEST_CASES", "100000")],
        needs: Needs::Nothing,
    },
    Suite {
        name: "hostile messages",
        arguments: &["--test", "poison"],
        environment: &[("WEIR_TEST_FUZZ", "1000000")],
        needs: Needs::Nothing,
    },
    Suite {
        name: "the join against a model",
        arguments: &["-p", "weir-join"],
        environment: &[("PROPTEST_CASES", "5000")],
        needs: Needs::Nothing,
    },
    Suite {
        name: "who held an address",
        arguments: &["--test", "addresses"],
        environment: &[("WEIR_TEST_SWITCHES", "100000")],
        needs: Needs::Nothing,
    },
    Suite {
        name: "who sent a datagram",
        arguments: &["--test", "addresses_real"],
        environment: &[("WEIR_TEST_ADDRESS_SWITCHES", "10000"), ("WEIR_TEST_STATUS_LATE", "30")],
        needs: Needs::Kubernetes,
    },
    Suite {
        name: "the enricher's stages",
        arguments: &["-p", "weir-enricher", "--lib", "stage"],
        environment: &[("PROPTEST_CASES", "2000")],
        needs: Needs::Nothing,
    },
    Suite {
        name: "the enricher's stages under any schedule",
        arguments: &["-p", "weir-enricher", "--lib", "exactness::"],
        environment: &[("PROPTEST_CASES", "2000")],
        needs: Needs::Nothing,
    },
    Suite {
        name: "faults of the enricher",
        arguments: &["--test", "faults"],
        environment: &[
            ("WEIR_TEST_FAULT_KILLS", "100"),
            ("WEIR_TEST_FAULT_STOPS", "50"),
            ("WEIR_TEST_FAULT_STORM", "300"),
            ("WEIR_TEST_FAULT_FLOOD", "600"),
            ("WEIR_TEST_FAULT_OVERLOAD", "600"),
            ("WEIR_TEST_FAULT_SAME", "400"),
        ],
        needs: Needs::Nothing,
    },
    Suite {
        name: "faults of the enricher on a real Kafka",
        arguments: &["--test", "faults"],
        environment: &[
            // Of all at once it is a quarter.
            ("WEIR_TEST_FAULT_KILLS", "100"),
            ("WEIR_TEST_FAULT_STOPS", "50"),
            ("WEIR_TEST_FAULT_STORM", "300"),
            ("WEIR_TEST_FAULT_FLOOD", "600"),
            ("WEIR_TEST_FAULT_OVERLOAD", "600"),
            ("WEIR_TEST_FAULT_SAME", "400"),
            ("WEIR_TEST_FAULT_POISON", "10000"),
        ],
        needs: Needs::Kafka,
    },
    Suite {
        name: "faults of the indexer",
        arguments: &["--test", "delivery", "program"],
        environment: &[
            ("WEIR_TEST_KILLS", "100"),
            ("WEIR_TEST_RESTARTS", "40"),
            ("WEIR_TEST_DOCUMENTS", "100000"),
            ("WEIR_TEST_FULL_DISKS", "5"),
        ],
        needs: Needs::Nothing,
    },
    Suite {
        name: "refusals of the engine",
        arguments: &["--test", "delivery", "refusals"],
        environment: &[("WEIR_TEST_REFUSALS", "100000")],
        needs: Needs::Nothing,
    },
    Suite {
        name: "faults between the indexer and Kafka",
        arguments: &["--test", "delivery", "kafka::"],
        environment: &[("WEIR_TEST_BROKER_FAULTS", "10"), ("WEIR_TEST_FULL_DISKS", "5")],
        needs: Needs::Nothing,
    },
    Suite {
        name: "faults between the indexer and a real Kafka",
        arguments: &["--test", "delivery", "kafka::"],
        environment: &[("WEIR_TEST_BROKER_FAULTS", "10"), ("WEIR_TEST_FULL_DISKS", "5")],
        needs: Needs::Kafka,
    },
    Suite {
        name: "a real Kafka that fails the indexer",
        arguments: &["--test", "delivery", "outlives"],
        environment: &[("WEIR_TEST_RESTARTS", "40"), ("WEIR_TEST_FULL_DISKS", "5")],
        needs: Needs::Kafka,
    },
    Suite {
        name: "several retentions at once",
        arguments: &["--test", "engine", "several"],
        environment: &[("WEIR_TEST_ROUNDS", "50")],
        needs: Needs::Nothing,
    },
    Suite {
        name: "two processes of retention, killed",
        arguments: &["--test", "engine", "two_processes"],
        environment: &[("WEIR_TEST_KILLS", "50")],
        needs: Needs::Nothing,
    },
    Suite {
        name: "retention under pressure",
        arguments: &["--test", "pressure"],
        environment: &[("WEIR_TEST_HOURS", "100")],
        needs: Needs::Nothing,
    },
    Suite {
        name: "retention on every engine",
        arguments: &["--test", "engine", "--test", "kinds", "--test", "pressure"],
        environment: &[("WEIR_TEST_HOURS", "24")],
        needs: Needs::Search,
    },
    Suite {
        name: "full disks and old statistics on every engine",
        arguments: &["--test", "flood"],
        environment: &[],
        needs: Needs::Search,
    },
    Suite {
        name: "kill -9 and restarts of the agent",
        arguments: &["--test", "kills"],
        environment: &[("WEIR_TEST_AGENT_KILLS", "50"), ("WEIR_TEST_AGENT_RESTARTS", "20")],
        needs: Needs::Nothing,
    },
    Suite {
        name: "damaged packets in the kernel",
        arguments: &["--test", "kernel", "damaged"],
        environment: &[("WEIR_TEST_PACKETS", "1000000")],
        needs: Needs::Nothing,
    },
    Suite {
        name: "metadata of a large cluster",
        arguments: &["--test", "scale"],
        environment: &[("WEIR_TEST_NODES", "1000"), ("WEIR_TEST_PODS", "10000"), ("WEIR_TEST_KILLS", "50")],
        needs: Needs::Kubernetes,
    },
];

/// Runs all suites, or those whose name contains `only`, and writes `docs/soak.log`.
///
/// # Errors
/// When a suite fails; the log says which.
pub(crate) fn run(only: Option<&str>) -> Result<()> {
    let path = crate::root().join("docs/soak.log");
    let mut log = std::fs::File::options().create(true).append(true).open(&path).context("docs/soak.log")?;
    let mut failed = Vec::new();
    for suite in SUITES.iter().filter(|s| only.is_none_or(|o| s.name.contains(o))) {
        let engines = if suite.needs == Needs::Search { SearchEngine::ALL.map(Some).to_vec() } else { vec![None] };
        for engine in engines {
            if !run_suite(suite, engine, &mut log)? {
                failed.push(suite.name);
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}; docs/soak.log says how", failed.join(", ")) }
}

/// Runs a suite, on a search engine where it needs one, and says whether it passed.
fn run_suite(suite: &Suite, engine: Option<Engine>, log: &mut std::fs::File) -> Result<bool> {
    let control_plane = match suite.needs {
        Needs::Kubernetes => Some(ControlPlane::start(KUBERNETES_PORT).context("control plane")?),
        Needs::Nothing | Needs::Kafka | Needs::Search => None,
    };
    let on = engine.map(|engine| format!(" | {}", engine.name())).unwrap_or_default();
    let (date, machine) = (output("date", &["-u", "+%F %H:%M"])?, machine()?);
    writeln!(log, "\n== {date} | {}{on} | {machine} | {:?}", suite.name, suite.environment)?;
    let engine = engine.map(|engine| SearchEngine::start(engine, SEARCH_PORT)).transpose()?;
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg("test").args(suite.arguments).args(["--", "--nocapture"]).current_dir(crate::root());
    command.envs(suite.environment.iter().copied());
    if suite.needs == Needs::Kafka {
        command.envs(crate::engines::kafka_script()?);
    }
    if let Some(engine) = &engine {
        command.envs(engine.environment()?);
    }
    command.envs(control_plane.iter().flat_map(ControlPlane::environment).cloned());
    let ran = command.output().context("cargo test")?;
    let text = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
    for line in text.lines().filter(|l| is_result(l)) {
        writeln!(log, "{line}")?;
    }
    if !ran.status.success() {
        writeln!(log, "{text}")?;
    }
    Ok(ran.status.success())
}

/// Lines that say what happened, without the build's.
fn is_result(line: &str) -> bool {
    [
        "test ",
        "test result",
        "kill ",
        "restart ",
        "packets: ",
        "proptest",
        "node delay ",
        "scale ",
        "fault ",
        "refusals: ",
        "skipped",
    ]
    .iter()
    .any(|start| line.starts_with(start))
        || line.contains(" datagrams: ")
}

fn machine() -> Result<String> {
    Ok(format!("Linux {}, {} cores", output("uname", &["-r"])?, output("nproc", &[])?))
}

fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| program.to_owned())?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
