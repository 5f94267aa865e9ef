use super::*;
use crate::fixtures::{Fake, batch, history, sample, settings};
use crate::position::Stage1Position;
use crate::stage1::{Content, Input, Partition};

/// A partial record of level 2 of one pod that talks to another.
fn of_workloads() -> Partial {
    let mut partition = Partition::new("local", 0, history(settings(1, 1)), Stage1Position::START);
    for (offset, tick) in [(0, 100_000), (1, 200_000)] {
        let content = Content::Batch(batch("node-a", 0, tick, vec![sample(1)]));
        partition.read(Input { offset, append_time: tick + 1_000, size: 1, content });
    }
    let last = partition.ready(i64::MAX, 8).unwrap();
    let partials = partition.close(last, &Fake::default()).partials;
    partials.into_iter().flat_map(|(_, batch)| batch.partials).find(|partial| partial.level == 2).unwrap()
}

#[test]
fn what_a_shape_does_not_keep_is_behind_nobody() {
    for (shape, kept) in [
        (Shape::Pair, [true, true]),
        (Shape::Initiator, [true, false]),
        (Shape::Responder, [false, true]),
        (Shape::Nobody, [false, false]),
    ] {
        let mut piece = Piece::take(&mut of_workloads(), &mut MoreOf::default()).unwrap();
        piece.leave_out(shape);
        assert_eq!(union(&[piece]).map(|ends| !ends.is_empty()), kept, "{shape:?}");
    }
}

#[test]
fn what_partials_could_not_carry_is_counted_for_each_that_shares_the_side() {
    let mut first = of_workloads();
    first.initiator.change(|side| side.pods_more = 3);
    let pods = first.behind.ends()[0].pods.len();
    let (mut second, mut counts) = (first.clone(), MoreOf::default());
    second.behind.change(|[initiator, _]| initiator.pods.clear());
    let pieces = [&mut first, &mut second].map(|partial| Piece::take(partial, &mut counts).unwrap());
    assert_eq!((first.initiator.more(), second.initiator.more()), ([0; 4], [0; 4]));
    assert_eq!(pieces.each_ref().map(|piece| piece.more[0]), [[0, 3, 0, 0]; 2]);
    let [initiator, _] = union(&pieces);
    let mut side = first.initiator.to_change();
    assert!(initiator.put(&mut side, 10), "a lower bound");
    assert_eq!((side.pods.len(), side.pods_more), (pods, 3));
}
