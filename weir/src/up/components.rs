//! The services inside this process: started in the order of the data path, drained in the same order.

use super::UpSettings;
use super::capture::Capture;
use anyhow::{Context as _, Result, anyhow};
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::JoinHandle;
use tracing::{info, warn};
use weir_console::{Console, Parts};
use weir_elastic::Elastic;
use weir_enricher::EnricherSettings;
use weir_flow::RecordSettings;
use weir_indexer::IndexerSettings;
use weir_service::{CancellationToken, Context, Health, HintExt as _, Metrics};
use weir_stream::Log;

/// How long one component may take to finish what it has begun.
const DRAIN: Duration = Duration::from_secs(8);

/// One running service.
struct Component {
    name: &'static str,
    token: CancellationToken,
    task: JoinHandle<Result<()>>,
    /// Whether it may end by itself (a capture that was read).
    ends: bool,
}

/// What every service is given.
struct Shell {
    log: Log,
    elastic: Elastic,
    metrics: Metrics,
    health: Health,
}

/// All of them.
pub(crate) struct Components {
    context: Context<UpSettings>,
    log: Log,
    elastic: Elastic,
    records: RecordSettings,
    running: Vec<Component>,
}

impl Components {
    pub(crate) fn new(context: Context<UpSettings>, log: Log, elastic: Elastic, records: RecordSettings) -> Self {
        Self { context, log, elastic, records, running: Vec::new() }
    }

    /// The settings that decide records.
    pub(crate) fn records(&self) -> &RecordSettings {
        &self.records
    }

    fn spawn<F>(&mut self, name: &'static str, ends: bool, start: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let token = CancellationToken::new();
        let task = tokio::spawn(start(token.clone()));
        self.running.push(Component { name, token, task, ends });
    }

    /// Starts everything along the data path.
    pub(crate) async fn start(&mut self, capture: &Capture) -> Result<()> {
        match capture {
            Capture::Host(_) => self.start_host(),
            Capture::Files { files, .. } => self.start_files(files.clone()),
            Capture::Demo { seed } => self.start_demo(*seed),
        }
        self.start_path();
        self.start_console().await
    }
}

impl Components {
    /// The agent of this host and the metadata that names its flows.
    fn start_host(&mut self) {
        let (metadata, shell) = (self.context.settings.metadata(), self.shell());
        let hint = match (&metadata.kubeconfig, &metadata.manifests) {
            (Some(_), _) => {
                "give the kubeconfig of a cluster that answers with --kubeconfig, or name pods from files with --manifests"
            }
            (_, Some(_)) => "give a folder of valid manifests with --manifests",
            _ => "another source of names was closed in this data folder: choose another --cluster or --data",
        };
        self.spawn("metadata", false, |token| async move {
            weir_metadata::run(metadata, shell.log, &shell.metrics, &shell.health, token).await.hint(hint)
        });
        let (agent, records, shell) = (self.context.settings.agent.clone(), self.records.clone(), self.shell());
        self.spawn("agent", false, |token| async move {
            weir_agent::run(&agent, &records.cluster, &records, &shell.log, &shell.metrics, &shell.health, token)
                .await?;
            Ok(())
        });
    }

    /// Capture files: their metadata, then their packets, once.
    fn start_files(&mut self, files: Vec<PathBuf>) {
        let (records, shell) = (self.records.clone(), self.shell());
        let manifests = self.context.settings.manifests.clone();
        self.spawn("capture", true, |_| async move {
            weir_metadata::write_capture(&shell.log, &records.cluster, manifests.as_deref()).await?;
            let published =
                weir_agent::pcap::publish(&files, &shell.log, &records, &shell.metrics, &shell.health).await?;
            info!(cluster = published.cluster, batches = published.published.batches, "capture published");
            Ok(())
        });
    }

    fn start_demo(&mut self, seed: u64) {
        let (records, shell) = (self.records.clone(), self.shell());
        self.spawn("demo", false, |token| async move { crate::demo::run(&shell.log, &records, seed, token).await });
    }

    /// The services behind the raw topic.
    fn start_path(&mut self) {
        let (cluster, shell) = (self.records.cluster.clone(), self.shell());
        let mmdb = self.context.settings.mmdb.clone();
        self.spawn("enricher", false, |token| async move {
            let instance = Some("up".to_owned());
            let settings = EnricherSettings { cluster, instance, mmdb, ..EnricherSettings::default() };
            weir_enricher::run(settings, shell.log, &shell.metrics, &shell.health, token).await
        });
        let shell = self.shell();
        self.spawn("indexer", false, |token| async move {
            let settings = IndexerSettings::default();
            weir_indexer::run(settings, shell.log, shell.elastic, &shell.metrics, &shell.health, token).await
        });
        let (retention, shell) = (self.context.settings.retention.clone(), self.shell());
        self.spawn("retention", false, |token| async move {
            weir_retention::run(retention, shell.log, shell.elastic, &shell.metrics, &shell.health, token).await
        });
    }

    /// The console answers before anything else is looked for.
    async fn start_console(&mut self) -> Result<()> {
        let shell = self.shell();
        let parts = Parts { elastic: shell.elastic, log: shell.log, metrics: shell.metrics, health: shell.health };
        let token = CancellationToken::new();
        let console = Console::start(&self.context.settings.console, parts, token.clone()).await?;
        let task = tokio::spawn(console.join());
        self.running.push(Component { name: "console", token, task, ends: false });
        Ok(())
    }

    fn shell(&self) -> Shell {
        Shell {
            log: self.log.clone(),
            elastic: self.elastic.clone(),
            metrics: self.context.metrics.clone(),
            health: self.context.health.clone(),
        }
    }

    /// Waits for the signal or for a component that fails, then drains along the data path.
    pub(crate) async fn run_until_stopped(mut self) -> Result<()> {
        let failed = self.first_failure().await;
        let mut result = failed.map_or(Ok(()), Err);
        for component in self.running {
            component.token.cancel();
            let mut task = component.task;
            let ended = match tokio::time::timeout(DRAIN, &mut task).await {
                Ok(Ok(ended)) => ended,
                Ok(Err(panicked)) => Err(anyhow!(panicked)),
                Err(_) => {
                    warn!(
                        "{} did not finish within {} s; what it had begun is done at the next start",
                        component.name,
                        DRAIN.as_secs()
                    );
                    task.abort();
                    Ok(())
                }
            };
            if let (Err(error), Ok(())) = (ended, &result) {
                result = Err(error).context(component.name);
            }
        }
        result
    }

    /// The error of the first component that ends though nobody told it to; nothing on the signal.
    async fn first_failure(&mut self) -> Option<anyhow::Error> {
        let mut check = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                () = self.context.shutdown.cancelled() => return None,
                _ = check.tick() => {}
            }
            let Some(index) = self.running.iter().position(|c| c.task.is_finished()) else { continue };
            let component = self.running.remove(index);
            let ended = match component.task.await {
                Ok(ended) => ended,
                Err(panicked) => Err(anyhow!(panicked)),
            };
            match ended {
                Err(error) => return Some(error.context(component.name)),
                Ok(()) if component.ends => info!("{} has ended", component.name),
                Ok(()) => return Some(anyhow!("{} ended by itself", component.name)),
            }
        }
    }
}
