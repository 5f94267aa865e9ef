//! Finding a record by its time inside a batch.

use super::{BatchHeader, HEADER_BYTES};
use bytes::Bytes;
use kafka_protocol::compression::{Decompressor, Gzip, Lz4, Snappy, Zstd};

/// Offset and timestamp of the first record of a whole batch with at least this offset and timestamp.
pub(crate) fn first_record_at_or_after(batch: &Bytes, from: i64, timestamp: i64) -> Option<(i64, i64)> {
    let header = BatchHeader::parse(batch).ok()?;
    if header.is_control() || header.max_timestamp < timestamp {
        return None;
    }
    if header.has_append_time() {
        return Some((header.base_offset.max(from), header.max_timestamp));
    }
    let mut payload = batch.slice(HEADER_BYTES..header.bytes.min(batch.len()));
    let scan = |records: &mut Bytes| Ok(scan_records(records, &header, from, timestamp));
    let found = match header.compression() {
        0 => Ok(scan_records(&payload, &header, from, timestamp)),
        1 => Gzip::decompress(&mut payload, scan),
        2 => Snappy::decompress(&mut payload, scan),
        3 => Lz4::decompress(&mut payload, scan),
        _ => Zstd::decompress(&mut payload, scan),
    };
    // A batch whose records cannot be read is still found by what its header says.
    found.unwrap_or(Some((header.base_offset.max(from), header.max_timestamp)))
}

fn scan_records(records: &[u8], header: &BatchHeader, from: i64, timestamp: i64) -> Option<(i64, i64)> {
    let mut rest = records;
    for _ in 0..header.record_count {
        let length = usize::try_from(read_varint(&mut rest)?).ok()?;
        let mut record = rest.get(..length)?;
        rest = &rest[length..];
        record = record.get(1..)?;
        let time = header.base_timestamp.saturating_add(read_varint(&mut record)?);
        let offset = header.base_offset.saturating_add(read_varint(&mut record)?);
        if time >= timestamp && offset >= from {
            return Some((offset, time));
        }
    }
    None
}

/// Reads a zigzag varint of up to ten bytes and moves past it.
fn read_varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut value: u64 = 0;
    for shift in (0..70).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            let half = i64::try_from(value >> 1).ok()?;
            return Some(if value & 1 == 0 { half } else { -half - 1 });
        }
    }
    None
}
