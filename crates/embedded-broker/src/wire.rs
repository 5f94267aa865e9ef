//! Requests and responses as bytes: which APIs and versions are served, and the check that a request's arrays are no
//! longer than its bytes can hold, which comes before anything is allocated for them.

mod shape;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use shape::ShapeError;
pub(crate) use table::{API_VERSIONS, Api, key_number};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind, ResponseHeader, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

/// A request that was read.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) key: ApiKey,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client_id: Option<StrBytes>,
    pub(crate) body: RequestKind,
}

/// Why bytes could not be read as a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestError {
    /// They are none.
    Malformed,
    /// An array or the sum of them has too many elements.
    TooLarge,
    /// The API or its version is not served.
    Unsupported,
    /// The version of `ApiVersions` is not served: the client is told which are.
    UnsupportedApiVersions {
        /// What the answer must carry.
        correlation_id: i32,
    },
}

/// Reads one request, the length before it left out.
///
/// # Errors
/// Why it could not be read; the connection is of no use then, but for the last kind.
pub(crate) fn decode(mut bytes: Bytes, max_elements: usize) -> Result<Request, RequestError> {
    let (key, version, correlation_id) = prefix(&bytes).ok_or(RequestError::Malformed)?;
    let served = ApiKey::try_from(key).ok().zip(table::shape_of(key, version));
    let Some((key, shape)) = served else {
        let asked = ApiKey::try_from(key) == Ok(ApiKey::ApiVersions);
        return Err(if asked {
            RequestError::UnsupportedApiVersions { correlation_id }
        } else {
            RequestError::Unsupported
        });
    };
    let header_version = key.request_header_version(version);
    let header = RequestHeader::decode(&mut bytes, header_version).map_err(|_| RequestError::Malformed)?;
    shape::check(&bytes, &shape, version, max_elements).map_err(|error| match error {
        ShapeError::TooManyElements => RequestError::TooLarge,
        ShapeError::Malformed => RequestError::Malformed,
    })?;
    let body = RequestKind::decode(key, &mut bytes, version).map_err(|_| RequestError::Malformed)?;
    Ok(Request { key, version, correlation_id, client_id: header.client_id, body })
}

fn prefix(bytes: &[u8]) -> Option<(i16, i16, i32)> {
    let (key, rest) = bytes.split_first_chunk::<2>()?;
    let (version, rest) = rest.split_first_chunk::<2>()?;
    let (correlation_id, _) = rest.split_first_chunk::<4>()?;
    Some((i16::from_be_bytes(*key), i16::from_be_bytes(*version), i32::from_be_bytes(*correlation_id)))
}

/// Writes a response with the length before it; none if it cannot be written in this version.
pub(crate) fn encode(key: ApiKey, version: i16, correlation_id: i32, response: &ResponseKind) -> Option<Bytes> {
    let mut bytes = BytesMut::new();
    bytes.put_i32(0);
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    let written = header
        .encode(&mut bytes, key.response_header_version(version))
        .and_then(|()| response.encode(&mut bytes, version));
    if let Err(error) = written {
        tracing::error!(?key, version, %error, "response not encoded");
        return None;
    }
    let length = i32::try_from(bytes.len() - 4).ok()?;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    Some(bytes.freeze())
}
