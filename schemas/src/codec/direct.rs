//! The body of a message written and read field by field (Avro 1.11 specification, "Binary encoding"), for the topics whose
//! volume is that of flows. The bytes are those that the schemas say; a test compares with the encoder that goes by the schema.
//!
//! Reading is bounded: an array has no more elements than bytes follow, and no room is made before elements have come.

use crate::partial::wire::{NoSuchAnswer, NoSuchSide};
use crate::raw::columns::ColumnError;
use std::borrow::Cow;
use thiserror::Error;
use weir_flow::Address;

/// Room that is made for an array at once, bytes.
const ROOM: usize = 1 << 20;

/// A body in the making.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pub(crate) bytes: Vec<u8>,
    /// Whether a number was met that the topic cannot hold.
    pub(crate) too_large: bool,
}

/// A body that is read.
#[derive(Clone, Debug)]
pub(crate) struct Input<'de> {
    rest: &'de [u8],
    /// Most elements of an array.
    sequence: usize,
}

/// Why bytes are no body.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum Malformed {
    #[error("it ends within a field")]
    Short,
    #[error("a number is out of range")]
    Number,
    #[error("a text is not UTF-8")]
    Text,
    #[error("an array is longer than its limit or than the message")]
    Sequence,
    #[error("a union or an enumeration has no such member")]
    Member,
    #[error("an address has neither 4 nor 16 bytes")]
    Address,
    #[error(transparent)]
    Columns(#[from] ColumnError),
    #[error(transparent)]
    Side(#[from] NoSuchSide),
    #[error(transparent)]
    Answer(#[from] NoSuchAnswer),
}

/// What can be written into a body.
pub(crate) trait Put {
    fn put(&self, output: &mut Output);

    /// How many bytes that may be: a body that grows while it is written is copied again and again. Most flow records have
    /// fewer than this.
    fn room(&self) -> usize {
        1_536
    }
}

/// What can be read from a body.
pub(crate) trait Take<'de>: Sized {
    fn take(input: &mut Input<'de>) -> Result<Self, Malformed>;
}

/// What arrays are made of; bytes are no array.
pub(crate) trait Element {}

impl Output {
    pub(crate) fn long(&mut self, number: i64) {
        let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
        while rest >= 0x80 {
            self.bytes.push(rest.to_le_bytes()[0] | 0x80);
            rest >>= 7;
        }
        self.bytes.push(rest.to_le_bytes()[0]);
    }

    pub(crate) fn length(&mut self, length: usize) {
        self.number(i64::try_from(length).ok());
    }

    fn number(&mut self, number: Option<i64>) {
        self.too_large |= number.is_none();
        self.long(number.unwrap_or_default());
    }

    fn block(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// An array, in one block.
    pub(crate) fn array<T>(
        &mut self,
        elements: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
        mut put: impl FnMut(T, &mut Self),
    ) {
        let elements = elements.into_iter();
        if elements.len() > 0 {
            self.length(elements.len());
            elements.for_each(|element| put(element, self));
        }
        self.bytes.push(0);
    }
}

/// A number of a body, which has its sign in the lowest bit.
fn signed(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

impl<'de> Input<'de> {
    pub(crate) fn new(bytes: &'de [u8], sequence: usize) -> Self {
        Self { rest: bytes, sequence }
    }

    /// Bytes that were not read.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    /// What was not read.
    pub(crate) fn rest(&self) -> &'de [u8] {
        self.rest
    }

    /// Reads over these bytes, if they are the next ones.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> bool {
        let rest = self.rest.strip_prefix(bytes);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    #[inline]
    pub(crate) fn long(&mut self) -> Result<i64, Malformed> {
        // Nearly all numbers are of one byte, and most others of two.
        match self.rest {
            [byte @ 0..=0x7F, rest @ ..] => {
                self.rest = rest;
                Ok(signed(u64::from(*byte)))
            }
            [first, second @ 0..=0x7F, rest @ ..] => {
                self.rest = rest;
                Ok(signed(u64::from(first & 0x7F) | u64::from(*second) << 7))
            }
            _ => self.long_of_several_bytes(),
        }
    }

    fn long_of_several_bytes(&mut self) -> Result<i64, Malformed> {
        let (mut number, mut shift) = (0_u64, 0_u32);
        let mut bytes = self.rest.iter();
        loop {
            let byte = bytes.next().ok_or(Malformed::Short)?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                return Err(Malformed::Number);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                self.rest = bytes.as_slice();
                return Ok(signed(number));
            }
            shift += 7;
            if shift > 63 {
                return Err(Malformed::Number);
            }
        }
    }

    pub(crate) fn block(&mut self) -> Result<&'de [u8], Malformed> {
        let length = usize::try_from(self.long()?).map_err(|_| Malformed::Number)?;
        let (block, rest) = self.rest.split_at_checked(length).ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(block)
    }

    /// The number of elements of an array's next block; 0 ends the array.
    fn elements(&mut self) -> Result<usize, Malformed> {
        let mut count = self.long()?;
        if count < 0 {
            // The block's length in bytes follows, for readers that pass over it.
            self.long()?;
            count = count.checked_neg().ok_or(Malformed::Sequence)?;
        }
        let count = usize::try_from(count).map_err(|_| Malformed::Sequence)?;
        if count > self.rest.len() { Err(Malformed::Sequence) } else { Ok(count) }
    }

    /// An array.
    pub(crate) fn array<T>(
        &mut self,
        mut take: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let mut elements = Vec::new();
        loop {
            let count = self.elements()?;
            if count == 0 {
                return Ok(elements);
            }
            if count > self.sequence.saturating_sub(elements.len()) {
                return Err(Malformed::Sequence);
            }
            elements.reserve(count.min(ROOM / size_of::<T>().max(1)));
            for _ in 0..count {
                elements.push(take(self)?);
            }
        }
    }
}

macro_rules! numbers {
    ($($type:ty),+) => {$(
        impl Put for $type {
            #[inline]
            fn put(&self, output: &mut Output) {
                output.number(i64::try_from(*self).ok());
            }
        }

        impl<'de> Take<'de> for $type {
            #[inline]
            fn take(input: &mut Input<'de>) -> Result<Self, Malformed> {
                Self::try_from(input.long()?).map_err(|_| Malformed::Number)
            }
        }
    )+};
}

numbers!(u8, u16, u32, u64, i32, i64);

impl Put for bool {
    fn put(&self, output: &mut Output) {
        output.bytes.push(u8::from(*self));
    }
}

impl<'de> Take<'de> for bool {
    fn take(input: &mut Input<'de>) -> Result<Self, Malformed> {
        let (byte, rest) = input.rest.split_first().ok_or(Malformed::Short)?;
        input.rest = rest;
        match byte {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Member),
        }
    }
}

impl Put for str {
    fn put(&self, output: &mut Output) {
        output.block(self.as_bytes());
    }
}

impl Put for String {
    fn put(&self, output: &mut Output) {
        output.block(self.as_bytes());
    }
}

impl<'de> Take<'de> for &'de str {
    fn take(input: &mut Input<'de>) -> Result<Self, Malformed> {
        std::str::from_utf8(input.block()?).map_err(|_| Malformed::Text)
    }
}

impl Put for &str {
    fn put(&self, output: &mut Output) {
        output.block(self.as_bytes());
    }
}

impl<'de> Take<'de> for Cow<'de, str> {
    fn take(input: &mut Input<'de>) -> Result<Self, Malformed> {
        <&str>::take(input).map(Cow::Borrowed)
    }
}

impl Put for Cow<'_, str> {
    fn put(&self, output: &mut Output) {
        output.block(self.as_bytes());
    }
}

/// A text that is read over, as far as it is one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checked;

impl<'de> Take<'de> for Checked {
    fn take(input: &mut Input<'de>) -> Result<Self, Malformed> {
        <&str>::take(input).map(|_| Self)
    }
}

impl<'de> Take<'de> for String {
    fn take(input: &mut Input<'de>) -> Result<Self, Malformed> {
        <&str>::take(input).map(ToOwned::to_owned)
    }
}

impl Put for Vec<u8> {
    fn put(&self, output: &mut Output) {
        output.block(self);
    }
}

impl<'de> Take<'de> for Vec<u8> {
    fn take(input: &mut Input<'de>) -> Result<Self, Malformed> {
        input.block().map(ToOwned::to_owned)
    }
}

impl Put for Address {
    fn put(&self, output: &mut Output) {
        match self.ip() {
            std::net::IpAddr::V4(address) => output.block(&address.octets()),
            std::net::IpAddr::V6(address) => output.block(&address.octets()),
        }
    }
}

impl<'de> Take<'de> for Address {
    fn take(input: &mut Input<'de>) -> Result<Self, Malformed> {
        Self::from_bytes(input.block()?).ok_or(Malformed::Address)
    }
}

/// An address that is read over, as far as it is one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckedAddress;

impl<'de> Take<'de> for CheckedAddress {
    fn take(input: &mut Input<'de>) -> Result<Self, Malformed> {
        Address::take(input).map(|_| Self)
    }
}

impl<T: Put> Put for Option<T> {
    fn put(&self, output: &mut Output) {
        match self {
            None => output.bytes.push(0),
            Some(value) => {
                output.long(1);
                value.put(output);
            }
        }
    }
}

impl<'de, T: Take<'de>> Take<'de> for Option<T> {
    fn take(input: &mut Input<'de>) -> Result<Self, Malformed> {
        match input.long()? {
            0 => Ok(None),
            1 => T::take(input).map(Some),
            _ => Err(Malformed::Member),
        }
    }
}

impl<T: Put + Element> Put for Vec<T> {
    fn put(&self, output: &mut Output) {
        output.array(self.iter(), T::put);
    }
}

impl<'de, T: Take<'de> + Element> Take<'de> for Vec<T> {
    fn take(input: &mut Input<'de>) -> Result<Self, Malformed> {
        input.array(T::take)
    }
}

macro_rules! elements {
    ($($type:ty),+) => {$(impl Element for $type {})+};
}

elements!(u16, u32, u64, i64, String, &str, Cow<'_, str>, Checked, Address);

/// A record: its fields in the schema's order.
macro_rules! record {
    ($type:ident $(<$($part:ident),+>)?: $($field:ident),+) => {
        impl $(<$($part: $crate::codec::direct::Put + $crate::codec::direct::Element),+>)? $crate::codec::direct::Put
            for $type $(<$($part),+>)?
        {
            fn put(&self, output: &mut $crate::codec::direct::Output) {
                $(self.$field.put(output);)+
            }
        }

        impl<'de $($(, $part: $crate::codec::direct::Take<'de> + $crate::codec::direct::Element)+)?>
            $crate::codec::direct::Take<'de> for $type $(<$($part),+>)?
        {
            fn take(
                input: &mut $crate::codec::direct::Input<'de>,
            ) -> Result<Self, $crate::codec::direct::Malformed> {
                $(let $field = $crate::codec::direct::Take::take(input)?;)+
                Ok(Self { $($field),+ })
            }
        }

        impl $(<$($part),+>)? $crate::codec::direct::Element for $type $(<$($part),+>)? {}
    };
}

/// An enumeration: its symbols in the schema's order.
macro_rules! symbols {
    ($type:ty: $($symbol:ident),+) => {
        impl $type {
            const SYMBOLS: &[Self] = &[$(Self::$symbol),+];
        }

        impl $crate::codec::direct::Put for $type {
            fn put(&self, output: &mut $crate::codec::direct::Output) {
                let number = Self::SYMBOLS.iter().position(|symbol| symbol == self);
                $crate::codec::direct::Put::put(&u32::try_from(number.unwrap_or_default()).unwrap_or_default(), output);
            }
        }

        impl<'de> $crate::codec::direct::Take<'de> for $type {
            fn take(
                input: &mut $crate::codec::direct::Input<'de>,
            ) -> Result<Self, $crate::codec::direct::Malformed> {
                let number = usize::try_from(input.long()?).ok();
                let found = number.and_then(|number| Self::SYMBOLS.get(number)).copied();
                found.ok_or($crate::codec::direct::Malformed::Member)
            }
        }
    };
}

pub(crate) use {record, symbols};
