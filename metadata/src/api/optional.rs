//! Policies of kinds that a cluster has or has not: which are served is asked again and again, and each that is has a watch of
//! its own. One that is not served has no objects, which is told as an empty list.

use super::follow::{self, Run};
use super::{Told, chain};
use crate::cluster::{Change, Item};
use crate::observe::OtherPolicy;
use crate::watched::{POLICY_KINDS, PolicyKind, Watched};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Where each of the kinds is served, in the order of [`POLICY_KINDS`]; nothing where it is not.
pub(super) type Served = [Option<ApiResource>; POLICY_KINDS.len()];

/// Asks which of the kinds are served.
///
/// # Errors
/// Why the API server could not be asked.
pub(super) async fn discover(client: &Client) -> Result<Served, String> {
    let groups = client.list_api_groups().await.map_err(|error| chain(&error))?.groups;
    let versions: BTreeSet<String> =
        groups.iter().flat_map(|group| group.versions.iter().map(|version| version.group_version.clone())).collect();
    let mut plurals: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (group, version) in POLICY_KINDS.iter().flat_map(|kind| kind.places) {
        let place = format!("{group}/{version}");
        if versions.contains(&place) && !plurals.contains_key(&place) {
            let resources = match client.list_api_group_resources(&place).await {
                Ok(list) => list.resources.into_iter().map(|resource| resource.name).collect(),
                // It went between the two questions.
                Err(kube::Error::Api(status)) if status.code == 404 => BTreeSet::new(),
                Err(error) => return Err(format!("{place}: {}", chain(&error))),
            };
            plurals.insert(place, resources);
        }
    }
    Ok(POLICY_KINDS.map(|kind| place(kind, &plurals)))
}

fn place(kind: PolicyKind, plurals: &BTreeMap<String, BTreeSet<String>>) -> Option<ApiResource> {
    kind.places.iter().find_map(|(group, version)| {
        let api_version = format!("{group}/{version}");
        let served = plurals.get(&api_version)?.contains(kind.plural);
        served.then(|| ApiResource {
            group: (*group).to_owned(),
            version: (*version).to_owned(),
            api_version: api_version.clone(),
            kind: kind.kind.to_owned(),
            plural: kind.plural.to_owned(),
        })
    })
}

/// The watch of one kind.
struct Following {
    resource: ApiResource,
    token: CancellationToken,
    task: JoinHandle<()>,
}

/// The watches of those kinds that are served.
pub(super) struct Optional {
    client: Client,
    sender: Sender<Told>,
    token: CancellationToken,
    /// Kinds that settings leave out.
    never: Vec<Watched>,
    following: BTreeMap<usize, Following>,
}

impl Optional {
    /// No watch yet; `never` are kinds that will have none.
    pub(super) fn new(client: Client, sender: Sender<Told>, token: CancellationToken, never: Vec<Watched>) -> Self {
        Self { client, sender, token, never, following: BTreeMap::new() }
    }

    /// Begins and ends watches as the kinds are served, and tells which have no objects. Returns false when nobody listens
    /// any more.
    pub(super) async fn follow(&mut self, served: &Served) -> bool {
        let mut empty: Vec<Watched> = self.never.clone();
        for (number, (kind, place)) in POLICY_KINDS.into_iter().zip(served).enumerate() {
            let unchanged = |following: &Following| {
                place.as_ref().is_some_and(|place| place.api_version == following.resource.api_version)
            };
            if self.following.get(&number).is_some_and(|following| !unchanged(following))
                && let Some(Following { token, task, .. }) = self.following.remove(&number)
            {
                // What it still has to tell comes before that there is nothing.
                token.cancel();
                let _ = task.await;
            }
            match place {
                None => empty.push(Watched::OtherPolicy(kind)),
                Some(place) if !self.following.contains_key(&number) => {
                    self.following.insert(number, self.begin(kind, place));
                }
                Some(_) => {}
            }
        }
        for watched in empty {
            if self.sender.send(Told::event(watched, 0, Change::Listed(Vec::new()))).await.is_err() {
                return false;
            }
        }
        true
    }

    fn begin(&self, kind: PolicyKind, resource: &ApiResource) -> Following {
        tracing::info!(kind = kind.name, version = %resource.api_version, "policies of this kind are kept as named objects");
        let token = self.token.child_token();
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), resource);
        let run = Run {
            watched: Watched::OtherPolicy(kind),
            sender: self.sender.clone(),
            token: token.clone(),
            labels: None,
        };
        let api_version = resource.api_version.clone();
        let item = move |object: DynamicObject| {
            let policy = OtherPolicy::of(kind, api_version.clone(), object.metadata, object.data);
            Item::OtherPolicy(Box::new(policy))
        };
        let task = tokio::spawn(follow::follow(api, run, item));
        Following { resource: resource.clone(), token, task }
    }
}
