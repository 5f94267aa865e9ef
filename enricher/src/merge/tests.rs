use super::*;
use proptest::prelude::*;
use weir_schemas::enriched::Verdict;

fn drop_counter(reason: &str, packets: u64) -> DropCounter {
    DropCounter {
        reason: reason.to_owned(),
        class: DropClass::Policy,
        forward_packets: packets,
        forward_bytes: packets,
        reverse_packets: 0,
        reverse_bytes: 0,
    }
}

fn folded(parts: &[&[(u8, u64)]]) -> Vec<DropCounter> {
    let mut report = None;
    for part in parts {
        let mut one = empty_report();
        for (reason, packets) in *part {
            add_drops(&mut one.drops, &drop_counter(&format!("reason-{reason:02}"), *packets));
        }
        fold_drops(&mut one.drops);
        add_report(&mut report, Some(&one));
    }
    report.unwrap_or_else(empty_report).drops
}

fn judged(list: &[(u8, u64)]) -> Vec<Judged> {
    let mut judgements = Vec::new();
    for (rule, samples) in list {
        let verdict = if rule % 3 == 0 { Verdict::Deny } else { Verdict::Allow };
        let answer =
            Answer { verdict, reason: String::new(), trace: vec![rule.to_string()], selecting: vec![], pending: None };
        let one = Judged { answer: Arc::new(answer), samples: *samples, against: 1, otherwise: *samples };
        add_judged(&mut judgements, &one);
    }
    fold_judged(&mut judgements);
    judgements
}

fn judged_together(parts: &[&[(u8, u64)]]) -> Vec<Judged> {
    let mut all = Vec::new();
    for part in parts {
        judged(part).iter().for_each(|one| add_judged(&mut all, one));
        fold_judged(&mut all);
    }
    all
}

#[test]
fn sums_stop_at_the_largest_number_of_a_topic() {
    assert_eq!(sum(LARGEST, 5), LARGEST);
    assert_eq!(product(u64::MAX, 2), LARGEST);
}

proptest! {
    #[test]
    fn answers_of_policies_add_up_in_any_grouping(
        list in prop::collection::vec((0..100_u8, 1..9_u64), 0..300), cut in 0..300_usize, again in 0..300_usize,
    ) {
        let cut = cut.min(list.len());
        let again = again.min(cut);
        let (left, right) = list.split_at(cut);
        let (first, middle) = left.split_at(again);
        let whole = judged_together(&[&list]);
        prop_assert_eq!(&judged_together(&[left, right]), &whole);
        prop_assert_eq!(&judged_together(&[right, middle, first]), &whole);
        prop_assert!(whole.len() <= 18);
        prop_assert_eq!(whole.iter().map(|one| one.samples).sum::<u64>(), list.iter().map(|(_, samples)| samples).sum::<u64>());
    }

    #[test]
    fn drops_add_up_in_any_grouping(list in prop::collection::vec((0..30_u8, 1..9_u64), 0..60), cut in 0..60_usize, again in 0..60_usize) {
        let cut = cut.min(list.len());
        let again = again.min(cut);
        let (left, right) = list.split_at(cut);
        let (first, middle) = left.split_at(again);
        let whole = folded(&[&list]);
        prop_assert_eq!(&folded(&[left, right]), &whole);
        prop_assert_eq!(&folded(&[right, middle, first]), &whole);
        prop_assert!(whole.len() <= 16);
        prop_assert_eq!(whole.iter().map(|d| d.forward_packets).sum::<u64>(), list.iter().map(|(_, p)| p).sum::<u64>());
    }
}
