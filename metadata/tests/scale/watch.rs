//! A list and a watch of the test's own.

use crate::now;
use futures::StreamExt;
use kube::Resource;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;
use weir_flow::Millis;

/// What the API told of one kind.
pub(crate) enum Note<K> {
    /// Everything, at a version; `since` is the version up to which everything had been told before.
    Listed { items: Vec<K>, version: u64, since: u64 },
    /// As it is now.
    Changed(K),
    /// As it last was.
    Gone(K),
}

/// Pause after an error and between two lists.
const PAUSE: Duration = Duration::from_millis(300);

/// Lists and watches until the task is aborted.
pub(crate) async fn watch<K>(api: Api<K>, take: impl Fn(Note<K>, Millis) + Send)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut since = 0;
    loop {
        if let Ok(list) = api.list(&ListParams::default()).await {
            let version = number(list.metadata.resource_version.as_deref());
            take(Note::Listed { items: list.items, version, since }, now());
            since = follow(&api, version, &take).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Watches from a version until it is too old; the version that was reached.
async fn follow<K>(api: &Api<K>, mut version: u64, take: &impl Fn(Note<K>, Millis)) -> u64
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let params = WatchParams::default().timeout(60);
    loop {
        let mut stream = match api.watch(&params, &version.to_string()).await {
            Ok(stream) => Box::pin(stream),
            Err(kube::Error::Api(status)) if status.code == 410 => return version,
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        while let Some(Ok(event)) = stream.next().await {
            let arrival = now();
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    version = version_of(&object);
                    take(Note::Changed(object), arrival);
                }
                WatchEvent::Deleted(object) => {
                    version = version_of(&object);
                    take(Note::Gone(object), arrival);
                }
                WatchEvent::Bookmark(bookmark) => version = number(Some(&bookmark.metadata.resource_version)),
                WatchEvent::Error(status) if status.code == 410 => return version,
                WatchEvent::Error(_) => break,
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The version of an object.
pub(crate) fn version_of<K: Resource>(object: &K) -> u64 {
    number(object.meta().resource_version.as_deref())
}

fn number(version: Option<&str>) -> u64 {
    version.and_then(|text| text.parse().ok()).unwrap_or(0)
}
