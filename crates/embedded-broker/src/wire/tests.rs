use super::shape::{Field, Kind};
use super::*;
use proptest::prelude::*;

const MAX_ELEMENTS: usize = 1000;

fn request(key: i16, version: i16, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(key);
    bytes.put_i16(version);
    bytes.put_i32(7);
    bytes.put_i16(-1);
    bytes.put_slice(body);
    bytes.freeze()
}

fn error(bytes: Bytes) -> RequestError {
    decode(bytes, MAX_ELEMENTS).unwrap_err()
}

#[test]
fn announced_elements_are_not_believed() {
    // Metadata: an array of topics; compact from version 9 on.
    assert_eq!(error(request(3, 1, &i32::MAX.to_be_bytes())), RequestError::TooLarge);
    assert_eq!(error(request(3, 1, &900_i32.to_be_bytes())), RequestError::Malformed);
    assert_eq!(error(request(3, 9, &[0, 0xff, 0xff, 0xff, 0xff, 0x0f])), RequestError::TooLarge);
    assert_eq!(error(request(3, 1, &(-5_i32).to_be_bytes())), RequestError::Malformed);
}

#[test]
fn what_is_not_served_is_told_apart() {
    assert_eq!(error(request(1, 12, &[])), RequestError::Unsupported);
    assert_eq!(error(request(999, 0, &[])), RequestError::Unsupported);
    assert_eq!(error(request(18, 4, &[])), RequestError::UnsupportedApiVersions { correlation_id: 7 });
    assert_eq!(error(Bytes::from_static(&[0, 3])), RequestError::Malformed);
}

#[test]
fn a_request_of_each_kind_of_length_is_read() {
    let metadata = decode(request(3, 1, &[0, 0, 0, 1, 0, 1, b't']), MAX_ELEMENTS).unwrap();
    let RequestKind::Metadata(body) = metadata.body else { panic!("{metadata:?}") };
    assert_eq!(body.topics.unwrap()[0].name.as_ref().unwrap().as_str(), "t");
    // Flexible: header tags, one topic with tags, three flags, tags.
    let metadata = decode(request(3, 9, &[0, 2, 2, b't', 0, 1, 0, 0, 0]), MAX_ELEMENTS).unwrap();
    let RequestKind::Metadata(body) = metadata.body else { panic!("{metadata:?}") };
    assert_eq!(body.topics.unwrap()[0].name.as_ref().unwrap().as_str(), "t");
    // All topics, as librdkafka asks for them: with some bytes left over.
    let metadata = decode(request(3, 9, &[0; 9]), MAX_ELEMENTS).unwrap();
    assert!(matches!(metadata.body, RequestKind::Metadata(body) if body.topics.is_none()));
    // OffsetFetch 7 has plain numbers in compact arrays.
    let body = [0, 2, b'g', 2, 2, b't', 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 0];
    let fetch = decode(request(9, 7, &body), MAX_ELEMENTS).unwrap();
    let RequestKind::OffsetFetch(body) = fetch.body else { panic!("{fetch:?}") };
    assert_eq!(body.topics.unwrap()[0].partition_indexes, [1, 2]);
    assert!(body.require_stable);
}

/// Bytes of a request with the given layout: every array has `count` elements, every text and number is zero.
fn fill(bytes: &mut Vec<u8>, fields: &[Field], version: i16, flexible: bool, count: u8) {
    let length = |bytes: &mut Vec<u8>, width: usize, length: u8| {
        if flexible {
            bytes.push(length + 1);
        } else {
            bytes.extend(vec![0; width - 1]);
            bytes.push(length);
        }
    };
    let is_plain = fields.iter().any(|field| field.since == i16::MIN);
    for field in fields.iter().filter(|field| (field.since..=field.until).contains(&version)) {
        match field.kind {
            Kind::Fixed(width) => bytes.extend(vec![0; width]),
            Kind::Text => length(bytes, 2, 0),
            Kind::Blob => length(bytes, 4, 0),
            Kind::Array(element) => {
                length(bytes, 4, count);
                for _ in 0..count {
                    fill(bytes, element, version, flexible, count);
                }
            }
        }
    }
    if flexible && !is_plain {
        bytes.push(0);
    }
}

#[test]
fn layouts_agree_with_the_decoder_in_every_version() {
    for api in API_VERSIONS {
        for version in api.min..=api.max {
            for count in [0, 1, 3] {
                let shape = table::shape_of(key_number(api.key), version).unwrap();
                let mut body = Vec::new();
                fill(&mut body, shape.fields, version, version >= shape.flexible_since, count);
                assert_eq!(shape::check(&body, &shape, version, MAX_ELEMENTS), Ok(0), "{:?} {version}", api.key);
                let mut left = Bytes::from(body);
                let decoded = RequestKind::decode(api.key, &mut left, version);
                assert!(decoded.is_ok() && left.is_empty(), "{:?} {version}: {left:?} {decoded:?}", api.key);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Whatever has the layout, the decoder reads to the end: it never meets a length the walk did not.
    #[test]
    fn noise_never_panics(
        api in 0..API_VERSIONS.len(),
        step in 0_i16..12,
        body in prop::collection::vec(prop_oneof![4 => Just(0_u8), 3 => 0_u8..4, 1 => any::<u8>()], 0..60),
    ) {
        let api = &API_VERSIONS[api];
        let version = api.min + step % (api.max - api.min + 1);
        let bytes = request(key_number(api.key), version, &body);
        if let Ok(request) = decode(bytes, MAX_ELEMENTS) {
            prop_assert_eq!(request.correlation_id, 7);
        }
    }
}
