//! What documents of flows say of an end, written once: ends repeat from record to record, and their text is most of a document.

use super::Ip;
use super::side::{Identity, Party};
use serde::Serialize;
use weir_flow::Address;
use weir_schemas::enriched::{Side, is_inside};

/// What counts the handles on something shared, bytes.
pub(super) const COUNTS: usize = 2 * size_of::<usize>();

/// An address with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) address: Address,
    /// As it stands in JSON.
    pub(super) text: Box<[u8]>,
}

/// The text of an end, apart from its port and what it sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// Members of `source` or `destination`, each behind a comma.
    pub(super) party: Box<[u8]>,
    /// `weir.source` or `weir.destination`.
    pub(super) identity: Box<[u8]>,
    /// Its addresses, sorted, each once.
    pub(super) addresses: Box<[Written]>,
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
            party: exact(&party),
            identity: exact(&identity),
            addresses: addresses.into_iter().map(Written::of).collect::<Result<_, _>>()?,
            inside: is_inside(side.attribution, side.scope),
        })
    }

    /// What it takes in memory, bytes.
    pub(super) fn memory(&self) -> usize {
        let texts: usize = self.addresses.iter().map(|written| block(written.text.len())).sum();
        let addresses = block(size_of_val(&*self.addresses)) + texts;
        block(COUNTS + size_of::<Self>()) + block(self.party.len()) + block(self.identity.len()) + addresses
    }
}

impl Written {
    fn of(address: Address) -> Result<Self, serde_json::Error> {
        Ok(Self { address, text: exact(&serde_json::to_vec(&Ip(address))?) })
    }
}

/// A text in memory of its own size: one that was grown keeps up to twice as much, also when it is cut.
pub(super) fn exact(text: &[u8]) -> Box<[u8]> {
    text.into()
}

/// Memory of a text of so many bytes, roughly: allocators keep sizes an eighth apart, sixteen bytes at least.
pub(super) fn block(bytes: usize) -> usize {
    (bytes + bytes / 8).next_multiple_of(16)
}

/// Appends the members of an object, each behind a comma, to one that is open and has some.
fn members(line: &mut Vec<u8>, object: &impl Serialize) -> Result<(), serde_json::Error> {
    let start = line.len();
    serde_json::to_writer(&mut *line, object)?;
    line.pop();
    match line.get_mut(start..) {
        // Its brace becomes the comma.
        Some([brace, _, ..]) => *brace = b',',
        _ => line.truncate(start),
    }
    Ok(())
}
