//! Services, namespaces, nodes and policies, now and in the past.

use crate::Faults;
use crate::clock::Clock;
use crate::facts::{Labelled, ServiceFacts};
use crate::model::{Lives, Model};
use crate::timeline::Timeline;
use crate::topic::{Topic, end_of};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use weir_flow::{Address, Millis};
use weir_join::{Ask, IdentityKind};
use weir_schemas::metadata::{Object, Revision};

/// Kubernetes writes times in whole seconds, and a little before what they stand for can be read.
const ROUNDED: Millis = 1_500;

/// Asks for random services' addresses and other objects' contents at random times; how many were certain.
pub(crate) fn ask(model: &Model, topic: &Topic, clock: &Clock, questions: usize, faults: &mut Faults) -> (u64, u64) {
    let mut random = SmallRng::seed_from_u64(2);
    let (mut certain, mut doubtful) = (0, 0);
    let mut count = |(sure, unsure): (u64, u64)| {
        certain += sure;
        doubtful += unsure;
    };
    count(services(&model.services, topic, clock, (&mut random, questions), faults));
    for (kind, lives) in [("Namespace", &model.namespaces), ("Policy", &model.policies), ("Node", &model.nodes)] {
        count(contents(kind, lives, topic, clock, (&mut random, questions), faults));
    }
    (certain, doubtful)
}

fn time<F>(timeline: &Timeline<'_, F>, topic: &Topic, random: &mut SmallRng) -> Option<Millis> {
    let (first, last) = topic.promised();
    let at = if random.random_bool(0.5) {
        timeline.moments.choose(random)?.1.saturating_add(random.random_range(-8_000..8_000))
    } else {
        random.random_range(first..=last)
    };
    (first < at && at <= last).then_some(at)
}

fn services(
    lives: &Lives<ServiceFacts>,
    topic: &Topic,
    clock: &Clock,
    (random, questions): (&mut SmallRng, usize),
    faults: &mut Faults,
) -> (u64, u64) {
    let all = Timeline::all(lives, clock, topic);
    let (mut certain, mut doubtful) = (0, 0);
    for _ in 0..questions {
        let Some(service) = all.choose(random) else { break };
        let Some(at) = time(service, topic, random) else { continue };
        let entries = service.life.states.choose(random).map(|(_, facts)| &facts.entries);
        let Some(&entry) = entries.and_then(|entries| entries.choose(random)) else { continue };
        let (address, port, protocol) = entry;
        let had: Vec<_> =
            all.iter().filter(|it| it.life.states.iter().any(|(_, f)| f.entries.contains(&entry))).collect();
        let told = topic.table.service(at, Address::from(address), port, protocol);
        let holder = had.iter().find(|it| it.certain(at).is_some_and(|facts| facts.entries.contains(&entry)));
        let wrong = || format!("WRONG: {address}:{port}/{protocol} at {at} is {told:?}, of {had:#?}");
        if let Some(told) = &told {
            certain += 1;
            let may = |it: &Timeline<'_, ServiceFacts>| {
                let named = it.life.states.iter().any(|(_, facts)| *facts.name == ***told);
                let spans = it.spans(|facts| facts.entries.contains(&entry));
                named && spans.iter().any(|(begin, end)| begin - ROUNDED <= at && at < *end)
            };
            faults.check(had.iter().any(|it| may(it)), wrong);
            faults.check(holder.is_none_or(|it| it.life.states.iter().any(|(_, f)| *f.name == ***told)), wrong);
        } else if let Some(holder) = holder {
            doubtful += 1;
            let others = had.iter().filter(|it| it.uid != holder.uid);
            let shown = others.filter_map(|it| it.shown(|facts| facts.entries.contains(&entry)));
            let reason = holder.doubtful(at) || shown.into_iter().any(|(begin, end)| begin < at && at <= end);
            faults.check(reason, || format!("without reason: {}", wrong()));
        }
    }
    (certain, doubtful)
}

/// Compares the revision that certainly was in force with what was.
fn contents(
    kind: &'static str,
    lives: &Lives<Labelled>,
    topic: &Topic,
    clock: &Clock,
    (random, questions): (&mut SmallRng, usize),
    faults: &mut Faults,
) -> (u64, u64) {
    let all = Timeline::all(lives, clock, topic);
    let (mut certain, mut doubtful) = (0, 0);
    for _ in 0..questions {
        let Some(object) = all.choose(random) else { break };
        let Some(at) = time(object, topic, random) else { continue };
        // A policy's change is dated by the API server, a little before anybody can see it.
        let (Some(facts), Some(later)) = (object.certain(at), object.certain(at + ROUNDED)) else { continue };
        if facts != later {
            continue;
        }
        let line = topic.lines.get(&(kind, object.uid.to_owned())).map_or(&[][..], Vec::as_slice);
        let in_force = line.iter().find(|it| it.valid_from.latest <= at && at < end_of(it).earliest);
        match in_force {
            Some(revision) => {
                certain += 1;
                faults.check(is(revision, facts), || format!("WRONG: {revision:?} at {at} was {facts:?}"));
            }
            None => {
                doubtful += 1;
                faults.check(object.doubtful(at), || {
                    format!("{kind} without reason in doubt at {at}: {object:?} {line:?}")
                });
            }
        }
    }
    (certain, doubtful)
}

/// Whether a revision is what the object was.
pub(crate) fn is(revision: &Revision, facts: &Labelled) -> bool {
    let name = if revision.namespace.is_empty() {
        revision.name.clone()
    } else {
        format!("{}/{}", revision.namespace, revision.name)
    };
    let detail = match &revision.object {
        Object::Policy(policy) => serde_json::from_str(&policy.spec).unwrap_or_default(),
        _ => serde_json::Value::Null,
    };
    name == facts.name && revision.labels == facts.labels && detail == facts.detail
}

/// The addresses of pods on their node's network are the node's, at any time.
pub(crate) fn ask_nodes(model: &Model, topic: &Topic, faults: &mut Faults) {
    let (first, last) = topic.promised();
    let mut random = SmallRng::seed_from_u64(3);
    for (uid, life) in &model.nodes {
        let Some(node) = life.live().filter(|node| node.name.starts_with("scale-")) else { continue };
        let at = random.random_range(first + 1..=last);
        for address in &node.addresses {
            let found = topic.table.resolve(&Ask::address(at, Address::from(*address))).identity;
            let right = found.as_ref().is_some_and(|it| it.kind == IdentityKind::Node && *it.uid == **uid);
            faults.check(right, || format!("WRONG: {address} of {} at {at} is {found:?}", node.name));
        }
    }
}
