//! From text to tokens.

use crate::error::ParseError;
use std::ops::Range;

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A name, a number, an address, a network: any run of letters, digits and `_ . : / -`.
    Word(String),
    /// A text in quotes, without them and with its escapes resolved.
    Text(String),
    /// One of the signs in [`SIGNS`].
    Sign(&'static str),
    /// The end.
    End,
}

/// Signs, the longer ones first.
const SIGNS: [&str; 15] = ["==", "!=", "<=", ">=", "&&", "||", "<", ">", "=", "!", "(", ")", "[", "]", ","];

/// A token and where it stands, in bytes.
#[derive(Clone, Debug)]
pub(crate) struct Spanned {
    pub(crate) token: Token,
    pub(crate) span: Range<usize>,
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '/' | '-')
}

/// The tokens of a part of `text`; the last one is the end. Errors show the whole text.
pub(crate) fn tokens(text: &str, part: Range<usize>) -> Result<Vec<Spanned>, ParseError> {
    let mut tokens = Vec::new();
    let mut at = part.start;
    while let Some(first) = text.get(at..part.end).and_then(|rest| rest.chars().next()) {
        let rest = text.get(at..part.end).unwrap_or_default();
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (token, length) = if first == '"' || first == '\'' {
            quoted(text, at, part.end)?
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            (Token::Sign(sign), sign.len())
        } else {
            let word: String = rest.chars().take_while(|c| is_word(*c)).collect();
            if word.is_empty() {
                let message = format!("{first:?} has no meaning here");
                return Err(ParseError::at(text, at..at + first.len_utf8(), message, "texts stand in quotes"));
            }
            let length = word.len();
            (Token::Word(word), length)
        };
        tokens.push(Spanned { token, span: at..at + length });
        at += length;
    }
    tokens.push(Spanned { token: Token::End, span: part.end..part.end });
    Ok(tokens)
}

/// A text in quotes that begins at `at`, and its length with them.
fn quoted(text: &str, at: usize, end: usize) -> Result<(Token, usize), ParseError> {
    let mut value = String::new();
    let quote = if text.get(at..).is_some_and(|rest| rest.starts_with('"')) { '"' } else { '\'' };
    let mut chars = text.get(at + 1..end).unwrap_or_default().char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((Token::Text(value), index + 2)),
            '\\' => match chars.next() {
                Some((_, escaped @ ('\\' | '"' | '\''))) => value.push(escaped),
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((next, other)) => {
                    let span = at + 1 + index..at + 1 + next + other.len_utf8();
                    let hint = r#"write \\ for a backslash, \" for a quote, \n or \t"#;
                    return Err(ParseError::at(text, span, format!("\\{other} is no escape"), hint));
                }
                None => break,
            },
            other => value.push(other),
        }
    }
    Err(ParseError::at(text, at..end, "this text does not end", format!("it ends with {quote}")))
}
