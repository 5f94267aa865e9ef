use super::*;
use crate::document::samples::maximal;
use weir_schemas::enriched::{Enriched, Side};
use weir_schemas::{decode_enriched, encode};

/// A record whose ends have these namespaces.
fn record(initiator: u32, responder: u32) -> Enriched {
    let with = |n: u32| Some(n.to_string());
    let Enriched { initiator: one, responder: other, .. } = maximal();
    let one = Side { namespace: with(initiator), ..one };
    Enriched { initiator: one, responder: Side { namespace: with(responder), ..other }, ..maximal() }
}

/// Meets a record's ends, which are those that it has.
fn meet(known: &mut Known, record: &Enriched) {
    let message = encode(record).unwrap();
    let read = decode_enriched(&message, known.expected()).unwrap();
    let pair = known.pair([&read.initiator, &read.responder]).unwrap();
    let ends = [&record.initiator, &record.responder].map(|side| Arc::new(End::of(side).unwrap()));
    assert_eq!(*pair, Pair::of(ends));
    assert_eq!([read.initiator.port(), read.responder.port()], [record.initiator.port, record.responder.port]);
}

impl Known {
    fn memory_of_ends(&self) -> usize {
        self.ends.young.values().chain(self.ends.old.values()).map(KnownEnd::memory).sum()
    }
}

#[test]
fn what_came_next_last_time_is_expected() {
    let mut known = Known::default();
    let window: Vec<Enriched> = [(0, 1), (0, 2), (3, 1), (0, 1), (4, 4)].map(|(one, other)| record(one, other)).into();
    for record in &window {
        meet(&mut known, record);
    }
    let met = known.take_met();
    assert_eq!((met.known, met.new), (4, 6), "as initiator and as responder");
    assert_eq!((met.pairs_expected, met.pairs_known, met.pairs_new), (0, 1, 4));
    for record in &window {
        meet(&mut known, record);
    }
    // Behind the one that stands twice there came another last time.
    let met = known.take_met();
    assert_eq!((met.known, met.new), (10, 0));
    assert_eq!(met.pairs_expected + met.pairs_known, 5);
    assert_eq!((met.pairs_new, met.pairs_expected), (0, 2));
}

#[test]
fn ends_are_forgotten_when_they_take_too_much_memory_and_are_made_anew() {
    let mut known = Known::within(16_384, 1 << 20);
    for n in 0..200 {
        meet(&mut known, &record(n, 1_000));
        assert!(known.memory_of_ends() <= 16_384);
        let held =
            |end: &KnownEnd| known.ends.young.contains_key(&end.bytes) || known.ends.old.contains_key(&end.bytes);
        assert!(known.pairs.iter().flat_map(|pair| &pair.ends).all(held), "pairs hold no others");
    }
    // The one that all have in common is always known.
    let met = known.take_met();
    assert_eq!((met.known, met.new), (199, 201));
    meet(&mut known, &record(0, 1_000));
    assert_eq!(known.take_met().new, 1, "forgotten");
    meet(&mut known, &record(199, 1_000));
    assert_eq!(known.take_met().new, 0, "known");
}

#[test]
fn pairs_are_forgotten_when_they_take_too_much_memory() {
    let mut known = Known::within(1 << 20, 16_384);
    let mut most = 0;
    for n in 0..400 {
        meet(&mut known, &record(n % 20, 100 + n / 20));
        assert_eq!(known.pairs.len(), known.places.len());
        let memory: usize = known.pairs.iter().map(|pair| size_of::<KnownPair>() + pair.pair.memory()).sum();
        assert!(memory <= 16_384);
        most = most.max(known.pairs.len());
    }
    let met = known.take_met();
    assert!(most > 10 && (met.new, met.pairs_new) == (40, 400), "{most} {met:?}");
}
