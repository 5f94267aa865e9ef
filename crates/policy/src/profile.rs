//! What Kubernetes leaves to the network plugin, and how a plugin answers it.

use std::fmt;

/// Why a verdict cannot be known: a set of reasons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reasons(pub(crate) u16);

/// A question that a specification leaves to the implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Question {
    /// Whether `ipBlock` of a `NetworkPolicy` matches pods by their addresses.
    IpBlockPods,
    /// Whether `ipBlock` of a `NetworkPolicy` matches nodes, and pods in their network, by their addresses.
    IpBlockNodes,
    /// Whether ingress policies see the source as it is after its translation on the pod's own node. What another node translated
    /// is a connection of that node, and no question.
    TranslatedSource,
    /// Whether a `NetworkPolicy` treats pods in their node's network as pods, both where it selects and as peers.
    HostNetworkPods,
    /// Whether a pod may always reach its own node.
    OwnNode,
    /// Whether a `NetworkPolicy` holds back other protocols than TCP, UDP and SCTP.
    OtherProtocols,
}

/// All questions.
pub const QUESTIONS: [Question; 6] = [
    Question::IpBlockPods,
    Question::IpBlockNodes,
    Question::TranslatedSource,
    Question::HostNetworkPods,
    Question::OwnNode,
    Question::OtherProtocols,
];

impl Question {
    fn place(self) -> usize {
        match self {
            Self::IpBlockPods => 0,
            Self::IpBlockNodes => 1,
            Self::TranslatedSource => 2,
            Self::HostNetworkPods => 3,
            Self::OwnNode => 4,
            Self::OtherProtocols => 5,
        }
    }

    pub(crate) fn reason(self) -> Reasons {
        Reasons(1 << self.place())
    }
}

impl Reasons {
    /// Labels were left out of the metadata, so that a selector cannot be decided.
    pub const LABELS_LEFT_OUT: Self = Self(1 << 6);
    /// Policies of the same tier and priority disagree, and the implementation may take any.
    pub const SAME_PRIORITY: Self = Self(1 << 7);
    /// An end's address is not known, and a rule asks for it.
    pub const NO_ADDRESS: Self = Self(1 << 8);
    /// A rule asks for a domain name.
    pub const DOMAIN_NAMES: Self = Self(1 << 9);
    /// A policy selects that the engine cannot evaluate.
    pub const FOREIGN: Self = Self(1 << 10);
    /// Whether two ends are on one node is not known.
    pub const NODE_UNKNOWN: Self = Self(1 << 11);
    /// The labels of a node are not known, and a rule asks for them.
    pub const NODE_LABELS: Self = Self(1 << 12);

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of the other are in this.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Each in words.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        const WORDS: [&str; 13] = [
            "implementation-defined: whether ipBlock matches pod addresses",
            "implementation-defined: whether ipBlock matches node addresses",
            "implementation-defined: whether policies see a source before or after its translation",
            "implementation-defined: whether pods in their node's network count as pods",
            "implementation-defined: whether a pod may always reach its own node",
            "implementation-defined: other protocols than TCP, UDP and SCTP",
            "labels were left out of the metadata",
            "implementation-defined: policies of the same priority disagree",
            "an address is not known",
            "a rule asks for a domain name",
            "a policy selects that cannot be evaluated",
            "it is not known whether both ends are on one node",
            "the labels of a node are not known",
        ];
        WORDS.into_iter().enumerate().filter(move |(bit, _)| self.0 & (1 << bit) != 0).map(|(_, words)| words)
    }
}

impl fmt::Display for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, words) in self.words().enumerate() {
            if at > 0 {
                f.write_str("; ")?;
            }
            f.write_str(words)?;
        }
        Ok(())
    }
}

/// How a network plugin answers what is left to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    name: &'static str,
    answers: [Option<bool>; QUESTIONS.len()],
}

impl Profile {
    /// No plugin: what is left to it is unknown.
    pub const NONE: Self = Self { name: "none", answers: [None; QUESTIONS.len()] };

    /// Calico: policies match packets by their addresses, whoever has these, where they are forwarded, which is before a source is
    /// translated there; pods in a node's network are hosts. `docs/policy.md` names the sources.
    pub const CALICO: Self =
        Self { name: "calico", answers: [Some(true), Some(true), Some(false), Some(false), Some(false), Some(true)] };

    /// Cilium: `ipBlock` means addresses outside the cluster, because pods and nodes have identities. Which one a translated source
    /// has is told in more than one way, and so left open. `docs/policy.md` names the sources.
    pub const CILIUM: Self =
        Self { name: "cilium", answers: [Some(false), Some(false), None, Some(false), Some(false), Some(true)] };

    /// All that have a name.
    pub const ALL: [Self; 3] = [Self::NONE, Self::CALICO, Self::CILIUM];

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name == name)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it answers; nothing if that is left open.
    #[must_use]
    pub fn answer(&self, question: Question) -> Option<bool> {
        self.answers.get(question.place()).copied().flatten()
    }

    /// The same with one answer more.
    #[must_use]
    pub fn with(mut self, question: Question, answer: bool) -> Self {
        if let Some(slot) = self.answers.get_mut(question.place()) {
            *slot = Some(answer);
        }
        self
    }
}
