//! The brokers' addresses in answers: each is replaced by the address where the proxy listens in its place.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, DescribeClusterResponse, FindCoordinatorResponse, MetadataResponse, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use std::net::SocketAddr;

/// The proxy's own address that stands for a broker's host and port, where there is one.
pub(crate) type ListenerOf = Box<dyn Fn(&str, u16) -> Option<SocketAddr> + Send + Sync>;

/// Where the proxy listens in the place of a broker.
pub(crate) struct Directory {
    /// The address for a broker's host and port; none when there can be none.
    pub(crate) of: ListenerOf,
}

impl Directory {
    /// The answer as the client is to see it. One that cannot be read is passed on as it is.
    pub(crate) fn rewrite(&self, api: i16, version: i16, message: Bytes) -> Bytes {
        let Ok(api) = ApiKey::try_from(api) else { return message };
        let rewritten = match api {
            ApiKey::Metadata => edit(api, version, message.clone(), |answer: &mut MetadataResponse| {
                for broker in &mut answer.brokers {
                    self.replace(&mut broker.host, &mut broker.port);
                }
            }),
            ApiKey::DescribeCluster => edit(api, version, message.clone(), |answer: &mut DescribeClusterResponse| {
                for broker in &mut answer.brokers {
                    self.replace(&mut broker.host, &mut broker.port);
                }
            }),
            ApiKey::FindCoordinator => edit(api, version, message.clone(), |answer: &mut FindCoordinatorResponse| {
                self.replace(&mut answer.host, &mut answer.port);
                for coordinator in &mut answer.coordinators {
                    self.replace(&mut coordinator.host, &mut coordinator.port);
                }
            }),
            _ => None,
        };
        rewritten.unwrap_or(message)
    }

    fn replace(&self, host: &mut StrBytes, port: &mut i32) {
        let Ok(number) = u16::try_from(*port) else { return };
        if host.is_empty() {
            return;
        }
        if let Some(address) = (self.of)(host, number) {
            *host = StrBytes::from_string(address.ip().to_string());
            *port = i32::from(address.port());
        }
    }
}

fn edit<T: Decodable + Encodable>(
    api: ApiKey,
    version: i16,
    mut message: Bytes,
    change: impl FnOnce(&mut T),
) -> Option<Bytes> {
    let header_version = api.response_header_version(version);
    let header = ResponseHeader::decode(&mut message, header_version).ok()?;
    let mut answer = T::decode(&mut message, version).ok()?;
    change(&mut answer);
    let mut bytes = BytesMut::new();
    header.encode(&mut bytes, header_version).ok()?;
    answer.encode(&mut bytes, version).ok()?;
    Some(bytes.freeze())
}
