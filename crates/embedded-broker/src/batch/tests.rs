use super::*;
use bytes::Bytes;

/// A batch as a client makes it: `times` of its records, relative to `base_time`.
pub(crate) fn client_batch(producer: (i64, i16, i32), transactional: bool, base_time: i64, times: &[i64]) -> Vec<u8> {
    let mut records = Vec::new();
    for (time, offset) in times.iter().zip(0_u8..) {
        let mut record = vec![0];
        put_varint(&mut record, *time);
        put_varint(&mut record, i64::from(offset));
        // No key, a value of one byte, no headers.
        record.extend([1, 2, offset, 0]);
        put_varint(&mut records, i64::try_from(record.len()).unwrap());
        records.extend(record);
    }
    let count = i32::try_from(times.len()).unwrap();
    let attributes: i16 = if transactional { ATTRIBUTE_TRANSACTIONAL } else { 0 };
    let mut body = Vec::new();
    body.extend(attributes.to_be_bytes());
    body.extend((count - 1).to_be_bytes());
    body.extend(base_time.to_be_bytes());
    body.extend((base_time + times.iter().max().unwrap()).to_be_bytes());
    body.extend(producer.0.to_be_bytes());
    body.extend(producer.1.to_be_bytes());
    body.extend(producer.2.to_be_bytes());
    body.extend(count.to_be_bytes());
    body.extend(records);
    let mut batch = vec![0; 8];
    batch.extend(i32::try_from(body.len() + 9).unwrap().to_be_bytes());
    batch.extend([0, 0, 0, 0, 2]);
    batch.extend(crc32c::crc32c(&body).to_be_bytes());
    batch.extend(body);
    batch
}

fn put_varint(bytes: &mut Vec<u8>, value: i64) {
    let mut rest = u64::from_ne_bytes(((value << 1) ^ (value >> 63)).to_ne_bytes());
    while rest >= 0x80 {
        bytes.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    bytes.push(u8::try_from(rest).unwrap());
}

const PLAIN: (i64, i16, i32) = (-1, -1, -1);

#[test]
fn a_flipped_bit_after_the_checksum_is_noticed() {
    let batch = client_batch(PLAIN, false, 1000, &[0, 1, 2]);
    assert!(check_from_client(&batch).is_ok());
    for position in 17..batch.len() {
        let mut flipped = batch.clone();
        flipped[position] ^= 0x10;
        assert!(check_from_client(&flipped).is_err(), "at {position}");
    }
}

#[test]
fn a_client_may_send_one_whole_batch_without_control_records() {
    let batch = client_batch(PLAIN, false, 1000, &[0]);
    let two = [batch.clone(), batch.clone()].concat();
    assert_eq!(check_from_client(&two), Err(BatchError::Invalid));
    assert!(check_from_client(&batch[..batch.len() - 1]).is_err());
    assert!(check_from_client(&[]).is_err());
    assert!(check_from_client(&control_batch(1, 0, Marker::Commit, 5)).is_err());
}

#[test]
fn a_marker_reads_back() {
    for marker in [Marker::Abort, Marker::Commit] {
        let batch = control_batch(7, 3, marker, 99);
        let header = BatchHeader::verify(&batch).unwrap();
        assert!(header.is_control() && header.is_transactional());
        assert_eq!((header.producer_id, header.producer_epoch, header.bytes), (7, 3, batch.len()));
        assert_eq!(marker_of(&batch), Some(marker));
    }
}

#[test]
fn a_placed_batch_is_whole_and_has_the_brokers_time() {
    let mut batch = client_batch(PLAIN, false, 1000, &[0, 5]);
    place(&mut batch, 42, Some(7777));
    let header = BatchHeader::verify(&batch).unwrap();
    assert_eq!((header.base_offset, header.last_offset(), header.max_timestamp), (42, 43, 7777));
    assert!(header.has_append_time());
    assert_eq!(first_record_at_or_after(&Bytes::from(batch), 0, 7777), Some((42, 7777)));
}

#[test]
fn the_first_record_of_a_time_is_found() {
    let mut batch = client_batch(PLAIN, false, 1000, &[0, 10, 5, 20]);
    place(&mut batch, 100, None);
    let batch = Bytes::from(batch);
    let found = |from, time| first_record_at_or_after(&batch, from, time);
    assert_eq!(found(0, 0), Some((100, 1000)));
    assert_eq!(found(0, 1001), Some((101, 1010)));
    assert_eq!(found(0, 1011), Some((103, 1020)));
    assert_eq!(found(102, 1000), Some((102, 1005)));
    assert_eq!(found(0, 1021), None);
}

#[test]
fn sequence_numbers_wrap_to_zero() {
    assert_eq!(advance_sequence(i32::MAX, 1), 0);
    assert_eq!(advance_sequence(i32::MAX - 1, 3), 1);
}
