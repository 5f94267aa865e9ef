//! What is wrong with an expression, and where.

use std::fmt::{self, Write as _};
use std::ops::Range;

/// How much of a long line is shown on either side of the place.
const SHOWN: usize = 60;

/// An expression that has no meaning. Its text is a sentence, the line, carets under the place, and what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ParseError {
    message: String,
    hint: String,
    line: String,
    /// Characters of `line` before the place, and in it.
    place: (usize, usize),
    offset: usize,
}

impl ParseError {
    pub(crate) fn at(text: &str, span: Range<usize>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let offset = span.start.min(text.len());
        let start = text.get(..offset).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1);
        let end = text.get(offset..).and_then(|after| after.find('\n')).map_or(text.len(), |newline| offset + newline);
        let length = |range: Range<usize>| text.get(range).map_or(0, |part| part.chars().count());
        let before = length(start..offset);
        let within = length(offset..span.end.clamp(offset, end)).clamp(1, SHOWN);
        let skipped = before.saturating_sub(SHOWN);
        let shown = text.get(start..end).unwrap_or_default().chars().skip(skipped).take(2 * SHOWN + within);
        let line = shown.map(|c| if c.is_control() { ' ' } else { c }).collect();
        Self { message: message.into(), hint: hint.into(), line, place: (before - skipped, within), offset }
    }

    /// What is wrong, in one sentence.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it; empty when there is nothing to say.
    #[must_use]
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// Where it is, in bytes from the beginning.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, within) = self.place;
        write!(f, "{}\n  {}\n  {}{}", self.message, self.line, " ".repeat(before), "^".repeat(within))?;
        if !self.hint.is_empty() {
            write!(f, "\n  {}", self.hint)?;
        }
        Ok(())
    }
}

/// The name that is nearest to one that is none, when one is near enough to be what was meant.
pub(crate) fn nearest(name: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let near = |candidate: String| {
        let most = (candidate.len().max(name.len()) / 3).clamp(1, 4);
        Some(distance(name, &candidate)).filter(|distance| *distance <= most).map(|distance| (distance, candidate))
    };
    names.filter_map(near).min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// Levenshtein's distance: how many characters are inserted, deleted or replaced.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, c) in left.chars().take(64).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (index, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(c != *other);
            diagonal = row[index + 1];
            row[index + 1] = replaced.min(row[index] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

/// `a, b or c`.
pub(crate) fn one_of(words: &[&str]) -> String {
    let mut text = String::new();
    for (index, word) in words.iter().enumerate() {
        let between = match index {
            0 => "",
            index if index + 1 == words.len() => " or ",
            _ => ", ",
        };
        let _ = write!(text, "{between}{word}");
    }
    text
}
