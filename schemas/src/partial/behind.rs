//! What stands behind the ends of partial records, as it is encoded.
//!
//! At levels 2 and 3 a record names addresses, pods and labels, and there are as many partial records of it as raw partitions:
//! they are carried from one stage to the other as bytes, and are read where a record is made of them.

use crate::codec::direct::{CheckedAddress, Element, Input, Malformed, Output, Put, Take};
use crate::codec::flows::{put_sets, take_sets};
use std::fmt::{Debug, Formatter};
use weir_flow::Address;

#[cfg(test)]
mod tests;

/// What stands behind one end, each list sorted. `T` holds its texts: `String`, or what borrows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sets<T = String> {
    /// All addresses, whole (levels 2 and 3).
    pub addresses: Vec<Address>,
    /// All pods, whole (levels 2 and 3).
    pub pods: Vec<T>,
    /// Every label that any of the pods had, `k=v`, whole (levels 2 and 3).
    pub labels: Vec<T>,
    /// All DNS names by which the addresses were asked for, whole.
    pub domains: Vec<T>,
}

impl<T> Default for Sets<T> {
    fn default() -> Self {
        Self { addresses: Vec::new(), pods: Vec::new(), labels: Vec::new(), domains: Vec::new() }
    }
}

impl From<Sets<&str>> for Sets {
    fn from(sets: Sets<&str>) -> Self {
        let owned = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect();
        let Sets { addresses, pods, labels, domains } = sets;
        Self { addresses, pods: owned(pods), labels: owned(labels), domains: owned(domains) }
    }
}

/// What stands behind the initiator and the responder of a partial record. Nothing does behind most.
#[derive(Clone, Default)]
pub struct Behind {
    /// The lists in the order of the schema; nothing where all are empty.
    bytes: Option<Box<[u8]>>,
}

/// Bytes of the length of most texts, at most.
const LENGTH: usize = 2;

/// The bytes of lists that are all empty.
const EMPTY: [u8; 8] = [0; 8];

impl Behind {
    /// Encodes what stands behind the initiator and the responder.
    #[must_use]
    pub fn of(ends: &[Sets<&str>; 2]) -> Self {
        let texts = |texts: &[&str]| texts.iter().map(|text| text.len() + LENGTH).sum::<usize>();
        let room = |sets: &Sets<&str>| {
            let addresses = sets.addresses.len() * (16 + LENGTH);
            addresses + texts(&sets.pods) + texts(&sets.labels) + texts(&sets.domains)
        };
        let mut output = Output::default();
        output.bytes.reserve(2 * LENGTH * EMPTY.len() + ends.iter().map(room).sum::<usize>());
        put_sets(ends, &mut output);
        Self::encoded(output.bytes)
    }

    /// What one end alone, or nobody, adds to each list of the initiator's and of the responder's.
    #[must_use]
    pub fn of_alone(ends: [Option<&Alone>; 2]) -> Self {
        let Some(size) = ends.iter().flatten().map(|end| end.bytes.len()).reduce(|a, b| a + b) else {
            return Self::default();
        };
        let mut bytes = Vec::with_capacity(size + EMPTY.len());
        for list in [Alone::addresses, Alone::pods, Alone::labels] {
            ends.iter().for_each(|end| bytes.extend_from_slice(end.map_or(&[0], list)));
        }
        // No names.
        bytes.extend_from_slice(&[0; 2]);
        Self::encoded(bytes)
    }

    fn encoded(bytes: Vec<u8>) -> Self {
        Self { bytes: (bytes != EMPTY).then(|| bytes.into_boxed_slice()) }
    }

    /// Whether nothing stands behind either end.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_none()
    }

    /// Bytes that it takes beside the record.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.bytes.as_ref().map_or(0, |bytes| bytes.len())
    }

    /// What stands behind the initiator and the responder, with texts that stay where they are.
    #[must_use]
    pub fn ends(&self) -> [Sets<&str>; 2] {
        let Some(bytes) = &self.bytes else { return Default::default() };
        take_sets(&mut Input::new(bytes, usize::MAX)).unwrap_or_else(|malformed| unread(&malformed))
    }

    /// Changes what stands behind the initiator and the responder.
    pub fn change(&mut self, change: impl FnOnce([&mut Sets<&str>; 2])) {
        let mut ends = self.ends();
        let [initiator, responder] = &mut ends;
        change([initiator, responder]);
        let changed = Self::of(&ends);
        *self = changed;
    }
}

impl From<&[Sets; 2]> for Behind {
    fn from(ends: &[Sets; 2]) -> Self {
        fn texts(texts: &[String]) -> Vec<&str> {
            texts.iter().map(String::as_str).collect()
        }
        Self::of(&ends.each_ref().map(|Sets { addresses, pods, labels, domains }| Sets {
            addresses: addresses.clone(),
            pods: texts(pods),
            labels: texts(labels),
            domains: texts(domains),
        }))
    }
}

#[expect(clippy::panic, reason = "bytes come from lists or were read over as such before they were taken")]
fn unread<T>(malformed: &Malformed) -> T {
    panic!("encoded lists are none: {malformed}")
}

impl PartialEq for Behind {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes || self.ends() == other.ends()
    }
}

impl Debug for Behind {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        self.ends().fmt(formatter)
    }
}

impl Put for Behind {
    fn put(&self, output: &mut Output) {
        output.bytes.extend_from_slice(self.bytes.as_deref().unwrap_or(&EMPTY));
    }
}

impl<'de> Take<'de> for Behind {
    fn take(input: &mut Input<'de>) -> Result<Self, Malformed> {
        let bytes = input.rest();
        if input.pass(&EMPTY) {
            return Ok(Self::default());
        }
        for _ in 0..2 {
            input.array(CheckedAddress::take)?;
        }
        for _ in 2..EMPTY.len() {
            let _: Vec<crate::codec::direct::Checked> = Take::take(input)?;
        }
        let length = bytes.len() - input.left();
        Ok(Self::encoded(bytes.get(..length).unwrap_or_default().to_vec()))
    }
}

impl Element for Behind {}

/// What one end adds to the lists behind a record, encoded.
#[derive(Clone, Debug)]
pub struct Alone {
    /// The lists of addresses, pods and labels.
    bytes: Box<[u8]>,
    pods: usize,
    labels: usize,
}

impl Alone {
    /// Encodes an address, a pod as `namespace/name` and labels in order, as far as there are any.
    pub fn new<'l>(
        address: Option<Address>,
        pod: Option<&str>,
        labels: impl IntoIterator<Item = &'l str, IntoIter: ExactSizeIterator>,
    ) -> Self {
        let mut output = Output::default();
        output.array(address, |address, output| address.put(output));
        let pods = output.bytes.len();
        output.array(pod, |pod, output| pod.put(output));
        let at = output.bytes.len();
        output.array(labels, |label, output| label.put(output));
        Self { bytes: output.bytes.into_boxed_slice(), pods, labels: at }
    }

    /// Reads from each cache line of its bytes, as far as there are few.
    #[must_use]
    pub fn touch(&self) -> u8 {
        let lines = self.bytes.iter().step_by(64).take(8);
        lines.fold(0, |all, byte| all ^ byte)
    }

    fn addresses(&self) -> &[u8] {
        self.bytes.get(..self.pods).unwrap_or_default()
    }

    fn pods(&self) -> &[u8] {
        self.bytes.get(self.pods..self.labels).unwrap_or_default()
    }

    fn labels(&self) -> &[u8] {
        self.bytes.get(self.labels..).unwrap_or_default()
    }

    /// What is behind a record of which it is all.
    #[must_use]
    pub fn sets(&self) -> Sets<&str> {
        fn read<'a, T: Take<'a>>(bytes: &'a [u8]) -> T {
            T::take(&mut Input::new(bytes, usize::MAX)).unwrap_or_else(|malformed| unread(&malformed))
        }
        let (addresses, pods, labels) = (read(self.addresses()), read(self.pods()), read(self.labels()));
        Sets { addresses, pods, labels, domains: Vec::new() }
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.bytes.len()
    }
}
