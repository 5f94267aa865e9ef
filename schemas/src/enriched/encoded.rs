//! Records as they are read to be written elsewhere: their ends stay in the message.

use super::{Enriched, SharedSide, Side};
use crate::codec::direct::{Element, Input, Malformed, Take};
use crate::codec::flows::TakeApart as _;
use crate::metadata::Skipped;
use std::borrow::Cow;
use thiserror::Error;

#[cfg(test)]
mod tests;

/// A record whose ends have not been read.
pub type ReadEnriched<'m> = Enriched<ReadSide<'m>>;

/// The fields of an end before its port and those behind it, as [`EncodedSide::bytes`] tells them.
pub type EndBytes<'b> = (&'b [u8], &'b [u8]);

/// An end of a record that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadSide<'m> {
    /// The one that was expected, with this port.
    Expected(Option<u16>),
    /// Another, or none was expected.
    Other(EncodedSide<'m>),
}

impl<'m> ReadSide<'m> {
    /// Its port.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Expected(port) => *port,
            Self::Other(side) => side.port,
        }
    }

    /// Where the bytes of an end are the next ones, the end is that one: none begins as another does that is whole.
    pub(crate) fn take(input: &mut Input<'m>, expected: Option<EndBytes<'_>>) -> Result<Self, Malformed> {
        if let Some((before, behind)) = expected {
            let mut ahead = input.clone();
            if ahead.pass(before)
                && let Ok(port) = Take::take(&mut ahead)
                && ahead.pass(behind)
            {
                *input = ahead;
                return Ok(Self::Expected(port));
            }
        }
        EncodedSide::take(input).map(Self::Other)
    }
}

/// An end as it stands in a message, of which nothing but the port has been read: ends repeat from record to record, and whoever
/// has met one knows it again by its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedSide<'m> {
    before: Cow<'m, [u8]>,
    behind: Cow<'m, [u8]>,
    port: Option<u16>,
}

/// The bytes of an end are none; its message is none then.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("an end of the record: {0}")]
pub struct NoSide(Malformed);

impl EncodedSide<'_> {
    /// The fields before the port and those behind it. Two ends with the same are the same but for the port.
    #[must_use]
    pub fn bytes(&self) -> (&[u8], &[u8]) {
        (&self.before, &self.behind)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The end without its port.
    ///
    /// # Errors
    /// When a text is not UTF-8, or a field is none of its kind.
    pub fn read(&self) -> Result<Side, NoSide> {
        let bytes = [&*self.before, &*self.behind].concat();
        Side::take_without_port(&mut Input::new(&bytes, usize::MAX)).map_err(NoSide)
    }
}

impl<'m> Take<'m> for EncodedSide<'m> {
    fn take(input: &mut Input<'m>) -> Result<Self, Malformed> {
        let bytes = input.rest();
        let (side, before, behind) = Side::<Skipped>::take_with_port(input)?;
        let place = |left: usize| bytes.len() - left;
        let (before, behind) = (bytes.get(..place(before)), bytes.get(place(behind)..place(input.left())));
        let borrowed = |bytes: Option<&'m [u8]>| Cow::Borrowed(bytes.unwrap_or_default());
        Ok(Self { before: borrowed(before), behind: borrowed(behind), port: side.port })
    }
}

impl Element for EncodedSide<'_> {}

impl From<SharedSide> for EncodedSide<'_> {
    fn from(side: SharedSide) -> Self {
        let (before, behind) = side.encoded();
        Self { before: Cow::Owned(before.to_vec()), behind: Cow::Owned(behind.to_vec()), port: side.port() }
    }
}
