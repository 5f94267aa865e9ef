#![allow(clippy::unwrap_used, reason = "tests")]

use super::Questions;
use crate::abi::{self, Key, Message};
use crate::dns::Unnamed;
use crate::ebpf::inherit::Grid;
use crate::tick::Told;
use proptest::prelude::*;
use std::collections::BTreeMap;

const MS: u64 = 1_000_000;
/// Ticks of 250 ms, windows of 1 s.
const GRID: Grid = Grid { tick: 250, window: 1_000, offset: 0 };
const TICK: u64 = 250 * MS;
/// How long after a tick's end it is read.
const SETTLE: u64 = 30 * MS;

/// A question with a name of its own, or its answer.
fn payload(id: u16, is_answer: bool) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend(if is_answer { [0x81, 0x80] } else { [0x01, 0x00] });
    bytes.extend([0, 1, 0, 0, 0, 0, 0, 0]);
    let name = format!("q{id}");
    bytes.push(u8::try_from(name.len()).unwrap());
    bytes.extend(name.as_bytes());
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// Questions and answers as they stand in the ring: when each question was asked, and answered so much later, if ever.
fn ring(asked: &[(u64, Option<u64>)]) -> Vec<Message> {
    let mut events: Vec<(u64, u16, bool)> = Vec::new();
    for (id, (time, later)) in (0..).zip(asked) {
        events.push((time * MS, id, false));
        events.extend(later.map(|later| ((time + later) * MS, id, true)));
    }
    events.sort_unstable();
    (1..)
        .zip(events)
        .map(|(place, (time, id, is_answer))| {
            let (hook, source_port, destination_port) =
                if is_answer { (abi::HOOK_POD_OUT, 53, 4_000) } else { (abi::HOOK_POD_IN, 4_000, 53) };
            let (client, server) = ([1; 16], [2; 16]);
            let (source, destination) = if is_answer { (server, client) } else { (client, server) };
            let key = Key { source, destination, source_port, destination_port, protocol: 17, hook, ..Key::default() };
            let payload = payload(id, is_answer);
            let length = u32::try_from(payload.len()).unwrap();
            Message { time, key, flags: 0, ifindex: 7, sampling: 1, length, payload, position: place * 100 }
        })
        .collect()
}

/// By question and answer's code: how often, and how long answers took in all, µs.
type Outcomes = BTreeMap<(String, Option<u16>), (u64, u64)>;

fn add(outcomes: &mut Outcomes, asked: Vec<Unnamed>) {
    for Unnamed { sample, .. } in asked {
        let sum = outcomes.entry((sample.question, sample.response_code)).or_default();
        sum.0 += sample.count;
        sum.1 += sample.latency.map_or(0, |latency| latency.sum);
    }
}

/// What one agent leaves the next: what is told, and when it began.
#[derive(Clone, Copy, Default)]
struct Left {
    told: Told,
    any: bool,
}

/// An agent from `begin` until `end`, when it is killed or stopped in order. Adds what it publishes, and says what it leaves.
fn live(ring: &[Message], left: Left, (begin, end): (u64, u64), in_order: bool, outcomes: &mut Outcomes) -> Left {
    let mut questions = Questions::new(1_000);
    let mut told = left.told;
    let position = |time: u64| ring.iter().find(|message| message.time >= time).map_or(u64::MAX, |m| m.position);
    if left.any {
        let there = ring.iter().filter(|m| m.position >= left.told.position && m.time < begin).cloned().collect();
        for answered in questions.inherit(there, |_| false, left.told, position(begin), &GRID) {
            let border = GRID.kernel(answered.window) + GRID.window.unsigned_abs() * MS;
            assert!(answered.told.until <= border && answered.span.0 <= answered.span.1, "{answered:?}");
            add(outcomes, answered.asked);
            told = Told { position: answered.told.position.max(told.position), ..answered.told };
        }
    }
    let mut boundary = (begin / TICK + 1) * TICK;
    let mut own = ring.iter().filter(|m| m.time >= begin).peekable();
    while boundary + SETTLE <= end {
        while let Some(message) = own.next_if(|m| m.time < boundary + SETTLE) {
            questions.take(message, false, boundary);
        }
        let (asked, after) = questions.end_tick(boundary, position(boundary + SETTLE));
        add(outcomes, asked);
        (told, boundary) = (after, boundary + TICK);
    }
    if in_order {
        while let Some(message) = own.next_if(|m| m.time < end + SETTLE) {
            questions.take(message, false, end);
        }
        let (asked, after) = questions.end_tick(end, position(end + SETTLE));
        add(outcomes, asked);
        told = after;
    }
    Left { told, any: true }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn whatever_agents_follow_one_another_each_outcome_is_told_once_and_as_it_was(
        asked in prop::collection::vec((0_u64..3_500, prop::option::of(1_u64..900)), 1..40),
        lives in prop::collection::vec((40_u64..700, 1_u64..900, any::<bool>()), 1..8),
    ) {
        let ring = ring(&asked);
        let (mut outcomes, mut left, mut at) = (Outcomes::new(), Left::default(), 0);
        for (long, away, in_order) in lives {
            left = live(&ring, left, (at * MS, (at + long) * MS), in_order, &mut outcomes);
            at += long + away;
        }
        // The last one lives until all is answered.
        live(&ring, left, (at * MS, (at + 5_000) * MS), true, &mut outcomes);
        let mut alone = Questions::new(1_000);
        for message in &ring {
            alone.take(message, false, u64::MAX);
        }
        let mut expected = Outcomes::new();
        add(&mut expected, alone.end_tick(0, 0).0);
        outcomes.retain(|(_, code), _| code.is_some());
        prop_assert_eq!(outcomes, expected);
    }
}

#[test]
fn a_question_that_waits_at_an_orderly_end_is_not_called_unanswered() {
    let ring = ring(&[(10, Some(400)), (20, None)]);
    let (mut outcomes, left) = (Outcomes::new(), Left::default());
    let left = live(&ring, left, (0, 200 * MS), true, &mut outcomes);
    assert!(outcomes.is_empty(), "{outcomes:?}");
    assert_eq!(left.told.position, ring[0].position);
    live(&ring, left, (600 * MS, 601 * MS), true, &mut outcomes);
    assert_eq!(outcomes, Outcomes::from([(("q0".to_owned(), Some(0)), (1, 400_000))]));
}

#[test]
fn what_was_read_counts_once_whoever_reads_it_again() {
    let ring = ring(&[(10, Some(20)), (100, Some(200)), (260, Some(300))]);
    let mut first = Questions::new(10);
    for message in &ring[..4] {
        first.take(message, false, TICK);
    }
    // The second question's answer, and the third question, are of the next tick.
    let (asked, told) = first.end_tick(TICK, ring[4].position);
    assert_eq!((asked.len(), told.read, told.position), (1, 3, ring[2].position));
    let mut second = Questions::new(10);
    let answered = second.inherit(ring[2..].to_vec(), |_| false, told, 10_000, &GRID);
    assert_eq!(answered.iter().map(|one| (one.window, one.asked.len())).collect::<Vec<_>>(), [(0, 2)]);
    assert_eq!(answered[0].told, Told { until: 560 * MS + 1, read: 6, position: 10_000 });
    let counts = second.counts();
    assert_eq!((counts.questions, counts.answers), (1, 2));
}
