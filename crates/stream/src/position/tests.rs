use proptest::prelude::*;

use super::*;

#[test]
fn an_unfinished_record_holds_everything_behind_it() {
    let mut tracker = Tracker::new(10);
    for offset in [10, 11, 15] {
        assert!(tracker.take(offset));
    }
    assert!(tracker.finish(11));
    assert!(tracker.finish(15));
    assert_eq!(tracker.committable(), 10);
    assert!(tracker.finish(10));
    assert_eq!(tracker.committable(), 16);
    assert_eq!((tracker.unfinished(), tracker.remembered()), (0, 0));
}

#[test]
fn repeats_and_strangers_change_nothing() {
    let mut tracker = Tracker::new(5);
    assert!(tracker.take(5));
    let before = tracker.clone();
    assert!(!tracker.take(5));
    assert!(!tracker.take(4));
    assert!(!tracker.finish(6));
    assert_eq!(tracker, before);
    assert!(tracker.finish(5));
    assert!(!tracker.finish(5));
}

#[test]
fn one_unfinished_record_costs_no_memory_for_all_that_are_finished_behind_it() {
    let mut tracker = Tracker::new(0);
    assert!(tracker.take(0));
    for offset in 1..100_000 {
        assert!(tracker.take(offset));
        assert!(tracker.finish(offset));
        assert!(tracker.remembered() <= 2 + FEW + 2, "{} at {offset}", tracker.remembered());
    }
    assert_eq!((tracker.committable(), tracker.ahead()), (0, 100_000));
    assert!(!tracker.finish(7), "it was finished before");
    assert!(!tracker.take(7), "it was taken before");
    assert!(tracker.finish(0));
    assert_eq!((tracker.committable(), tracker.ahead(), tracker.remembered()), (100_000, 0, 0));
}

proptest! {
    /// Finishing several at once is finishing one after the other, in whatever order they are named.
    #[test]
    fn finishing_several_at_once_is_finishing_each(
        gaps in proptest::collection::vec(1_i64..3, 1..60),
        runs in proptest::collection::vec(proptest::collection::vec(0_i64..130, 0..40), 0..6),
        sorted in any::<bool>(),
    ) {
        let mut together = Tracker::new(0);
        let mut next = 0;
        for gap in gaps {
            next += gap;
            prop_assert!(together.take(next));
        }
        let mut alone = together.clone();
        for mut run in runs {
            if sorted {
                run.sort_unstable();
            }
            let finished = run.iter().filter(|offset| alone.finish(**offset)).count();
            prop_assert_eq!(together.finish_all(&run), finished);
            prop_assert_eq!(&together, &alone);
        }
    }

    /// Against the definition: the lowest taken and unfinished offset, else one past the highest taken.
    #[test]
    fn committable_is_the_lowest_unfinished(
        start in 0_i64..1000,
        steps in proptest::collection::vec((any::<bool>(), 0_usize..400, 1_i64..4), 0..600),
    ) {
        let mut tracker = Tracker::new(start);
        let mut next = start;
        let mut taken: Vec<(i64, bool)> = Vec::new();
        let mut last = tracker.committable();
        for (take, which, gap) in steps {
            if take {
                let offset = next + gap - 1;
                prop_assert!(tracker.take(offset));
                taken.push((offset, false));
                next = offset + 1;
            } else if !taken.is_empty() {
                let index = which % taken.len();
                let (offset, finished) = &mut taken[index];
                prop_assert_eq!(tracker.finish(*offset), !std::mem::replace(finished, true));
            }
            let model = taken.iter().find(|(_, finished)| !finished);
            prop_assert_eq!(tracker.committable(), model.map_or(next, |(offset, _)| *offset));
            prop_assert!(tracker.committable() >= last, "a committable position never goes back");
            last = tracker.committable();
            prop_assert_eq!(tracker.unfinished(), taken.iter().filter(|(_, f)| !f).count());
            prop_assert_eq!(i64::try_from(tracker.ahead()).unwrap(), next - tracker.committable());
            prop_assert!(tracker.remembered() <= FEW + 2 * tracker.unfinished());
        }
    }
}
