//! The ends of connections, as policies see them.

use crate::labels::{LabelSet, Text, Texts};

/// The label that the API server gives every namespace: its own name.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// One end of a connection. `T` holds labels as `k=v`; a key is there once.
#[derive(Clone, Copy, Debug)]
pub enum End<'a, T> {
    /// A pod.
    Pod(PodEnd<'a, T>),
    /// A node itself, with its labels, if they are known.
    Node(Option<&'a [T]>),
    /// Anything else: only its address is known.
    External,
}

/// A pod. Pods that say the same are one end: their names and addresses do not matter here.
#[derive(Clone, Copy, Debug)]
pub struct PodEnd<'a, T> {
    /// Name of its namespace.
    pub namespace: &'a str,
    /// The namespace's labels; [`NAMESPACE_NAME_LABEL`] is added if it is missing.
    pub namespace_labels: &'a [T],
    /// Its labels.
    pub labels: &'a [T],
    /// Whether the labels of both are all there are: if not, nothing is concluded from the absence of one.
    pub labels_complete: bool,
    /// The ports that its containers declare with a name, in any order.
    pub ports: &'a [NamedPort<'a>],
    /// Whether it uses its node's network: it then has the node's addresses.
    pub host_network: bool,
    /// Labels of its node, if they are known; they only matter with `host_network`.
    pub node_labels: Option<&'a [T]>,
}

/// A port of a pod that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedPort<'a> {
    /// Its name.
    pub name: &'a str,
    /// IANA protocol number.
    pub protocol: u8,
    /// The port.
    pub port: u16,
}

/// The number of an end in its engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndNumber(pub(crate) u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum EndKind {
    Pod,
    HostPod,
    Node,
    External,
}

/// An end as numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Known {
    pub(crate) kind: EndKind,
    /// Of a pod.
    pub(crate) namespace: Text,
    pub(crate) namespace_labels: LabelSet,
    pub(crate) labels: LabelSet,
    pub(crate) complete: bool,
    /// Of a node, or of a pod in its node's network.
    pub(crate) node_labels: Option<LabelSet>,
    /// Name, protocol, port; sorted.
    pub(crate) ports: Box<[(Text, u8, u16)]>,
}

impl Known {
    pub(crate) fn new<T: AsRef<str>>(texts: &mut Texts, end: &End<'_, T>) -> Self {
        let nothing = || LabelSet::from([]);
        match end {
            End::External => Self {
                kind: EndKind::External,
                namespace: texts.make(""),
                namespace_labels: nothing(),
                labels: nothing(),
                complete: true,
                node_labels: None,
                ports: Box::default(),
            },
            End::Node(labels) => Self {
                kind: EndKind::Node,
                namespace: texts.make(""),
                namespace_labels: nothing(),
                labels: nothing(),
                complete: true,
                node_labels: labels.map(|labels| texts.labels(labels, None)),
                ports: Box::default(),
            },
            End::Pod(pod) => {
                let mut ports: Vec<(Text, u8, u16)> = Vec::with_capacity(pod.ports.len());
                for port in pod.ports.iter().filter(|port| !port.name.is_empty()) {
                    ports.push((texts.make(port.name), port.protocol, port.port));
                }
                ports.sort_unstable();
                ports.dedup();
                let node_labels = pod.node_labels.filter(|_| pod.host_network);
                Self {
                    kind: if pod.host_network { EndKind::HostPod } else { EndKind::Pod },
                    namespace: texts.make(pod.namespace),
                    namespace_labels: texts.labels(pod.namespace_labels, Some((NAMESPACE_NAME_LABEL, pod.namespace))),
                    labels: texts.labels(pod.labels, None),
                    complete: pod.labels_complete,
                    node_labels: node_labels.map(|labels| texts.labels(labels, None)),
                    ports: ports.into(),
                }
            }
        }
    }

    /// Whether it has its node's address.
    pub(crate) fn is_host(&self) -> bool {
        matches!(self.kind, EndKind::HostPod | EndKind::Node)
    }
}
