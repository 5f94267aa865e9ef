//! The layout of a request, enough to walk over its bytes without allocating.

/// A field of a request: what it is and in which versions it is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) kind: Kind,
    pub(super) since: i16,
    pub(super) until: i16,
}

/// What a field is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// So many bytes.
    Fixed(usize),
    /// A text, its length in 16 bits, or as a varint in flexible versions; may be absent.
    Text,
    /// Bytes, their length in 32 bits, or as a varint in flexible versions; may be absent.
    Blob,
    /// Any number of the same; may be absent.
    Array(&'static [Field]),
}

/// The layout of one API's requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) fields: &'static [Field],
    /// The first version with compact lengths and tagged fields.
    pub(super) flexible_since: i16,
}

/// Why bytes do not have a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShapeError {
    /// A length is negative or more than is left.
    Malformed,
    /// More elements than allowed.
    TooManyElements,
}

struct Walker<'a> {
    rest: &'a [u8],
    version: i16,
    flexible: bool,
    elements_left: usize,
}

/// Checks that `bytes` start with a request of this shape whose arrays have at most `max_elements` elements in all.
/// Returns how many bytes follow it: librdkafka leaves some behind the empty list of a metadata request, and brokers
/// ignore them.
///
/// # Errors
/// [`ShapeError`].
pub(super) fn check(bytes: &[u8], shape: &Shape, version: i16, max_elements: usize) -> Result<usize, ShapeError> {
    let flexible = version >= shape.flexible_since;
    let mut walker = Walker { rest: bytes, version, flexible, elements_left: max_elements };
    walker.fields(shape.fields)?;
    Ok(walker.rest.len())
}

impl<'a> Walker<'a> {
    fn fields(&mut self, fields: &'static [Field]) -> Result<(), ShapeError> {
        let version = self.version;
        for field in fields.iter().filter(|field| (field.since..=field.until).contains(&version)) {
            match field.kind {
                Kind::Fixed(bytes) => {
                    self.skip(bytes)?;
                }
                Kind::Text => self.variable(2)?,
                Kind::Blob => self.variable(4)?,
                Kind::Array(element) => self.array(element)?,
            }
        }
        if self.flexible { self.tags() } else { Ok(()) }
    }

    fn skip(&mut self, bytes: usize) -> Result<&'a [u8], ShapeError> {
        let (skipped, rest) = self.rest.split_at_checked(bytes).ok_or(ShapeError::Malformed)?;
        self.rest = rest;
        Ok(skipped)
    }

    /// A length of `width` bytes, or a varint one more than the length; none if absent.
    fn length(&mut self, width: usize) -> Result<Option<usize>, ShapeError> {
        if self.flexible {
            let length = usize::try_from(self.varint()?).map_err(|_| ShapeError::Malformed)?;
            return Ok(length.checked_sub(1));
        }
        let bytes = self.skip(width)?;
        if bytes.iter().all(|byte| *byte == 0xff) {
            return Ok(None);
        }
        if bytes[0] & 0x80 != 0 {
            return Err(ShapeError::Malformed);
        }
        Ok(Some(bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))))
    }

    fn variable(&mut self, width: usize) -> Result<(), ShapeError> {
        let length = self.length(width)?;
        self.skip(length.unwrap_or(0)).map(|_| ())
    }

    fn array(&mut self, element: &'static [Field]) -> Result<(), ShapeError> {
        let length = self.length(4)?.unwrap_or(0);
        self.elements_left = self.elements_left.checked_sub(length).ok_or(ShapeError::TooManyElements)?;
        // Elements of one plain field are no structures and have no tags of their own.
        let plain = matches!(element, [Field { kind: Kind::Fixed(_) | Kind::Text, since: i16::MIN, .. }]);
        for _ in 0..length {
            if plain { self.plain(element[0].kind)? } else { self.fields(element)? }
        }
        Ok(())
    }

    fn plain(&mut self, kind: Kind) -> Result<(), ShapeError> {
        match kind {
            Kind::Fixed(bytes) => self.skip(bytes).map(|_| ()),
            _ => self.variable(2),
        }
    }

    fn varint(&mut self) -> Result<u32, ShapeError> {
        let mut value: u32 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.skip(1)?[0];
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ShapeError::Malformed)
    }

    fn tags(&mut self) -> Result<(), ShapeError> {
        let count = usize::try_from(self.varint()?).map_err(|_| ShapeError::Malformed)?;
        self.elements_left = self.elements_left.checked_sub(count).ok_or(ShapeError::TooManyElements)?;
        for _ in 0..count {
            self.varint()?;
            let length = usize::try_from(self.varint()?).map_err(|_| ShapeError::Malformed)?;
            self.skip(length)?;
        }
        Ok(())
    }
}
