//! The fields that expressions speak of.

use std::fmt;

mod facets;

use facets::Facets;

/// Which end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum End {
    /// The end that opened the connection.
    Source,
    /// The other end.
    Destination,
}

/// What can be asked of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndField {
    /// The address.
    Address,
    /// The port.
    Port,
    /// Where the address belongs.
    Scope,
    /// Namespace.
    Namespace,
    /// Pod name.
    Pod,
    /// Pod UID.
    PodUid,
    /// Pods behind a record of levels 2 and 3, `namespace/pod`.
    Pods,
    /// Workload name.
    Workload,
    /// Workload kind.
    WorkloadKind,
    /// Node name.
    Node,
    /// The node's zone.
    Zone,
    /// Service, `namespace/name`.
    Service,
    /// Service account.
    ServiceAccount,
    /// Labels, `key=value`.
    Labels,
    /// Named network set.
    NetworkSet,
    /// Container.
    Container,
    /// Process name.
    Process,
    /// Host name, outside of a cluster.
    Host,
    /// Country of a public address.
    Country,
    /// Number of the autonomous system.
    AsNumber,
    /// Organization of the autonomous system.
    AsOrganization,
    /// How certain the identity is.
    Attribution,
    /// Why nobody is known.
    Reason,
    /// Bytes that the end sent.
    Bytes,
    /// Packets that the end sent.
    Packets,
    /// TCP flags that the end sent.
    TcpFlags,
}

/// What can be asked of a flow as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FlowField {
    /// IANA protocol.
    Protocol,
    /// What the packets showed.
    Action,
    /// Bytes of both directions.
    Bytes,
    /// Packets of both directions.
    Packets,
    /// Connections started.
    Started,
    /// Connections ended.
    Ended,
    /// Addresses of both ends.
    Addresses,
    /// Whose report.
    Reporter,
    /// Where it was seen.
    Point,
    /// The direction as seen from the cluster's border.
    Direction,
    /// Whether what was sent arrived.
    Arrival,
    /// Aggregation level.
    Level,
    /// What produced the samples.
    Origin,
    /// The cluster's id.
    Cluster,
    /// Sampling factor.
    Sampling,
    /// The kernel's names of what dropped packets.
    DropReasons,
    /// What the drops stand for.
    DropClass,
    /// Community ID.
    CommunityId,
    /// Whether Kubernetes names could be had.
    ClusterKnown,
    /// Whether a limit coarsened it.
    Coarsened,
    /// Whether who opened the connection was guessed.
    OrientationGuessed,
    /// Whether an address translation was unknown.
    Untranslated,
    /// What policies say.
    Verdict,
    /// What they would say with the staged ones.
    Pending,
    /// The policies that decided.
    Rule,
    /// How what the packets showed fits what policies say.
    Explanation,
    /// Whether several attempts went otherwise than policies say.
    Mismatch,
    /// Whether it is a DNS question, not a flow.
    Dns,
    /// The name that was asked for.
    DnsQuestion,
    /// The question's type.
    DnsType,
    /// The answer's code.
    DnsResponseCode,
}

/// A field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// Of one end.
    End(End, EndField),
    /// Of the flow.
    Flow(FlowField),
}

/// What values a field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// Several texts, tested by `"text" in field`.
    Texts,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Several of these words.
    Words(&'static [&'static str]),
    /// A number up to this one.
    Number(u64),
    /// An amount of bytes, which may be written with a unit.
    Bytes,
    /// An IANA protocol number, or the name of one.
    Protocol,
    /// An address.
    Address,
    /// Yes or no: the name alone is the test.
    Flag,
}

/// Where an expression is evaluated. Not every field is known everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the enricher, on one report of one direction of a flow in one tick.
    Sample,
    /// On an enriched record.
    Record,
    /// As a query to Elasticsearch, on the document of an enriched record.
    Search,
}

/// Whether the two reports of one connection say the same of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sameness {
    /// They do: it is part of the tuple after translation, or of the cluster.
    Alike,
    /// They do where both know the end for certain; one of them may know less.
    WhereKnown,
    /// Each report has its own.
    OfReport,
}

impl EndField {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 26] = [
        Self::Address,
        Self::Port,
        Self::Scope,
        Self::Namespace,
        Self::Pod,
        Self::PodUid,
        Self::Pods,
        Self::Workload,
        Self::WorkloadKind,
        Self::Node,
        Self::Zone,
        Self::Service,
        Self::ServiceAccount,
        Self::Labels,
        Self::NetworkSet,
        Self::Container,
        Self::Process,
        Self::Host,
        Self::Country,
        Self::AsNumber,
        Self::AsOrganization,
        Self::Attribution,
        Self::Reason,
        Self::Bytes,
        Self::Packets,
        Self::TcpFlags,
    ];

    /// Whether a rule can empty it before anything is added up.
    #[must_use]
    pub fn can_be_redacted(self) -> bool {
        use EndField as F;
        !matches!(
            self,
            F::Scope
                | F::Pods
                | F::Country
                | F::AsNumber
                | F::AsOrganization
                | F::Attribution
                | F::Reason
                | F::Bytes
                | F::Packets
                | F::TcpFlags
        )
    }
}

impl FlowField {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 31] = [
        Self::Protocol,
        Self::Action,
        Self::Bytes,
        Self::Packets,
        Self::Started,
        Self::Ended,
        Self::Addresses,
        Self::Reporter,
        Self::Point,
        Self::Direction,
        Self::Arrival,
        Self::Level,
        Self::Origin,
        Self::Cluster,
        Self::Sampling,
        Self::DropReasons,
        Self::DropClass,
        Self::CommunityId,
        Self::ClusterKnown,
        Self::Coarsened,
        Self::OrientationGuessed,
        Self::Untranslated,
        Self::Verdict,
        Self::Pending,
        Self::Rule,
        Self::Explanation,
        Self::Mismatch,
        Self::Dns,
        Self::DnsQuestion,
        Self::DnsType,
        Self::DnsResponseCode,
    ];

    /// Whether only DNS questions have it.
    fn is_of_questions(self) -> bool {
        matches!(self, Self::Dns | Self::DnsQuestion | Self::DnsType | Self::DnsResponseCode)
    }
}

impl Field {
    /// Every field.
    pub fn all() -> impl Iterator<Item = Self> {
        let of = |end| EndField::ALL.into_iter().map(move |field| Self::End(end, field));
        of(End::Source).chain(of(End::Destination)).chain(FlowField::ALL.into_iter().map(Self::Flow))
    }

    fn facets(self) -> Facets {
        match self {
            Self::End(_, field) => field.facets(),
            Self::Flow(field) => field.facets(),
        }
    }

    /// What values it has.
    #[must_use]
    pub fn kind(self) -> Kind {
        self.facets().kind
    }

    /// What it means, in a few words.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        self.facets().meaning
    }

    /// The name after `source.` or `destination.`, or of the flow, that the Elastic Common Schema or Weir's documents have.
    #[must_use]
    pub fn ecs(self) -> &'static str {
        self.facets().ecs
    }

    /// Whether the two reports of a connection say the same of it.
    #[must_use]
    pub fn sameness(self) -> Sameness {
        self.facets().sameness
    }

    /// Whether it is known there.
    #[must_use]
    pub fn is_known(self, place: Place) -> bool {
        let facets = self.facets();
        match (place, self) {
            (Place::Sample, _) => facets.samples,
            // A record of flows is of several samples: where each was seen is not kept.
            (Place::Record, Self::Flow(field)) => field != FlowField::Point && !field.is_of_questions(),
            (Place::Record, Self::End(..)) => true,
            (Place::Search, _) => facets.documents,
        }
    }

    /// Whether it has several values, so that `value in field` is how it is tested.
    #[must_use]
    pub fn is_list(self) -> bool {
        matches!(self.kind(), Kind::Texts | Kind::Words(_))
    }

    /// The field that a name stands for: `src.pod`, `source.pod`, `source.kubernetes.pod.name`.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        let ends = [
            ("src", End::Source),
            ("source", End::Source),
            ("dst", End::Destination),
            ("destination", End::Destination),
        ];
        for (prefix, end) in ends {
            if let Some(rest) = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')) {
                let named = |field: &EndField| field.facets().name == rest || field.facets().ecs == rest;
                return EndField::ALL.into_iter().find(named).map(|field| Self::End(end, field));
            }
        }
        let named = |field: &FlowField| field.facets().name == name || field.facets().ecs == name;
        FlowField::ALL.into_iter().find(named).map(Self::Flow)
    }

    /// The known field whose name is nearest to one that is none.
    pub(crate) fn nearest(name: &str, place: Place) -> Option<String> {
        let known = || Self::all().filter(|field| field.is_known(place));
        let long = |field: Self| match field {
            Self::End(End::Source, _) => format!("source.{}", field.facets().name),
            Self::End(End::Destination, _) => format!("destination.{}", field.facets().name),
            Self::Flow(_) => field.facets().ecs.to_owned(),
        };
        let names = known().map(|field| field.to_string()).chain(known().map(long));
        crate::error::nearest(name, names)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "src",
            Self::Destination => "dst",
        })
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End(end, field) => write!(f, "{end}.{}", field.facets().name),
            Self::Flow(field) => f.write_str(field.facets().name),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sample => "samples",
            Self::Record => "records",
            Self::Search => "documents",
        })
    }
}
