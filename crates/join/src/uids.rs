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

impl Uids {
    pub(crate) fn get(&self, uid: &str) -> Option<u32> {
        match canonical_uuid(uid) {
            Some(uuid) => self.uuids.get(&uuid),
            None => self.others.get(uid),
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

/// The value of a digit, 0–15; 255 for what is no lower-case hexadecimal digit.
const DIGITS: [u8; 256] = {
    let mut digits = [255; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    digits
};

/// The two halves of a UUID written in the one canonical way (RFC 9562 section 4, lower case), so that no two texts give
/// the same number.
fn canonical_uuid(text: &str) -> Option<(u64, u64)> {
    let bytes: &[u8; 36] = text.as_bytes().try_into().ok()?;
    if bytes[8] != b'-' || bytes[13] != b'-' || bytes[18] != b'-' || bytes[23] != b'-' {
        return None;
    }
    let (mut high, mut low, mut wrong) = (0u64, 0u64, 0u8);
    let mut take = |half: &mut u64, from: usize, to: usize| {
        for byte in bytes.get(from..to).unwrap_or_default() {
            let digit = DIGITS[usize::from(*byte)];
            wrong |= digit;
            *half = *half << 4 | u64::from(digit & 15);
        }
    };
    take(&mut high, 0, 8);
    take(&mut high, 9, 13);
    take(&mut high, 14, 18);
    take(&mut low, 19, 23);
    take(&mut low, 24, 36);
    (wrong < 16).then_some((high, low))
}
