//! One kind's list and watch.
//!
//! The watch is asked for a few seconds at a time: before its end the API server tells up to which version everything has
//! been told, which between such ends it does once a minute only, and a connection that is dead without saying so is
//! noticed at once. An error, a watch that ends at once and a version that is too old are followed by a pause that doubles until a
//! watch has lasted.

use super::{Told, chain};
use crate::cluster::{Change, Item};
use crate::watched::Watched;
use futures::StreamExt;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

/// How long one watch is asked for, s: the API server sends a bookmark two seconds before the end.
const ROTATION: u32 = 3;
/// After this silence, which is longer than a whole watch, a connection is given up.
const SILENCE: Duration = Duration::from_secs(12);
/// Objects in one page of a list.
const PAGE: u32 = 1_000;
/// Pauses after errors.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// A watch that ends in order before this time is followed by a pause: an API server or a proxy before it that ends each watch
/// at once would be asked without end.
const SHORT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;

/// The pauses between what did not work: each is twice the one before, until something has worked.
struct Pauses {
    next: Duration,
}

impl Pauses {
    fn new() -> Self {
        Self { next: PAUSE.0 }
    }

    fn take(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(PAUSE.1);
        pause
    }

    fn worked(&mut self) {
        self.next = PAUSE.0;
    }
}

/// Why a watch ended.
enum End {
    /// In order.
    Rotation,
    /// The version is too old: list again.
    Gone,
    /// An error: the same version may be tried again.
    Failed(String),
    /// Nobody listens any more.
    Closed,
}

/// What a watch is of, where it tells, and until when.
pub(super) struct Run {
    /// The kind.
    pub(super) watched: Watched,
    /// Where it tells.
    pub(super) sender: Sender<Told>,
    /// Until when.
    pub(super) token: CancellationToken,
    /// Only objects that this selector of labels matches.
    pub(super) labels: Option<String>,
}

/// Lists and watches until the token is cancelled.
pub(super) async fn follow<K>(api: Api<K>, run: Run, item: impl Fn(K) -> Item)
where
    K: kube::Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let work = async {
        let mut pauses = Pauses::new();
        loop {
            match list(&api, &run).await {
                Ok((objects, version)) => {
                    let items = objects.into_iter().map(&item).collect();
                    let listed = Told::event(run.watched, number(&version), Change::Listed(items));
                    if run.sender.send(listed).await.is_err() {
                        return;
                    }
                    if rotate(&api, &run, version, &mut pauses, &item).await {
                        return;
                    }
                }
                Err(error) => fail(&run, chain(&error)).await,
            }
            tokio::time::sleep(pauses.take()).await;
        }
    };
    tokio::select! {
        () = run.token.cancelled() => {}
        () = work => {}
    }
}

async fn fail(run: &Run, why: String) {
    // When nobody listens any more, the next event finds out.
    let _ = run.sender.send(Told::Failed { what: run.watched.name(), why }).await;
}

/// Everything at one version.
async fn list<K>(api: &Api<K>, run: &Run) -> kube::Result<(Vec<K>, String)>
where
    K: kube::Resource + Clone + Debug + DeserializeOwned,
{
    let mut objects = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    params.label_selector.clone_from(&run.labels);
    loop {
        let page = api.list(&params).await?;
        objects.extend(page.items);
        let version = page.metadata.resource_version.unwrap_or_default();
        match page.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => params = params.continue_token(&next),
            None => return Ok((objects, version)),
        }
    }
}

/// Watches again and again from a version; whether nobody listens any more.
async fn rotate<K>(api: &Api<K>, run: &Run, mut version: String, pauses: &mut Pauses, item: &impl Fn(K) -> Item) -> bool
where
    K: kube::Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    loop {
        let began = tokio::time::Instant::now();
        match watch(api, run, &mut version, item).await {
            End::Rotation if began.elapsed() >= SHORT => {
                pauses.worked();
                // The server was there until now, though it may have had nothing to tell, not even a bookmark.
                let passed = Told::event(run.watched, number(&version), Change::Passed);
                if run.sender.send(passed).await.is_err() {
                    return true;
                }
            }
            End::Rotation => {
                let lasted = began.elapsed().as_millis();
                fail(run, format!("a watch that was asked for {ROTATION} s ended after {lasted} ms")).await;
                tokio::time::sleep(pauses.take()).await;
            }
            End::Gone => {
                let _ = run.sender.send(Told::Outdated { what: run.watched.name() }).await;
                return false;
            }
            End::Closed => return true,
            End::Failed(why) => {
                fail(run, why).await;
                tokio::time::sleep(pauses.take()).await;
            }
        }
    }
}

async fn watch<K>(api: &Api<K>, run: &Run, version: &mut String, item: &impl Fn(K) -> Item) -> End
where
    K: kube::Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut params = WatchParams::default().timeout(ROTATION);
    params.label_selector.clone_from(&run.labels);
    let stream = match tokio::time::timeout(SILENCE, api.watch(&params, version)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return failed(&error),
        Err(_) => return End::Failed(format!("no answer in {} s", SILENCE.as_secs())),
    };
    let mut stream = std::pin::pin!(stream);
    loop {
        let event = match tokio::time::timeout(SILENCE, stream.next()).await {
            Ok(Some(Ok(event))) => event,
            Ok(Some(Err(error))) => return failed(&error),
            Ok(None) => return End::Rotation,
            Err(_) => return End::Failed(format!("silent for {} s", SILENCE.as_secs())),
        };
        let change = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                *version = version_of(&object);
                Change::Applied(item(object))
            }
            WatchEvent::Deleted(object) => {
                *version = version_of(&object);
                Change::Deleted(item(object))
            }
            WatchEvent::Bookmark(bookmark) => {
                *version = bookmark.metadata.resource_version;
                Change::Passed
            }
            WatchEvent::Error(status) if status.code == 410 => return End::Gone,
            WatchEvent::Error(status) => return End::Failed(status.message.clone()),
        };
        if run.sender.send(Told::event(run.watched, number(version), change)).await.is_err() {
            return End::Closed;
        }
    }
}

fn failed(error: &kube::Error) -> End {
    match error {
        kube::Error::Api(status) if status.code == 410 => End::Gone,
        error => End::Failed(chain(error)),
    }
}

fn version_of<K: kube::Resource>(object: &K) -> String {
    object.meta().resource_version.clone().unwrap_or_default()
}

/// A version as a number, which they are since Kubernetes 1.35 says so and have always been; 0 proves nothing.
fn number(version: &str) -> u64 {
    version.parse().unwrap_or(0)
}
