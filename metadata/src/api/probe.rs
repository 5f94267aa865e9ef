//! Consistent reads of nothing: up to which version does the API server hold everything now?
//!
//! A watch-list without a version and with a selector that matches nothing answers at once with the bookmark that ends
//! the initial events; it carries the version (Kubernetes 1.32 and later; before, the feature gate `WatchList`).

use super::{Found, Told, chain};
use crate::cluster::{WATCHED, Watched};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Client;
use kube::api::{Api, WatchEvent, WatchParams};
use kube::core::PartialObjectMeta;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;
use weir_flow::Millis;

/// Time from one probe's begin to the next one's.
const EVERY: Duration = Duration::from_secs(2);
/// How long a probe may take.
const ANSWER: Duration = Duration::from_secs(5);
/// The longest pause between probes that fail.
const PAUSE: Duration = Duration::from_secs(15);
/// No object has this label.
const NOTHING: &str = "weir.dev/matches-nothing=true,weir.dev/matches-nothing=false";
/// The annotation of the bookmark that ends the initial events.
const END: &str = "k8s.io/initial-events-end";

/// A probe that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probed {
    /// When it began, ms since the epoch.
    pub started: Millis,
    /// The version of each kind then, by the kinds' numbers.
    pub found: Found,
}

/// Probes until the token is cancelled.
pub(super) async fn probe(client: Client, sender: Sender<Told>, token: CancellationToken) {
    let mut every = EVERY;
    loop {
        let began = tokio::time::Instant::now();
        let told = match tokio::time::timeout(ANSWER, all(&client)).await {
            Ok(Ok(probed)) => {
                every = EVERY;
                Told::Probed(probed)
            }
            Ok(Err(why)) => {
                every = (every * 2).min(PAUSE);
                Told::Failed { what: "probe", why }
            }
            Err(_) => Told::Failed { what: "probe", why: format!("no answer in {} s", ANSWER.as_secs()) },
        };
        tokio::select! {
            () = token.cancelled() => return,
            sent = sender.send(told) => if sent.is_err() { return },
        }
        tokio::select! {
            () = token.cancelled() => return,
            () = tokio::time::sleep_until(began + every) => {}
        }
    }
}

async fn all(client: &Client) -> Result<Probed, String> {
    let started = crate::now();
    let found_of = futures::try_join!(
        one(Api::<PartialObjectMeta<Pod>>::all(client.clone()), Watched::Pod),
        one(Api::<PartialObjectMeta<Node>>::all(client.clone()), Watched::Node),
        one(Api::<PartialObjectMeta<Namespace>>::all(client.clone()), Watched::Namespace),
        one(Api::<PartialObjectMeta<Service>>::all(client.clone()), Watched::Service),
        one(Api::<PartialObjectMeta<ReplicaSet>>::all(client.clone()), Watched::ReplicaSet),
        one(Api::<PartialObjectMeta<Job>>::all(client.clone()), Watched::Job),
        one(Api::<PartialObjectMeta<EndpointSlice>>::all(client.clone()), Watched::EndpointSlice),
        one(Api::<PartialObjectMeta<NetworkPolicy>>::all(client.clone()), Watched::NetworkPolicy),
    )?;
    let mut found: Found = [0; WATCHED];
    for (watched, version) in <[(Watched, u64); WATCHED]>::from(found_of) {
        if let Some(place) = found.get_mut(watched.number()) {
            *place = version;
        }
    }
    Ok(Probed { started, found })
}

async fn one<K>(api: Api<K>, watched: Watched) -> Result<(Watched, u64), String>
where
    K: kube::Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let wrong = |why: String| format!("{}: {why}", watched.name());
    let params = WatchParams { send_initial_events: true, ..WatchParams::default().labels(NOTHING).timeout(1) };
    let stream = api.watch(&params, "").await.map_err(|error| wrong(chain(&error)))?;
    let mut stream = Box::pin(stream.into_stream());
    while let Some(event) = stream.next().await {
        match event.map_err(|error| wrong(chain(&error)))? {
            WatchEvent::Bookmark(bookmark) if bookmark.metadata.annotations.contains_key(END) => {
                let version = bookmark.metadata.resource_version.parse();
                let version = version.map_err(|_| wrong("version is no number".to_owned()))?;
                // Read to its end, which comes within a second, the connection can be used again.
                tokio::spawn(async move { while stream.next().await.is_some() {} });
                return Ok((watched, version));
            }
            WatchEvent::Error(status) => return Err(wrong(status.message.clone())),
            _ => {}
        }
    }
    Err(wrong("no bookmark at the end of the initial events; the API server does not offer watch-lists".to_owned()))
}
