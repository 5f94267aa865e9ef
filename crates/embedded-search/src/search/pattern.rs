//! Wildcard patterns, and the words of a text.

/// A wildcard pattern: `*`, `?` and `\` before a character that means itself.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    parts: Vec<Part>,
    insensitive: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Any,
    One,
    Char(char),
}

impl Pattern {
    pub(super) fn new(text: &str, insensitive: bool) -> Self {
        let mut parts = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let part = match c {
                '*' => Part::Any,
                '?' => Part::One,
                '\\' => Part::Char(chars.next().unwrap_or('\\')),
                other => Part::Char(other),
            };
            if part != Part::Any || parts.last() != Some(&Part::Any) {
                parts.push(part);
            }
        }
        Self { parts, insensitive }
    }

    /// A pattern that matches exactly one text, or all that start with it.
    pub(super) fn literal(text: &str, prefix: bool, insensitive: bool) -> Self {
        let parts = text.chars().map(Part::Char).chain(prefix.then_some(Part::Any)).collect();
        Self { parts, insensitive }
    }

    /// Whether a text matches; takes time in proportion to pattern times text at worst.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let chars: Vec<char> = text.chars().collect();
        let same = |left: char, right: char| {
            left == right || (self.insensitive && left.to_lowercase().eq(right.to_lowercase()))
        };
        let (mut at, mut part) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        while at < chars.len() {
            let fits = match self.parts.get(part) {
                Some(Part::Any) => {
                    retry = Some((part + 1, at));
                    part += 1;
                    continue;
                }
                Some(Part::One) => true,
                Some(Part::Char(wanted)) => same(*wanted, chars[at]),
                None => false,
            };
            if fits {
                at += 1;
                part += 1;
            } else if let Some((after, from)) = retry {
                part = after;
                at = from + 1;
                retry = Some((after, from + 1));
            } else {
                return false;
            }
        }
        self.parts[part.min(self.parts.len())..].iter().all(|part| *part == Part::Any)
    }
}

/// The words of a text: lowercase runs of letters and digits.
pub(crate) fn words_of(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}
