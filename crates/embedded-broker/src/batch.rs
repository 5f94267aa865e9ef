//! Record batches (magic 2) as bytes: the header's fields, what a client may send, and the control batches that end a
//! transaction. Pure: no IO, no clock.

mod lookup;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use lookup::first_record_at_or_after;

/// Bytes before a batch's records.
pub(crate) const HEADER_BYTES: usize = 61;
/// Bytes before the field `batchLength` starts to count.
const LENGTH_PREFIX: usize = 12;

const ATTRIBUTE_LOG_APPEND_TIME: i16 = 0x08;
const ATTRIBUTE_TRANSACTIONAL: i16 = 0x10;
const ATTRIBUTE_CONTROL: i16 = 0x20;

/// Position of the marker's kind in a control batch written by [`control_batch`].
const MARKER_KIND_POSITION: usize = HEADER_BYTES + 8;

/// What is wrong with the bytes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchError {
    /// Fewer bytes than a header, or than the header announces.
    Truncated,
    /// A length, count or magic that no batch has.
    Invalid,
    /// The checksum does not match.
    Checksum,
}

/// The fields of a batch's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) base_offset: i64,
    /// Bytes of the whole batch, header included.
    pub(crate) bytes: usize,
    pub(crate) attributes: i16,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) record_count: i32,
    checksum: u32,
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], BatchError> {
    bytes.get(at..at + N).and_then(|slice| slice.try_into().ok()).ok_or(BatchError::Truncated)
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`, which need not hold the records.
    ///
    /// # Errors
    /// [`BatchError::Truncated`] if there are fewer bytes than a header; [`BatchError::Invalid`] if no batch starts so.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        if bytes.len() < HEADER_BYTES {
            return Err(BatchError::Truncated);
        }
        let length = i32::from_be_bytes(field(bytes, 8)?);
        let length = usize::try_from(length).map_err(|_| BatchError::Invalid)? + LENGTH_PREFIX;
        if length < HEADER_BYTES || bytes[16] != 2 {
            return Err(BatchError::Invalid);
        }
        let header = Self {
            base_offset: i64::from_be_bytes(field(bytes, 0)?),
            bytes: length,
            checksum: u32::from_be_bytes(field(bytes, 17)?),
            attributes: i16::from_be_bytes(field(bytes, 21)?),
            last_offset_delta: i32::from_be_bytes(field(bytes, 23)?),
            base_timestamp: i64::from_be_bytes(field(bytes, 27)?),
            max_timestamp: i64::from_be_bytes(field(bytes, 35)?),
            producer_id: i64::from_be_bytes(field(bytes, 43)?),
            producer_epoch: i16::from_be_bytes(field(bytes, 51)?),
            base_sequence: i32::from_be_bytes(field(bytes, 53)?),
            record_count: i32::from_be_bytes(field(bytes, 57)?),
        };
        if header.last_offset_delta < 0 || header.base_offset < 0 {
            return Err(BatchError::Invalid);
        }
        Ok(header)
    }

    /// Reads the header and checks the checksum of the batch that `bytes` starts with.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and [`BatchError::Checksum`].
    pub(crate) fn verify(bytes: &[u8]) -> Result<Self, BatchError> {
        let header = Self::parse(bytes)?;
        let covered = bytes.get(21..header.bytes).ok_or(BatchError::Truncated)?;
        if crc32c::crc32c(covered) == header.checksum { Ok(header) } else { Err(BatchError::Checksum) }
    }

    /// Offset of the last record.
    pub(crate) fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// Sequence number of the last record; numbers wrap from the highest to 0.
    pub(crate) fn last_sequence(&self) -> i32 {
        advance_sequence(self.base_sequence, self.last_offset_delta)
    }

    pub(crate) fn is_transactional(&self) -> bool {
        self.attributes & ATTRIBUTE_TRANSACTIONAL != 0
    }

    pub(crate) fn is_control(&self) -> bool {
        self.attributes & ATTRIBUTE_CONTROL != 0
    }

    pub(crate) fn has_append_time(&self) -> bool {
        self.attributes & ATTRIBUTE_LOG_APPEND_TIME != 0
    }

    /// Bits of the attributes that name the compression.
    fn compression(&self) -> i16 {
        self.attributes & 0x07
    }
}

/// The sequence number `delta` after `sequence`.
pub(crate) fn advance_sequence(sequence: i32, delta: i32) -> i32 {
    let sum = (i64::from(sequence) + i64::from(delta)) % (i64::from(i32::MAX) + 1);
    i32::try_from(sum).unwrap_or(0)
}

/// Checks that `bytes` are exactly one well-formed batch of a client.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_from_client(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = BatchHeader::verify(bytes)?;
    let whole = header.bytes == bytes.len();
    let counted = header.record_count > 0 && header.record_count - 1 == header.last_offset_delta;
    let sequenced = header.producer_id < 0 || (header.producer_epoch >= 0 && header.base_sequence >= 0);
    let transactional = !header.is_transactional() || header.producer_id >= 0;
    if whole && counted && sequenced && transactional && !header.is_control() && header.compression() <= 4 {
        Ok(header)
    } else {
        Err(BatchError::Invalid)
    }
}

/// Gives a checked batch its offset in the log, and its append time in milliseconds if the topic asks for that.
pub(crate) fn place(batch: &mut [u8], base_offset: i64, append_time: Option<i64>) {
    batch[0..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[LENGTH_PREFIX..16].copy_from_slice(&0_i32.to_be_bytes());
    let attributes = i16::from_be_bytes([batch[21], batch[22]]);
    let wanted = match append_time {
        Some(_) => attributes | ATTRIBUTE_LOG_APPEND_TIME,
        None => attributes & !ATTRIBUTE_LOG_APPEND_TIME,
    };
    if append_time.is_none() && wanted == attributes {
        return;
    }
    batch[21..23].copy_from_slice(&wanted.to_be_bytes());
    if let Some(time) = append_time {
        batch[35..43].copy_from_slice(&time.to_be_bytes());
    }
    let checksum = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&checksum.to_be_bytes());
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marker {
    Abort,
    Commit,
}

/// A control batch that ends a producer's transaction in a partition. `time` in milliseconds.
pub(crate) fn control_batch(producer_id: i64, epoch: i16, marker: Marker, time: i64) -> Vec<u8> {
    let kind: u8 = match marker {
        Marker::Abort => 0,
        Marker::Commit => 1,
    };
    let mut body = Vec::with_capacity(60);
    body.extend((ATTRIBUTE_TRANSACTIONAL | ATTRIBUTE_CONTROL).to_be_bytes());
    body.extend(0_i32.to_be_bytes());
    body.extend(time.to_be_bytes());
    body.extend(time.to_be_bytes());
    body.extend(producer_id.to_be_bytes());
    body.extend(epoch.to_be_bytes());
    body.extend((-1_i32).to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    // One record: length 16, attributes, time and offset deltas, key (version 0, kind), value (version 0, coordinator
    // epoch 0), no headers; all lengths are zigzag varints.
    body.extend([0x20, 0, 0, 0, 0x08, 0, 0, 0, kind, 0x0c, 0, 0, 0, 0, 0, 0, 0]);
    let length = i32::try_from(body.len() + 9).unwrap_or(i32::MAX);
    let mut batch = Vec::with_capacity(body.len() + 21);
    batch.extend(0_i64.to_be_bytes());
    batch.extend(length.to_be_bytes());
    batch.extend(0_i32.to_be_bytes());
    batch.push(2);
    batch.extend(crc32c::crc32c(&body).to_be_bytes());
    batch.extend(body);
    batch
}

/// Which marker a control batch holds, if it is one of [`control_batch`].
pub(crate) fn marker_of(batch: &[u8]) -> Option<Marker> {
    match batch.get(MARKER_KIND_POSITION) {
        Some(0) => Some(Marker::Abort),
        Some(1) => Some(Marker::Commit),
        _ => None,
    }
}
