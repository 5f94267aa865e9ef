//! Makes the cluster change.

use crate::model::{Life, Shared};
use crate::objects;
use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{Rng, SeedableRng};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Requests at a time.
const AT_ONCE: usize = 16;

/// How large the cluster is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) nodes: usize,
    pub(crate) pods: usize,
}

impl Size {
    /// Pods of one deployment.
    pub(crate) fn replicas(self) -> usize {
        (self.pods / 50).clamp(5, 100)
    }

    fn spaces(self) -> usize {
        (self.pods / 500).clamp(3, 12)
    }

    fn space_names(self) -> Vec<String> {
        (0..self.spaces()).map(|number| format!("scale-{number}")).collect()
    }

    /// All deployments: namespace and name.
    fn deployments(self) -> Vec<(String, String)> {
        let spaces = self.space_names();
        let count = self.pods.div_ceil(self.replicas());
        spaces.iter().cycle().take(count).enumerate().map(|(n, space)| (space.clone(), format!("app-{n}"))).collect()
    }
}

/// Makes changes, by a seed.
pub(crate) struct Driver {
    client: Client,
    model: Shared,
    size: Size,
    random: SmallRng,
    /// What no label had before.
    mark: u64,
    /// How often each kind of change was asked for, and how many were refused.
    pub(crate) asked: BTreeMap<&'static str, u64>,
    pub(crate) refused: u64,
}

impl Driver {
    pub(crate) fn new(client: Client, model: Shared, size: Size, seed: u64) -> Self {
        let random = SmallRng::seed_from_u64(seed);
        Self { client, model, size, random, mark: 0, asked: BTreeMap::new(), refused: 0 }
    }

    fn api<K>(&self, space: &str) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), space)
    }

    /// Makes the nodes, namespaces and deployments, and waits until the pods run.
    pub(crate) async fn prepare(&mut self) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let spaces: Api<Namespace> = Api::all(self.client.clone());
        let made: Vec<_> = futures::stream::iter(0..self.size.nodes)
            .map(|number| (nodes.clone(), objects::node::<Node>(number)))
            .map(|(nodes, node)| async move {
                create(nodes.clone(), node.clone()).await || nodes.get(&node.name_any()).await.is_ok()
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        assert!(made.iter().all(|made| *made), "nodes could not be made");
        // An earlier run's may not be gone yet.
        for space in self.size.space_names() {
            while spaces.get_opt(&space).await.ok().flatten().is_some() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        for space in self.size.space_names() {
            assert!(
                create(spaces.clone(), serde_json::from_value(json!({"metadata": {"name": space}})).unwrap()).await
            );
            let accounts: Api<ServiceAccount> = self.api(&space);
            create(accounts.clone(), serde_json::from_value(json!({"metadata": {"name": "other"}})).unwrap()).await;
            while accounts.get_opt("default").await.ok().flatten().is_none() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            create(self.api::<CronJob>(&space), objects::cron_job("nightly")).await;
        }
        for (space, name) in self.size.deployments() {
            let deployment = objects::deployment(&space, &name, self.size.replicas(), self.mark);
            assert!(create(self.api::<Deployment>(&space), deployment).await, "{space}/{name}");
        }
        let wanted = self.size.replicas() * self.size.deployments().len();
        for _ in 0..6_000 {
            let running =
                self.model.lock().pods.values().filter_map(Life::live).filter(|it| !it.addresses.is_empty()).count();
            if running >= wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{wanted} pods did not run within ten minutes");
    }

    /// Changes one thing after another until the token is cancelled.
    pub(crate) async fn run(mut self, token: CancellationToken) -> Self {
        let pause = Duration::from_millis(if self.size.pods > 1_000 { 300 } else { 150 });
        while !token.is_cancelled() {
            // A control plane that is behind is not pushed further: its nodes would be taken for dead, and all be evicted.
            if self.model.lock().unsettled() > self.size.pods / 10 {
                tokio::time::sleep(pause).await;
                continue;
            }
            self.step().await;
            tokio::time::sleep(self.random.random_range(Duration::ZERO..pause * 2)).await;
        }
        self
    }

    async fn step(&mut self) {
        self.mark += 1;
        let (what, done) = match self.random.random_range(0..100) {
            0..8 => ("rollout", self.roll_out().await),
            8..18 => ("scale", self.scale().await),
            18..50 => {
                let count = self.random.random_range(1..20);
                ("relabel", self.relabel(count).await)
            }
            50..52 => ("relabel many", self.relabel(self.size.pods / 10).await),
            52..64 => ("job", self.job().await),
            64..70 => ("pod on the node's network", self.bare_pod(true).await),
            70..76 => ("pod without owner", self.bare_pod(false).await),
            76..83 => ("service", self.service().await),
            83..91 => ("policy", self.policy().await),
            91..95 => ("namespace relabelled", self.relabel_space().await),
            95..97 => ("node relabelled", self.relabel_node().await),
            97..99 => ("deployment anew", self.renew_deployment().await),
            _ => ("namespace anew", self.renew_space().await),
        };
        *self.asked.entry(what).or_default() += 1;
        self.refused += u64::from(!done);
    }

    fn space(&mut self) -> String {
        self.size.space_names().choose(&mut self.random).cloned().unwrap()
    }

    fn deployment(&mut self) -> (String, String) {
        self.size.deployments().choose(&mut self.random).cloned().unwrap()
    }

    async fn roll_out(&mut self) -> bool {
        let (space, name) = self.deployment();
        let body = json!({"spec": {"template": objects::template(&name, self.mark)}});
        merge(self.api::<Deployment>(&space), &name, body).await
    }

    async fn scale(&mut self) -> bool {
        let (space, name) = self.deployment();
        let replicas = self.size.replicas();
        let replicas = self.random.random_range(replicas * 2 / 3..=replicas * 4 / 3);
        merge(self.api::<Deployment>(&space), &name, json!({"spec": {"replicas": replicas}})).await
    }

    async fn relabel(&mut self, count: usize) -> bool {
        let chosen: Vec<(String, String)> = {
            let model = self.model.lock();
            let live = model.pods.values().filter_map(Life::live).filter(|pod| pod.namespace.starts_with("scale-"));
            live.map(|pod| (pod.namespace.clone(), pod.name.clone())).choose_multiple(&mut self.random, count)
        };
        let body = json!({"metadata": {"labels": {"mark": self.mark.to_string()}}});
        let patched: Vec<bool> = futures::stream::iter(chosen)
            .map(|(space, name)| (self.api::<Pod>(&space), name, body.clone()))
            .map(|(api, name, body)| async move { merge(api, &name, body).await })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        patched.contains(&true)
    }

    async fn job(&mut self) -> bool {
        let space = self.space();
        let cron = self.api::<CronJob>(&space).get("nightly").await.ok().and_then(|cron| cron.uid());
        let cron = cron.as_deref().filter(|_| self.mark.is_multiple_of(2)).map(|uid| ("nightly", uid));
        create(self.api::<Job>(&space), objects::job(&space, &format!("job-{}", self.mark), cron)).await
    }

    /// Makes a pod without an owner, or deletes the one that was made before under the name.
    async fn bare_pod(&mut self, host_network: bool) -> bool {
        let space = self.space();
        let name = format!("bare-{}-{}", if host_network { "host" } else { "own" }, self.random.random_range(0..5));
        let api: Api<Pod> = self.api(&space);
        create(api.clone(), objects::bare_pod(&name, host_network)).await || delete(api, &name).await
    }

    async fn service(&mut self) -> bool {
        let (space, app) = self.deployment();
        let name = format!("service-{}", self.random.random_range(0..8));
        let port = self.random.random_range(80..90);
        let api: Api<Service> = self.api(&space);
        if create(api.clone(), objects::service(&name, &app, port)).await {
            return true;
        }
        if self.random.random_bool(0.3) {
            return delete(api, &name).await;
        }
        let ports =
            json!([{"name": "web", "port": port, "targetPort": 8080}, {"name": "dns", "port": 53, "protocol": "UDP"}]);
        let body = json!({"metadata": {"labels": {"mark": self.mark.to_string()}}, "spec": {"ports": ports}});
        merge(api, &name, body).await
    }

    async fn policy(&mut self) -> bool {
        let (space, app) = self.deployment();
        let name = format!("policy-{}", self.random.random_range(0..8));
        let api: Api<NetworkPolicy> = self.api(&space);
        let port = 1_000 + u16::try_from(self.mark % 50_000).unwrap();
        if create(api.clone(), objects::policy(&name, &app, port)).await {
            return true;
        }
        if self.random.random_bool(0.3) {
            return delete(api, &name).await;
        }
        let body = json!({"spec": {"ingress": [{"ports": [{"port": port, "protocol": "TCP"}]}]}});
        merge(api, &name, body).await
    }

    async fn relabel_space(&mut self) -> bool {
        let space = self.space();
        let body = json!({"metadata": {"labels": {"mark": self.mark.to_string()}}});
        merge(Api::<Namespace>::all(self.client.clone()), &space, body).await
    }

    async fn relabel_node(&mut self) -> bool {
        let name = objects::node_name(self.random.random_range(0..self.size.nodes));
        let body = json!({"metadata": {"labels": {"mark": self.mark.to_string()}}});
        merge(Api::<Node>::all(self.client.clone()), &name, body).await
    }

    async fn renew_deployment(&mut self) -> bool {
        let (space, name) = self.deployment();
        let api: Api<Deployment> = self.api(&space);
        delete(api.clone(), &name).await
            && create(api, objects::deployment(&space, &name, self.size.replicas(), self.mark)).await
    }

    /// Deletes what is in a namespace, and makes its deployments anew.
    async fn renew_space(&mut self) -> bool {
        let space = self.space();
        let all = ListParams::default();
        let background = DeleteParams::background();
        let gone = self.api::<Deployment>(&space).delete_collection(&background, &all).await.is_ok()
            && self.api::<Service>(&space).delete_collection(&background, &all).await.is_ok()
            && self.api::<NetworkPolicy>(&space).delete_collection(&background, &all).await.is_ok();
        let mut done = gone;
        for (_, name) in self.size.deployments().into_iter().filter(|(of, _)| *of == space) {
            let deployment = objects::deployment(&space, &name, self.size.replicas(), self.mark);
            done &= create(self.api::<Deployment>(&space), deployment).await;
        }
        done
    }
}

async fn create<K>(api: Api<K>, object: K) -> bool
where
    K: Resource + Clone + Debug + DeserializeOwned + serde::Serialize,
{
    api.create(&PostParams::default(), &object).await.is_ok()
}

async fn merge<K: Resource + Clone + Debug + DeserializeOwned>(api: Api<K>, name: &str, body: Value) -> bool {
    api.patch(name, &PatchParams::default(), &Patch::Merge(body)).await.is_ok()
}

async fn delete<K: Resource + Clone + Debug + DeserializeOwned>(api: Api<K>, name: &str) -> bool {
    api.delete(name, &DeleteParams::background()).await.is_ok()
}
