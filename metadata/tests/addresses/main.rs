//! Address truth from the test itself: which pod held which address when is decided here, the API shows it late and in
//! whole seconds, and the join is asked about every holder. No answer may name another than the one who held.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod decide;
mod kubelet;
mod pods;
mod possible;
mod random;
mod replay;

use decide::{Decided, Fact};
use pods::{Ending, Truth};
use random::Random;
use replay::{Answer, Replay};
use std::collections::BTreeMap;
use weir_flow::Millis;
use weir_join::Ask;
use weir_schemas::enriched::{Attribution, IdentifiedBy};

/// How late a node tells the API server what happened on it, at most.
const LATE: Millis = 30_000;

/// A number that the environment may set.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// How many, by how the pod in question ended.
type ByEnding = BTreeMap<Ending, u32>;

#[derive(Default, Debug)]
struct Counts {
    right: u32,
    /// One candidate, and several.
    ambiguous: ByEnding,
    several: ByEnding,
    none: ByEnding,
    /// Another than the holder was named: this one.
    wrong: ByEnding,
    /// Nobody held it, and the last holder was named.
    stale: ByEnding,
    /// Nobody held it, and nobody was named for certain.
    free: u32,
    /// What was known leaves open who of several held it; and leaves open whether the only one did.
    forced: ByEnding,
    alone: ByEnding,
    /// What was known decides who held it, and one was named as possible, several were, or nobody.
    undecided: [BTreeMap<(Ending, Fact), u32>; 3],
    /// By UID: right, and not yet reported.
    by_uid: (u32, u32),
}

fn sum<K>(counts: &BTreeMap<K, u32>) -> u32 {
    counts.values().sum()
}

impl Counts {
    fn take(&mut self, truth: &Truth, answer: &Answer, decided: Decided) {
        let slot = answer.question.slot;
        let holder = truth.holder(slot, answer.question.six, answer.question.at);
        let named = answer.side.pod_uid.as_deref();
        let ending = |uid: &str| truth.pods[uid.trim_start_matches("uid-").parse::<usize>().unwrap()].ending_at(slot);
        let count = |counts: &mut ByEnding, ending| *counts.entry(ending).or_default() += 1;
        match (holder, answer.side.attribution, named) {
            (Some(holder), Attribution::Exact, Some(uid)) if holder.uid == uid => self.right += 1,
            (Some(_), Attribution::Exact, Some(uid)) => count(&mut self.wrong, ending(uid)),
            (None, Attribution::Exact, Some(uid)) => count(&mut self.stale, ending(uid)),
            (_, Attribution::Exact, None) => {
                panic!("a pod's address was named after something else: {:?}", answer.side)
            }
            (None, ..) => self.free += 1,
            (Some(holder), Attribution::None, _) => count(&mut self.none, holder.ending_at(slot)),
            (Some(holder), Attribution::Ambiguous, _) if answer.side.candidates.len() == 1 => {
                count(&mut self.ambiguous, holder.ending_at(slot));
            }
            (Some(holder), Attribution::Ambiguous, _) => count(&mut self.several, holder.ending_at(slot)),
        }
        match (holder, decided) {
            (Some(holder), Decided::Forced) => count(&mut self.forced, holder.ending_at(slot)),
            (Some(holder), Decided::Alone(_)) => count(&mut self.alone, holder.ending_at(slot)),
            (Some(holder), Decided::Certain(_, fact)) if answer.side.attribution != Attribution::Exact => {
                let [one, several, none] = &mut self.undecided;
                let which = match answer.side.candidates.len() {
                    0 => none,
                    1 => one,
                    _ => several,
                };
                *which.entry((holder.ending_at(slot), fact)).or_default() += 1;
            }
            _ => {}
        }
        if let (Some(holder), Some(by_uid)) = (holder, &answer.by_uid) {
            match by_uid.attribution {
                Attribution::Exact => {
                    assert_eq!((by_uid.pod_uid.as_deref(), by_uid.by), (Some(holder.uid.as_str()), IdentifiedBy::Uid));
                    self.by_uid.0 += 1;
                }
                _ => self.by_uid.1 += 1,
            }
        }
    }

    fn held(&self) -> u32 {
        self.right + sum(&self.ambiguous) + sum(&self.several) + sum(&self.none) + sum(&self.wrong)
    }

    fn print(&self, what: &str) {
        let share = |count: u32| 100.0 * f64::from(count) / f64::from(self.held().max(1));
        let line = |name: &str, counts: &ByEnding| {
            let count = sum(counts);
            eprintln!("{what}: {name} {count} ({:.2} %) {counts:?}", share(count));
        };
        eprintln!("{what}: asks about a holder {}, right {} ({:.2} %)", self.held(), self.right, share(self.right));
        line("wrong", &self.wrong);
        line("ambiguous, one candidate", &self.ambiguous);
        line("ambiguous, several candidates", &self.several);
        line("none", &self.none);
        line("the delays force several candidates or none", &self.forced);
        line("the delays force one candidate, not certain", &self.alone);
        for (undecided, name) in self.undecided.iter().zip(["one candidate", "several candidates", "none"]) {
            let count = sum(undecided);
            let what = format!("{what}: open though what was known decides, {name}");
            eprintln!("{what} {count} ({:.2} %) {undecided:?}", share(count));
        }
        line("nobody held it and the former holder was named", &self.stale);
        let (right, unknown) = self.by_uid;
        eprintln!(
            "{what}: nobody held it and nobody was named {}; by UID right {right}, not reported {unknown}",
            self.free
        );
    }
}

/// One run of the same truth with the heartbeat so far behind.
fn run(switches: u64, delay: Millis) -> [Counts; 2] {
    let mut random = Random::new(number("WEIR_TEST_SEED", 1));
    let truth = Truth::new(&mut random, usize::try_from(switches).unwrap());
    let writes = replay::writes(&mut random, &truth, LATE);
    let outages = replay::outages(&mut random, &truth);
    let questions = replay::questions(&mut random, &truth);
    let mut replay = Replay::new(&truth, delay);
    let answers = replay.run(&writes, &outages, &questions);
    assert_eq!(answers.len(), questions.len());
    let known = possible::Known::new(&truth, &writes, &outages, LATE);
    let end = replay.compacted();
    let (mut even, mut edges) = (Counts::default(), Counts::default());
    for answer in &answers {
        let holder = truth.holder(answer.question.slot, answer.question.six, answer.question.at);
        let (side, by_uid) = replay::ask(&end, answer.question, holder);
        assert_eq!(side, answer.side, "an answer for a promised time changed: {:?}", answer.question);
        assert_eq!(by_uid, answer.by_uid, "{:?}", answer.question);
        let decided = known.decided(&answer.question, answer.known_to);
        let counts = if answer.question.edge { &mut edges } else { &mut even };
        counts.take(&truth, answer, decided);
    }
    assert_services_and_hosts(&end, answers.iter().map(|answer| answer.question.at));
    [even, edges]
}

/// Addresses that are no pod's are never named after one.
fn assert_services_and_hosts(table: &weir_join::Table, times: impl Iterator<Item = Millis>) {
    for at in times.step_by(100) {
        let service =
            Ask { port: Some(80), protocol: 6, responder: true, ..Ask::address(at, replay::SERVICE.parse().unwrap()) };
        let side = table.side(&service);
        assert_eq!((side.pod, side.service.as_deref()), (None, Some("shop/web")));
        assert_eq!(table.side(&Ask { port: Some(81), ..service }).attribution, Attribution::None);
        for number in 0..pods::NODES {
            let side = table.side(&Ask::address(at, replay::node_address(number).parse().unwrap()));
            assert_eq!((side.pod, side.node), (None, Some(format!("node-{number}"))), "at {at}");
        }
    }
}

#[test]
fn no_flow_is_named_after_another_than_who_held_its_address() {
    let [even, edges] = run(number("WEIR_TEST_SWITCHES", 10_000), LATE + 1_000);
    even.print("node delay 31 s, times spread evenly");
    edges.print("node delay 31 s, times at the bounds");
    for counts in [&even, &edges] {
        assert_eq!((&counts.wrong, &counts.stale), (&ByEnding::new(), &ByEnding::new()));
        let undecided: u32 = counts.undecided.iter().map(sum).sum();
        assert!(undecided < counts.held() / 333, "what was known decides is decided: {counts:?}");
    }
    assert!(even.right > even.held() / 100 * 75, "most of the time is named: {even:?}");
    assert!(even.by_uid.0 > even.by_uid.1 * 100, "{even:?}");
}

/// With the default the heartbeat is ahead of what nodes tell. Whoever ends unasked is then taken for who follows.
#[test]
fn with_less_delay_only_who_ended_unasked_is_taken_for_a_successor() {
    let [even, edges] = run(number("WEIR_TEST_SWITCHES", 10_000) / 5, 2_000);
    even.print("node delay 2 s, times spread evenly");
    edges.print("node delay 2 s, times at the bounds");
    for ending in [Ending::Deleted, Ending::Forced, Ending::DeletedThenForced, Ending::Orphaned] {
        assert_eq!((even.wrong.get(&ending), edges.wrong.get(&ending)), (None, None), "{ending:?}");
    }
}
