//! Capture rules: which flows the kernel programs count, and which of them they sample. Pure.
//!
//! A rule is an action (`keep`, `drop`, `sample N`) and conditions that all must hold: `net CIDR` and `port N` or
//! `port N-M`, of either end, and `protocol NAME`. The first rule that a flow meets decides; flows that meet none are kept.

use crate::abi::{self, Rule};
use std::net::IpAddr;
use std::str::FromStr;
use thiserror::Error;
use weir_flow::protocol;

#[cfg(test)]
mod tests;

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RuleError {
    /// There is no action.
    #[error("{0:?} is no action; a capture rule begins with keep, drop or sample N")]
    Action(String),
    /// The factor is no number.
    #[error("sampling factor {0:?}; one connection in so many is kept: a number from 2 to 1000000")]
    Factor(String),
    /// No such condition.
    #[error("{0:?} is no condition; there are net CIDR, port N or N-M, protocol NAME")]
    Condition(String),
    /// A condition stands twice.
    #[error("{0} stands twice in one capture rule; write one rule for each")]
    Twice(&'static str),
    /// Not a network.
    #[error("{0:?} is no network; write it as 10.0.0.0/8, fd00::/8 or one address")]
    Network(String),
    /// Not a port.
    #[error("{0:?} is no port; write 53 or 8000-8080")]
    Port(String),
    /// Not a protocol.
    #[error("{0:?} is no protocol; write tcp, udp, icmp, icmpv6, sctp or a number from 1 to 255")]
    Protocol(String),
}

/// A rule that was understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaptureRule {
    rule: Rule,
}

impl CaptureRule {
    /// As the kernel programs have it.
    #[must_use]
    pub fn kernel(&self) -> Rule {
        self.rule
    }
}

/// The largest sampling factor.
const FACTOR: u32 = 1_000_000;

impl FromStr for CaptureRule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let mut words = text.split_whitespace();
        let factor = match words.next() {
            Some("keep") => 1,
            Some("drop") => 0,
            Some("sample") => factor(words.next().unwrap_or_default())?,
            other => return Err(RuleError::Action(other.unwrap_or_default().to_owned())),
        };
        let mut rule = Rule { port_high: u16::MAX, factor, ..Rule::default() };
        let (mut net, mut port, mut kind) = (false, false, false);
        while let Some(word) = words.next() {
            let value = words.next().unwrap_or_default();
            let (seen, name) = match word {
                "net" => {
                    (rule.network, rule.mask) = network(value)?;
                    (&mut net, "net")
                }
                "port" => {
                    (rule.port_low, rule.port_high) = ports(value)?;
                    (&mut port, "port")
                }
                "protocol" => {
                    rule.protocol = protocol_number(value)?;
                    (&mut kind, "protocol")
                }
                _ => return Err(RuleError::Condition(word.to_owned())),
            };
            if std::mem::replace(seen, true) {
                return Err(RuleError::Twice(name));
            }
        }
        Ok(Self { rule })
    }
}

fn factor(word: &str) -> Result<u32, RuleError> {
    word.parse().ok().filter(|factor| (2..=FACTOR).contains(factor)).ok_or_else(|| RuleError::Factor(word.to_owned()))
}

fn network(word: &str) -> Result<([u8; 16], [u8; 16]), RuleError> {
    let wrong = || RuleError::Network(word.to_owned());
    let (address, length) = word.split_once('/').map_or((word, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let most: u32 = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        Some(length) => length.parse().ok().filter(|length| *length <= most).ok_or_else(wrong)?,
        None => most,
    };
    // IPv4 is mapped into IPv6: its networks lie in the last 32 bits.
    let host = most - length;
    let mask = u128::MAX.checked_shl(host).unwrap_or(0);
    let octets = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    Ok(((u128::from_be_bytes(octets) & mask).to_be_bytes(), mask.to_be_bytes()))
}

fn ports(word: &str) -> Result<(u16, u16), RuleError> {
    let wrong = || RuleError::Port(word.to_owned());
    let (low, high) = word.split_once('-').unwrap_or((word, word));
    let (low, high) = (low.parse().map_err(|_| wrong())?, high.parse().map_err(|_| wrong())?);
    if low <= high { Ok((low, high)) } else { Err(wrong()) }
}

fn protocol_number(word: &str) -> Result<u8, RuleError> {
    Ok(match word {
        "tcp" => protocol::TCP,
        "udp" => protocol::UDP,
        "icmp" => protocol::ICMP,
        "icmpv6" => protocol::ICMPV6,
        "sctp" => protocol::SCTP,
        _ => word.parse().ok().filter(|n| *n > 0).ok_or_else(|| RuleError::Protocol(word.to_owned()))?,
    })
}

/// Reads rules, in their order.
///
/// # Errors
/// The first that is wrong; more than [`abi::RULES`].
pub fn parse(rules: &[String]) -> Result<Vec<CaptureRule>, String> {
    if rules.len() > abi::RULES {
        return Err(format!("{} capture rules; there may be at most {}", rules.len(), abi::RULES));
    }
    rules.iter().map(|rule| rule.parse().map_err(|error| format!("capture rule {rule:?}: {error}"))).collect()
}
