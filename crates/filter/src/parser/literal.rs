//! Values, by the kind of the field that they are compared with.

use super::Parser;
use crate::error::{ParseError, nearest, one_of};
use crate::expression::{Check, Subject};
use crate::field::Kind;
use crate::lexer::{Spanned, Token};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};
use weir_flow::{Address, protocol};

/// Units of bytes, in lower case.
const UNITS: [(&str, u64); 9] = [
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

impl Parser<'_> {
    /// The next value, of whatever kind.
    pub(super) fn literal(&mut self) -> Result<Spanned, ParseError> {
        let literal = self.peek().clone();
        match literal.token {
            Token::Word(_) | Token::Text(_) => self.advance(),
            Token::Sign("[") => return Err(self.here("a list stands after in", "write in […]")),
            _ => return Err(self.here("a value is missing here", "")),
        }
        Ok(literal)
    }

    /// One value after `==` or `!=`.
    pub(super) fn single(&mut self, subject: &Subject) -> Result<Check, ParseError> {
        let literal = self.literal()?;
        if subject.field().kind() == Kind::Address {
            let network = self.network_literal(&literal)?;
            if network.prefix_len() != network.max_prefix_len() {
                return Err(self.error(literal.span, "this is a network", format!("write {subject} in {network}")));
            }
            return Ok(Check::Networks(vec![network]));
        }
        self.check(subject, &[literal])
    }

    /// The values after `in`: a list, or one network.
    pub(super) fn set(&mut self, subject: &Subject) -> Result<Check, ParseError> {
        if subject.field().kind() == Kind::Address && !matches!(self.peek().token, Token::Sign("[")) {
            let literal = self.literal()?;
            return Ok(Check::Networks(vec![self.network_literal(&literal)?]));
        }
        self.expect("[", "write in [1, 2]")?;
        let mut literals = Vec::new();
        loop {
            literals.push(self.literal()?);
            if self.takes(&["]"]) {
                return self.check(subject, &literals);
            }
            if !self.takes(&[","]) {
                return Err(self.here("a comma or ] is missing here", ""));
            }
        }
    }

    /// That a field has one of these values.
    fn check(&self, subject: &Subject, literals: &[Spanned]) -> Result<Check, ParseError> {
        let each = literals.iter();
        Ok(match subject.field().kind() {
            Kind::Address => Check::Networks(each.map(|l| self.network_literal(l)).collect::<Result<_, _>>()?),
            Kind::Number(_) | Kind::Bytes | Kind::Protocol => {
                Check::Numbers(each.map(|l| self.number_literal(l, subject)).collect::<Result<_, _>>()?)
            }
            Kind::Text | Kind::Texts | Kind::Word(_) | Kind::Words(_) | Kind::Flag => {
                Check::Texts(each.map(|l| self.text_literal(l, subject)).collect::<Result<_, _>>()?)
            }
        })
    }

    /// A text in quotes, or one of a field's words.
    pub(super) fn text_literal(&self, literal: &Spanned, subject: &Subject) -> Result<Box<str>, ParseError> {
        let wrong = |message: String, hint: String| self.error(literal.span.clone(), message, hint);
        match (subject.field().kind(), &literal.token) {
            (Kind::Word(words) | Kind::Words(words), Token::Word(text) | Token::Text(text)) => {
                let lower = text.to_ascii_lowercase();
                if words.contains(&lower.as_str()) {
                    return Ok(lower.into());
                }
                let near = nearest(&lower, words.iter().map(|word| (*word).to_owned()));
                let hint = near.map_or_else(|| one_of(words), |word| format!("did you mean {word}?"));
                Err(wrong(format!("{subject} is never {text}"), hint))
            }
            // A label may have an empty value, other texts are absent instead.
            (_, Token::Text(text)) if text.is_empty() && !matches!(subject, Subject::Label(..)) => {
                Err(wrong("a text is never empty".to_owned(), format!("write not has({subject})")))
            }
            (_, Token::Text(text)) => Ok(text.as_str().into()),
            (_, Token::Word(word)) => Err(wrong("texts stand in quotes".to_owned(), format!("write \"{word}\""))),
            _ => Err(wrong("a text is missing here".to_owned(), String::new())),
        }
    }

    pub(super) fn number_literal(&self, literal: &Spanned, subject: &Subject) -> Result<u64, ParseError> {
        let wrong = |message: String, hint: String| self.error(literal.span.clone(), message, hint);
        let kind = subject.field().kind();
        let Token::Word(word) = &literal.token else {
            return Err(wrong(format!("{subject} is a number"), "write it without quotes".to_owned()));
        };
        if kind == Kind::Protocol {
            let hint = || "tcp, udp, icmp, icmpv6, sctp, or a number up to 255".to_owned();
            return protocol::parse(word).map(u64::from).ok_or_else(|| wrong(format!("{word} is no protocol"), hint()));
        }
        let most = if let Kind::Number(most) = kind { most } else { i64::MAX.unsigned_abs() };
        let digits = word.len() - word.trim_start_matches(|c: char| c.is_ascii_digit() || c == '_').len();
        let (digits, unit) = word.split_at(digits);
        let number = digits.replace('_', "").parse::<u64>().ok();
        let factor = match (kind, unit) {
            (_, "") => Some(1),
            (Kind::Bytes, unit) => {
                let unit = unit.to_ascii_lowercase();
                UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor)
            }
            _ => None,
        };
        let (Some(number), Some(factor)) = (number.or_else(|| (!digits.is_empty()).then_some(u64::MAX)), factor) else {
            let hint = if kind == Kind::Bytes { "write 1500, 64kB, 10MB or 1GiB" } else { "write digits only" };
            return Err(wrong(format!("{word} is no number"), hint.to_owned()));
        };
        let number = number.checked_mul(factor).filter(|number| *number <= most);
        number.ok_or_else(|| wrong(format!("{subject} is at most {most}"), String::new()))
    }

    pub(super) fn network_literal(&self, literal: &Spanned) -> Result<IpNet, ParseError> {
        let (Token::Word(word) | Token::Text(word)) = &literal.token else {
            return Err(self.error(literal.span.clone(), "an address is missing here", ""));
        };
        network(word).ok_or_else(|| {
            let message = format!("{word} is neither an address nor a network");
            self.error(literal.span.clone(), message, "write 10.0.0.1, 10.0.0.0/8 or fd00::/8")
        })
    }
}

/// A network without host bits; what is mapped into IPv6 is IPv4, as addresses of flows are.
fn network(text: &str) -> Option<IpNet> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(IpNet::from(Address::new(address).ip()));
    }
    let network = text.parse::<IpNet>().ok()?.trunc();
    let IpNet::V6(six) = network else { return Some(network) };
    match (six.addr().to_ipv4_mapped(), six.prefix_len().checked_sub(96)) {
        (Some(four), Some(length)) => IpNet::new(IpAddr::V4(Ipv4Addr::from(four.to_bits())), length).ok(),
        _ => Some(network),
    }
}
