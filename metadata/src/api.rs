//! The Kubernetes API: the only place that knows the client.

use crate::cluster::{Change, Event, Item};
use crate::observe::NETWORK_SET_LABEL;
use crate::watched::{POLICY_KINDS, WATCHED, Watched};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, DynamicObject, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::PartialObjectMeta;
use kube::{Client, Config};
use std::path::Path;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

mod follow;
mod lease;
mod optional;
mod probe;

use follow::{Run, follow};

pub(crate) use lease::{Lease, Standing};
pub(crate) use probe::Probed;

/// How long the API server may take to answer at the start.
const START: Duration = Duration::from_secs(10);
/// Events that wait to be taken; a watch that is ahead waits in turn.
const QUEUE: usize = 8_192;

/// Why the Kubernetes API cannot be used.
#[derive(Debug, Error)]
pub enum KubeError {
    /// The kubeconfig cannot be read, or names what is not in it.
    #[error("kubeconfig {0}: {1}; check --kubeconfig and --kube-context")]
    Kubeconfig(String, String),
    /// Not inside a cluster.
    #[error(
        "not inside a cluster: {0}; --in-cluster needs a pod with a service account's token, elsewhere give --kubeconfig"
    )]
    InCluster(String),
    /// A certificate or key cannot be used.
    #[error("kubernetes client: {0}; check the certificates and keys in the kubeconfig")]
    Client(String),
    /// No answer.
    #[error("kubernetes API at {0}: {1}; check the server's address and that it can be reached from here")]
    Unreachable(String, String),
    /// Not allowed.
    #[error("kubernetes API at {0} refuses to list {1}: {2}; grant list and watch on it")]
    Refused(String, &'static str, String),
    /// Not allowed to keep the lease.
    #[error("kubernetes API refuses leases in namespace {0}: {1}; grant get, create and update on leases there")]
    LeaseRefused(String, String),
}

/// The API of one cluster.
#[derive(Clone)]
pub(crate) struct Kube {
    client: Client,
    address: String,
    /// Where network sets are, and this service's lease.
    namespace: Option<String>,
}

impl std::fmt::Debug for Kube {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kube").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Something that the API told, or that asking it came to.
#[derive(Debug)]
pub(crate) enum Told {
    /// A watch told something.
    Event(Box<Event>),
    /// A probe was answered.
    Probed(Probed),
    /// The API server no longer knows the version from which a kind was to be watched: all of it is listed again.
    Outdated {
        /// Whose.
        what: &'static str,
    },
    /// A watch or a probe failed, and is tried again.
    Failed {
        /// Whose.
        what: &'static str,
        /// Why.
        why: String,
    },
}

impl Kube {
    /// A client by kubeconfig, or that of the pod. Nothing is asked of the API yet. `namespace` is where network sets are
    /// looked for and the lease is kept; without, inside a cluster, the pod's own.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub(crate) async fn new(
        kubeconfig: Option<&Path>,
        context: Option<&str>,
        namespace: Option<&str>,
    ) -> Result<Self, KubeError> {
        let config = match kubeconfig {
            Some(path) => {
                let wrong = |error: kube::config::KubeconfigError| {
                    KubeError::Kubeconfig(path.display().to_string(), chain(&error))
                };
                let file = Kubeconfig::read_from(path).map_err(wrong)?;
                let options = KubeConfigOptions { context: context.map(ToOwned::to_owned), ..Default::default() };
                Config::from_custom_kubeconfig(file, &options).await.map_err(wrong)?
            }
            None => Config::incluster().map_err(|error| KubeError::InCluster(chain(&error)))?,
        };
        let address = config.cluster_url.to_string();
        // A kubeconfig's namespace is where its user works, which says nothing of this service.
        let own = kubeconfig.is_none().then(|| config.default_namespace.clone());
        let namespace = namespace.map(ToOwned::to_owned).or(own);
        let client = Client::try_from(config).map_err(|error| KubeError::Client(chain(&error)))?;
        Ok(Self { client, address, namespace })
    }

    /// Where network sets are, and this service's lease, if that is known.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Asks for one object of each kind: whether the API answers, and whether it may be read.
    ///
    /// # Errors
    /// When it does not answer within ten seconds, or refuses.
    pub(crate) async fn check(&self) -> Result<(), KubeError> {
        let one = ListParams::default().limit(1);
        let client = || self.client.clone();
        let lists = async {
            self.may(Watched::Pod, Api::<Pod>::all(client()).list_metadata(&one).await.map(drop))?;
            self.may(Watched::Node, Api::<Node>::all(client()).list_metadata(&one).await.map(drop))?;
            self.may(Watched::Namespace, Api::<Namespace>::all(client()).list_metadata(&one).await.map(drop))?;
            self.may(Watched::Service, Api::<Service>::all(client()).list_metadata(&one).await.map(drop))?;
            self.may(Watched::ReplicaSet, Api::<ReplicaSet>::all(client()).list_metadata(&one).await.map(drop))?;
            self.may(Watched::Job, Api::<Job>::all(client()).list_metadata(&one).await.map(drop))?;
            let slices = Api::<EndpointSlice>::all(client());
            self.may(Watched::EndpointSlice, slices.list_metadata(&one).await.map(drop))?;
            let policies = Api::<NetworkPolicy>::all(client());
            self.may(Watched::NetworkPolicy, policies.list_metadata(&one).await.map(drop))?;
            if let Some(namespace) = &self.namespace {
                let maps = Api::<ConfigMap>::namespaced(client(), namespace);
                self.may(Watched::NetworkSet, maps.list_metadata(&one).await.map(drop))?;
                self.check_lease(namespace).await?;
            }
            let served = optional::discover(&self.client).await;
            let served = served.map_err(|why| KubeError::Unreachable(self.address.clone(), why))?;
            for (kind, place) in POLICY_KINDS.into_iter().zip(served) {
                if let Some(place) = place {
                    let objects: Api<DynamicObject> = Api::all_with(client(), &place);
                    self.may(Watched::OtherPolicy(kind), objects.list_metadata(&one).await.map(drop))?;
                }
            }
            Ok(())
        };
        let waited = || KubeError::Unreachable(self.address.clone(), format!("no answer in {} s", START.as_secs()));
        tokio::time::timeout(START, lists).await.map_err(|_| waited())?
    }

    fn may(&self, watched: Watched, answer: kube::Result<()>) -> Result<(), KubeError> {
        match answer {
            Ok(()) => Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403) => {
                Err(KubeError::Refused(self.address.clone(), watched.name(), status.message.clone()))
            }
            Err(error) => Err(KubeError::Unreachable(self.address.clone(), chain(&error))),
        }
    }

    /// Watches all kinds and probes, until the token is cancelled. The tasks end with the set that is returned.
    #[must_use]
    pub(crate) fn watch(&self, token: &CancellationToken) -> (mpsc::Receiver<Told>, JoinSet<()>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        let client = &self.client;
        let pods: Api<Pod> = Api::all(client.clone());
        let nodes: Api<Node> = Api::all(client.clone());
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let services: Api<Service> = Api::all(client.clone());
        let sets: Api<PartialObjectMeta<ReplicaSet>> = Api::all(client.clone());
        let jobs: Api<PartialObjectMeta<Job>> = Api::all(client.clone());
        let slices: Api<EndpointSlice> = Api::all(client.clone());
        let policies: Api<NetworkPolicy> = Api::all(client.clone());
        let run = |watched| Run { watched, sender: sender.clone(), token: token.clone(), labels: None };
        tasks.spawn(follow(pods, run(Watched::Pod), |pod| Item::Pod(Box::new(pod))));
        tasks.spawn(follow(nodes, run(Watched::Node), |node| Item::Node(Box::new(node))));
        tasks.spawn(follow(namespaces, run(Watched::Namespace), |it| Item::Namespace(Box::new(it))));
        tasks.spawn(follow(services, run(Watched::Service), |service| Item::Service(Box::new(service))));
        tasks.spawn(follow(sets, run(Watched::ReplicaSet), |set| Item::ReplicaSet(Box::new(set.metadata))));
        tasks.spawn(follow(jobs, run(Watched::Job), |job| Item::Job(Box::new(job.metadata))));
        tasks.spawn(follow(slices, run(Watched::EndpointSlice), |it| Item::EndpointSlice(Box::new(it))));
        tasks.spawn(follow(policies, run(Watched::NetworkPolicy), |it| Item::NetworkPolicy(Box::new(it))));
        if let Some(namespace) = &self.namespace {
            let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
            let labels = Some(format!("{NETWORK_SET_LABEL}=true"));
            let run = Run { labels, ..run(Watched::NetworkSet) };
            tasks.spawn(follow(maps, run, |map| Item::NetworkSet(Box::new(map))));
        }
        tasks.spawn(probe::probe(self.clone(), sender, token.clone()));
        (receiver, tasks)
    }
}

impl Told {
    fn event(watched: Watched, version: u64, change: Change) -> Self {
        Self::Event(Box::new(Event { watched, arrival: crate::now(), version, change }))
    }
}

/// What a probe found, by the kinds' numbers.
type Found = [u64; WATCHED];

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
