//! What stands behind a record's ends: the partials of the record have it encoded, and it is read when the record is written.

use crate::coarsen::Shape;
use crate::merge::has_sets;
use crate::sets::{Listed, Union};
use foldhash::HashMap;
use std::borrow::Cow;
use weir_flow::{Address, Level};
use weir_schemas::enriched::{SharedSide, Side};
use weir_schemas::partial::{Behind, Partial, Sets};

#[cfg(test)]
mod tests;

/// What one partial has behind its ends.
pub(super) struct Piece {
    behind: Behind,
    /// How many addresses, pods, labels and names of the initiator and of the responder it could not carry.
    more: [[u64; 4]; 2],
    /// Whether the initiator's and the responder's are still kept.
    kept: [bool; 2],
}

impl Piece {
    /// Takes it from a partial; nothing where there is nothing.
    pub(super) fn take(partial: &mut Partial, counts: &mut MoreOf) -> Option<Self> {
        // At levels 0 and 1 there are names at most, and they are of one pair of addresses.
        let has_sets = Level::from_number(i64::from(partial.level)).is_some_and(has_sets);
        if !has_sets && partial.behind.is_empty() {
            return None;
        }
        let named = if has_sets { [true; 2] } else { partial.behind.ends().map(|sets| !sets.domains.is_empty()) };
        let more = [counts.take(&mut partial.initiator, named[0]), counts.take(&mut partial.responder, named[1])];
        let behind = std::mem::take(&mut partial.behind);
        (!behind.is_empty() || more != [[0; 4]; 2]).then_some(Self { behind, more, kept: [true; 2] })
    }

    /// Leaves out what a shape does not keep.
    pub(super) fn leave_out(&mut self, shape: Shape) {
        for (kept, initiator) in self.kept.iter_mut().zip([true, false]) {
            *kept &= shape.keeps(initiator);
        }
    }
}

/// How many addresses, pods, labels and names sides say that a partial could not carry: many partials have few sides.
#[derive(Default)]
pub(super) struct MoreOf {
    /// By where a side's bytes are; with the side, so that nothing else gets there.
    known: HashMap<usize, (SharedSide, [u64; 4])>,
}

impl MoreOf {
    /// Takes the counts from a side, which then says none; nothing where they are not said.
    fn take(&mut self, side: &mut SharedSide, is_said: bool) -> [u64; 4] {
        if !is_said {
            return [0; 4];
        }
        let place = side.bytes().as_ptr().addr();
        let (_, more) = self.known.entry(place).or_insert_with(|| (side.with_port(None), side.more()));
        let more = *more;
        if more != [0; 4] {
            side.change(|side| [side.addresses_more, side.pods_more, side.labels_more, side.domains_more] = [0; 4]);
        }
        more
    }
}

/// What stands behind one end, whole.
#[derive(Default)]
pub(super) struct Unions<'p> {
    addresses: Union<Address>,
    pods: Union<&'p str>,
    labels: Union<&'p str>,
    domains: Union<&'p str>,
}

/// What stands behind the initiator and the responder of a record, by its pieces.
pub(super) fn union(pieces: &[Piece]) -> [Unions<'_>; 2] {
    if pieces.is_empty() {
        return Default::default();
    }
    let mut ends: [Vec<(Sets<&str>, [u64; 4])>; 2] = Default::default();
    for piece in pieces {
        for (((end, sets), more), kept) in ends.iter_mut().zip(piece.behind.ends()).zip(piece.more).zip(piece.kept) {
            if kept {
                end.push((sets, more));
            }
        }
    }
    ends.map(|mut end| Unions {
        addresses: Union::of_all(end.iter_mut().map(|(sets, more)| (std::mem::take(&mut sets.addresses), more[0]))),
        pods: Union::of_all(end.iter_mut().map(|(sets, more)| (std::mem::take(&mut sets.pods), more[1]))),
        labels: Union::of_all(end.iter_mut().map(|(sets, more)| (std::mem::take(&mut sets.labels), more[2]))),
        domains: Union::of_all(end.iter_mut().map(|(sets, more)| (std::mem::take(&mut sets.domains), more[3]))),
    })
}

impl<'p> Unions<'p> {
    /// Whether nothing stands behind the end, as at levels 0 and 1 without names.
    pub(super) fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.pods.is_empty() && self.labels.is_empty() && self.domains.is_empty()
    }

    /// Puts what a record lists on its side; whether a count of what is not listed is a lower bound only.
    pub(super) fn put<'s>(self, side: &mut Side<Cow<'s, str>>, limit: usize) -> bool
    where
        'p: 's,
    {
        let addresses = self.addresses.list(limit, &[]);
        let pods = self.pods.list(limit, &[]);
        let in_common = |some: &&str| side.labels.binary_search_by(|label| (**label).cmp(some)).is_ok();
        let labels = self.labels.list_besides(limit, side.labels.len(), in_common);
        let domains = self.domains.list(limit, &[]);
        let bounds = addresses.at_least || pods.at_least || labels.at_least || domains.at_least;
        let texts = |members: Vec<&'p str>| members.into_iter().map(Cow::Borrowed).collect();
        Listed { members: side.addresses, more: side.addresses_more, .. } = addresses;
        (side.pods, side.pods_more) = (texts(pods.members), pods.more);
        (side.labels_some, side.labels_more) = (texts(labels.members), labels.more);
        (side.domains, side.domains_more) = (texts(domains.members), domains.more);
        bounds
    }
}
