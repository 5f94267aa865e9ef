//! Random records and random expressions about them, from the same few values.

use std::net::IpAddr;
use weir_filter::{EndField, Field, Kind, Place};
use weir_flow::{Address, AddressScope};
use weir_schemas::enriched::{
    Action, Arrival, Attribution, Counters, DropCounter, Enriched, Explanation, IdentifiedBy, Judgement, NoneReason,
    Pending, Report, Side, Verdict,
};
use weir_schemas::raw::{DropClass, Origin};

/// 2026-11-22T12:00:00Z.
const NOON: i64 = 1_795_348_800_000;

/// Texts that a search engine or a wildcard could misread.
const TEXTS: [&str; 12] =
    ["shop", "Shop", "shop-1", "a*b", "a?b", "a\\b", "a\"b", "aXb", "ünï cödé", "*", "shop/web", "app=shop"];
const KEYS: [&str; 4] = ["app", "app.kubernetes.io/name", "a*", "k"];
const ADDRESSES: [&str; 9] = [
    "10.0.0.1",
    "10.1.0.1",
    "0.0.0.0",
    "255.255.255.255",
    "8.8.8.8",
    "::1",
    "::fffe:ffff:ffff",
    "::1:0:0:0",
    "fd00::1",
];
const NETWORKS: [&str; 14] = [
    "10.0.0.0/8",
    "10.1.0.0/16",
    "0.0.0.0/0",
    "128.0.0.0/1",
    "::/0",
    "::/64",
    "::/80",
    "::8000:0:0/81",
    "fd00::/8",
    "8000::/1",
    "10.0.0.1/32",
    "::1/128",
    "::ffff:10.0.0.0/104",
    "::fffe:0:0/95",
];
const NUMBERS: [u64; 8] = [0, 1, 80, 443, 1_000, 65_535, 2_147_483_647, i64::MAX.unsigned_abs()];

/// Numbers that follow from a seed (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(most).unwrap()).unwrap()
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        let index = self.below(of.len());
        of[index].clone()
    }

    fn yes(&mut self) -> bool {
        self.next().is_multiple_of(2)
    }

    fn text(&mut self) -> Option<String> {
        self.yes().then(|| self.one(&TEXTS).to_owned())
    }

    fn address(&mut self) -> Address {
        Address::new(self.one(&ADDRESSES).parse::<IpAddr>().unwrap())
    }

    fn number(&mut self, most: u64) -> u64 {
        self.one(&NUMBERS).min(most)
    }

    fn labels(&mut self) -> Vec<String> {
        let mut labels: Vec<String> =
            KEYS.iter().filter_map(|key| self.text().map(|value| format!("{key}={value}"))).collect();
        labels.sort_unstable();
        labels
    }

    fn several(&mut self) -> Vec<String> {
        (0..self.below(3)).map(|_| self.one(&TEXTS).to_owned()).collect()
    }

    fn side(&mut self, level: u8) -> Side {
        let addresses = level <= 1;
        Side {
            attribution: self.one(&[Attribution::Exact, Attribution::Ambiguous, Attribution::None]),
            by: IdentifiedBy::Address,
            reason: self.one(&[None, Some(NoneReason::Outside), Some(NoneReason::NotYetReported)]),
            candidates: Vec::new(),
            always_valid: false,
            scope: self.one(&[AddressScope::Private, AddressScope::Public, AddressScope::LinkLocal]),
            address: addresses.then(|| self.address()),
            addresses: if addresses { Vec::new() } else { (0..self.below(3)).map(|_| self.address()).collect() },
            addresses_more: 0,
            port: self.yes().then(|| u16::try_from(self.number(65_535)).unwrap()),
            namespace: self.text(),
            pod: self.text(),
            pod_uid: self.text(),
            pods: self.several(),
            pods_more: 0,
            workload_kind: self.text(),
            workload: self.text(),
            node: self.text(),
            zone: self.text(),
            service: self.text(),
            service_account: self.text(),
            labels: self.labels(),
            labels_some: Vec::new(),
            labels_more: 0,
            domains: Vec::new(),
            domains_more: 0,
            country: self.text(),
            as_number: self.yes().then(|| u32::try_from(self.number(65_535)).unwrap()),
            as_organization: self.text(),
            container: self.text(),
            process: self.text(),
            host: self.text(),
            network_set: self.text(),
        }
    }

    fn counters(&mut self) -> Counters {
        let most = i64::MAX.unsigned_abs();
        Counters {
            forward_bytes: self.number(most),
            forward_packets: self.number(most),
            reverse_bytes: self.number(most),
            reverse_packets: self.number(most),
            started: self.number(most),
            ended: self.number(most),
        }
    }

    fn report(&mut self) -> Option<Report> {
        let drops = (0..self.below(3)).map(|_| DropCounter {
            reason: self.one(&TEXTS).to_owned(),
            class: DropClass::Policy,
            forward_packets: 1,
            forward_bytes: 60,
            reverse_packets: 0,
            reverse_bytes: 0,
        });
        let drops = drops.collect();
        self.yes().then(|| Report {
            counters: self.counters(),
            drops,
            forward_tcp_flags: u16::try_from(self.next() % 256).unwrap(),
            reverse_tcp_flags: self.one(&[0, 2, 18]),
            retransmits: 0,
            round_trip: None,
            handshake: None,
            zero_windows: 0,
            resets: 0,
            last_forward: None,
            sampling: self.one(&[1, 2, 80, i32::MAX.unsigned_abs()]),
        })
    }

    fn judgement(&mut self) -> Judgement {
        let verdicts = [Verdict::Allow, Verdict::Deny, Verdict::Unknown];
        let tiers = ["default", "__PROFILE__", "kube-admin"];
        let actions = ["allow", "deny", "pass"];
        let trace = |random: &mut Self| {
            let entry = |random: &mut Self| {
                let (tier, policy, action) = (random.one(&tiers), random.one(&TEXTS), random.one(&actions));
                format!("0|{tier}|{policy}|{action}|0")
            };
            (0..random.below(3)).map(|_| entry(random)).collect()
        };
        Judgement {
            verdict: self.one(&verdicts),
            reason: String::new(),
            trace: trace(self),
            selecting: Vec::new(),
            pending: self.yes().then(|| Pending {
                verdict: self.one(&verdicts),
                reason: String::new(),
                trace: trace(self),
            }),
            samples: 1,
            against: self.number(u64::MAX),
            otherwise: 0,
        }
    }

    pub(crate) fn record(&mut self, number: u32) -> Enriched {
        let level = u8::try_from(self.below(4)).unwrap();
        let judgements: Vec<Judgement> = (0..self.below(3)).map(|_| self.judgement()).collect();
        let explanations =
            [Explanation::AsJudged, Explanation::Mismatch, Explanation::Unexplained, Explanation::Unknown];
        let explanation = if judgements.is_empty() { Explanation::NotJudged } else { self.one(&explanations) };
        Enriched {
            id: format!("{number:08x}{:024x}", 0),
            correction: 0,
            kind: weir_schemas::enriched::Kind::Upsert,
            origin: self.one(&[Origin::Ebpf, Origin::Demo, Origin::Capture]),
            cluster: self.one(&["shop", "a*b"]).to_owned(),
            cluster_known: self.yes(),
            level,
            window: NOON,
            window_length: 5_000,
            generation: NOON,
            semantics: 1,
            initiator: self.side(level),
            responder: self.side(level),
            protocol: self.one(&[1, 6, 17, 58, 132, 255]),
            orientation_guessed: self.yes(),
            untranslated: self.yes(),
            first_seen: NOON,
            last_seen: NOON + 1,
            totals: self.counters(),
            by_initiator: self.report(),
            by_responder: self.report(),
            arrival: self.one(&[Arrival::Ok, Arrival::Never, Arrival::Unknown]),
            arrival_reason: String::new(),
            action: self.one(&[Action::Allow, Action::Deny, Action::Mixed]),
            community_id: self.text(),
            judgements,
            judgements_more: 0,
            explanation,
            coarsened: self.yes(),
            samples: 1,
        }
    }

    fn quoted(&mut self) -> String {
        format!("\"{}\"", self.one(&TEXTS).replace('\\', "\\\\").replace('"', "\\\""))
    }

    fn list(&mut self, mut value: impl FnMut(&mut Self) -> String) -> String {
        let values: Vec<String> = (0..=self.below(3)).map(|_| value(self)).collect();
        format!("[{}]", values.join(", "))
    }

    fn of_text(&mut self, subject: &str) -> String {
        let text = self.quoted();
        match self.below(7) {
            0 => format!("{subject} == {text}"),
            1 => format!("{subject} != {text}"),
            2 => format!("{subject} not in {}", self.list(Self::quoted)),
            3 => format!("has({subject})"),
            4 => format!("{subject}.startsWith({text})"),
            5 => format!("{subject}.endsWith({text})"),
            _ => format!("{subject}.contains({text})"),
        }
    }

    fn of_number(&mut self, subject: &str, most: u64) -> String {
        let sign = self.one(&["==", "!=", "<", "<=", ">", ">="]);
        let number = self.number(most);
        match self.below(3) {
            0 => format!("{subject} in {}", self.list(|random| random.number(most).to_string())),
            _ => format!("{subject} {sign} {number}"),
        }
    }

    fn test(&mut self, field: Field) -> String {
        let name = field.to_string();
        match field.kind() {
            Kind::Texts if matches!(field, Field::End(_, EndField::Labels)) && self.yes() => {
                let key = self.one(&KEYS);
                self.of_text(&format!("{name}[\"{key}\"]"))
            }
            Kind::Texts => match self.below(4) {
                0 => format!("has({name})"),
                1 => format!("{name}.startsWith({})", self.quoted()),
                2 => format!("{name}.contains({})", self.quoted()),
                _ => format!("{} in {name}", self.quoted()),
            },
            Kind::Text => self.of_text(&name),
            Kind::Word(words) => match self.below(3) {
                0 => format!("has({name})"),
                1 => format!("{name} != {}", self.one(words)),
                _ => format!("{name} in {}", self.list(|random| random.one(words).to_owned())),
            },
            Kind::Words(words) => format!("{} in {name}", self.one(words)),
            Kind::Number(most) => self.of_number(&name, most),
            Kind::Bytes => self.of_number(&name, u64::MAX >> 1),
            Kind::Protocol => {
                format!("{name} in {}", self.list(|random| random.one(&["tcp", "17", "icmpv6", "255"]).to_owned()))
            }
            Kind::Address => match self.below(4) {
                0 => format!("{name} == {}", self.one(&ADDRESSES)),
                1 => format!("{name} in {}", self.one(&NETWORKS)),
                2 => format!("{name} not in {}", self.one(&NETWORKS)),
                _ => format!("{name} in {}", self.list(|random| random.one(&NETWORKS).to_owned())),
            },
            Kind::Flag => name,
        }
    }

    fn searchable() -> Vec<Field> {
        Field::all().filter(|field| field.is_known(Place::Search)).collect()
    }

    /// An expression of at most so many levels.
    pub(crate) fn expression(&mut self, depth: usize) -> String {
        match self.below(if depth == 0 { 1 } else { 5 }) {
            0 | 1 => {
                let field = self.one(&Self::searchable());
                self.test(field)
            }
            2 => format!("({} and {})", self.expression(depth - 1), self.expression(depth - 1)),
            3 => {
                format!("({} or {} or {})", self.expression(depth - 1), self.expression(depth - 1), self.expression(0))
            }
            _ => format!("not ({})", self.expression(depth - 1)),
        }
    }

    /// Some tests of every field.
    pub(crate) fn every_field(&mut self) -> Vec<String> {
        Self::searchable().into_iter().flat_map(|field| [field; 10]).map(|field| self.test(field)).collect()
    }
}
