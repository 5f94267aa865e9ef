//! Capture rules: which flows the kernel programs count, and which of them they sample. Pure.
//!
//! They are written in the language of filters (`docs/filters.md`), as far as a packet shows what they ask for: addresses,
//! ports and the protocol. The programs compare lists of conditions, and do not know which end opened a connection. So an
//! expression is taken apart into cases that lack `or`, one of which must hold, and what is asked of one end's port must be
//! asked of the other's in a case beside it. The first rule that a flow meets decides; flows that meet none are kept.

use crate::abi::{self, Rule};
use ipnet::IpNet;
use thiserror::Error;
use weir_filter::{
    Check, Comparison, End, EndField, Expression, Field, FlowField, ParseError, Place, Subject, Test, parse, parse_rule,
};
use weir_flow::settings::FilterAction;

#[cfg(test)]
mod tests;

/// What stands for IPv4's addresses among IPv6's (RFC 4291 section 2.5.5.2): the first of them.
const MAPPED: std::net::IpAddr = std::net::IpAddr::V6(std::net::Ipv4Addr::UNSPECIFIED.to_ipv6_mapped());

/// The most cases of one expression while it is taken apart.
const CASES: usize = 256;

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RuleError {
    /// It is none of the language.
    #[error(transparent)]
    Language(#[from] ParseError),
    /// It is of the language, but leaves out something else than flows.
    #[error("capture rules keep, drop or sample; redact in the enricher's filters")]
    Redact,
    /// No packet shows that.
    #[error(
        "a packet does not show {0}; ask for addresses, src.port, dst.port and protocol, or filter in the enricher"
    )]
    Unseen(String),
    /// The programs have no such comparison.
    #[error("the kernel compares no {0}; write a keep rule for it before this one")]
    Opposite(&'static str),
    /// Addresses are compared once.
    #[error("addresses are asked for twice in one case; the kernel compares one network, of either end")]
    Networks,
    /// It would hold IPv4's, too, which stand among IPv6's in the kernel.
    #[error("to the kernel {0} holds IPv4's addresses, too; ask for 2000::/3 or fd00::/8")]
    Mapped(IpNet),
    /// One end's port.
    #[error(
        "the kernel does not know who opened a connection: write (src.port == {0} or dst.port == {0}), with the same beside both"
    )]
    OneEnd(String),
    /// Too many.
    #[error("it has more than {CASES} cases; write it with fewer `or` and lists")]
    Cases,
}

/// A part of a rule as the kernel programs compare it.
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

/// Ports from one to another one, both included.
type Ports = (u16, u16);

/// Conditions that all must hold; what is absent holds always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Case {
    protocol: Option<u8>,
    network: Option<IpNet>,
    source: Option<Ports>,
    destination: Option<Ports>,
}

impl Case {
    /// The same with the ends exchanged.
    fn mirrored(self) -> Self {
        Self { source: self.destination, destination: self.source, ..self }
    }

    /// What holds where both do; nothing where that cannot be.
    fn and(self, other: Self) -> Result<Option<Self>, RuleError> {
        let network = match (self.network, other.network) {
            (Some(one), Some(other)) if one != other => return Err(RuleError::Networks),
            (one, other) => one.or(other),
        };
        let protocol = match (self.protocol, other.protocol) {
            (Some(one), Some(other)) if one != other => return Ok(None),
            (one, other) => one.or(other),
        };
        let (Some(source), Some(destination)) =
            (common(self.source, other.source), common(self.destination, other.destination))
        else {
            return Ok(None);
        };
        Ok(Some(Self { protocol, network, source, destination }))
    }

    /// Ports of either end, where the other's case stands beside it.
    fn ports(self, all: &[Self]) -> Result<Ports, RuleError> {
        match (self.source, self.destination) {
            (None, None) => Ok((0, u16::MAX)),
            (Some(ports), None) | (None, Some(ports)) if all.contains(&self.mirrored()) => Ok(ports),
            (Some((low, high)), _) | (None, Some((low, high))) => {
                Err(RuleError::OneEnd(if low == high { low.to_string() } else { format!("{low}…{high}") }))
            }
        }
    }
}

/// The ports that both admit: nothing where there are none, and no condition where neither has one.
fn common(one: Option<Ports>, other: Option<Ports>) -> Option<Option<Ports>> {
    match (one, other) {
        (Some((low, high)), Some((least, most))) => {
            let (low, high) = (low.max(least), high.min(most));
            (low <= high).then_some(Some((low, high)))
        }
        (one, other) => Some(one.or(other)),
    }
}

/// The cases of which one must hold.
fn cases(expression: &Expression) -> Result<Vec<Case>, RuleError> {
    let found = match expression {
        Expression::Always(true) => vec![Case::default()],
        Expression::Always(false) => Vec::new(),
        Expression::Any(parts) => parts.iter().map(cases).collect::<Result<Vec<_>, _>>()?.concat(),
        Expression::All(parts) => {
            parts.iter().try_fold(vec![Case::default()], |all, part| both(&all, &cases(part)?))?
        }
        Expression::Not(_) => return Err(RuleError::Opposite("opposites")),
        Expression::Test(test) => of_test(test)?,
    };
    if found.len() > CASES { Err(RuleError::Cases) } else { Ok(found) }
}

fn both(ones: &[Case], others: &[Case]) -> Result<Vec<Case>, RuleError> {
    if ones.len().saturating_mul(others.len()) > CASES {
        return Err(RuleError::Cases);
    }
    let pairs = ones.iter().flat_map(|one| others.iter().map(|other| one.and(*other)));
    pairs.filter_map(Result::transpose).collect()
}

fn of_test(test: &Test) -> Result<Vec<Case>, RuleError> {
    let unseen = || RuleError::Unseen(test.subject.to_string());
    let Subject::Field(field) = &test.subject else { return Err(unseen()) };
    match field {
        Field::Flow(FlowField::Protocol) => {
            let of = |(low, high): Ports| (low..=high).map(|protocol| u8::try_from(protocol).ok());
            let protocols = ranges(&test.check, u64::from(u8::MAX))?.into_iter().flat_map(of);
            Ok(protocols.map(|protocol| Case { protocol, ..Case::default() }).collect())
        }
        Field::Flow(FlowField::Addresses) => match &test.check {
            Check::Networks(networks) => {
                if let Some(mapped) = networks.iter().find(|network| network.contains(&MAPPED)) {
                    return Err(RuleError::Mapped(*mapped));
                }
                Ok(networks.iter().map(|network| Case { network: Some(network.trunc()), ..Case::default() }).collect())
            }
            _ => Err(unseen()),
        },
        Field::End(end, EndField::Port) => {
            let of = |ports| match end {
                End::Source => Case { source: Some(ports), ..Case::default() },
                End::Destination => Case { destination: Some(ports), ..Case::default() },
            };
            Ok(ranges(&test.check, u64::from(u16::MAX))?.into_iter().map(of).collect())
        }
        Field::End(..) | Field::Flow(_) => Err(unseen()),
    }
}

/// What a check of a number admits, up to `most`.
fn ranges(check: &Check, most: u64) -> Result<Vec<Ports>, RuleError> {
    let (low, high) = match check {
        Check::Numbers(numbers) => {
            let of = |number: &u64| u16::try_from(*number).ok().map(|port| (port, port));
            return Ok(numbers.iter().filter(|number| **number <= most).filter_map(of).collect());
        }
        Check::Compare(Comparison::Less, 0) => return Ok(Vec::new()),
        Check::Compare(Comparison::Less, number) => (0, number - 1),
        Check::Compare(Comparison::AtMost, number) => (0, *number),
        Check::Compare(Comparison::Greater, number) => (number.saturating_add(1), most),
        Check::Compare(Comparison::AtLeast, number) => (*number, most),
        _ => return Err(RuleError::Opposite("presence")),
    };
    let (low, high) = (u16::try_from(low), u16::try_from(high.min(most)));
    Ok(low.ok().zip(high.ok()).filter(|(low, high)| low <= high).into_iter().collect())
}

/// The rules of the kernel programs for one that was written, in order.
fn read(text: &str) -> Result<Vec<CaptureRule>, RuleError> {
    let rule = parse_rule(text)?;
    let factor = match rule.action {
        FilterAction::Keep => 1,
        FilterAction::Drop => 0,
        FilterAction::Sample(factor) => factor.max(1),
        FilterAction::Redact(_) => return Err(RuleError::Redact),
    };
    let cases = cases(&parse(&rule.expression, Place::Sample)?)?;
    let mut rules: Vec<CaptureRule> = Vec::new();
    for case in &cases {
        let (port_low, port_high) = case.ports(&cases)?;
        let (network, mask) = case.network.map_or_else(Default::default, octets);
        let rule = Rule { port_low, port_high, network, mask, factor, ..Rule::default() };
        // Of protocol 0 there are no flows, and to the programs it is any.
        let rule = match case.protocol {
            Some(0) => continue,
            protocol => CaptureRule { rule: Rule { protocol: protocol.unwrap_or_default(), ..rule } },
        };
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    Ok(rules)
}

/// A network and its mask. IPv4 is mapped into IPv6: its networks lie in the last 32 bits.
fn octets(network: IpNet) -> ([u8; 16], [u8; 16]) {
    let host = u32::from(network.max_prefix_len()) - u32::from(network.prefix_len());
    let mask = u128::MAX.checked_shl(host).unwrap_or(0);
    let octets = match network {
        IpNet::V4(network) => network.network().to_ipv6_mapped().octets(),
        IpNet::V6(network) => network.network().octets(),
    };
    ((u128::from_be_bytes(octets) & mask).to_be_bytes(), mask.to_be_bytes())
}

/// Reads rules, in their order.
///
/// # Errors
/// The first that is wrong; more than [`abi::RULES`] for the kernel, of which one with `or` and lists takes several.
pub fn parse_all(rules: &[String]) -> Result<Vec<CaptureRule>, String> {
    let mut all = Vec::new();
    for rule in rules {
        all.extend(read(rule).map_err(|error| format!("capture rule {rule:?}: {error}"))?);
    }
    if all.len() > abi::RULES {
        return Err(format!(
            "capture rules of {} cases; there may be at most {}: one for each network, port range and protocol of a rule",
            all.len(),
            abi::RULES
        ));
    }
    Ok(all)
}
