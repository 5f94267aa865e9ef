use super::*;
use proptest::prelude::*;
use weir_flow::time::{FOR_EVER, NEVER};

fn who(identity: u32) -> Said {
    Said::Who(AtNode { identity, node: 3 })
}

/// Parts from gaps and lengths; every third is of nobody.
fn parts(start: Millis, steps: &[(Millis, Millis)]) -> Vec<Part> {
    let mut time = start;
    let part = |(number, (gap, length)): (u32, &(Millis, Millis))| {
        let from = time + gap;
        time = from + length;
        let said = if number % 3 == 2 { Said::Nobody } else { who(number) };
        Part { from, until: time, said }
    };
    (0..).zip(steps).map(part).collect()
}

/// What is true of a time.
fn truth(nobody_before: Option<Millis>, parts: &[Part], at: Millis) -> Said {
    if nobody_before.is_some_and(|before| at < before) {
        return Said::Nobody;
    }
    parts.iter().find(|part| part.from <= at && at < part.until).map_or(Said::Nothing, |part| part.said)
}

fn said<const N: usize>(line: &Timeline<N>, at: Millis) -> Said {
    line.at(Moment::of(at))
}

/// Gaps and lengths about as long as a step, as the longest doubt that fits, and much longer.
fn steps() -> impl Strategy<Value = Vec<(Millis, Millis)>> {
    let time = || prop_oneof![Just(0i64), 0i64..3_000, 255 * 1_024i64..259 * 1_024, 0i64..4_000_000];
    prop::collection::vec((time(), time()), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn it_says_what_is_true_or_nothing_and_nothing_only_near_changes_and_of_what_does_not_fit(
        start in prop_oneof![-2_000_000i64..2_000_000, 1_000_000_000_000i64..1_000_002_000_000],
        steps in steps(),
        before in any::<bool>(),
        more in 0i64..2_048,
    ) {
        let parts = parts(start, &steps);
        let before = before.then(|| parts.first().map_or(start, |part| part.from));
        let line: Timeline<6> = Timeline::of(before, parts.iter().copied());
        let bounds = parts.iter().flat_map(|part| [part.from, part.until]).chain([start - 4_000_000, FOR_EVER, NEVER]);
        let times = bounds.flat_map(|at| [-3_000, -more, -1, 0, 1, more, 3_000].map(|by| at.saturating_add(by)));
        // What a short history leaves room for: a part, and the doubt before it where it is long.
        let fits = parts.len() <= 2;
        for at in times {
            let (said, expected) = (said(&line, at), truth(before, &parts, at));
            prop_assert!(said == Said::Nothing || said == expected, "at {}: {:?}, not {:?}", at, said, expected);
            let inside = [-2_047, 2_047].iter().all(|by| truth(before, &parts, at.saturating_add(*by)) == expected);
            let is_one = parts.iter().any(|part| part.from.saturating_add(2_047) <= at && at < part.until.saturating_sub(2_047));
            if fits && inside && is_one && at > 2_047 {
                prop_assert_eq!(said, expected, "at {}", at);
            }
        }
    }
}

const STEP: Millis = 1_024;

#[test]
fn the_last_parts_are_kept_and_of_earlier_ones_nothing_is_said() {
    let part = |n: u32| {
        let from = Millis::from(n) * 100 * STEP;
        Part { from, until: from + 100 * STEP, said: who(n) }
    };
    let line: Timeline<6> = Timeline::of(Some(0), (0..9).map(part));
    let at = |n: Millis| said(&line, (n * 100 + 50) * STEP);
    // One place has what comes after the last one's end.
    assert_eq!(
        (0..10).map(at).collect::<Vec<_>>(),
        [[Said::Nothing; 4].as_slice(), &[4, 5, 6, 7, 8].map(who), &[Said::Nothing],].concat()
    );
    assert_eq!(said(&line, -1), Said::Nothing, "whether there was nobody before is forgotten with the first part");
}

#[test]
fn between_two_parts_nothing_is_said_however_long_it_is() {
    for gap in [0, 1, 254, 255, 256, 257, 100_000] {
        let parts = [(0, 100, 1), (100 + gap, 300 + gap, 2)];
        let parts = parts.map(|(from, until, n)| Part { from: from * STEP, until: until * STEP, said: who(n) });
        let line: Timeline<6> = Timeline::of(None, parts);
        let at = |step: Millis| said(&line, step * STEP);
        assert_eq!((at(99), at(100 + gap), at(299 + gap)), (who(1), who(2), who(2)), "{gap}");
        assert!((100..100 + gap).step_by(7).chain([99 + gap]).filter(|n| *n >= 100).all(|n| at(n) == Said::Nothing));
        assert_eq!(at(300 + gap), Said::Nothing);
    }
}

#[test]
fn what_holds_for_ever_holds_until_times_end_and_nothing_before_1970() {
    let line: Timeline<6> = Timeline::of(Some(NEVER), [Part { from: NEVER, until: FOR_EVER, said: who(7) }]);
    assert_eq!((said(&line, 0), said(&line, 4_000_000_000_000)), (who(7), who(7)));
    assert_eq!(
        (said(&line, -1), said(&line, NEVER), said(&line, FOR_EVER)),
        (Said::Nothing, Said::Nothing, Said::Nothing)
    );
    let late: Timeline<6> = Timeline::of(Some(5_000 * STEP), []);
    assert_eq!(
        (said(&late, 0), said(&late, 4_999 * STEP), said(&late, 5_000 * STEP)),
        (Said::Nobody, Said::Nobody, Said::Nothing)
    );
    assert_eq!(said(&late, -1), Said::Nothing);
}

#[test]
fn a_silent_one_says_nothing() {
    for at in [NEVER, -1, 0, 1_760_000_000_000, FOR_EVER] {
        assert_eq!(said(&Timeline::<6>::SILENT, at), Said::Nothing);
    }
}

#[test]
fn numbers_that_mean_nobody_and_nothing_are_nobodys() {
    for number in [u32::MAX - 1, u32::MAX] {
        let line: Timeline<6> = Timeline::of(None, [Part { from: 0, until: FOR_EVER, said: who(number) }]);
        assert_eq!(said(&line, 1), Said::Nothing);
    }
}

#[test]
fn the_node_is_named_where_all_were_on_one() {
    let on = |nodes: [u32; 3]| {
        let part = |(n, node)| {
            let from = Millis::from(n) * 100 * STEP;
            Part { from, until: from + 100 * STEP, said: Said::Who(AtNode { identity: n, node }) }
        };
        let line: Timeline<6> = Timeline::of(None, (0..).zip(nodes).map(part));
        [50, 150, 250].map(|step| match said(&line, step * STEP) {
            Said::Who(who) => who.node,
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(on([7, 7, 7]), [7; 3]);
    assert_eq!((on([7, 8, 7]), on([7, 7, 8]), on([8, 7, 7])), ([ELSEWHERE; 3], [ELSEWHERE; 3], [ELSEWHERE; 3]));
}
