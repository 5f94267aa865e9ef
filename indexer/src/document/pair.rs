//! What documents say of both ends of a record together, written once as [`End`] is.

use super::end::{End, Written, block, exact};
use super::family;
use std::sync::Arc;
use weir_schemas::enriched::direction;

/// The ends of a record, initiator and responder, and what follows from both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) ends: [Arc<End>; 2],
    /// `type` and `direction` of `network`, each behind a comma.
    pub(super) network: Box<[u8]>,
    /// `related` behind a comma; empty where there are no addresses.
    pub(super) related: Box<[u8]>,
}

impl Pair {
    pub(super) fn of(ends: [Arc<End>; 2]) -> Self {
        let mut network = String::new();
        if let Some(family) = family(ends.iter().flat_map(|end| end.addresses.iter().map(|written| written.address))) {
            network = format!(r#","type":"{family}""#);
        }
        network.push_str(&format!(r#","direction":"{}""#, direction(ends[0].inside, ends[1].inside)));
        let mut related = Vec::new();
        put_related(&mut related, [&ends[0].addresses, &ends[1].addresses]);
        Self { ends, network: exact(network.as_bytes()), related: exact(&related) }
    }

    /// What it takes in memory beside itself and its ends, bytes.
    pub(super) fn memory(&self) -> usize {
        block(self.network.len()) + block(self.related.len())
    }
}

/// Writes ECS `related.ip`, all addresses of both ends, each once and in order; nothing where there are none.
fn put_related(text: &mut Vec<u8>, [mut left, mut right]: [&[Written]; 2]) {
    let mut before: &[u8] = br#","related":{"ip":["#;
    loop {
        let next = match (left.first(), right.first()) {
            (Some(one), Some(other)) if other.address < one.address => other,
            (Some(one), _) => one,
            (None, Some(other)) => other,
            (None, None) => break,
        };
        for side in [&mut left, &mut right] {
            if let Some((_, rest)) = side.split_first().filter(|(first, _)| first.address == next.address) {
                *side = rest;
            }
        }
        text.extend_from_slice(before);
        text.extend_from_slice(&next.text);
        before = b",";
    }
    if before == b"," {
        text.extend_from_slice(b"]}");
    }
}
