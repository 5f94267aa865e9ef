//! What was told of the pods and when, and what follows from that and what does not.

use crate::FIRST_POD;
use crate::decide::{Decided, Delays, Told, decide};
use crate::network::Heard;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;
use weir_flow::Millis;
use weir_join::{Ask, Table};
use weir_schemas::enriched::Attribution;
use weir_schemas::metadata::Metadata;
use weir_schemas::{decode, topics};
use weir_stream::{Log, Partitions, Start};

/// How late nodes tell at most where they are believed: the service goes by no less.
pub(crate) const TELL_WITHIN: Millis = 30_000;
/// How long a pod that nobody waited for may go on, as the service takes it, twice over.
const UNAWAITED: Millis = 60_000;
/// How many holders of an address before and after a time are looked at.
const NEAR: usize = 30;

/// A call of the API, from when on its content may be there and from when on it certainly is.
pub(crate) type Call = (Millis, Millis);

/// A pod, and what the API server was told of it.
pub(crate) struct Fact {
    pub(crate) slot: usize,
    pub(crate) uid: String,
    pub(crate) dual: bool,
    pub(crate) scheduled: Millis,
    pub(crate) started: Millis,
    pub(crate) finished: Millis,
    /// That it runs.
    pub(crate) running: Option<Call>,
    /// That it has ended.
    pub(crate) ended: Option<Call>,
    /// That it is gone, without waiting for its node or after.
    pub(crate) gone: Option<Call>,
    pub(crate) forced: bool,
}

impl Fact {
    /// As a decider takes it who knows what each heartbeat of `known` went by.
    fn told(&self, pod: usize, known: &[Millis]) -> Told {
        let before =
            |at: Millis| known.partition_point(|known| *known < at).checked_sub(1).map_or(0, |place| known[place]);
        let second = |time: Millis| time.div_euclid(1_000) * 1_000;
        let mut told = Told::nothing(pod, self.dual, second(self.scheduled));
        let shows = [self.running, self.ended].into_iter().flatten();
        // A pod that ends shows its address, too, and when it has started.
        if let Some((asked, _)) = shows.clone().min() {
            told.unshown = before(asked);
        }
        told.begun = shows.map(|(_, answered)| (answered, answered.min(second(self.started) + 999))).collect();
        told.shown = told.begun.iter().map(|(answered, _)| *answered).min().unwrap_or(Millis::MAX);
        told.begun_by = told.begun.iter().map(|(_, begun)| *begun).min().unwrap_or(Millis::MAX);
        if let Some((asked, answered)) = self.ended {
            told.ended_shown = answered;
            told.ended = second(self.finished).max(before(asked) - TELL_WITHIN);
        }
        if let Some((asked, answered)) = self.gone {
            told.gone = answered;
            told.last_there = before(asked);
            told.given_back_by = answered + if self.forced { UNAWAITED } else { 0 };
        }
        told
    }
}

/// Up to when everything at the API server was known when each heartbeat was written, in order.
pub(crate) async fn known(log: &Log, behind: Millis) -> Vec<Millis> {
    let mut reader = log.reader(topics::METADATA, Partitions::All, Start::Beginning).await.unwrap();
    let records = reader.read_to_end(Duration::from_secs(5)).await.unwrap();
    let messages = records.into_iter().map(|record| decode(&record.value.unwrap()).unwrap());
    let mut known: Vec<Millis> = messages
        .filter_map(|message| match message {
            Metadata::Heartbeat(heartbeat) => Some(heartbeat.complete_to + behind),
            Metadata::Revision(_) => None,
        })
        .collect();
    known.sort_unstable();
    known.dedup();
    known
}

/// What answers are judged by.
pub(crate) struct Judge<'a> {
    pub(crate) facts: &'a [Fact],
    pub(crate) known: &'a [Millis],
    pub(crate) behind: Millis,
    pub(crate) switches: usize,
    pub(crate) six: bool,
}

impl Judge<'_> {
    /// By slot what was told of its pods, in the order in which they had it.
    fn told(&self) -> BTreeMap<usize, Vec<Told>> {
        let mut slots: BTreeMap<usize, Vec<Told>> = BTreeMap::new();
        for (pod, fact) in self.facts.iter().enumerate() {
            slots.entry(fact.slot).or_default().push(fact.told(pod, self.known));
        }
        slots.values_mut().for_each(|told| told.sort_by_key(|told| self.facts[told.pod].scheduled));
        slots
    }

    /// Who had sent a datagram, as far as what was known when its time was promised says.
    fn decided(&self, slots: &BTreeMap<usize, Vec<Told>>, at: Millis, address: &IpAddr) -> Decided {
        let all = &slots[&slot_of(address)];
        let place = all.partition_point(|told| self.facts[told.pod].scheduled <= at);
        let near = &all[place.saturating_sub(NEAR)..all.len().min(place + NEAR)];
        let promised = self.known.partition_point(|known| known - self.behind < at);
        let delays = Delays { late: TELL_WITHIN, watch: 0 };
        decide(near.iter().filter(|told| told.dual || address.is_ipv4()), at, self.known[promised], delays)
    }
}

pub(crate) fn judge(table: &Table, heard: &[Heard], by: &Judge<'_>) {
    let slots = by.told();
    let (mut counts, mut forced, mut open) =
        (BTreeMap::<&str, u32>::new(), BTreeMap::<&str, u32>::new(), BTreeMap::new());
    let mut wrong = Vec::new();
    for (time, address, uid) in heard {
        let side = table.side(&Ask::address(*time, address.to_string().parse().unwrap()));
        let what = match (side.attribution, side.pod_uid.as_deref()) {
            (Attribution::Exact, Some(named)) if named == uid => "right",
            (Attribution::Exact, _) => {
                wrong.push(format!("{address} at {time} was {uid}: {side:?}"));
                "wrong"
            }
            (Attribution::Ambiguous, _) => "ambiguous",
            (Attribution::None, _) => "none",
        };
        *counts.entry(what).or_default() += 1;
        match by.decided(&slots, *time, address) {
            Decided::Forced => *forced.entry("several or none").or_default() += 1,
            Decided::Alone(_) => *forced.entry("one, not certain").or_default() += 1,
            Decided::Certain(pod, fact) => {
                assert_eq!(&by.facts[pod].uid, uid, "the facts say so of {address} at {time}");
                if side.attribution != Attribution::Exact {
                    *open.entry((what, fact)).or_insert(0u32) += 1;
                }
            }
        }
        let by_uid =
            table.side(&Ask { pod_uid: Some(uid), ..Ask::address(*time, address.to_string().parse().unwrap()) });
        assert_eq!(by_uid.pod_uid.as_deref(), Some(uid.as_str()), "by UID at {time}: {by_uid:?}");
    }
    let open_count: u32 = open.values().sum();
    eprintln!(
        "{} switches, {} IPv{} datagrams: {counts:?}; the delays force {forced:?}; open though what was known decides {open_count} {open:?}",
        by.switches,
        heard.len(),
        if by.six { 6 } else { 4 }
    );
    assert!(wrong.is_empty(), "{} wrong: {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    let enough = by.switches * if by.six { 5 } else { 10 };
    assert!(counts.get("right").is_some_and(|right| *right > 0) && heard.len() > enough, "{counts:?}");
    assert!(usize::try_from(open_count).unwrap() <= heard.len() / 100, "what was known decides is decided: {open:?}");
}

fn slot_of(address: &IpAddr) -> usize {
    match address {
        IpAddr::V4(four) => usize::from(four.octets()[2]) * 200 + usize::from(four.octets()[3]) - FIRST_POD,
        IpAddr::V6(six) => usize::from(Ipv6Addr::segments(six)[7]) - FIRST_POD,
    }
}
