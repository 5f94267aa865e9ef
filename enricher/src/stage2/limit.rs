//! The cap on keys in stage 2: once all partials of a generation are there, its noisiest keys are coarsened as in stage 1.
//!
//! A record that is coarsened here is one of this internal partition alone: its key says so, because another internal
//! partition may hold a record of which the same is left.

use super::close::{Merged, Of, Records};
use crate::coarsen::{Coarse, Member, Shape, member, noisiest, shape_of};
use crate::key::Key;
use crate::merge::Merges;

/// The first byte of keys that were coarsened here.
const HERE: u8 = 0xFE;

/// Coarsens each level of which there are too many keys; the answer is how many records were.
pub(super) fn coarsen(records: &mut Records<'_>, of: &Of<'_>, merges: &mut Merges) -> u64 {
    let mut coarsened = 0;
    let limit = usize::try_from(of.settings.keys_limit).unwrap_or(usize::MAX);
    for level in 0..=3 {
        let mut coarse = Coarse::default();
        while let Some((keys, members)) = too_many(records, level, limit) {
            let found = noisiest(&members, &coarse, keys.len().saturating_sub(limit));
            if found.freed == 0 {
                for key in keys.into_iter().skip(limit) {
                    coarsened += 1;
                    replace(records, &key, Shape::Nobody, of, merges);
                }
                break;
            }
            coarse.extend(found.groups);
            let mut bytes = Vec::new();
            for key in keys {
                let shape = records.get(&key).and_then(|(_, merged)| next_shape(merged, &coarse, &mut bytes));
                if let Some(shape) = shape {
                    coarsened += 1;
                    replace(records, &key, shape, of, merges);
                }
            }
        }
    }
    coarsened
}

/// Keys in order.
type Keys = Vec<Box<[u8]>>;

/// The keys of a level, and its records as far as coarsening is concerned, if there are more than the limit.
/// Catch-alls do not count.
fn too_many(records: &Records<'_>, level: u8, limit: usize) -> Option<(Keys, Vec<Member>)> {
    let counted = || records.iter().filter(|(_, (_, merged))| merged.partial.level == level && !is_catch_all(merged));
    if counted().count() <= limit {
        return None;
    }
    let mut bytes = Vec::new();
    let members = counted().filter_map(|(_, (_, merged))| member(merged.partial, &mut bytes)).collect();
    Some((counted().map(|(key, _)| key.clone()).collect(), members))
}

fn is_catch_all(merged: &Merged<'_>) -> bool {
    Key::with(merged.partial, |key| key.shape == Shape::Nobody).unwrap_or(true)
}

fn next_shape(merged: &Merged<'_>, coarse: &Coarse, bytes: &mut Vec<u8>) -> Option<Shape> {
    let member = member(merged.partial, bytes)?;
    let shape = shape_of(coarse, member.initiator, member.responder);
    (shape != Shape::Whole && !(shape == Shape::Pair && member.is_pair)).then_some(shape)
}

/// Takes a record out and adds it to the one of which the same is left.
fn replace(records: &mut Records<'_>, key: &[u8], shape: Shape, of: &Of<'_>, merges: &mut Merges) {
    let Some((_, mut merged)) = records.remove(key) else { return };
    merged.leave_out(shape);
    let mut bytes = Vec::with_capacity(96);
    bytes.extend_from_slice(&merged.partial.window.to_be_bytes());
    bytes.push(HERE);
    bytes.extend_from_slice(&of.partition.to_be_bytes());
    let Some(routing) = Key::with(merged.partial, |key| key.write(&mut bytes)) else { return };
    let key = bytes.into_boxed_slice();
    let merged = match records.remove(&key) {
        Some((_, known)) => known.merge(merged, merges),
        None => merged,
    };
    records.insert(key, (routing, merged));
}
