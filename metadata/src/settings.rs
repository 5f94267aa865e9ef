//! Settings of the metadata service.

use crate::keep::Keep;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;
use weir_service::settings::parse_duration;

#[cfg(test)]
mod tests;

/// Where metadata comes from, and which ends agents cover.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct MetadataSettings {
    /// Id of the cluster, in every key
    #[arg(long, default_value = "local", value_name = "NAME")]
    pub cluster: String,
    /// Watch the Kubernetes API that this kubeconfig names
    #[arg(long, value_name = "FILE", conflicts_with_all = ["in_cluster", "manifests"])]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; its current one without
    #[arg(long, value_name = "NAME", requires = "kubeconfig")]
    pub kube_context: Option<String>,
    /// Watch the Kubernetes API of the cluster in which this process is a pod
    #[arg(long, conflicts_with = "manifests")]
    pub in_cluster: bool,
    /// Namespace of this service's lease, and of the network sets: ConfigMaps labelled weir.dev/network-set=true. With
    /// --in-cluster that of this pod; with --kubeconfig there are neither without it
    #[arg(long, value_name = "NAME")]
    pub kube_namespace: Option<String>,
    /// Read Kubernetes objects from the .yaml, .yml and .json files of a folder, and again when they change
    #[arg(long, value_name = "FOLDER")]
    pub manifests: Option<PathBuf>,
    /// Name of this host as its agent reports it; the host name without
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Namespace of the agents' pods: those labelled app.kubernetes.io/name=weir-agent there cover their nodes while they are
    /// ready, and such pods of other namespaces do not. Without, the namespace of this service, and `weir` where that is
    /// not known
    #[arg(long, value_name = "NAME")]
    pub agent_namespace: Option<String>,
    /// Nodes that an agent covers always, besides those of the agents' pods of a cluster; this host where there is no
    /// Kubernetes API
    #[arg(long, value_delimiter = ',', value_name = "NAME,..")]
    pub covered_nodes: Vec<String>,
    /// Networks whose ends an agent covers always; those behind this host where there is no Kubernetes API
    #[arg(long, value_delimiter = ',', value_name = "CIDR,..")]
    pub covered_networks: Vec<String>,
    /// Keys of the labels that are kept, `*` at the end for any rest; all without. Policies select by labels: keep those
    #[arg(long, value_delimiter = ',', value_name = "KEY,..")]
    pub keep_labels: Vec<String>,
    /// Keys of the annotations that are kept, `*` at the end for any rest; none without
    #[arg(long, value_delimiter = ',', value_name = "KEY,..")]
    pub keep_annotations: Vec<String>,
    /// How long a revision stays in the topic after its end at least, besides a day for late samples; never shorter than the
    /// raw topic keeps samples
    #[arg(long, default_value = "7d", value_parser = parse_duration, value_name = "DURATION")]
    pub keep_history: Duration,
    /// How far the heartbeat stays behind what the API server held: nodes tell it with a delay what happened on them
    #[arg(long, default_value = "2s", value_parser = parse_duration, value_name = "DURATION")]
    pub node_delay: Duration,
    /// How far the heartbeat stays behind where the API server cannot prove that nothing is missing
    #[arg(long, default_value = "10s", value_parser = parse_duration, value_name = "DURATION")]
    pub assumed_delay: Duration,
}

impl Default for MetadataSettings {
    fn default() -> Self {
        Self {
            cluster: weir_schemas::topics::DEFAULT_CLUSTER.to_owned(),
            kubeconfig: None,
            kube_context: None,
            in_cluster: false,
            kube_namespace: None,
            manifests: None,
            node: None,
            agent_namespace: None,
            covered_nodes: Vec::new(),
            covered_networks: Vec::new(),
            keep_labels: Vec::new(),
            keep_annotations: Vec::new(),
            keep_history: Duration::from_secs(7 * 86_400),
            node_delay: Duration::from_secs(2),
            assumed_delay: Duration::from_secs(10),
        }
    }
}

/// Where metadata comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A Kubernetes API.
    Kubernetes {
        /// The kubeconfig; absent inside a cluster.
        kubeconfig: Option<PathBuf>,
        /// The context; the current one without.
        context: Option<String>,
    },
    /// A folder of manifests.
    Manifests(PathBuf),
    /// Neither: this host alone.
    Host,
}

/// What is wrong with the settings.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SettingsError {
    /// The cluster's id cannot stand in a key and a topic's name.
    #[error("cluster {0:?} is no name: use letters, digits, '.', '_' and '-', at most 100 of them")]
    Cluster(String),
    /// Two sources.
    #[error("more than one of --kubeconfig, --in-cluster and --manifests: give one")]
    Sources,
    /// Not a network.
    #[error("--covered-networks: {0:?} is no network in CIDR notation, such as 10.0.0.0/8")]
    Network(String),
}

impl MetadataSettings {
    /// Checks the values, without any IO.
    ///
    /// # Errors
    /// The first that cannot be.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if self.cluster.is_empty() || self.cluster.len() > 100 || !self.cluster.chars().all(fits) {
            return Err(SettingsError::Cluster(self.cluster.clone()));
        }
        let sources = [self.kubeconfig.is_some(), self.in_cluster, self.manifests.is_some()];
        if sources.into_iter().filter(|given| *given).count() > 1 {
            return Err(SettingsError::Sources);
        }
        match self.covered_networks.iter().find(|text| text.parse::<IpNet>().is_err()) {
            Some(text) => Err(SettingsError::Network(text.clone())),
            None => Ok(()),
        }
    }

    /// What is kept of objects.
    #[must_use]
    pub fn keep(&self) -> Keep {
        Keep::new(&self.keep_labels, &self.keep_annotations)
    }

    /// The source that the settings name.
    #[must_use]
    pub fn source(&self) -> Source {
        if self.in_cluster || self.kubeconfig.is_some() {
            return Source::Kubernetes { kubeconfig: self.kubeconfig.clone(), context: self.kube_context.clone() };
        }
        self.manifests.clone().map_or(Source::Host, Source::Manifests)
    }
}
