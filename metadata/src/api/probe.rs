//! Consistent reads of nothing: up to which version does the API server hold everything now?
//!
//! A watch-list without a version and with a selector that matches nothing answers at once with the bookmark that ends
//! the initial events; it carries the version (Kubernetes 1.32 and later; before, the feature gate `WatchList`).

use super::optional::{Optional, Served, discover};
use super::{Found, Kube, Told, chain};
use crate::watched::{POLICY_KINDS, WATCHED, Watched};
use futures::future::{BoxFuture, try_join_all};
use futures::{FutureExt, StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, DynamicObject, WatchEvent, WatchParams};
use kube::core::PartialObjectMeta;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_flow::Millis;

/// Time from one probe's begin to the next one's.
const EVERY: Duration = Duration::from_secs(2);
/// How long a probe may take, and the API server for its part, s: one that is busy needs more than the moment that it takes
/// otherwise.
const ANSWER: u32 = 5;
/// The longest pause between probes that fail.
const PAUSE: Duration = Duration::from_secs(15);
/// No object has this label.
const NOTHING: &str = "weir.dev/matches-nothing=true,weir.dev/matches-nothing=false";
/// The annotation of the bookmark that ends the initial events.
const END: &str = "k8s.io/initial-events-end";

#[cfg(test)]
mod tests;

/// A probe that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probed {
    /// When it began, ms since the epoch.
    pub started: Millis,
    /// The version of each kind then, by the kinds' numbers.
    pub found: Found,
}

/// Finds out which kinds there are and probes, until the token is cancelled.
pub(super) async fn probe(kube: Kube, sender: Sender<Told>, token: CancellationToken) {
    let never = if kube.namespace.is_none() { vec![Watched::NetworkSet] } else { Vec::new() };
    let mut optional = Optional::new(kube.client.clone(), sender.clone(), token.clone(), never);
    let mut due = Due::new(Instant::now());
    loop {
        let began = Instant::now();
        let told = tokio::select! {
            () = token.cancelled() => return,
            told = round(&kube, &mut optional, due.is_now(began)) => told,
        };
        due.after(began, Instant::now(), told.as_ref());
        if let Some(told) = told {
            tokio::select! {
                () = token.cancelled() => return,
                sent = sender.send(told) => if sent.is_err() { return },
            }
        }
        tokio::select! {
            () = token.cancelled() => return,
            () = tokio::time::sleep_until(began + EVERY) => {}
        }
    }
}

/// When to probe next. Which kinds there are is asked each time: that a kind has no objects is told by nothing else, and where
/// probes are refused the heartbeat rests on how lately each kind has told.
struct Due {
    at: Instant,
    pause: Duration,
}

impl Due {
    fn new(now: Instant) -> Self {
        Self { at: now, pause: EVERY }
    }

    fn is_now(&self, now: Instant) -> bool {
        now >= self.at
    }

    /// After a round from `began` to `ended` that came to something.
    fn after(&mut self, began: Instant, ended: Instant, told: Option<&Told>) {
        match told {
            // One that was waited for in vain has been a pause already.
            Some(Told::Failed { what: "probe", .. }) if ended - began < EVERY => {
                self.pause = (self.pause * 2).min(PAUSE);
                self.at = began + self.pause;
            }
            Some(Told::Failed { .. } | Told::Probed(_)) => *self = Self::new(began),
            _ => {}
        }
    }
}

/// One round: which kinds there are, and, if a probe is due, up to which version the API server holds each. Nothing when
/// there is nothing to tell.
async fn round(kube: &Kube, optional: &mut Optional, is_due: bool) -> Option<Told> {
    let (answer, late) = (Duration::from_secs(ANSWER.into()), || format!("no answer in {ANSWER} s"));
    let started = crate::now();
    let served = match tokio::time::timeout(answer, discover(&kube.client)).await {
        Ok(Ok(served)) => served,
        Ok(Err(why)) => return Some(Told::Failed { what: "discovery", why }),
        Err(_) => return Some(Told::Failed { what: "discovery", why: late() }),
    };
    // When nobody listens any more, the answer finds out.
    let _ = optional.follow(&served).await;
    if !is_due {
        return None;
    }
    Some(match tokio::time::timeout(answer, all(kube, &served)).await {
        Ok(Ok(found)) => Told::Probed(Probed { started, found }),
        Ok(Err(why)) => Told::Failed { what: "probe", why },
        Err(_) => Told::Failed { what: "probe", why: late() },
    })
}

/// The version of every kind; 0 for those that have no objects.
async fn all(kube: &Kube, served: &Served) -> Result<Found, String> {
    let client = || kube.client.clone();
    let mut probes: Vec<BoxFuture<'_, Result<(Watched, u64), String>>> = vec![
        one(Api::<PartialObjectMeta<Pod>>::all(client()), Watched::Pod).boxed(),
        one(Api::<PartialObjectMeta<Node>>::all(client()), Watched::Node).boxed(),
        one(Api::<PartialObjectMeta<Namespace>>::all(client()), Watched::Namespace).boxed(),
        one(Api::<PartialObjectMeta<Service>>::all(client()), Watched::Service).boxed(),
        one(Api::<PartialObjectMeta<ReplicaSet>>::all(client()), Watched::ReplicaSet).boxed(),
        one(Api::<PartialObjectMeta<Job>>::all(client()), Watched::Job).boxed(),
        one(Api::<PartialObjectMeta<EndpointSlice>>::all(client()), Watched::EndpointSlice).boxed(),
        one(Api::<PartialObjectMeta<NetworkPolicy>>::all(client()), Watched::NetworkPolicy).boxed(),
    ];
    if let Some(namespace) = &kube.namespace {
        let maps: Api<PartialObjectMeta<ConfigMap>> = Api::namespaced(client(), namespace);
        probes.push(one(maps, Watched::NetworkSet).boxed());
    }
    for (kind, place) in POLICY_KINDS.into_iter().zip(served) {
        if let Some(place) = place {
            let api: Api<DynamicObject> = Api::all_with(client(), place);
            probes.push(one(api, Watched::OtherPolicy(kind)).boxed());
        }
    }
    let mut found: Found = [0; WATCHED];
    for (watched, version) in try_join_all(probes).await? {
        if let Some(place) = found.get_mut(watched.number()) {
            *place = version;
        }
    }
    Ok(found)
}

async fn one<K>(api: Api<K>, watched: Watched) -> Result<(Watched, u64), String>
where
    K: kube::Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let wrong = |why: String| format!("{}: {why}", watched.name());
    let params = WatchParams { send_initial_events: true, ..WatchParams::default().labels(NOTHING).timeout(ANSWER) };
    let stream = api.watch(&params, "").await.map_err(|error| wrong(chain(&error)))?;
    let mut stream = Box::pin(stream.into_stream());
    while let Some(event) = stream.next().await {
        match event.map_err(|error| wrong(chain(&error)))? {
            WatchEvent::Bookmark(bookmark) if bookmark.metadata.annotations.contains_key(END) => {
                let version = bookmark.metadata.resource_version.parse();
                let version = version.map_err(|_| wrong("version is no number".to_owned()))?;
                // Read to its end, which comes within seconds, the connection can be used again.
                tokio::spawn(async move { while stream.next().await.is_some() {} });
                return Ok((watched, version));
            }
            WatchEvent::Error(status) => return Err(wrong(status.message.clone())),
            _ => {}
        }
    }
    Err(wrong(
        "no bookmark at the end of the initial events; the API server is too busy, or does not offer watch-lists"
            .to_owned(),
    ))
}
