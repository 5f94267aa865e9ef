//! What the cluster was and when, by the test's own watches.

use crate::clock::Clock;
use crate::facts::{self, Labelled, PodFacts, ServiceFacts};
use crate::watch::{Note, version_of, watch};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::{Client, Resource};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::JoinSet;
use weir_flow::Millis;

/// When something changed: after one version, by another, and when the test learnt it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    after: u64,
    by: u64,
    arrival: Millis,
}

impl Moment {
    /// The times between which it happened.
    pub(crate) fn times(self, clock: &Clock) -> (Millis, Millis) {
        let latest = clock.after(self.by).min(self.arrival);
        (clock.before(self.after.saturating_add(1)).min(latest), latest)
    }
}

/// All states of one object.
#[derive(Clone, Debug)]
pub(crate) struct Life<F> {
    pub(crate) created: Millis,
    pub(crate) states: Vec<(Moment, F)>,
    pub(crate) gone: Option<Moment>,
}

impl<F> Life<F> {
    /// How it is now, if it is.
    pub(crate) fn live(&self) -> Option<&F> {
        self.states.last().filter(|_| self.gone.is_none()).map(|(_, facts)| facts)
    }
}

/// All objects of one kind by UID.
pub(crate) type Lives<F> = BTreeMap<String, Life<F>>;

/// A controller: its kind, namespace and name.
type Controller = (&'static str, String, String);

/// The cluster.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) pods: Lives<PodFacts>,
    pub(crate) services: Lives<ServiceFacts>,
    pub(crate) nodes: Lives<Labelled>,
    pub(crate) namespaces: Lives<Labelled>,
    pub(crate) policies: Lives<Labelled>,
    /// Who owns a `ReplicaSet` or a Job: kind and name.
    controllers: HashMap<Controller, Option<(String, String)>>,
    /// The last arrival of a change.
    pub(crate) changed: Millis,
    /// How often a kind had to be listed again.
    pub(crate) lists: u64,
}

/// The model as it is filled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared(Arc<Mutex<Model>>);

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the watches.
    pub(crate) fn follow(&self, client: &Client) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        self.kind::<Pod, _>(&mut tasks, client, facts::pod, |model| &mut model.pods);
        self.kind::<Service, _>(&mut tasks, client, facts::service, |model| &mut model.services);
        self.kind::<Node, _>(&mut tasks, client, facts::node, |model| &mut model.nodes);
        self.kind::<Namespace, _>(&mut tasks, client, facts::namespace, |model| &mut model.namespaces);
        self.kind::<NetworkPolicy, _>(&mut tasks, client, facts::policy, |model| &mut model.policies);
        self.controllers(&mut tasks, Api::<PartialObjectMeta<ReplicaSet>>::all(client.clone()), "ReplicaSet");
        self.controllers(&mut tasks, Api::<PartialObjectMeta<Job>>::all(client.clone()), "Job");
        tasks
    }

    fn kind<K, F>(
        &self,
        tasks: &mut JoinSet<()>,
        client: &Client,
        facts: fn(&K) -> F,
        lives: fn(&mut Model) -> &mut Lives<F>,
    ) where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
        F: PartialEq + Send + 'static,
    {
        let shared = self.clone();
        tasks.spawn(watch(Api::<K>::all(client.clone()), move |note, arrival| {
            let mut model = shared.lock();
            model.lists += u64::from(matches!(note, Note::Listed { since: 1.., .. }));
            if take(lives(&mut model), note, arrival, facts) {
                model.changed = model.changed.max(arrival);
            }
        }));
    }

    fn controllers<K>(&self, tasks: &mut JoinSet<()>, api: Api<K>, kind: &'static str)
    where
        K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
    {
        let shared = self.clone();
        tasks.spawn(watch(api, move |note, _| {
            let mut model = shared.lock();
            let items = match note {
                Note::Listed { items, .. } => items,
                Note::Changed(item) | Note::Gone(item) => vec![item],
            };
            for item in items {
                let meta = item.meta();
                let place = (kind, meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
                model.controllers.insert(place, facts::controller(meta));
            }
        }));
    }
}

impl Model {
    /// The workload of a pod: the top of its chain of controllers.
    pub(crate) fn workload(&self, pod: &PodFacts) -> (String, String) {
        let Some((kind, name)) = &pod.controller else { return (String::new(), pod.name.clone()) };
        let place = match kind.as_str() {
            "ReplicaSet" => ("ReplicaSet", pod.namespace.clone(), name.clone()),
            "Job" => ("Job", pod.namespace.clone(), name.clone()),
            _ => return (kind.clone(), name.clone()),
        };
        let above = self.controllers.get(&place).cloned().flatten();
        above.unwrap_or_else(|| (kind.clone(), name.clone()))
    }

    /// How many pods are not what they will stay: without addresses, or about to end.
    pub(crate) fn unsettled(&self) -> usize {
        let live = self.pods.values().filter_map(Life::live);
        live.filter(|pod| pod.ending || (!pod.ended() && pod.addresses.is_empty())).count()
    }
}

/// Takes a note; whether anything changed.
fn take<K: Resource, F: PartialEq>(lives: &mut Lives<F>, note: Note<K>, arrival: Millis, facts: fn(&K) -> F) -> bool {
    match note {
        Note::Changed(object) => {
            let version = version_of(&object);
            change(lives, &object, Moment { after: version.saturating_sub(1), by: version, arrival }, facts)
        }
        Note::Gone(object) => {
            let version = version_of(&object);
            let moment = Moment { after: version.saturating_sub(1), by: version, arrival };
            end(lives, object.meta().uid.as_deref().unwrap_or_default(), moment)
        }
        Note::Listed { items, version, since } => {
            let mut changed = false;
            let mut present: BTreeSet<String> = BTreeSet::new();
            for object in &items {
                present.extend(object.meta().uid.clone());
                // What happened between the two is lost.
                changed |= change(lives, object, Moment { after: since, by: version_of(object), arrival }, facts);
            }
            let gone: Vec<String> = lives
                .iter()
                .filter(|(uid, life)| life.gone.is_none() && !present.contains(*uid))
                .map(|(uid, _)| uid.clone())
                .collect();
            for uid in gone {
                changed |= end(lives, &uid, Moment { after: since, by: version, arrival });
            }
            changed
        }
    }
}

fn change<K: Resource, F: PartialEq>(lives: &mut Lives<F>, object: &K, moment: Moment, facts: fn(&K) -> F) -> bool {
    let facts = facts(object);
    let meta = object.meta();
    let uid = meta.uid.clone().unwrap_or_default();
    let created = meta.creation_timestamp.as_ref().map_or(0, |time| time.0.as_millisecond());
    let life = lives.entry(uid).or_insert(Life { created, states: Vec::new(), gone: None });
    if life.states.last().is_some_and(|(_, last)| *last == facts) {
        return false;
    }
    life.states.push((moment, facts));
    true
}

fn end<F>(lives: &mut Lives<F>, uid: &str, moment: Moment) -> bool {
    match lives.get_mut(uid) {
        Some(life) if life.gone.is_none() => {
            life.gone = Some(moment);
            true
        }
        _ => false,
    }
}
