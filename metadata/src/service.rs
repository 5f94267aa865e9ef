//! The service: a source, the history, the topic.

use crate::api::{Kube, Lease, Standing, Told};
use crate::cluster::{AGENT_NAMESPACE, Cluster, Event};
use crate::freshness::Freshness;
use crate::host::{self, Host};
use crate::keep::{self, Keep};
use crate::manifests::{Folder, Shown};
use crate::now;
use crate::observe;
use crate::revisions::{History, Kind, Observed};
use crate::settings::{MetadataSettings, Source};
use crate::watched::WATCHED;
use crate::writer::{Writer, WriterError};
use anyhow::{Context as _, bail};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;
use weir_flow::Millis;
use weir_flow::time::{FOR_EVER, NEVER};
use weir_schemas::metadata::{Metadata, Proof, Revision};
use weir_service::{Health, Metrics};
use weir_stream::Log;

mod expiry;
mod meters;

#[cfg(test)]
mod tests;

use expiry::Expiry;
use meters::Meters;

/// Time between two scans of manifests.
const SCAN: Duration = Duration::from_secs(2);
/// Time between two looks at what a heartbeat may promise.
const TICK: Duration = Duration::from_millis(500);
/// Pauses before beginning anew.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// A heartbeat that is older than this makes the service not ready.
const STALE: Millis = 60_000;
/// The condition of health.
const CONDITION: &str = "metadata";

/// A source that has been checked.
enum Ready {
    Kubernetes(Kube),
    Manifests(Folder),
    Host,
}

/// What every part of the service has.
struct Session<'a> {
    settings: &'a MetadataSettings,
    log: &'a Log,
    meters: Meters,
    health: &'a Health,
    token: CancellationToken,
}

/// Writes metadata until `token` is cancelled.
///
/// # Errors
/// At the start: settings, a kubeconfig or manifests that cannot be used, or an API server that does not answer. Later:
/// only what no retry can help, such as a topic that holds something else.
pub async fn run(
    settings: MetadataSettings,
    log: Log,
    metrics: &Metrics,
    health: &Health,
    token: CancellationToken,
) -> anyhow::Result<()> {
    settings.validate()?;
    health.set_ready(CONDITION, false, "starting");
    let mut source = prepare(&settings).await?;
    let session = Session { settings: &settings, log: &log, meters: Meters::new(metrics), health, token };
    let mut pause = PAUSE.0;
    loop {
        let began = tokio::time::Instant::now();
        let error = match session.serve(&mut source).await {
            Ok(()) | Err(WriterError::Stopped) => return Ok(()),
            Err(error) if error.needs_rebuild() => error,
            Err(error) => return Err(error).context("writing metadata"),
        };
        tracing::warn!(%error, cluster = %settings.cluster, "metadata: beginning anew from what the topic holds");
        session.meters.rebuilds.inc();
        health.set_ready(CONDITION, false, error.to_string());
        pause = if began.elapsed() > PAUSE.1 { PAUSE.0 } else { (pause * 2).min(PAUSE.1) };
        tokio::select! {
            () = session.token.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Writes the metadata of a capture: its manifests, if any, one observer for everything, and that nothing more comes.
///
/// # Errors
/// Manifests that cannot be used, a log that cannot be written, or a cluster id under which something else was closed
/// already.
pub async fn write_capture(log: &Log, cluster: &str, manifests: Option<&Path>) -> anyhow::Result<()> {
    let objects = capture_objects(manifests)?;
    let (mut writer, mut history) = Writer::open(log, cluster).await?;
    let closed = history.heartbeat() != NEVER;
    let revisions = show(&mut history, objects, now());
    if closed && !revisions.is_empty() {
        bail!("cluster {cluster} already has other metadata on this log: give the capture a cluster id of its own");
    }
    let heartbeat = history.heartbeat_message(FOR_EVER, Proof::Closed, manifests.is_some());
    writer.write(&revisions, Some(&heartbeat), &CancellationToken::new()).await?;
    Ok(())
}

/// The same, for who keeps it in memory.
///
/// # Errors
/// Manifests that cannot be used.
pub fn capture_metadata(cluster: &str, manifests: Option<&Path>) -> anyhow::Result<Vec<Metadata>> {
    let mut history = History::new(cluster);
    let revisions = show(&mut history, capture_objects(manifests)?, now());
    let heartbeat = history.heartbeat_message(FOR_EVER, Proof::Closed, manifests.is_some());
    Ok(revisions.into_iter().map(Metadata::Revision).chain([Metadata::Heartbeat(heartbeat)]).collect())
}

fn capture_objects(manifests: Option<&Path>) -> anyhow::Result<Vec<Observed>> {
    let mut objects = vec![host::capture_observer()];
    if let Some(path) = manifests {
        let mut folder = Folder::new(path);
        folder.scan(SystemTime::now())?;
        let shown = folder.show(&Keep::default(), now());
        warn_of(&shown, path);
        objects.extend(shown.objects);
    }
    Ok(objects)
}

/// Checks the source and says in one error what is wrong with it.
async fn prepare(settings: &MetadataSettings) -> anyhow::Result<Ready> {
    Ok(match settings.source() {
        Source::Kubernetes { kubeconfig, context } => {
            let namespace = settings.kube_namespace.as_deref();
            let kube = Kube::new(kubeconfig.as_deref(), context.as_deref(), namespace).await?;
            kube.check().await?;
            Ready::Kubernetes(kube)
        }
        Source::Manifests(path) => {
            let mut folder = Folder::new(&path);
            folder.scan(SystemTime::now())?;
            warn_of(&folder.show(&settings.keep(), now()), &path);
            Ready::Manifests(folder)
        }
        Source::Host => Ready::Host,
    })
}

fn warn_of(shown: &Shown, path: &Path) {
    let folder = path.display();
    if shown.workloads > 0 || shown.pods_without_address > 0 {
        tracing::warn!(
            %folder,
            workloads = shown.workloads,
            pods = shown.pods_without_address,
            "manifests without addresses name no flow: only pods with status.podIP(s) or the annotation {} do; \
             a dump of `kubectl get pods -A -o yaml` has them",
            crate::observe::ADDRESS_ANNOTATION,
        );
    }
    if !shown.left_out.too_large.is_empty() {
        tracing::warn!(%folder, object = %shown.left_out.too_large, "too large for a record: the rest of it is left out");
    }
    if shown.repeated > 0 {
        tracing::warn!(%folder, objects = shown.repeated, "objects stand in more than one manifest: the last file counts");
    }
}

/// Takes everything that a source shows at once: what is not shown is gone.
fn show(history: &mut History, objects: Vec<Observed>, arrival: Millis) -> Vec<Revision> {
    let mut revisions = Vec::new();
    let mut present: BTreeSet<(Kind, String)> = BTreeSet::new();
    for mut object in objects {
        present.insert((Kind::of(&object.object), object.uid.clone()));
        observe::shown(&mut object, history.heartbeat());
        revisions.extend(history.observe(object, arrival));
    }
    for kind in Kind::ALL {
        let uids: BTreeSet<String> = present.iter().filter(|(of, _)| *of == kind).map(|(_, uid)| uid.clone()).collect();
        revisions.extend(history.retain(kind, &uids, arrival));
    }
    revisions
}

impl Session<'_> {
    async fn serve(&self, source: &mut Ready) -> Result<(), WriterError> {
        let Ready::Kubernetes(kube) = source else { return self.write_from(source).await };
        let host = Host::read(self.settings.node.as_deref()).name;
        let identity = format!("{host}_{}", uuid::Uuid::new_v4());
        let Some(mut lease) = kube.lease(&self.settings.cluster, identity) else {
            return self.write_from(source).await;
        };
        if !self.acquire(&mut lease).await {
            return Ok(());
        }
        let written = tokio::select! {
            written = self.write_from(source) => written,
            holder = self.hold(&mut lease) => Err(WriterError::Lease(lease.full_name(), holder)),
        };
        self.meters.writing.set(0);
        lease.release().await;
        written
    }

    /// Waits until this process holds the lease; whether it does, which it does not when it is to stop.
    async fn acquire(&self, lease: &mut Lease) -> bool {
        loop {
            let standing = tokio::select! {
                () = self.token.cancelled() => return false,
                standing = lease.stand() => standing,
            };
            match standing {
                Ok(Standing::Held) => return true,
                // It is as ready as it can be: a rollout waits for this.
                Ok(Standing::Anothers(holder)) => self.health.set_ready(CONDITION, true, format!("{holder} writes")),
                Err(why) => {
                    self.meters.failures("lease").inc();
                    self.health.set_ready(CONDITION, false, why.clone());
                    weir_service::rate_limited!(warn, why, "kubernetes API: trying again");
                }
            }
            self.meters.writing.set(0);
            tokio::select! {
                () = self.token.cancelled() => return false,
                () = tokio::time::sleep(Lease::every()) => {}
            }
        }
    }

    /// Renews the lease until another holds it: who.
    async fn hold(&self, lease: &mut Lease) -> String {
        loop {
            tokio::time::sleep(Lease::every()).await;
            match lease.stand().await {
                Ok(Standing::Held) => {}
                Ok(Standing::Anothers(holder)) => return holder,
                Err(why) => {
                    self.meters.failures("lease").inc();
                    weir_service::rate_limited!(warn, why, "kubernetes API: trying again");
                }
            }
        }
    }

    async fn write_from(&self, source: &mut Ready) -> Result<(), WriterError> {
        let opened = tokio::select! {
            () = self.token.cancelled() => return Ok(()),
            opened = Writer::open(self.log, &self.settings.cluster) => opened,
        };
        let (mut writer, mut history) = opened?;
        self.meters.writing.set(1);
        let has_names = !matches!(source, Ready::Host);
        if let Some((sources, former)) = history.begin(has_names, now()) {
            writer.change_source(&sources, &former, &self.token).await?;
            tracing::info!(after = former.complete_to, has_names, "another source of names holds");
        }
        match source {
            Ready::Kubernetes(kube) => self.follow(kube, writer, history).await,
            Ready::Manifests(folder) => self.scan(folder, writer, history).await,
            Ready::Host => self.host(writer, history).await,
        }
    }

    /// The agents that settings name; where there is no API, this host's.
    fn agents(&self, host: Option<&Host>) -> Vec<Observed> {
        let settings = self.settings;
        let mut networks = settings.covered_networks.clone();
        let mut agents: Vec<Observed> = settings.covered_nodes.iter().map(|node| host::agent(node, &[])).collect();
        if let (Some(host), true, true) = (host, agents.is_empty(), networks.is_empty()) {
            agents.push(host::agent(&host.name, &host.networks));
        }
        networks.sort_unstable();
        if !networks.is_empty() {
            agents.push(host::agent("", &networks));
        }
        agents.iter_mut().for_each(|agent| self.meters.left_out(&keep::fit(agent)));
        agents
    }

    async fn write(
        &self,
        writer: &mut Writer,
        history: &mut History,
        revisions: &[Revision],
        promise: Option<(Millis, Proof)>,
        cluster_known: bool,
    ) -> Result<(), WriterError> {
        let heartbeat = promise.map(|(to, proof)| history.heartbeat_message(to, proof, cluster_known));
        writer.write(revisions, heartbeat.as_ref(), &self.token).await?;
        self.meters.revisions.inc_by(u64::try_from(revisions.len()).unwrap_or(u64::MAX));
        self.meters.objects.set(i64::try_from(history.open()).unwrap_or(i64::MAX));
        if let Some((complete_to, _)) = promise {
            history.promise(complete_to);
            self.meters.heartbeat.set(complete_to);
            self.health.set_ready(CONDITION, true, "");
        }
        Ok(())
    }

    async fn host(&self, mut writer: Writer, mut history: History) -> Result<(), WriterError> {
        let host = Host::read(self.settings.node.as_deref());
        let mut node = host.node();
        self.meters.left_out(&keep::fit(&mut node));
        let mut objects = vec![node];
        objects.extend(self.agents(Some(&host)));
        let revisions = show(&mut history, objects, now());
        let forever = Some((FOR_EVER, Proof::Closed));
        self.write(&mut writer, &mut history, &revisions, forever, false).await?;
        tracing::info!(host = %host.name, addresses = host.addresses.len(), "no Kubernetes: flows are named by host");
        self.token.cancelled().await;
        Ok(())
    }

    async fn scan(&self, folder: &mut Folder, mut writer: Writer, mut history: History) -> Result<(), WriterError> {
        let host = Host::read(self.settings.node.as_deref());
        let mut every = tokio::time::interval(SCAN);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut begun, mut expiry) = (false, Expiry::new());
        loop {
            self.expire(&mut expiry, &mut writer, &mut history).await?;
            tokio::select! {
                () = self.token.cancelled() => return Ok(()),
                _ = every.tick() => {}
            }
            // What changes while the folder is read may be missed, so that the promise ends where reading begins.
            let started = now();
            let changed = match folder.scan(SystemTime::now()) {
                Ok(scan) => {
                    for error in &scan.invalid {
                        self.meters.invalid.inc();
                        weir_service::rate_limited!(warn, error = %error, "manifest is not valid: its last good version stays");
                    }
                    scan.changed
                }
                Err(error) => {
                    self.meters.invalid.inc();
                    weir_service::rate_limited!(warn, error = %error, "manifests cannot be read: metadata stands still");
                    self.health.set_ready(CONDITION, false, error.to_string());
                    continue;
                }
            };
            let mut revisions = Vec::new();
            if changed || !begun {
                let arrival = now();
                let shown = folder.show(&self.settings.keep(), arrival);
                self.meters.left_out(&shown.left_out);
                let mut objects = shown.objects;
                objects.extend(self.agents(Some(&host)));
                revisions = show(&mut history, objects, arrival);
            }
            let promise = Some((started.max(history.heartbeat()), Proof::Manifests));
            self.write(&mut writer, &mut history, &revisions, promise, true).await?;
            if !begun || !revisions.is_empty() {
                tracing::info!(
                    files = folder.files(),
                    objects = history.open(),
                    written = revisions.len(),
                    "manifests read"
                );
            }
            begun = true;
        }
    }

    async fn follow(&self, kube: &Kube, mut writer: Writer, mut history: History) -> Result<(), WriterError> {
        let token = self.token.child_token();
        let _stop = token.clone().drop_guard();
        let (mut told, _tasks) = kube.watch(&token);
        let behind = millis(self.settings.node_delay);
        let agents_in = self.settings.agent_namespace.as_deref().or(kube.namespace());
        let mut cluster = Cluster::new(self.agents(None), self.settings.keep())
            .with_node_delay(behind)
            .with_agents_in(agents_in.unwrap_or(AGENT_NAMESPACE));
        let mut freshness: Freshness<WATCHED> = Freshness::new(now());
        let delay = millis(self.settings.assumed_delay);
        let mut every = tokio::time::interval(TICK);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut revisions: Vec<Revision> = Vec::new();
        let mut expiry = Expiry::new();
        loop {
            tokio::select! {
                () = self.token.cancelled() => return Ok(()),
                next = told.recv() => match next {
                    Some(Told::Event(event)) => {
                        take(*event, &mut cluster, &mut history, &mut freshness, &mut revisions);
                        continue;
                    }
                    Some(Told::Probed(probed)) => {
                        freshness.probed(probed.started, probed.found, now());
                        continue;
                    }
                    Some(Told::Outdated { what }) => {
                        self.meters.outdated(what).inc();
                        continue;
                    }
                    Some(Told::Failed { what, why }) => {
                        self.meters.failures(what).inc();
                        weir_service::rate_limited!(warn, what, why, "kubernetes API: trying again");
                        continue;
                    }
                    None => return Ok(()),
                },
                _ = every.tick() => {}
            }
            let Some(listed_at) = cluster.listed_at() else { continue };
            let proven =
                freshness.proven(now(), delay, cluster.held()).map(|(to, proof)| (to.saturating_sub(behind), proof));
            let proven = proven.filter(|(to, _)| history.may_promise(*to, listed_at));
            if revisions.is_empty() && proven.is_none() {
                self.check_age(history.heartbeat());
                continue;
            }
            revisions.extend(proven.iter().flat_map(|(to, _)| history.settle(*to)));
            self.meters.left_out(&cluster.left_out());
            self.meters.waiting.set(i64::try_from(cluster.waiting()).unwrap_or(i64::MAX));
            self.meters.without_owner(cluster.without_owner());
            self.meters.claims_refused.inc_by(cluster.claims_refused());
            self.write(&mut writer, &mut history, &revisions, proven, true).await?;
            revisions.clear();
            self.expire(&mut expiry, &mut writer, &mut history).await?;
        }
    }

    fn check_age(&self, heartbeat: Millis) {
        let age = now().saturating_sub(heartbeat);
        if heartbeat != NEVER && age > STALE {
            let seconds = age / 1000;
            self.health.set_ready(CONDITION, false, format!("no heartbeat for {seconds} s: is the API server away?"));
        }
    }
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

fn take(
    event: Event,
    cluster: &mut Cluster,
    history: &mut History,
    freshness: &mut Freshness<WATCHED>,
    revisions: &mut Vec<Revision>,
) {
    let (number, version, arrival) = (event.watched.number(), event.version, event.arrival);
    revisions.extend(cluster.take(event, history));
    freshness.reached(number, version, arrival);
}
