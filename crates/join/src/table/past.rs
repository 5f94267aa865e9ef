//! What is said of the past against the history itself, where the history is long.

use super::tests::{at, pod, revision, table};
use super::*;
use crate::since::Moment;
use crate::timeline::Said;
use proptest::prelude::*;

const MINUTE: Millis = 60_000;

fn uid(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// Revisions of pods that have an address by turns: who, when from and until in minutes, in doubt for so many ms, and
/// whether it is open for ever or ends by being asked to.
type Turn = (u64, i64, i64, Millis, u8);

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    prop::collection::vec((0u64..3, 0i64..300, 0i64..300, 0i64..3_000, 0u8..12), 1..40)
}

fn told(start: Millis, turns: &[Turn]) -> Vec<Metadata> {
    let mut time = start;
    let mut last = [0u64; 3];
    let tell = |(number, gap, length, doubt, end): &Turn| {
        let from = time + gap * MINUTE;
        time = from + length * MINUTE;
        let revisions = &mut last[usize::try_from(*number).unwrap()];
        *revisions += 1;
        let to = match end {
            0 => None,
            1 => Some((time, FOR_EVER)),
            _ => Some((time, time + doubt)),
        };
        let node = ["n", "n", "n", "m"][usize::try_from(*revisions % 4).unwrap()];
        revision(&uid(*number), *revisions, (from, from + doubt), to, pod(&["10.0.0.1", "fd00::1"], node))
    };
    turns.iter().map(tell).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// In whatever order the revisions come, some of them forgotten again, before 1970 and after.
    #[test]
    fn a_long_past_is_answered_as_its_history_says(
        start in prop_oneof![-6_000i64..0, 29_000_000i64..29_000_100],
        turns in turns(),
        turn in 0usize..40,
        forgotten in prop::collection::vec((0u64..3, 1u64..20), 0..4),
    ) {
        let mut messages = told(start * MINUTE, &turns);
        let turn = turn % messages.len();
        messages.rotate_left(turn);
        let mut table = table(&messages);
        forgotten.iter().for_each(|(number, revision)| table.forget(&format!("c/Pod/{}/{revision}", uid(*number))));
        let until = turns.iter().map(|(_, gap, length, ..)| gap + length).sum::<i64>();
        let mut asks = Vec::new();
        let uids: Vec<String> = (0..3).map(uid).collect();
        for time in (start - 5..start + until + 5).step_by(7).map(|minute| minute * MINUTE) {
            for time in [time - 1, time, time + 1_023] {
                asks.extend(["10.0.0.1", "fd00::1"].map(|text| at(time, text)));
                asks.extend(uids.iter().map(|uid| Ask { pod_uid: Some(uid), ..at(time, "10.0.0.9") }));
            }
        }
        let mut together = Vec::new();
        table.resolve_all(&asks, &mut together);
        for (ask, together) in asks.iter().zip(together) {
            let expected = match ask.pod_uid {
                Some(uid) => {
                    let known = table.by_uid[0].get(UidKey::of(uid));
                    table.by_pod_uid(table.revisions_of(known), ask.at)
                }
                None => table.by_address(ask, table.ends.place(ask.address)),
            };
            prop_assert_eq!(&table.resolve(ask), &expected, "{:?}", ask);
            prop_assert_eq!(&together, &expected, "{:?}", ask);
        }
    }
}

#[test]
fn the_last_changes_of_an_address_and_a_pod_are_answered_without_their_history() {
    const HOUR: Millis = 60 * MINUTE;
    let change = |number: i64| {
        let (from, to) = (number * HOUR, (number + 1) * HOUR);
        let object = pod(&["10.0.0.1"], "n");
        revision(&uid(0), u64::try_from(number).unwrap(), (from, from + 1_000), Some((to, to + 1_000)), object)
    };
    let table = table(&(1..30).map(change).collect::<Vec<Metadata>>());
    let said = |minute: Millis| {
        let moment = Moment::of(minute * MINUTE);
        let place = table.ends.place("10.0.0.1".parse().unwrap()).unwrap();
        let known = table.by_uid[0].get(UidKey::of(&uid(0))).unwrap();
        [table.ends.past(place, moment), table.by_uid[0].at(known, moment)].map(|said| said != Said::Nothing)
    };
    assert_eq!([said(31 * 60), said(29 * 60 + 30), said(27 * 60 + 30)], [[true; 2]; 3]);
    assert_eq!(said(27 * 60), [false; 2], "a change is in doubt");
    assert_eq!(said(5 * 60 + 30), [false; 2], "longer ago than fits");
}

#[test]
fn whoever_came_before_the_last_entries_of_a_long_history_may_still_hold() {
    let change = |number: i64| {
        let (from, until) = (number * 10 * MINUTE, (number * 10 + 20) * MINUTE);
        let to = Some((until, (1_000 + number) * MINUTE));
        revision(&uid(0), u64::try_from(number).unwrap(), (from, from), to, pod(&["10.0.0.1"], "n"))
    };
    let table = table(&(1..18).map(change).collect::<Vec<Metadata>>());
    let uid = uid(0);
    for minute in (0..1_100).step_by(3) {
        let ask = at(minute * MINUTE, "10.0.0.1");
        assert_eq!(table.resolve(&ask), table.by_address(&ask, table.ends.place(ask.address)), "{minute}");
        let expected = table.by_pod_uid(table.revisions_of(table.by_uid[0].get(UidKey::of(&uid))), ask.at);
        assert_eq!(table.resolve(&Ask { pod_uid: Some(&uid), ..ask }), expected, "{minute}");
    }
}
