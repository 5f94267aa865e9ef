//! Objects by UID. Nearly every UID is a UUID, and as one it takes 16 bytes of a key.

use crate::index::{Home, Index, Latest, Slot};
use crate::since::Moment;
use crate::timeline::{Said, Timeline};
use foldhash::HashMap;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// Who an object was over time, in a cache line.
pub(crate) type PastOfUid = Timeline<6>;

/// Beside an entry.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Rest(PastOfUid);

/// Objects of one kind by UID, and who each was over time.
#[derive(Debug, Default)]
pub(crate) struct Uids {
    uuids: Index<Rest>,
    others: HashMap<Arc<str>, u32>,
}

/// A UID as it is looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) enum UidKey<'a> {
    Uuid((u64, u64)),
    Other(&'a str),
}

impl<'a> UidKey<'a> {
    pub(crate) fn of(uid: &'a str) -> Self {
        canonical_uuid(uid).map_or(Self::Other(uid), Self::Uuid)
    }
}

/// An object that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) object: u32,
    /// Of another UID than a UUID nothing is said.
    pub(crate) latest: Latest,
    slot: Option<Slot>,
}

impl Uids {
    /// Where to look for a UID, which reads nothing.
    pub(crate) fn home(&self, key: UidKey<'_>) -> Home {
        match key {
            UidKey::Uuid(uuid) => self.uuids.home(uuid),
            UidKey::Other(_) => Home::default(),
        }
    }

    /// Reads from where a UID is looked for, so that it is near when it is.
    pub(crate) fn touch(&self, home: Home) -> u64 {
        self.uuids.touch(home)
    }

    /// Reads what is said of the past of whatever is looked for there.
    pub(crate) fn touch_past(&self, home: Home) -> u64 {
        let read = |rest: &Rest| u64::from(rest.0.is_whole());
        self.uuids.touch_rest(home, read).iter().flatten().fold(0, |all, one| all ^ one)
    }

    /// Reads what is said of an object's past.
    pub(crate) fn touch_past_of(&self, known: Known) -> u64 {
        known.slot.and_then(|slot| self.uuids.rest(slot)).map_or(0, |rest| u64::from(rest.0.is_whole()))
    }

    /// Who an object was at a moment; nothing is said of another UID than a UUID.
    pub(crate) fn at(&self, known: Known, moment: Moment) -> Said {
        known.slot.and_then(|slot| self.uuids.rest(slot)).map_or(Said::Nothing, |rest| rest.0.at(moment))
    }

    /// The object with a UID that is looked for there.
    pub(crate) fn get_from(&self, home: Home, key: UidKey<'_>) -> Option<Known> {
        match key {
            UidKey::Uuid(uuid) => {
                let found = self.uuids.find(home, uuid)?;
                Some(Known { object: found.number, latest: found.latest, slot: Some(found.slot) })
            }
            UidKey::Other(uid) => {
                let known = |object: &u32| Known { object: *object, latest: Latest::NOBODY, slot: None };
                self.others.get(uid).map(known)
            }
        }
    }

    pub(crate) fn get(&self, key: UidKey<'_>) -> Option<Known> {
        self.get_from(self.home(key), key)
    }

    /// Enters an object that is not there.
    pub(crate) fn insert(&mut self, key: UidKey<'_>, object: u32) {
        match key {
            UidKey::Uuid(uuid) => self.uuids.insert(uuid, Latest::NOBODY, object, Rest::default()),
            UidKey::Other(uid) => {
                self.others.insert(Arc::from(uid), object);
            }
        }
    }

    /// Says who an object is for long, and who it was.
    pub(crate) fn note(&mut self, key: UidKey<'_>, latest: Latest, past: PastOfUid) {
        if let UidKey::Uuid(uuid) = key
            && let Some(found) = self.uuids.find(self.uuids.home(uuid), uuid)
        {
            self.uuids.set(found.slot, latest, found.number, Rest(past));
        }
    }

    pub(crate) fn remove(&mut self, key: UidKey<'_>) {
        match key {
            UidKey::Uuid(uuid) => {
                if let Some(found) = self.uuids.find(self.uuids.home(uuid), uuid) {
                    self.uuids.remove(found.slot);
                }
            }
            UidKey::Other(uid) => {
                self.others.remove(uid);
            }
        }
    }
}

/// Eight lower-case hexadecimal digits, the first one highest, as a number; and whether they were none: then the number
/// means nothing. All eight are read side by side in one word.
fn digits(text: u64) -> (u64, bool) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let is_letter = text >> 6 & ONES;
    let values = (text & (0x0F * ONES)) + is_letter * 9;
    // Written again in the one way they may be written they are what they were, and no value is above 15.
    let above_nine = (values + 6 * ONES) >> 4 & ONES;
    let again = values + 0x30 * ONES + above_nine * 0x27;
    let wrong = again != text || values & (0xF0 * ONES) != 0;
    let values = values & (0x0F * ONES);
    let pairs = (values | values >> 4) & 0x00FF_00FF_00FF_00FF;
    let fours = (pairs | pairs >> 8) & 0x0000_FFFF_0000_FFFF;
    ((fours | fours >> 16) & 0xFFFF_FFFF, wrong)
}

/// The two halves of a UUID written in the one canonical way (RFC 9562 section 4, lower case), so that no two texts give
/// the same number.
fn canonical_uuid(text: &str) -> Option<(u64, u64)> {
    let bytes: &[u8; 36] = text.as_bytes().try_into().ok()?;
    if bytes[8] != b'-' || bytes[13] != b'-' || bytes[18] != b'-' || bytes[23] != b'-' {
        return None;
    }
    let four = |at: usize| u64::from(u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]));
    let parts = [[0, 4], [9, 14], [19, 24], [28, 32]].map(|[high, low]| digits(four(high) << 32 | four(low)));
    let [(a, _), (b, _), (c, _), (d, _)] = parts;
    (!parts.iter().any(|(_, wrong)| *wrong)).then_some((a << 32 | b, c << 32 | d))
}
