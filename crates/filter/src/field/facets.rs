//! What is known of every field: names, values, where it is known, and by whom.

use super::{EndField, FlowField, Kind, Sameness};

/// A row of the tables below: name, ECS name, kind, whether samples have it, whether documents do, sameness, meaning.
pub(super) struct Facets {
    pub(super) name: &'static str,
    pub(super) ecs: &'static str,
    pub(super) kind: Kind,
    pub(super) samples: bool,
    pub(super) documents: bool,
    pub(super) sameness: Sameness,
    pub(super) meaning: &'static str,
}

/// The largest number that a topic or an index holds.
const LARGEST: u64 = i64::MAX.unsigned_abs();

const SCOPES: &[&str] = &["private", "public", "loopback", "link_local", "multicast"];
const ATTRIBUTIONS: &[&str] = &["exact", "ambiguous", "none"];
const REASONS: &[&str] = &["outside", "unknown_pod_address", "before_history", "not_yet_reported", "no_cluster"];
const ACTIONS: &[&str] = &["allow", "deny", "mixed"];
const REPORTERS: &[&str] = &["initiator", "responder"];
const POINTS: &[&str] = &["pod", "host", "capture"];
const DIRECTIONS: &[&str] = &["internal", "outbound", "inbound", "external"];
const ARRIVALS: &[&str] = &["ok", "never", "unknown"];
const ORIGINS: &[&str] = &["ebpf", "capture", "demo"];
const CLASSES: &[&str] = &["policy", "other"];
const VERDICTS: &[&str] = &["allow", "deny", "unknown"];
const EXPLANATIONS: &[&str] = &["as_judged", "mismatch", "unexplained", "unknown"];

/// Known everywhere, by both reporters alike where both know the end.
const fn named(name: &'static str, ecs: &'static str, meaning: &'static str) -> Facets {
    Facets { name, ecs, kind: Kind::Text, samples: true, documents: true, sameness: Sameness::WhereKnown, meaning }
}

/// Known everywhere, each report's own.
const fn counted(name: &'static str, ecs: &'static str, kind: Kind, meaning: &'static str) -> Facets {
    Facets { name, ecs, kind, samples: true, documents: true, sameness: Sameness::OfReport, meaning }
}

/// Known of records only.
const fn recorded(name: &'static str, ecs: &'static str, kind: Kind, meaning: &'static str) -> Facets {
    Facets { samples: false, ..counted(name, ecs, kind, meaning) }
}

/// Known everywhere, by both reporters alike.
const fn shared(name: &'static str, ecs: &'static str, kind: Kind, meaning: &'static str) -> Facets {
    Facets { sameness: Sameness::Alike, ..counted(name, ecs, kind, meaning) }
}

/// Known of the samples of DNS questions, by both reporters alike.
const fn of_questions(name: &'static str, ecs: &'static str, kind: Kind, meaning: &'static str) -> Facets {
    Facets { documents: false, ..shared(name, ecs, kind, meaning) }
}

impl EndField {
    pub(super) fn facets(self) -> Facets {
        match self {
            Self::Address => shared("address", "ip", Kind::Address, "address after translation; levels 0 and 1"),
            Self::Port => {
                shared("port", "port", Kind::Number(65_535), "port, where the protocol and the level have one")
            }
            Self::Scope => shared("scope", "scope", Kind::Word(SCOPES), "where the address belongs"),
            Self::Namespace => named("namespace", "kubernetes.namespace", "namespace"),
            Self::Pod => named("pod", "kubernetes.pod.name", "name of the pod; levels 0 and 1"),
            Self::PodUid => named("pod_uid", "kubernetes.pod.uid", "UID of the pod; levels 0 and 1"),
            Self::Pods => {
                recorded("pods", "kubernetes.pods", Kind::Texts, "pods behind it, `namespace/name`; levels 2 and 3")
            }
            Self::Workload => named("workload", "kubernetes.workload.name", "name of the workload"),
            Self::WorkloadKind => {
                named("workload_kind", "kubernetes.workload.kind", "kind of the workload, such as `Deployment`")
            }
            Self::Node => named("node", "kubernetes.node.name", "name of the node"),
            Self::Zone => named("zone", "kubernetes.node.zone", "zone of the node"),
            // Where a connection is translated, the responder's node need not know by which service it came.
            Self::Service => Facets {
                sameness: Sameness::OfReport,
                ..named("service", "kubernetes.service", "service by which it was reached, `namespace/name`")
            },
            Self::ServiceAccount => {
                named("service_account", "kubernetes.service_account", "service account of the pod")
            }
            Self::Labels => {
                Facets { kind: Kind::Texts, ..named("labels", "kubernetes.labels", "labels of the pod, `key=value`") }
            }
            Self::NetworkSet => named("network_set", "network_set", "named network set"),
            Self::Container => {
                counted("container", "container.name", Kind::Text, "container, where the node could tell")
            }
            Self::Process => counted("process", "process.name", Kind::Text, "process name, where the node could tell"),
            Self::Host => named("host", "host.name", "name of a host that is no node of a cluster"),
            Self::Country => recorded(
                "country",
                "geo.country_iso_code",
                Kind::Text,
                "country of a public address, two letters; levels 0 and 1",
            ),
            Self::AsNumber => recorded(
                "as_number",
                "as.number",
                Kind::Number(u64::from(u32::MAX)),
                "autonomous system of a public address; levels 0 and 1",
            ),
            Self::AsOrganization => recorded(
                "as_organization",
                "as.organization.name",
                Kind::Text,
                "organization of that autonomous system",
            ),
            Self::Attribution => {
                counted("attribution", "attribution", Kind::Word(ATTRIBUTIONS), "how certain the identity is")
            }
            Self::Reason => counted("reason", "reason", Kind::Word(REASONS), "why nobody is known"),
            Self::Bytes => counted("bytes", "bytes", Kind::Bytes, "bytes that this end sent"),
            Self::Packets => counted("packets", "packets", Kind::Number(LARGEST), "packets that this end sent"),
            Self::TcpFlags => counted(
                "tcp_flags",
                "tcp_flags",
                Kind::Words(&weir_flow::protocol::FLAG_NAMES),
                "TCP flags that this end sent",
            ),
        }
    }
}

impl FlowField {
    pub(super) fn facets(self) -> Facets {
        let unsearchable = |facets: Facets| Facets { documents: false, ..facets };
        let number = Kind::Number(LARGEST);
        match self {
            Self::Protocol => shared(
                "protocol",
                "network.transport",
                Kind::Protocol,
                "IANA protocol: `tcp`, `udp`, `icmp`, `icmpv6`, `sctp` or a number",
            ),
            Self::Action => {
                counted("action", "event.action", Kind::Word(ACTIONS), "what the packets showed of policies")
            }
            Self::Bytes => counted("bytes", "network.bytes", Kind::Bytes, "bytes of both directions"),
            Self::Packets => counted("packets", "network.packets", number, "packets of both directions"),
            Self::Started => counted("started", "weir.connections.started", number, "connections started"),
            Self::Ended => counted("ended", "weir.connections.ended", number, "connections ended"),
            Self::Addresses => {
                shared("addresses", "related.ip", Kind::Address, "every address listed, of both ends, at all levels")
            }
            Self::Reporter => {
                counted("reporter", "weir.reporters", Kind::Word(REPORTERS), "who reported; of a record both may have")
            }
            Self::Point => Facets {
                documents: false,
                ..counted("point", "point", Kind::Word(POINTS), "where the packets were seen")
            },
            Self::Direction => counted(
                "direction",
                "network.direction",
                Kind::Word(DIRECTIONS),
                "direction as seen from the cluster's border",
            ),
            Self::Arrival => recorded("arrival", "weir.arrival", Kind::Word(ARRIVALS), "whether what was sent arrived"),
            Self::Level => recorded("level", "weir.level", Kind::Number(3), "aggregation level"),
            Self::Origin => shared("origin", "weir.origin", Kind::Word(ORIGINS), "what produced the samples"),
            Self::Cluster => recorded("cluster", "orchestrator.cluster.name", Kind::Text, "id of the cluster"),
            Self::Sampling => counted(
                "sampling",
                "sampling",
                Kind::Number(u64::from(i32::MAX.unsigned_abs())),
                "sampling factor; of a record both reporters'",
            ),
            Self::DropReasons => {
                counted("drop_reasons", "weir.drop_reasons", Kind::Texts, "the kernel's names of what dropped packets")
            }
            Self::DropClass => {
                unsearchable(counted("drop_class", "drop_class", Kind::Words(CLASSES), "what the drops stand for"))
            }
            Self::CommunityId => {
                recorded("community_id", "network.community_id", Kind::Text, "Community ID, where there is one")
            }
            Self::ClusterKnown => {
                recorded("cluster_known", "weir.cluster_known", Kind::Flag, "whether Kubernetes names could be had")
            }
            Self::Coarsened => recorded("coarsened", "weir.coarsened", Kind::Flag, "whether a limit coarsened it"),
            Self::OrientationGuessed => counted(
                "orientation_guessed",
                "weir.orientation_guessed",
                Kind::Flag,
                "whether who opened the connection was guessed",
            ),
            Self::Untranslated => {
                counted("untranslated", "weir.untranslated", Kind::Flag, "whether an address translation was unknown")
            }
            Self::Verdict => recorded(
                "verdict",
                "weir.policy.verdict",
                Kind::Words(VERDICTS),
                "what policies say; of a record maybe several",
            ),
            Self::Pending => recorded(
                "pending",
                "weir.policy.pending",
                Kind::Words(VERDICTS),
                "what they would say with the staged policies, where there are such",
            ),
            Self::Rule => recorded(
                "rule",
                "rule.name",
                Kind::Texts,
                "policies that decided, such as `shop/knp.default.web`, and `end of tier`",
            ),
            Self::Explanation => recorded(
                "explanation",
                "weir.policy.explanation",
                Kind::Word(EXPLANATIONS),
                "how what the packets showed fits what policies say",
            ),
            Self::Mismatch => recorded(
                "mismatch",
                "weir.policy.mismatch",
                Kind::Flag,
                "whether at least three attempts went otherwise than policies say",
            ),
            Self::Dns => of_questions("dns", "dns", Kind::Flag, "whether it is a DNS question and no flow"),
            Self::DnsQuestion => {
                of_questions("dns.question", "dns.question.name", Kind::Text, "name that was asked for, lower case")
            }
            Self::DnsType => {
                of_questions("dns.type", "dns.question.type", Kind::Text, "type of the question, such as `AAAA`")
            }
            Self::DnsResponseCode => of_questions(
                "dns.response_code",
                "dns.response_code",
                Kind::Text,
                "code of the answer, such as `NXDOMAIN`; none where no answer was seen",
            ),
        }
    }
}
