//! Objects by UID. Nearly every UID is a UUID, and as one it takes 16 bytes of a key.

use foldhash::HashMap;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// Objects of one kind by UID.
#[derive(Debug, Default)]
pub(crate) struct Uids {
    uuids: HashMap<(u64, u64), u32>,
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

impl Uids {
    pub(crate) fn get(&self, uid: &str) -> Option<u32> {
        self.get_key(UidKey::of(uid))
    }

    pub(crate) fn get_key(&self, key: UidKey<'_>) -> Option<u32> {
        match key {
            UidKey::Uuid(uuid) => self.uuids.get(&uuid),
            UidKey::Other(uid) => self.others.get(uid),
        }
        .copied()
    }

    pub(crate) fn insert(&mut self, uid: &str, object: u32) {
        match canonical_uuid(uid) {
            Some(uuid) => self.uuids.insert(uuid, object),
            None => self.others.insert(Arc::from(uid), object),
        };
    }

    pub(crate) fn remove(&mut self, uid: &str) {
        match canonical_uuid(uid) {
            Some(uuid) => self.uuids.remove(&uuid),
            None => self.others.remove(uid),
        };
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
