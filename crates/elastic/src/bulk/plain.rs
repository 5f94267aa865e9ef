//! Bulk answers in which nothing was refused, as engines write them: nearly all are, and have an item for each of thousands of
//! operations. What is written otherwise in any way is left to the reader of JSON.

use super::{Answer, Item};

/// The items that say no more than a status.
const ITEMS: [&[u8]; 4] =
    [br#"{"index":{"status":"#, br#"{"delete":{"status":"#, br#"{"create":{"status":"#, br#"{"update":{"status":"#];

/// An answer that consists of nothing but `took`, `errors` and items with a status each, without blanks. `expected` only says for
/// how many items room is made.
pub(super) fn read(body: &[u8], expected: usize) -> Option<Answer> {
    let mut rest = body.strip_prefix(b"{")?;
    let (mut took, mut errors) = (None, None);
    let mut items = loop {
        if let Some(number) = rest.strip_prefix(br#""took":"#).filter(|_| took.is_none()) {
            let (number, behind) = digits(number)?;
            (took, rest) = (Some(number), behind);
        } else if let Some(flag) = rest.strip_prefix(br#""errors":"#).filter(|_| errors.is_none()) {
            (errors, rest) = (Some(false), flag.strip_prefix(b"false")?);
        } else {
            break rest.strip_prefix(br#""items":["#)?;
        }
        rest = rest.strip_prefix(b",")?;
    };
    // Never for more than the answer can hold.
    let mut read = Vec::with_capacity(expected.min(body.len() / ITEMS[0].len()));
    loop {
        let status = ITEMS.iter().find_map(|start| items.strip_prefix(*start))?;
        let ([hundreds @ b'1'..=b'5', tens @ b'0'..=b'9', ones @ b'0'..=b'9', b'}', b'}', next], rest) =
            status.split_first_chunk()?
        else {
            return None;
        };
        let [hundreds, tens, ones] = [hundreds, tens, ones].map(|digit| u16::from(digit - b'0'));
        read.push(Item { status: hundreds * 100 + tens * 10 + ones, error: None });
        items = rest;
        match next {
            b',' => {}
            b']' => break,
            _ => return None,
        }
    }
    (items == b"}").then_some(Answer { items: read, took: took.unwrap_or_default() })
}

/// A number without a sign and leading zeros, and what follows it.
fn digits(text: &[u8]) -> Option<(u64, &[u8])> {
    let length = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = text.split_at_checked(length)?;
    if digits.len() > 1 && digits.starts_with(b"0") {
        return None;
    }
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}
