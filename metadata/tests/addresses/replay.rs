//! The truth through the real service's parts: what watches tell goes into the cluster and its history, what they write
//! is encoded, decoded and given to the join, which is asked as the enricher asks it.

use crate::kubelet::{self, Write};
use crate::pods::{BEGIN, NODES, Pod, SLOTS, Truth, slot_addresses};
use crate::random::Random;
use k8s_openapi::api::core::v1 as core;
use serde_json::json;
use std::collections::BTreeMap;
use weir_flow::Millis;
use weir_join::{Ask, Table};
use weir_metadata::cluster::{Change, Cluster, Event, Item};
use weir_metadata::keep::Keep;
use weir_metadata::revisions::{History, key};
use weir_metadata::watched::Watched;
use weir_schemas::enriched::Side;
use weir_schemas::metadata::{Metadata, Proof, Revision};
use weir_schemas::{decode, encode};

const CLUSTER: &str = "test";
/// Time from a change at the API server to its arrival at the service, at most.
pub(crate) const WATCH: Millis = 300;
/// Time between two heartbeats.
const TICK: Millis = 1_000;
/// One question for so much of the time that an address is held.
const EVERY: Millis = 10_000;
pub(crate) const SERVICE: &str = "10.96.0.1";

/// A question whose answer the truth knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Question {
    pub(crate) at: Millis,
    pub(crate) slot: usize,
    pub(crate) six: bool,
    /// Whether it was put where a bound is; the others are spread evenly over the time that addresses are held.
    pub(crate) edge: bool,
}

/// What was answered when the time was first promised.
pub(crate) struct Answer {
    pub(crate) question: Question,
    pub(crate) side: Side,
    /// By UID, where somebody held the address.
    pub(crate) by_uid: Option<Side>,
    /// Up to when the service knew what the API server held.
    pub(crate) known_to: Millis,
}

/// Questions about every time at which an address was held, and about some at which it was not.
pub(crate) fn questions(random: &mut Random, truth: &Truth) -> Vec<Question> {
    let mut all = Vec::new();
    for (slot, holders) in truth.slots.iter().enumerate() {
        for (pod, number) in holders {
            let hold = truth.pods[*pod].holds[*number];
            let edges = [hold.begin, hold.end - 1, hold.end, hold.finished, hold.begin + 1_000];
            for at in edges.into_iter().chain([hold.end + random.between(0, 5_000)]) {
                all.push(Question { at, slot, six: random.percent(30), edge: true });
            }
            for _ in 0..(hold.end - hold.begin) / EVERY
                + i64::from(random.between(0, EVERY) < (hold.end - hold.begin) % EVERY)
            {
                let at = random.between(hold.begin, hold.end - 1);
                all.push(Question { at, slot, six: random.percent(30), edge: false });
            }
        }
    }
    all.sort_unstable();
    all
}

/// Everything that the API server is told, in order.
pub(crate) fn writes(random: &mut Random, truth: &Truth, late: Millis) -> Vec<(usize, Write)> {
    let mut all: Vec<(usize, Write)> = Vec::new();
    for (number, pod) in truth.pods.iter().enumerate() {
        all.extend(kubelet::writes(random, pod, late).into_iter().map(|write| (number, write)));
    }
    all.sort_by_key(|(_, write)| write.at);
    all
}

/// The last time before another of which everything at the API server was known then: that of the heartbeat before.
pub(crate) fn known_before(at: Millis) -> Millis {
    BEGIN + (at - 1 - WATCH - BEGIN).div_euclid(TICK) * TICK
}

/// Times at which the watch of pods was away: what happened then is learnt from a new list.
pub(crate) fn outages(random: &mut Random, truth: &Truth) -> Vec<(Millis, Millis)> {
    let mut all = Vec::new();
    let mut at = BEGIN + 60_000;
    while at < truth.end {
        let back = at + random.between(1_000, 45_000);
        // The list is made at the next tick.
        let back = BEGIN + (back - BEGIN).div_euclid(TICK) * TICK + TICK + WATCH;
        all.push((at, back));
        at = back + random.between(60_000, 400_000);
    }
    all
}

pub(crate) struct Replay<'a> {
    truth: &'a Truth,
    /// How far the heartbeat stays behind, ms.
    delay: Millis,
    cluster: Cluster,
    history: History,
    table: Table,
    /// The topic, compacted: the last value of each key.
    topic: BTreeMap<String, Vec<u8>>,
    pending: Vec<Revision>,
    version: u64,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(truth: &'a Truth, delay: Millis) -> Self {
        let mut replay = Self {
            truth,
            delay,
            cluster: Cluster::new(Vec::new(), Keep::default()).with_node_delay(delay),
            history: History::new(CLUSTER),
            table: Table::new(CLUSTER, 1),
            topic: BTreeMap::new(),
            pending: Vec::new(),
            version: 0,
        };
        replay.list_everything(BEGIN, Vec::new());
        replay
    }

    /// Answers each question when its time is first promised.
    pub(crate) fn run(
        &mut self,
        writes: &[(usize, Write)],
        outages: &[(Millis, Millis)],
        questions: &[Question],
    ) -> Vec<Answer> {
        let (mut answers, mut writes, mut questions) =
            (Vec::new(), writes.iter().peekable(), questions.iter().peekable());
        let mut outages = outages.iter().peekable();
        let mut held: BTreeMap<usize, &Write> = BTreeMap::new();
        let mut number = 0;
        let mut now = BEGIN;
        while questions.peek().is_some() {
            now += TICK;
            let away = outages.peek().filter(|(from, _)| *from <= now + WATCH).copied();
            while let Some((pod, write)) = writes.next_if(|(_, write)| write.at <= now + WATCH) {
                if write.gone {
                    held.remove(pod)
                } else {
                    held.insert(*pod, write)
                };
                if away.is_none_or(|(from, _)| write.at < *from) {
                    self.tell(*pod, write);
                }
            }
            if let Some((_, back)) = away {
                if now + WATCH < *back {
                    continue;
                }
                outages.next();
                number += 1;
                let objects = held.iter().map(|(pod, write)| self.item(*pod, write)).collect();
                if number % 6 == 0 {
                    self.restart(now + WATCH, objects);
                } else {
                    self.take(Watched::Pod, now + WATCH, Change::Listed(objects));
                }
            }
            self.promise(now - self.delay);
            while let Some(question) = questions.next_if(|question| question.at <= self.table.complete_to()) {
                answers.push(self.answer(*question, now));
            }
        }
        answers
    }

    fn item(&self, pod: usize, write: &Write) -> Item {
        Item::Pod(Box::new(kubelet::object(&self.truth.pods[pod], &write.shown)))
    }

    fn tell(&mut self, pod: usize, write: &Write) {
        let item = self.item(pod, write);
        let change = if write.gone { Change::Deleted(item) } else { Change::Applied(item) };
        self.take(Watched::Pod, write.at + WATCH / 2, change);
    }

    fn take(&mut self, watched: Watched, arrival: Millis, change: Change) {
        self.version += 1;
        let event = Event { watched, arrival, version: self.version, change };
        self.pending.extend(self.cluster.take(event, &mut self.history));
    }

    /// The service starts anew and knows what the topic holds.
    fn restart(&mut self, now: Millis, pods: Vec<Item>) {
        self.pending.clear();
        self.history = History::new(CLUSTER);
        for value in self.topic.values() {
            self.history.restore(&decode(value).unwrap());
        }
        self.cluster = Cluster::new(Vec::new(), Keep::default()).with_node_delay(self.delay);
        self.list_everything(now, pods);
    }

    fn list_everything(&mut self, now: Millis, mut pods: Vec<Item>) {
        let created = "2023-01-01T00:00:00Z";
        let nodes = (0..NODES).map(|number| {
            let node = json!({"metadata": {"name": format!("node-{number}"), "uid": format!("node-{number}"), "creationTimestamp": created},
                "spec": {"podCIDRs": [format!("10.128.{}.0/24", number + 1)]},
                "status": {"addresses": [{"type": "InternalIP", "address": node_address(number)}]}});
            Item::Node(Box::new(serde_json::from_value(node).unwrap()))
        });
        let service = json!({"metadata": {"name": "web", "namespace": "shop", "uid": "service", "creationTimestamp": created},
            "spec": {"clusterIP": SERVICE, "ports": [{"port": 80}]}});
        pods.extend((0..NODES).map(host_pod));
        self.take(Watched::Node, now, Change::Listed(nodes.collect()));
        self.take(
            Watched::Service,
            now,
            Change::Listed(vec![Item::Service(Box::new(serde_json::from_value(service).unwrap()))]),
        );
        self.take(Watched::Pod, now, Change::Listed(pods));
        let shown = [Watched::Pod, Watched::Node, Watched::Service];
        let others = Watched::all().filter(|watched| !shown.contains(watched));
        for watched in others {
            self.take(watched, now, Change::Listed(Vec::new()));
        }
    }

    /// What is pending, and then the heartbeat, as the writer writes them.
    fn promise(&mut self, to: Millis) {
        if to > self.history.heartbeat() {
            self.pending.extend(self.history.settle(to));
        }
        for revision in std::mem::take(&mut self.pending) {
            self.put(key(&revision), &Metadata::Revision(revision));
        }
        if to > self.history.heartbeat() {
            let heartbeat = self.history.heartbeat_message(to, Proof::Probed, true);
            if self.table.history_start() == weir_flow::time::NEVER {
                self.put(format!("{CLUSTER}/heartbeat/first"), &Metadata::Heartbeat(heartbeat.clone()));
            }
            self.put(format!("{CLUSTER}/heartbeat/0"), &Metadata::Heartbeat(heartbeat));
            self.history.promise(to);
        }
    }

    fn put(&mut self, key: String, message: &Metadata) {
        let value = encode(message).unwrap();
        self.table.apply(0, &decode(&value).unwrap());
        self.topic.insert(key, value);
    }

    fn answer(&self, question: Question, known_to: Millis) -> Answer {
        let holder = self.truth.holder(question.slot, question.six, question.at);
        let (side, by_uid) = ask(&self.table, question, holder);
        Answer { question, side, by_uid, known_to }
    }

    /// A table of what is left when the topic was compacted, in the order of its keys.
    pub(crate) fn compacted(&self) -> Table {
        let mut table = Table::new(CLUSTER, 1);
        self.topic.values().for_each(|value| table.apply(0, &decode(value).unwrap()));
        table
    }
}

/// By address, and by UID where somebody held it.
pub(crate) fn ask(table: &Table, question: Question, holder: Option<&Pod>) -> (Side, Option<Side>) {
    let address = slot_addresses(question.slot)[usize::from(question.six)];
    let by_address = Ask::address(question.at, address);
    let by_uid = holder.map(|pod| table.side(&Ask { pod_uid: Some(&pod.uid), ..by_address }));
    (table.side(&by_address), by_uid)
}

pub(crate) fn node_address(number: usize) -> String {
    format!("192.0.2.{}", number + 1)
}

/// A pod that uses its node's address.
fn host_pod(number: usize) -> Item {
    let pod: core::Pod = serde_json::from_value(json!({
        "metadata": {"name": format!("host-{number}"), "namespace": "system", "uid": format!("host-{number}"),
            "creationTimestamp": "2023-01-01T00:00:00Z"},
        "spec": {"nodeName": format!("node-{number}"), "hostNetwork": true, "containers": []},
        "status": {"phase": "Running", "podIP": node_address(number), "podIPs": [{"ip": node_address(number)}]}}))
    .unwrap();
    Item::Pod(Box::new(pod))
}

pub(crate) const ALL: usize = NODES * SLOTS;
