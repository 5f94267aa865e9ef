//! A running broker: its parts, their start and end, and what it does by itself.

use crate::clock::now_ms;
use crate::coordinator::Coordinator;
use crate::error::BrokerError;
use crate::groups::Groups;
use crate::metrics::Metrics;
use crate::server;
use crate::settings::{BrokerSettings, Limits};
use crate::storage::{self, DataFolder};
use crate::topics::Topics;
use kafka_protocol::messages::BrokerId;
use kafka_protocol::protocol::StrBytes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The id of the only broker.
pub(crate) const BROKER_ID: BrokerId = BrokerId(1);

/// How often time acts on groups.
const GROUP_TICK: Duration = Duration::from_millis(50);
/// How often files are synced.
const SYNC_TICK: Duration = Duration::from_secs(1);
/// How often transactions are looked at for their time-out.
const TRANSACTION_TICK: Duration = Duration::from_secs(1);
/// How often old segments are looked for.
const RETENTION_TICK: Duration = Duration::from_secs(10);
/// Longest time connections get to end at a shutdown.
const DRAIN: Duration = Duration::from_secs(5);

/// What all requests share.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) host: StrBytes,
    pub(crate) address: SocketAddr,
    pub(crate) cluster_id: StrBytes,
    pub(crate) default_partitions: usize,
    pub(crate) auto_create_topics: bool,
    pub(crate) limits: Limits,
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Groups,
    pub(crate) coordinator: Coordinator,
    pub(crate) metrics: Arc<Metrics>,
    _folder: DataFolder,
}

impl State {
    pub(crate) fn port(&self) -> i32 {
        i32::from(self.address.port())
    }

    /// Makes everything acknowledged durable. Blocks.
    fn sync(&self) {
        for topic in self.topics.all() {
            for partition in topic.partitions() {
                if let Err(error) = partition.sync() {
                    tracing::warn!(topic = topic.name, %error, "log not synced");
                    self.metrics.storage_errors.increment();
                }
            }
        }
        if let Err(error) = self.coordinator.sync() {
            tracing::warn!(%error, "coordinator journal not synced");
            self.metrics.storage_errors.increment();
        }
    }

    /// Deletes what is older or more than the topics keep. Blocks.
    fn apply_retention(&self) {
        let now = now_ms();
        for topic in self.topics.all() {
            let config = topic.config();
            let (age, bytes) = config.retention();
            for partition in topic.partitions() {
                let deleted = partition.with_log(|log| {
                    log.expire_producers(config.append_rules().producers, now);
                    log.apply_retention(age, bytes, now)
                });
                match deleted {
                    Ok(segments) => self.metrics.segments_deleted.add(segments),
                    Err(error) => {
                        tracing::warn!(topic = topic.name, %error, "old segments not deleted");
                        self.metrics.storage_errors.increment();
                    }
                }
            }
        }
    }
}

/// A running broker. Dropping it ends it at once, as a crash would; [`shutdown`](Self::shutdown) ends it in order.
#[derive(Debug)]
pub struct Broker {
    state: Arc<State>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Broker {
    /// Takes the data folder, recovers what is in it, and starts to listen. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// If the data folder is held by another process, of a newer format, damaged or not writable, or the address is in
    /// use.
    pub async fn start(settings: BrokerSettings) -> Result<Self, BrokerError> {
        let failed = |source| BrokerError::Listen { address: settings.listen, source };
        let listener = TcpListener::bind(settings.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let data = settings.data.clone();
        let opened = tokio::task::spawn_blocking(move || open(settings, address)).await;
        let state = opened.map_err(|error| BrokerError::Damaged { path: data, reason: error.to_string() })??;
        let state = Arc::new(state);
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(server::listen(listener, Arc::clone(&state), stop.clone(), tasks.clone()));
        every(&tasks, &stop, GROUP_TICK, &state, |state| state.groups.advance(Instant::now()));
        every(&tasks, &stop, SYNC_TICK, &state, State::sync);
        every(&tasks, &stop, RETENTION_TICK, &state, State::apply_retention);
        every(&tasks, &stop, TRANSACTION_TICK, &state, |state| {
            state.coordinator.finish_decided();
            state.coordinator.sweep(now_ms());
        });
        tracing::info!(%address, "broker listening");
        Ok(Self { state, stop, tasks })
    }

    /// The address it listens on, with the port that was picked.
    pub fn address(&self) -> SocketAddr {
        self.state.address
    }

    /// Stops taking requests, lets those in progress end, makes everything durable and lets go of the data folder.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_err() {
            tracing::warn!("requests still in progress at shutdown");
        }
        let state = Arc::clone(&self.state);
        if let Err(error) = tokio::task::spawn_blocking(move || state.sync()).await {
            tracing::warn!(%error, "last sync not carried out");
        }
    }

    /// All counters, since the start, by name.
    pub fn metrics(&self) -> Vec<(&'static str, u64)> {
        self.state.metrics.snapshot()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Opens everything in the data folder. Blocks.
fn open(settings: BrokerSettings, address: SocketAddr) -> Result<State, BrokerError> {
    let folder = storage::take(&settings.data)?;
    let metrics = Arc::new(Metrics::default());
    let limits = settings.limits;
    let topics = Arc::new(Topics::open(&settings.data, limits.clone(), Arc::clone(&metrics))?);
    let coordinator = Coordinator::open(&settings.data, Arc::clone(&topics), limits.clone(), Arc::clone(&metrics))?;
    let host = settings.advertised_host.unwrap_or_else(|| match address {
        SocketAddr::V4(address) if address.ip().is_unspecified() => "127.0.0.1".to_owned(),
        SocketAddr::V6(address) if address.ip().is_unspecified() => "::1".to_owned(),
        address => address.ip().to_string(),
    });
    Ok(State {
        host: StrBytes::from_string(host),
        address,
        cluster_id: StrBytes::from_string(folder.cluster_id.clone()),
        default_partitions: usize::try_from(settings.default_partitions).unwrap_or(1).max(1),
        auto_create_topics: settings.auto_create_topics,
        groups: Groups::new(limits.clone(), Arc::clone(&metrics)),
        limits,
        topics,
        coordinator,
        metrics,
        _folder: folder,
    })
}

/// Does something blocking again and again until the broker stops.
fn every(tasks: &TaskTracker, stop: &CancellationToken, period: Duration, state: &Arc<State>, run: fn(&State)) {
    let (stop, state) = (stop.clone(), Arc::clone(state));
    tasks.spawn(async move {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let state = Arc::clone(&state);
            if let Err(error) = tokio::task::spawn_blocking(move || run(&state)).await {
                tracing::error!(%error, "background work failed");
            }
        }
    });
}
