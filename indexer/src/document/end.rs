//! What documents of flows say of an end, written once: ends repeat from record to record, and their text is most of a document.

use super::side::{Identity, Party};
use serde::Serialize;
use weir_flow::Address;
use weir_schemas::enriched::{Side, is_inside};

/// The text of an end, apart from its port and what it sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// Members of `source` or `destination`, each behind a comma.
    pub(super) party: Box<[u8]>,
    /// `weir.source` or `weir.destination`.
    pub(super) identity: Box<[u8]>,
    /// Its addresses, sorted, each once.
    pub(super) addresses: Box<[Address]>,
    /// Whether it belongs inside.
    pub(super) inside: bool,
}

impl End {
    /// The text of an end.
    ///
    /// # Errors
    /// Never: nothing of an end has a form that JSON lacks.
    pub(super) fn of(side: &Side) -> Result<Self, serde_json::Error> {
        let (mut party, mut identity) = (Vec::new(), Vec::new());
        members(&mut party, &Party::apart(side))?;
        serde_json::to_writer(&mut identity, &Identity::of(side))?;
        let mut addresses: Vec<Address> = side.address.into_iter().chain(side.addresses.iter().copied()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        Ok(Self {
            party: party.into(),
            identity: identity.into(),
            addresses: addresses.into(),
            inside: is_inside(side.attribution, side.scope),
        })
    }

    /// What it takes in memory, bytes.
    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() + self.party.len() + self.identity.len() + size_of_val(&*self.addresses)
    }
}

/// Appends an object that is left open for more members. It must have some.
pub(super) fn open(line: &mut Vec<u8>, object: &impl Serialize) -> Result<(), serde_json::Error> {
    serde_json::to_writer(&mut *line, object)?;
    line.pop();
    Ok(())
}

/// Appends the members of an object, each behind a comma, to one that is open and has some.
pub(super) fn members(line: &mut Vec<u8>, object: &impl Serialize) -> Result<(), serde_json::Error> {
    let start = line.len();
    open(line, object)?;
    match line.get_mut(start..) {
        // Its brace becomes the comma.
        Some([brace, _, ..]) => *brace = b',',
        _ => line.truncate(start),
    }
    Ok(())
}
