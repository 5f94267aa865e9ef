use super::*;
use proptest::prelude::*;

fn item(status: u16, code: &str) -> Item {
    let error = (!code.is_empty()).then(|| Cause { code: code.into(), reason: "because".into() });
    Item { status, error }
}

fn answer(items: &[(u16, &str)]) -> Answer {
    Answer { items: items.iter().map(|(status, code)| item(*status, code)).collect(), took: 1 }
}

fn one(status: u16, code: &str) -> Outcome {
    Delivery::new(1, Patience::default()).answered(&answer(&[(status, code)]), &mut Refusals::default(), 0.5)
}

#[test]
fn fates_are_told_by_status() {
    assert_eq!(one(201, "").stored, [0]);
    assert_eq!(one(404, "").stored, [0], "a delete of what is not there is done");
    assert_eq!(one(409, "version_conflict_engine_exception").superseded, [0]);
    for name in ["es_rejected_execution_exception", "rejected_execution_exception"] {
        assert!(matches!(one(429, name).next, Next::Wait(_, Why::Busy)), "{name}");
    }
    for status in [403, 429] {
        assert!(matches!(one(status, "cluster_block_exception").next, Next::Wait(_, Why::Unavailable(_))), "{status}");
    }
    assert!(matches!(one(403, "security_exception").next, Next::Wait(_, Why::Forbidden(_))));
    assert!(matches!(one(503, "unavailable_shards_exception").next, Next::Wait(_, Why::Unavailable(_))));
    assert_eq!(one(404, "index_not_found_exception").missing, [0]);
    assert_eq!(
        one(400, "invalid_index_name_exception").missing,
        [0],
        "a delete, for which the engine would make an index"
    );
    assert_eq!(one(400, "document_parsing_exception").dead.len(), 1);
}

#[test]
fn one_bad_document_is_a_dead_letter_and_its_neighbours_are_stored() {
    let mut delivery = Delivery::new(3, Patience::default());
    let outcome = delivery.answered(&answer(&[(201, ""), (400, "x"), (201, "")]), &mut Refusals::default(), 0.0);
    assert_eq!((outcome.stored, outcome.dead[0].0, outcome.next), (vec![0, 2], 1, Next::Finished));
}

#[test]
fn only_what_failed_is_sent_again() {
    let mut delivery = Delivery::new(4, Patience::default());
    let outcome =
        delivery.answered(&answer(&[(201, ""), (429, "r"), (201, ""), (429, "r")]), &mut Refusals::default(), 0.0);
    assert_eq!(outcome.stored, [0, 2]);
    assert_eq!(delivery.batch(), [1, 3]);
}

#[test]
fn a_busy_engine_gets_smaller_bulks_until_it_recovers() {
    let mut delivery = Delivery::new(8, Patience::default());
    let refusals = &mut Refusals::default();
    delivery.answered(&answer(&[(429, "r"); 8]), refusals, 0.0);
    assert_eq!(delivery.batch().len(), 8, "once is chance");
    delivery.answered(&answer(&[(429, "r"); 8]), refusals, 0.0);
    assert_eq!(delivery.batch().len(), 4);
    let outcome = delivery.answered(&answer(&[(201, ""); 4]), refusals, 0.0);
    assert_eq!(outcome.next, Next::More);
    assert_eq!(delivery.batch(), [4, 5, 6, 7]);
    assert_eq!(delivery.answered(&answer(&[(201, ""); 4]), refusals, 0.0).next, Next::Finished);
}

#[test]
fn a_bulk_goes_in_parts_where_others_have_met_a_busy_engine() {
    let mut delivery = Delivery::new(5, Patience::default());
    let refusals = &mut Refusals::default();
    delivery.restrict(2);
    assert_eq!(delivery.batch(), [0, 1]);
    assert_eq!(delivery.answered(&answer(&[(201, ""); 2]), refusals, 0.0).next, Next::More);
    delivery.restrict(0);
    assert_eq!(delivery.batch(), [2]);
    delivery.restrict(10);
    assert_eq!(delivery.batch(), [2, 3, 4]);
    assert_eq!(delivery.answered(&answer(&[(201, ""); 3]), refusals, 0.0).next, Next::Finished);
}

#[test]
fn an_engine_that_takes_most_of_a_bulk_gets_no_smaller_ones() {
    let mut delivery = Delivery::new(8, Patience::default());
    let mut items = vec![(201, ""); 4];
    items.extend([(429, "r"); 4]);
    let outcome = delivery.answered(&answer(&items), &mut Refusals::default(), 0.0);
    assert_eq!(outcome.next, Next::Later(Patience::default().busy / 2));
    assert_eq!(delivery.batch(), [4, 5, 6, 7]);
}

#[test]
fn what_is_left_goes_with_later_bulks_only_where_all_was_sent_and_most_was_taken() {
    let refusals = &mut Refusals::default();
    let mut in_parts = Delivery::new(6, Patience::default());
    in_parts.restrict(3);
    let most = answer(&[(201, ""), (201, ""), (429, "r")]);
    assert_eq!(in_parts.answered(&most, refusals, 0.0).next, Next::More, "three were not sent");
    assert_eq!(in_parts.batch(), [3, 4, 5]);
    assert_eq!(in_parts.answered(&answer(&[(201, ""); 3]), refusals, 0.0).next, Next::More);
    assert_eq!(in_parts.batch(), [2]);
    let mut hardly = Delivery::new(3, Patience::default());
    let little = answer(&[(201, ""), (429, "r"), (429, "r")]);
    assert!(matches!(hardly.answered(&little, refusals, 0.0).next, Next::Wait(_, Why::Busy)), "it is busy");
    let mut broken = Delivery::new(3, Patience::default());
    let blocked = answer(&[(201, ""), (429, "r"), (503, "unavailable_shards_exception")]);
    assert!(matches!(broken.answered(&blocked, refusals, 0.0).next, Next::Wait(_, Why::Unavailable(_))));
}

#[test]
fn more_than_one_percent_for_one_cause_pauses_and_kills_nothing() {
    let mut items = vec![(201, ""); 1_000];
    items[..11].fill((400, "strict_dynamic_mapping_exception"));
    let mut delivery = Delivery::new(1_000, Patience::default());
    let refusals = &mut Refusals::default();
    let outcome = delivery.answered(&answer(&items), refusals, 0.0);
    assert!(outcome.dead.is_empty());
    assert!(matches!(&outcome.next, Next::Wait(_, why @ Why::Refusals(_)) if why.is_alarm()), "{:?}", outcome.next);
    assert_eq!(outcome.stored.len(), 989);
    assert_eq!(delivery.batch(), (0..11).collect::<Vec<_>>());
    // Someone mended the mapping.
    assert_eq!(delivery.answered(&answer(&[(201, ""); 11]), refusals, 0.0).next, Next::Finished);
}

#[test]
fn small_bulks_that_all_fail_pause_after_a_few_dead_letters() {
    let refusals = &mut Refusals::default();
    let mut dead = 0;
    for _ in 0..100 {
        let outcome = Delivery::new(1, Patience::default()).answered(&answer(&[(400, "x")]), refusals, 0.0);
        dead += outcome.dead.len();
    }
    assert_eq!(dead, Patience::default().refusal_floor);
}

#[test]
fn a_rare_bad_document_never_pauses() {
    let refusals = &mut Refusals::default();
    for round in 0..1_000 {
        let mut items = vec![(201, ""); 200];
        items[round % 200] = (400, "x");
        let outcome = Delivery::new(200, Patience::default()).answered(&answer(&items), refusals, 0.0);
        assert_eq!((outcome.dead.len(), outcome.next), (1, Next::Finished));
    }
}

fn error(kind: ErrorKind, status: Option<u16>) -> Error {
    Error { kind, operation: "bulk", host: "h".into(), status, code: String::new(), cause: "c".into(), hint: "" }
}

#[test]
fn an_unknown_outcome_sends_the_whole_bulk_again() {
    for kind in [ErrorKind::Unavailable, ErrorKind::Invalid, ErrorKind::Auth, ErrorKind::Rejected] {
        let mut delivery = Delivery::new(5, Patience::default());
        assert!(matches!(delivery.failed(&error(kind, None), 0.5), Next::Wait(_, why) if why.is_alarm()));
        assert_eq!(delivery.batch().len(), 5, "{kind:?}");
    }
}

#[test]
fn a_request_that_is_too_large_is_halved() {
    let mut delivery = Delivery::new(5, Patience::default());
    delivery.failed(&error(ErrorKind::Rejected, Some(413)), 0.0);
    assert_eq!(delivery.batch(), [0, 1]);
}

#[test]
fn waits_grow_to_a_limit_and_keep_their_jitter() {
    let mut delivery = Delivery::new(1, Patience::default());
    let mut waits = Vec::new();
    for _ in 0..40 {
        match delivery.failed(&error(ErrorKind::Unavailable, None), 1.0) {
            Next::Wait(wait, _) => waits.push(wait),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(waits[0], Patience::default().pause);
    assert!(waits.is_sorted());
    assert_eq!(waits[39], Patience::default().longest);
    let Next::Wait(low, _) = delivery.failed(&error(ErrorKind::Unavailable, None), 0.0) else { panic!() };
    assert_eq!(low, Patience::default().longest / 2);
}

proptest! {
    #[test]
    fn every_operation_is_finished_exactly_once_whatever_the_engine_answers(
        rounds in prop::collection::vec(prop::collection::vec(0usize..7, 1..40), 0..30),
        operations in 0usize..40,
    ) {
        const ANSWERS: [(u16, &str); 7] = [(201, ""), (409, "v"), (429, "r"), (400, "x"), (503, "u"), (404, "index_not_found_exception"), (403, "cluster_block_exception")];
        let mut delivery = Delivery::new(operations, Patience::default());
        let refusals = &mut Refusals::default();
        let mut finished = vec![0u32; operations];
        let mut rounds = rounds.into_iter();
        while !delivery.batch().is_empty() {
            let size = delivery.batch().len();
            // After the scripted trouble the engine is well.
            let script = rounds.next().unwrap_or_else(|| vec![0]);
            let items: Vec<_> = (0..size).map(|i| ANSWERS[script[i % script.len()]]).collect();
            let outcome = delivery.answered(&answer(&items), refusals, 0.3);
            let dead = outcome.dead.iter().map(|(position, _)| position);
            for position in outcome.stored.iter().chain(&outcome.superseded).chain(dead) {
                finished[*position] += 1;
            }
            prop_assert_eq!(outcome.next == Next::Finished, delivery.batch().is_empty());
        }
        prop_assert!(finished.iter().all(|times| *times == 1));
    }
}

#[test]
fn what_is_given_up_is_not_sent_any_more() {
    let mut delivery = Delivery::new(4, Patience::default());
    assert_eq!(delivery.give_up(|position| position % 2 == 0), 2);
    assert_eq!(delivery.batch(), [1, 3]);
    assert_eq!(delivery.give_up(|_| true), 2);
    assert!(delivery.batch().is_empty());
}
