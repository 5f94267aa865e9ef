//! Rules: what becomes of the samples that an expression selects.

use crate::error::ParseError;
use crate::evaluate::Facts;
use crate::expression::{Expression, Subject};
use crate::field::{End, EndField, Field, Place, Sameness};
use crate::parser::{parse, parse_from, parse_subjects};
use weir_flow::settings::{FilterAction, FilterRule};

/// The most flows that one may stand for.
const SAMPLE_MOST: u32 = 1_000_000;

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Taken as it is.
    Keep,
    /// Left out.
    Drop,
    /// One flow in so many is taken, at least 1, and its counters are multiplied.
    Sample(u32),
    /// Taken with these emptied.
    Redact(Vec<Subject>),
}

/// An expression and what becomes of what it selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it selects.
    pub expression: Expression,
    /// What becomes of it.
    pub action: Action,
}

/// Rules in order: the first that selects a sample decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Rule>,
    reports: Option<Sameness>,
}

/// A rule that has no meaning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter {number}: {error}")]
pub struct RuleError {
    /// Which, the first being 1.
    pub number: usize,
    /// What is wrong with it.
    pub error: ParseError,
}

impl Rules {
    /// Compiles the rules of settings.
    ///
    /// # Errors
    /// The first that has no meaning.
    pub fn compile(rules: &[FilterRule]) -> Result<Self, RuleError> {
        let compiled =
            |(index, rule): (usize, &FilterRule)| compile(rule).map_err(|error| RuleError { number: index + 1, error });
        let rules: Vec<Rule> = rules.iter().enumerate().map(compiled).collect::<Result<_, _>>()?;
        Ok(Self { reports: reports(&rules), rules })
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What becomes of a sample; what no rule selects is kept.
    pub fn decide(&self, facts: &impl Facts) -> &Action {
        self.rules.iter().find(|rule| rule.expression.holds(facts)).map_or(&Action::Keep, |rule| &rule.action)
    }

    /// Whether both reports of a connection are left out, or neither is; nothing when no rule leaves anything out.
    #[must_use]
    pub fn reports(&self) -> Option<Sameness> {
        self.reports
    }
}

/// A rule that leaves something out does so by its own expression, and by those before it that did not select. Those count
/// as under a `not`.
fn reports(rules: &[Rule]) -> Option<Sameness> {
    let leaves_out = |rule: &Rule| matches!(rule.action, Action::Drop | Action::Sample(2..));
    let last = rules.iter().rposition(leaves_out)?;
    let of = |rule: &Rule| {
        let sameness = rule.expression.sameness();
        // A report that knows less is dropped where another rule would have kept or thinned it.
        if sameness == Sameness::WhereKnown && rule.action != Action::Drop { Sameness::OfReport } else { sameness }
    };
    rules.get(..=last)?.iter().map(of).max()
}

fn compile(rule: &FilterRule) -> Result<Rule, ParseError> {
    let action = match &rule.action {
        FilterAction::Keep => Action::Keep,
        FilterAction::Drop => Action::Drop,
        FilterAction::Sample(factor) => Action::Sample((*factor).max(1)),
        FilterAction::Redact(fields) => {
            let subjects: Result<Vec<_>, _> = fields.iter().map(|field| redacted(field, 0..field.len())).collect();
            Action::Redact(subjects?.into_iter().flatten().collect())
        }
    };
    Ok(Rule { expression: parse(&rule.expression, Place::Sample)?, action })
}

fn redacted(text: &str, range: std::ops::Range<usize>) -> Result<Vec<Subject>, ParseError> {
    let subjects = parse_subjects(text, range)?;
    let refused = subjects.iter().find(|(subject, _)| match subject.field() {
        Field::End(_, field) => !field.can_be_redacted(),
        Field::Flow(_) => true,
    });
    if let Some((subject, span)) = refused {
        let fields: Vec<String> = EndField::ALL
            .into_iter()
            .filter(|field| field.can_be_redacted())
            .map(|field| Field::End(End::Source, field).to_string())
            .collect();
        let hint = format!("of src and of dst: {}", fields.join(", ").replace("src.", ""));
        return Err(ParseError::at(text, span.clone(), format!("{subject} cannot be redacted"), hint));
    }
    Ok(subjects.into_iter().map(|(subject, _)| subject).collect())
}

/// Reads a rule as people write it: `drop: EXPRESSION`, `keep: …`, `sample 10: …`, `redact src.pod, src.address: …`.
///
/// # Errors
/// What has no meaning, and where.
pub fn parse_rule(text: &str) -> Result<FilterRule, ParseError> {
    let hint = "write keep: …, drop: …, sample 10: … or redact src.address, src.pod: …";
    let whole = || 0..text.len();
    let colon = colon(text)
        .ok_or_else(|| ParseError::at(text, whole(), "a rule is an action, a colon and an expression", hint))?;
    let head = text.get(..colon).unwrap_or_default();
    let start = head.len() - head.trim_start().len();
    let (name, rest) = head.trim().split_once(char::is_whitespace).unwrap_or((head.trim(), ""));
    let rest = rest.trim();
    let at_head = |message: String| ParseError::at(text, start..start + head.trim().len().max(1), message, hint);
    let action = match (name, rest) {
        ("keep", "") => FilterAction::Keep,
        ("drop", "") => FilterAction::Drop,
        ("sample", factor) => match factor.parse::<u32>() {
            Ok(factor) if (1..=SAMPLE_MOST).contains(&factor) => FilterAction::Sample(factor),
            _ => return Err(at_head(format!("one in how many, from 1 to {SAMPLE_MOST}, is missing"))),
        },
        ("redact", _) => {
            let from = start + name.len();
            FilterAction::Redact(redacted(text, from..colon)?.iter().map(ToString::to_string).collect())
        }
        _ => return Err(at_head(format!("{:?} is no action", head.trim()))),
    };
    parse_from(text, colon + 1, Place::Sample)?;
    let expression = text.get(colon + 1..).unwrap_or_default().trim().to_owned();
    Ok(FilterRule { expression, action })
}

/// The first colon that is in no quotes.
fn colon(text: &str) -> Option<usize> {
    let mut quote = None;
    text.char_indices().find_map(|(index, c)| {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == ':' => return Some(index),
            _ => {}
        }
        None
    })
}
