//! Whether an expression holds.

use crate::expression::{Check, Expression, Subject, Test};
use crate::field::Field;
use std::net::IpAddr;

/// One value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A text or a word. An empty one counts as none: give no value instead.
    Text(&'a str),
    /// A number, or a protocol's.
    Number(u64),
    /// An address, an IPv4-mapped one as IPv4.
    Address(IpAddr),
    /// What a flag that is set has; one that is not set has no value.
    Set,
}

/// What is known of a flow.
pub trait Facts {
    /// Whether `test` holds for one of the field's values. A field without a value, or one that is not known here, gives
    /// false. Values are those of the field's [`crate::Kind`].
    fn any(&self, field: Field, test: impl FnMut(Value<'_>) -> bool) -> bool;
}

impl Expression {
    /// Whether it holds for a flow. Allocates nothing (but what `matches` keeps for itself).
    pub fn holds(&self, facts: &impl Facts) -> bool {
        match self {
            Self::Always(answer) => *answer,
            Self::All(parts) => parts.iter().all(|part| part.holds(facts)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(facts)),
            Self::Not(inner) => !inner.holds(facts),
            Self::Test(test) => test.holds(facts),
        }
    }
}

impl Test {
    fn holds(&self, facts: &impl Facts) -> bool {
        match &self.subject {
            Subject::Field(field) => self.check.holds(facts, *field, |value| Some(value)),
            Subject::Label(_, key) => self.check.holds(facts, self.subject.field(), |value| match value {
                Value::Text(label) => label.strip_prefix(&**key)?.strip_prefix('=').map(Value::Text),
                _ => None,
            }),
        }
    }
}

impl Check {
    fn holds(&self, facts: &impl Facts, field: Field, value: impl Fn(Value<'_>) -> Option<Value<'_>>) -> bool {
        let text = |test: &dyn Fn(&str) -> bool| {
            facts.any(field, |found| matches!(value(found), Some(Value::Text(text)) if test(text)))
        };
        match self {
            Self::Present => facts.any(field, |found| value(found).is_some()),
            Self::Texts(texts) => text(&|found| texts.iter().any(|wanted| **wanted == *found)),
            Self::Numbers(numbers) => {
                facts.any(field, |found| matches!(found, Value::Number(number) if numbers.contains(&number)))
            }
            Self::Compare(comparison, limit) => {
                facts.any(field, |found| matches!(found, Value::Number(number) if comparison.holds(number, *limit)))
            }
            Self::Networks(networks) => facts.any(field, |found| match found {
                Value::Address(address) => networks.iter().any(|network| network.contains(&address)),
                _ => false,
            }),
            Self::StartsWith(start) => text(&|found| found.starts_with(&**start)),
            Self::EndsWith(end) => text(&|found| found.ends_with(&**end)),
            Self::Contains(part) => text(&|found| found.contains(&**part)),
            Self::Matches(pattern) => text(&|found| pattern.regex.is_match(found)),
        }
    }
}
