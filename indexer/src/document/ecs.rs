//! What documents of every kind are made of: ECS objects, times and addresses.

use crate::calendar;
use serde::{Serialize, Serializer};
use std::net::{IpAddr, Ipv4Addr};
use weir_flow::{Address, Millis};

#[cfg(test)]
mod tests;

/// The version of ECS whose field names are used.
pub(super) const ECS: Ecs = Ecs { version: "8.17.0" };
/// Who says so.
pub(super) const OBSERVER: Observer = Observer { vendor: "Weir", product: "weir", kind: "flow" };

#[derive(Serialize)]
pub(super) struct Ecs {
    pub(super) version: &'static str,
}

#[derive(Serialize)]
pub(super) struct Orchestrator<'a> {
    pub(super) cluster: Named<'a>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) platform: Option<&'static str>,
}

impl<'a> Orchestrator<'a> {
    pub(super) fn of(cluster: &'a str, known: bool) -> Self {
        Self { cluster: Named { name: cluster }, platform: known.then_some("kubernetes") }
    }
}

#[derive(Serialize)]
pub(super) struct Named<'a> {
    pub(super) name: &'a str,
}

/// ECS `event` of what is no flow.
#[derive(Serialize)]
pub(super) struct Notice<'a> {
    pub(super) kind: &'static str,
    pub(super) category: [&'static str; 1],
    #[serde(rename = "type")]
    pub(super) types: [&'static str; 1],
    pub(super) action: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'a str>,
    pub(super) dataset: &'static str,
}

#[derive(Serialize)]
pub(super) struct Observer {
    pub(super) vendor: &'static str,
    pub(super) product: &'static str,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
}

/// A time as ISO 8601 in UTC with milliseconds; the check of a record has made sure that it is one.
pub(super) struct Time(pub(super) Millis);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = calendar::iso(self.0);
        let text = time.as_ref().and_then(|time| std::str::from_utf8(time).ok());
        serializer.serialize_str(text.ok_or_else(|| serde::ser::Error::custom("a time that cannot be written"))?)
    }
}

/// An address as text.
pub(super) struct Ip(pub(super) Address);

impl Serialize for Ip {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.ip() {
            IpAddr::V4(four) => serializer.serialize_str(dotted(four, &mut [0; 15])),
            six @ IpAddr::V6(_) => serializer.collect_str(&six),
        }
    }
}

/// An IPv4 address as text: a record lists dozens, and formatting is slow.
fn dotted(address: Ipv4Addr, buffer: &mut [u8; 15]) -> &str {
    let mut length = 0;
    let mut push = |character: u8| {
        if let Some(place) = buffer.get_mut(length) {
            *place = character;
            length += 1;
        }
    };
    for (position, octet) in address.octets().into_iter().enumerate() {
        if position > 0 {
            push(b'.');
        }
        if octet >= 100 {
            push(b'0' + octet / 100);
        }
        if octet >= 10 {
            push(b'0' + octet / 10 % 10);
        }
        push(b'0' + octet % 10);
    }
    let text = buffer.get(..length).map(std::str::from_utf8);
    text.and_then(Result::ok).unwrap_or_default()
}
