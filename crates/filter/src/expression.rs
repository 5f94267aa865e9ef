//! A parsed expression, and its canonical text.

use crate::field::{End, EndField, Field, Kind, Sameness};
use ipnet::IpNet;
use std::fmt::{self, Display};

/// An expression whose fields and values fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// The same answer for every flow.
    Always(bool),
    /// All of these hold; at least two, none of them an `All`.
    All(Vec<Expression>),
    /// One of these holds; at least two, none of them an `Any`.
    Any(Vec<Expression>),
    /// This does not hold; never a `Not`.
    Not(Box<Expression>),
    /// A test of one field.
    Test(Test),
}

/// A test of one field. It holds when it holds for one of the field's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// What is tested.
    pub subject: Subject,
    /// For what.
    pub check: Check,
}

/// What is tested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A field.
    Field(Field),
    /// The value of one label.
    Label(End, Box<str>),
}

/// What a value is tested for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// There is a value.
    Present,
    /// The text is one of these; at least one.
    Texts(Vec<Box<str>>),
    /// The number is one of these; at least one.
    Numbers(Vec<u64>),
    /// The number compares so.
    Compare(Comparison, u64),
    /// The address is in one of these; at least one, an address being a network of its own.
    Networks(Vec<IpNet>),
    /// The text starts so.
    StartsWith(Box<str>),
    /// The text ends so.
    EndsWith(Box<str>),
    /// The text holds this.
    Contains(Box<str>),
    /// The text matches a regular expression somewhere.
    Matches(Pattern),
}

/// How numbers compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
}

/// A regular expression that takes time in proportion to the text.
#[derive(Clone, Debug)]
pub struct Pattern {
    pub(crate) regex: regex::Regex,
}

impl Pattern {
    /// The most bytes that a compiled one may take.
    const SIZE_MOST: usize = 64 << 10;

    pub(crate) fn new(text: &str) -> Result<Self, regex::Error> {
        let regex = regex::RegexBuilder::new(text).size_limit(Self::SIZE_MOST).dfa_size_limit(1 << 20).build()?;
        Ok(Self { regex })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.regex.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

impl Comparison {
    /// How it is written.
    #[must_use]
    pub fn sign(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Greater => ">",
            Self::AtLeast => ">=",
        }
    }

    /// Whether a number compares so to a limit.
    #[must_use]
    pub fn holds(self, number: u64, limit: u64) -> bool {
        match self {
            Self::Less => number < limit,
            Self::AtMost => number <= limit,
            Self::Greater => number > limit,
            Self::AtLeast => number >= limit,
        }
    }
}

impl Expression {
    /// Whether the two reports of a connection are decided alike by this. With a name under a `not`, a report that knows
    /// less than the other may be selected where the other is not.
    #[must_use]
    pub fn sameness(&self) -> Sameness {
        self.sameness_under(false)
    }

    fn sameness_under(&self, negated: bool) -> Sameness {
        match self {
            Self::Always(_) => Sameness::Alike,
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().map(|part| part.sameness_under(negated)).max().unwrap_or(Sameness::Alike)
            }
            Self::Not(inner) => inner.sameness_under(!negated),
            Self::Test(test) => match test.subject.field().sameness() {
                Sameness::WhereKnown if negated => Sameness::OfReport,
                sameness => sameness,
            },
        }
    }

    /// This and that, flattened.
    pub(crate) fn and(self, other: Self) -> Self {
        match self {
            Self::All(mut parts) => {
                other.push_to(&mut parts, true);
                Self::All(parts)
            }
            first => {
                let mut parts = vec![first];
                other.push_to(&mut parts, true);
                Self::All(parts)
            }
        }
    }

    /// This or that, flattened.
    pub(crate) fn or(self, other: Self) -> Self {
        match self {
            Self::Any(mut parts) => {
                other.push_to(&mut parts, false);
                Self::Any(parts)
            }
            first => {
                let mut parts = vec![first];
                other.push_to(&mut parts, false);
                Self::Any(parts)
            }
        }
    }

    fn push_to(self, parts: &mut Vec<Self>, all: bool) {
        match self {
            Self::All(more) if all => parts.extend(more),
            Self::Any(more) if !all => parts.extend(more),
            other => parts.push(other),
        }
    }

    /// The opposite.
    pub(crate) fn negated(self) -> Self {
        match self {
            Self::Not(inner) => *inner,
            Self::Always(answer) => Self::Always(!answer),
            other => Self::Not(Box::new(other)),
        }
    }
}

impl Subject {
    /// The field that is looked at.
    #[must_use]
    pub fn field(&self) -> Field {
        match self {
            Self::Field(field) => *field,
            Self::Label(end, _) => Field::End(*end, EndField::Labels),
        }
    }

    /// Whether `value in subject` is how it is tested.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self, Self::Field(field) if field.is_list())
    }
}

impl Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(field) => field.fmt(f),
            Self::Label(end, key) => {
                write!(f, "{end}.labels[")?;
                quote(f, key)?;
                f.write_str("]")
            }
        }
    }
}

fn quote(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    use fmt::Write as _;
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            other => f.write_char(other)?,
        }
    }
    f.write_char('"')
}

/// A text as a value of a field: words stand as they are.
fn text(f: &mut fmt::Formatter<'_>, kind: Kind, value: &str) -> fmt::Result {
    if matches!(kind, Kind::Word(_) | Kind::Words(_)) { f.write_str(value) } else { quote(f, value) }
}

fn network(f: &mut fmt::Formatter<'_>, network: IpNet) -> fmt::Result {
    if network.prefix_len() == network.max_prefix_len() { network.addr().fmt(f) } else { network.fmt(f) }
}

/// Values after `==` when there is one, after `in` when there are several.
fn values<T>(
    f: &mut fmt::Formatter<'_>,
    values: &[T],
    equal: &str,
    within: &str,
    mut write: impl FnMut(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    if let [single] = values {
        write!(f, " {equal} ")?;
        return write(f, single);
    }
    write!(f, " {within} [")?;
    for (index, value) in values.iter().enumerate() {
        f.write_str(if index == 0 { "" } else { ", " })?;
        write(f, value)?;
    }
    f.write_str("]")
}

impl Test {
    /// Writes the test, or with `negated` its opposite; that is one text for the checks that have an own sign for it.
    fn write(&self, f: &mut fmt::Formatter<'_>, negated: bool) -> fmt::Result {
        let kind = self.subject.field().kind();
        let (equal, within) = if negated { ("!=", "not in") } else { ("==", "in") };
        match &self.check {
            Check::Texts(texts) if self.subject.is_list() => {
                for value in texts {
                    text(f, kind, value)?;
                }
                write!(f, " {within} {}", self.subject)
            }
            Check::Texts(texts) => {
                self.subject.fmt(f)?;
                values(f, texts, equal, within, |f, value| match self.subject {
                    Subject::Field(_) => text(f, kind, value),
                    Subject::Label(..) => quote(f, value),
                })
            }
            Check::Numbers(numbers) => {
                self.subject.fmt(f)?;
                values(f, numbers, equal, within, |f, number| match (kind, u8::try_from(*number)) {
                    (Kind::Protocol, Ok(number)) => f.write_str(&weir_flow::protocol::name(number)),
                    _ => number.fmt(f),
                })
            }
            Check::Networks(networks) => {
                self.subject.fmt(f)?;
                let block = networks.iter().any(|network| network.prefix_len() != network.max_prefix_len());
                let equal = if block { within } else { equal };
                values(f, networks, equal, within, |f, value| network(f, *value))
            }
            Check::Present if kind == Kind::Flag => {
                write!(f, "{}{}", if negated { "not " } else { "" }, self.subject)
            }
            other => {
                f.write_str(if negated { "not " } else { "" })?;
                other.write_plain(f, &self.subject)
            }
        }
    }
}

impl Check {
    fn write_plain(&self, f: &mut fmt::Formatter<'_>, subject: &Subject) -> fmt::Result {
        let (method, argument) = match self {
            Self::Compare(comparison, number) => return write!(f, "{subject} {} {number}", comparison.sign()),
            Self::StartsWith(text) => ("startsWith", &**text),
            Self::EndsWith(text) => ("endsWith", &**text),
            Self::Contains(text) => ("contains", &**text),
            Self::Matches(pattern) => ("matches", pattern.as_str()),
            Self::Present | Self::Texts(_) | Self::Numbers(_) | Self::Networks(_) => {
                return write!(f, "has({subject})");
            }
        };
        write!(f, "{subject}.{method}(")?;
        quote(f, argument)?;
        f.write_str(")")
    }
}

/// How tightly a part binds: what binds less than its place needs brackets.
fn binding(expression: &Expression) -> u8 {
    match expression {
        Expression::Any(_) => 0,
        Expression::All(_) => 1,
        Expression::Not(_) => 2,
        Expression::Always(_) | Expression::Test(_) => 3,
    }
}

fn part(f: &mut fmt::Formatter<'_>, expression: &Expression, least: u8) -> fmt::Result {
    if binding(expression) < least { write!(f, "({expression})") } else { expression.fmt(f) }
}

fn parts(f: &mut fmt::Formatter<'_>, expressions: &[Expression], between: &str, least: u8) -> fmt::Result {
    for (index, expression) in expressions.iter().enumerate() {
        f.write_str(if index == 0 { "" } else { between })?;
        part(f, expression, least)?;
    }
    Ok(())
}

impl Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always(answer) => answer.fmt(f),
            Self::Any(expressions) => parts(f, expressions, " or ", 1),
            Self::All(expressions) => parts(f, expressions, " and ", 2),
            Self::Not(inner) => match &**inner {
                Self::Test(test) => test.write(f, true),
                other => {
                    f.write_str("not ")?;
                    part(f, other, 3)
                }
            },
            Self::Test(test) => test.write(f, false),
        }
    }
}
