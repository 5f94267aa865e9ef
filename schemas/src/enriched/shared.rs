//! Sides as they are encoded.

use super::{Attribution, IdentifiedBy, NoneReason, Side};
use crate::codec::direct::{Checked, Element, Input, Malformed, Output, Put, Take};
use crate::codec::flows::{PutApart as _, TakeApart as _};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt::{Debug, Formatter};
use std::hash::BuildHasher as _;
use std::hint::black_box;
use std::ops::Deref;
use std::sync::{Arc, LazyLock, OnceLock};
use weir_flow::{Address, AddressScope};

#[cfg(test)]
mod tests;

/// Room that is made for an encoded side, bytes.
const ROOM: usize = 512;
/// Memory of a side that is kept beside its bytes, roughly.
const KEPT: usize = 80;

/// An end as it is encoded, and its port apart from it. Ends repeat in many records, which then share the bytes; a record is
/// written by copying them. Whoever reads a field gets a [`Side`] that is made the first time.
#[derive(Clone)]
pub struct SharedSide {
    /// The fields before the port and those behind it.
    bytes: Arc<[u8]>,
    /// How many bytes stand before the port.
    before: u32,
    port: Option<u16>,
    /// Of the bytes, in this process: they are long, and are looked up in several places.
    hash: u64,
    side: OnceLock<Box<Side>>,
}

/// By which bytes are hashed.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::default);

fn hash_of(bytes: &[u8]) -> u64 {
    HASHER.hash_one(bytes)
}

impl SharedSide {
    fn encode<T: Put + Element>(side: &Side<T>) -> Self {
        let mut output = Output::default();
        output.bytes.reserve(ROOM);
        let before = put_apart(side, &mut output);
        Self::from_parts(Arc::from(output.bytes), before, side.port)
    }

    fn from_parts(bytes: Arc<[u8]>, before: usize, port: Option<u16>) -> Self {
        let (hash, before) = (hash_of(&bytes), u32::try_from(before).unwrap_or(u32::MAX));
        Self { bytes, before, port, hash, side: OnceLock::new() }
    }

    /// What stands before and behind the port.
    pub(crate) fn of_encoded(before: &[u8], behind: &[u8], port: Option<u16>) -> Self {
        let mut bytes = Vec::with_capacity(before.len() + behind.len());
        bytes.extend_from_slice(before);
        bytes.extend_from_slice(behind);
        Self::from_parts(Arc::from(bytes), before.len(), port)
    }

    /// What stands before and behind the port.
    pub(crate) fn encoded(&self) -> (&[u8], &[u8]) {
        self.bytes.split_at_checked(usize::try_from(self.before).unwrap_or(usize::MAX)).unwrap_or((&self.bytes, &[]))
    }

    /// The encoded fields without the port.
    #[must_use]
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The same end with another port.
    #[must_use]
    pub fn with_port(&self, port: Option<u16>) -> Self {
        let Self { before, hash, .. } = *self;
        Self { bytes: Arc::clone(&self.bytes), before, port, hash, side: OnceLock::new() }
    }

    /// Whether both are the same but for the port.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.bytes, &other.bytes) || self.hash == other.hash && self.bytes == other.bytes
    }

    /// A hash of the encoded fields without the port; of this process alone.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The side with texts that stay where they are.
    #[must_use]
    pub fn view(&self) -> Side<&str> {
        Side { port: self.port, ..self.read() }
    }

    /// The side with texts that stay where they are, unless others are put in their place.
    #[must_use]
    pub fn to_change(&self) -> Side<Cow<'_, str>> {
        Side { port: self.port, ..self.read() }
    }

    /// Its attribution, scope and address, without a look at the rest.
    #[must_use]
    pub fn head(&self) -> (Attribution, AddressScope, Option<Address>) {
        fn read(input: &mut Input<'_>) -> Result<(Attribution, AddressScope, Option<Address>), Malformed> {
            let attribution = Take::take(input)?;
            IdentifiedBy::take(input)?;
            let _: Option<NoneReason> = Take::take(input)?;
            let _: Vec<Checked> = Take::take(input)?;
            bool::take(input)?;
            Ok((attribution, Take::take(input)?, Take::take(input)?))
        }
        read(&mut Input::new(&self.bytes, usize::MAX)).unwrap_or_else(|malformed| unread(&malformed))
    }

    /// How certain its identity is.
    #[must_use]
    pub fn attribution(&self) -> Attribution {
        Attribution::take(&mut Input::new(&self.bytes, usize::MAX)).unwrap_or_else(|malformed| unread(&malformed))
    }

    /// How many addresses, pods, labels and names there are beyond those that it lists, without a look at the rest.
    #[must_use]
    pub fn more(&self) -> [u64; 4] {
        let side = Side::<Checked>::take_without_port(&mut Input::new(&self.bytes, usize::MAX));
        let side = side.unwrap_or_else(|malformed| unread(&malformed));
        [side.addresses_more, side.pods_more, side.labels_more, side.domains_more]
    }

    /// Changes the side.
    pub fn change(&mut self, change: impl FnOnce(&mut Side)) {
        let mut side = Side { port: self.port, ..self.read::<String>() };
        change(&mut side);
        *self = Self::encode(&side);
    }

    fn read<'a, T: Take<'a> + Element>(&'a self) -> Side<T> {
        Side::take_without_port(&mut Input::new(&self.bytes, usize::MAX)).unwrap_or_else(|malformed| unread(&malformed))
    }
}

/// Appends a side without its port; the answer is how many bytes stand before the port.
fn put_apart<T: Put + Element>(side: &Side<T>, output: &mut Output) -> usize {
    side.put_before_port(output);
    let before = output.bytes.len();
    side.put_behind_port(output);
    debug_assert!(!output.too_large, "counts of sets are counts of what was in memory");
    before
}

/// Sides of which each is kept once.
#[derive(Debug, Default)]
pub struct Sides {
    /// With their hashes.
    known: HashTable<(u64, SharedSide)>,
    output: Output,
    bytes: usize,
}

impl Sides {
    /// A side, encoded.
    pub fn take(&mut self, side: &Side<Cow<'_, str>>) -> SharedSide {
        self.keep(side)
    }

    /// The same of one whose texts are elsewhere.
    pub fn take_view(&mut self, side: &Side<&str>) -> SharedSide {
        self.keep(side)
    }

    fn keep<T: Put + Element>(&mut self, side: &Side<T>) -> SharedSide {
        self.output.bytes.clear();
        let before = put_apart(side, &mut self.output);
        let Self { known, output, bytes } = self;
        let hash = hash_of(&output.bytes);
        let found = known.find(hash, |(other, known)| *other == hash && *known.bytes == *output.bytes);
        let found = found.map(|(_, known)| known.with_port(side.port));
        found.unwrap_or_else(|| {
            let new = SharedSide::from_parts(Arc::from(output.bytes.as_slice()), before, side.port);
            *bytes += new.bytes.len() + KEPT;
            known.insert_unique(hash, (hash, new.with_port(None)), |(hash, _)| *hash);
            new
        })
    }

    /// The same side with bytes that are shared.
    pub fn share(&mut self, side: &SharedSide) -> SharedSide {
        let Self { known, bytes, .. } = self;
        let hash = side.hash;
        let found = known.find(hash, |(other, known)| *other == hash && known.is(side));
        let found = found.map(|(_, known)| known.with_port(side.port));
        found.unwrap_or_else(|| {
            *bytes += side.bytes.len() + KEPT;
            known.insert_unique(hash, (hash, side.with_port(None)), |(hash, _)| *hash);
            side.clone()
        })
    }

    /// Reads what [`Sides::share`] compares sides with, of all of them side by side, so that the memory is waited for together.
    pub fn fetch(&self, sides: &[SharedSide]) {
        let known = |side: &SharedSide| self.known.find(side.hash, |(other, _)| *other == side.hash);
        let found: Vec<&SharedSide> = sides.iter().filter_map(|side| known(side).map(|(_, known)| known)).collect();
        black_box(found.iter().fold(0, |all, side| all ^ side.bytes.last().copied().unwrap_or_default()));
    }

    /// Bytes held, roughly.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.bytes
    }
}

#[expect(clippy::panic, reason = "bytes come from a side or were read over as one before they were taken")]
fn unread<T>(malformed: &Malformed) -> T {
    panic!("an encoded side is none: {malformed}")
}

impl From<&Side> for SharedSide {
    fn from(side: &Side) -> Self {
        Self::encode(side)
    }
}

impl From<Side> for SharedSide {
    fn from(side: Side) -> Self {
        Self::encode(&side)
    }
}

impl From<&Side<&str>> for SharedSide {
    fn from(side: &Side<&str>) -> Self {
        Self::encode(side)
    }
}

impl From<&Side<Cow<'_, str>>> for SharedSide {
    fn from(side: &Side<Cow<'_, str>>) -> Self {
        Self::encode(side)
    }
}

impl From<&SharedSide> for Side {
    fn from(side: &SharedSide) -> Self {
        Self { port: side.port, ..side.read() }
    }
}

impl Deref for SharedSide {
    type Target = Side;

    fn deref(&self) -> &Side {
        self.side.get_or_init(|| Box::new(Side::from(self)))
    }
}

impl PartialEq for SharedSide {
    fn eq(&self, other: &Self) -> bool {
        self.port == other.port && self.is(other)
    }
}

impl Debug for SharedSide {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(formatter)
    }
}

impl Serialize for SharedSide {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SharedSide {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Side::deserialize(deserializer).map(Self::from)
    }
}
