//! From tokens to an expression whose fields and values fit together.

use crate::error::{ParseError, one_of};
use crate::expression::{Check, Comparison, Expression, Pattern, Subject, Test};
use crate::field::{EndField, Field, Kind, Place};
use crate::lexer::{Spanned, Token, tokens};
use std::ops::Range;

mod literal;

/// The longest expression, in bytes.
pub const LENGTH_MOST: usize = 4096;
/// How deeply brackets and `not` may be nested. A search engine takes 30 levels, of which each of ours makes two at most.
pub const DEPTH_MOST: usize = 12;

const METHODS: [&str; 4] = ["startsWith", "endsWith", "contains", "matches"];

/// Parses an expression for a place where it is to be evaluated.
///
/// # Errors
/// What has no meaning: a name that is none or is not known there, a value that its field never has, a sign out of
/// place, too long or too deep a text. The error shows where.
pub fn parse(text: &str, place: Place) -> Result<Expression, ParseError> {
    parse_from(text, 0, place)
}

/// Parses what stands from `start` on; errors show the whole text.
pub(crate) fn parse_from(text: &str, start: usize, place: Place) -> Result<Expression, ParseError> {
    let mut parser = Parser::new(text, start..text.len(), place)?;
    if parser.peek().token == Token::End {
        return Err(parser.here("an expression is missing", r#"for example src.namespace == "shop""#));
    }
    let expression = parser.any(0)?;
    match &parser.peek().token {
        Token::End => Ok(expression),
        Token::Sign(")") => Err(parser.here("this bracket was never opened", "")),
        _ => Err(parser.here("the expression was over here", "join tests with and, or")),
    }
}

/// Parses the name of a field or of one label, as redaction takes them.
pub(crate) fn parse_subjects(text: &str, range: Range<usize>) -> Result<Vec<(Subject, Range<usize>)>, ParseError> {
    let mut parser = Parser::new(text, range, Place::Sample)?;
    let mut subjects = Vec::new();
    loop {
        let start = parser.peek().span.start;
        let word = parser.word("a field is missing", "for example src.pod, or src.labels[\"email\"]")?;
        let subject = parser.subject(&word.0, word.1)?;
        subjects.push((subject, start..parser.last_end));
        match parser.peek().token {
            Token::End => return Ok(subjects),
            Token::Sign(",") => parser.advance(),
            _ => return Err(parser.here("a comma is missing here", "")),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    place: Place,
    tokens: Vec<Spanned>,
    at: usize,
    /// Where the token before the next one ends.
    last_end: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, part: Range<usize>, place: Place) -> Result<Self, ParseError> {
        if text.len() > LENGTH_MOST {
            let message = format!("the expression has {} bytes", text.len());
            return Err(ParseError::at(text, 0..0, message, format!("at most {LENGTH_MOST} are taken")));
        }
        let last_end = part.start;
        Ok(Self { text, place, tokens: tokens(text, part)?, at: 0, last_end })
    }

    fn peek(&self) -> &Spanned {
        // The last token is the end, and nothing goes beyond it.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn peek_after(&self, count: usize) -> &Token {
        &self.tokens[(self.at + count).min(self.tokens.len() - 1)].token
    }

    fn advance(&mut self) {
        self.last_end = self.peek().span.end;
        self.at += 1;
    }

    fn error(&self, span: Range<usize>, message: impl Into<String>, hint: impl Into<String>) -> ParseError {
        ParseError::at(self.text, span, message, hint)
    }

    fn here(&self, message: impl Into<String>, hint: impl Into<String>) -> ParseError {
        self.error(self.peek().span.clone(), message, hint)
    }

    /// Takes the next token if it is one of these signs or words.
    fn takes(&mut self, wanted: &[&str]) -> bool {
        let found = match &self.peek().token {
            Token::Sign(sign) => wanted.contains(sign),
            Token::Word(word) => wanted.contains(&word.as_str()),
            Token::Text(_) | Token::End => false,
        };
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, sign: &'static str, hint: &str) -> Result<(), ParseError> {
        if self.takes(&[sign]) { Ok(()) } else { Err(self.here(format!("{sign} is missing here"), hint)) }
    }

    fn word(&mut self, message: &str, hint: &str) -> Result<(String, Range<usize>), ParseError> {
        let Spanned { token: Token::Word(word), span } = self.peek().clone() else {
            return Err(self.here(message, hint));
        };
        self.advance();
        Ok((word, span))
    }

    fn any(&mut self, depth: usize) -> Result<Expression, ParseError> {
        let mut expression = self.all(depth)?;
        while self.takes(&["or", "||"]) {
            expression = expression.or(self.all(depth)?);
        }
        Ok(expression)
    }

    fn all(&mut self, depth: usize) -> Result<Expression, ParseError> {
        let mut expression = self.not(depth)?;
        while self.takes(&["and", "&&"]) {
            expression = expression.and(self.not(depth)?);
        }
        Ok(expression)
    }

    fn not(&mut self, depth: usize) -> Result<Expression, ParseError> {
        if depth > DEPTH_MOST {
            return Err(self.here("brackets and not are nested too deeply", format!("{DEPTH_MOST} levels are taken")));
        }
        let opens = self.peek().span.clone();
        if self.takes(&["not", "!"]) {
            return Ok(self.not(depth + 1)?.negated());
        }
        if self.takes(&["("]) {
            let inner = self.any(depth + 1)?;
            if !self.takes(&[")"]) {
                return Err(match self.peek().token {
                    Token::End => self.error(opens, "this bracket is never closed", ""),
                    _ => self.here("the bracket should close here", "join tests with and, or"),
                });
            }
            return Ok(inner);
        }
        self.test()
    }

    fn test(&mut self) -> Result<Expression, ParseError> {
        let Spanned { token, span } = self.peek().clone();
        match token {
            Token::Text(_) => self.membership(),
            Token::Word(word) if self.names_a_list_after_in() && Field::find(&word).is_none() => self.membership(),
            Token::Word(word) => {
                self.advance();
                match word.as_str() {
                    "true" => Ok(Expression::Always(true)),
                    "false" => Ok(Expression::Always(false)),
                    "has" => self.has(),
                    _ => self.about(&word, span),
                }
            }
            Token::End => Err(self.here("a test is missing here", r#"for example dst.port == 443"#)),
            Token::Sign(_) => Err(self.here("a test should begin here", "a test begins with a field, such as src.pod")),
        }
    }

    /// Whether what follows is `… in list` or `… not in list`.
    fn names_a_list_after_in(&self) -> bool {
        let word = |count: usize| match self.peek_after(count) {
            Token::Word(word) => word.as_str(),
            _ => "",
        };
        let list = if word(1) == "not" { 3 } else { 2 };
        word(list - 1) == "in" && Field::find(word(list)).is_some_and(Field::is_list)
    }

    /// `value in list`.
    fn membership(&mut self) -> Result<Expression, ParseError> {
        let value = self.peek().clone();
        self.advance();
        let negated = self.takes(&["not"]);
        if !self.takes(&["in"]) {
            return Err(self.error(value.span, "a test begins with a field", r#"or is "app=cart" in src.labels"#));
        }
        let (word, span) = self.word("a list is missing here", "for example src.labels")?;
        let subject = self.subject(&word, span.clone())?;
        if !subject.is_list() {
            let hint = format!("write {subject} == …");
            return Err(self.error(span, format!("{subject} is no list"), hint));
        }
        let literal = self.text_literal(&value, &subject)?;
        Ok(outcome(subject, Check::Texts(vec![literal]), negated))
    }

    fn has(&mut self) -> Result<Expression, ParseError> {
        self.expect("(", "write has(src.pod)")?;
        let (word, span) = self.word("a field is missing here", "write has(src.pod)")?;
        let subject = self.subject(&word, span.clone())?;
        if subject.field().kind() == Kind::Flag {
            return Err(self.error(span, format!("{subject} is a test by itself"), format!("write {subject}")));
        }
        self.expect(")", "write has(src.pod)")?;
        Ok(outcome(subject, Check::Present, false))
    }

    /// A field by its name, or a label if it goes on so.
    fn subject(&mut self, word: &str, span: Range<usize>) -> Result<Subject, ParseError> {
        let Some(field) = Field::find(word) else {
            let hint = Field::nearest(word, self.place).map_or_else(
                || "the fields are listed in docs/filters.md".to_owned(),
                |name| format!("did you mean {name}?"),
            );
            return Err(self.error(span, format!("there is no field {word}"), hint));
        };
        if !field.is_known(self.place) {
            return Err(self.error(
                span,
                format!("{field} is not known of {}", self.place),
                "docs/filters.md says where each field is known",
            ));
        }
        if !self.takes(&["["]) {
            return Ok(Subject::Field(field));
        }
        let Field::End(end, EndField::Labels) = field else {
            return Err(self.error(span, format!("{field} has no keys"), "only labels have: src.labels[\"app\"]"));
        };
        let key = match self.peek().token.clone() {
            Token::Text(key) if !key.is_empty() && !key.contains('=') => key,
            _ => return Err(self.here("the key of a label should stand here", "write src.labels[\"app\"]")),
        };
        self.advance();
        self.expect("]", "write src.labels[\"app\"]")?;
        Ok(Subject::Label(end, key.into()))
    }

    /// A test that begins with a field.
    fn about(&mut self, word: &str, span: Range<usize>) -> Result<Expression, ParseError> {
        if let (Some((name, method)), Token::Sign("(")) = (word.rsplit_once('.'), &self.peek().token)
            && !name.is_empty()
        {
            let middle = span.start + name.len();
            let subject = self.subject(name, span.start..middle)?;
            return self.method(subject, method, middle + 1..span.end);
        }
        if matches!(self.peek().token, Token::Sign("(")) {
            let hint = format!("the functions are has(field) and field.{}", METHODS.join("(…), field.") + "(…)");
            return Err(self.error(span, format!("there is no function {word}"), hint));
        }
        let subject = self.subject(word, span.clone())?;
        if let Some(name) = self.peek_method() {
            // `src.labels["app"].startsWith(…)`: the method is a word of its own, with its dot.
            let at = self.peek().span.clone();
            self.advance();
            return self.method(subject, &name, at);
        }
        self.compared(subject, span)
    }

    fn peek_method(&self) -> Option<String> {
        match &self.peek().token {
            Token::Word(word) => word.strip_prefix('.').map(ToOwned::to_owned),
            _ => None,
        }
    }

    fn method(&mut self, subject: Subject, method: &str, span: Range<usize>) -> Result<Expression, ParseError> {
        if !METHODS.contains(&method) {
            let near = crate::error::nearest(method, METHODS.iter().map(|name| (*name).to_owned()));
            let hint = near.map_or_else(|| one_of(&METHODS), |name| format!("did you mean {name}?"));
            return Err(self.error(span, format!("there is no test {method}"), hint));
        }
        if !matches!(subject.field().kind(), Kind::Text | Kind::Texts) {
            let message = format!("{subject} is no text");
            return Err(self.error(span, message, "compare it: ==, !=, in"));
        }
        self.expect("(", "write src.pod.startsWith(\"web-\")")?;
        let argument = self.peek().clone();
        let text = match argument.token {
            Token::Text(text) if !text.is_empty() => text,
            _ => return Err(self.here("a text in quotes should stand here", format!("{method}(\"web\")"))),
        };
        self.advance();
        let check = match method {
            "startsWith" => Check::StartsWith(text.into()),
            "endsWith" => Check::EndsWith(text.into()),
            "contains" => Check::Contains(text.into()),
            _ => self.pattern(&text, argument.span)?,
        };
        self.expect(")", "")?;
        Ok(outcome(subject, check, false))
    }

    fn pattern(&self, text: &str, span: Range<usize>) -> Result<Check, ParseError> {
        if self.place == Place::Search {
            let hint =
                "a search engine's regular expressions are others; startsWith, endsWith and contains can be searched";
            return Err(self.error(span, "matches cannot be searched", hint));
        }
        Pattern::new(text).map(Check::Matches).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => self.error(span, "this regular expression is too large", ""),
            other => {
                let text = other.to_string();
                let cause = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                self.error(span, "this is no regular expression", cause)
            }
        })
    }

    /// What stands after a field: nothing for a flag, else a sign and values.
    fn compared(&mut self, subject: Subject, span: Range<usize>) -> Result<Expression, ParseError> {
        let kind = subject.field().kind();
        let sign = self.peek().clone();
        if kind == Kind::Flag {
            return match sign.token {
                Token::Sign("==" | "!=" | "=" | "<" | "<=" | ">" | ">=") => {
                    Err(self.error(sign.span, format!("{subject} is a test by itself"), format!("write {subject}")))
                }
                _ => Ok(outcome(subject, Check::Present, false)),
            };
        }
        if subject.is_list() {
            return Err(self.error(
                span,
                format!("{subject} is a list"),
                format!("write \"…\" in {subject}, or has({subject})"),
            ));
        }
        if self.takes(&["not"]) {
            if !self.takes(&["in"]) {
                return Err(self.here("in is missing here", "write not in […]"));
            }
            return Ok(outcome(subject.clone(), self.set(&subject)?, true));
        }
        if self.takes(&["in"]) {
            return Ok(outcome(subject.clone(), self.set(&subject)?, false));
        }
        let Token::Sign(written) = sign.token else {
            return Err(self.here("a comparison is missing here", "==, !=, in, or <, <=, >, >= for numbers"));
        };
        self.advance();
        let comparison = match written {
            "==" => return Ok(outcome(subject.clone(), self.single(&subject)?, false)),
            "!=" => return Ok(outcome(subject.clone(), self.single(&subject)?, true)),
            "<" => Comparison::Less,
            "<=" => Comparison::AtMost,
            ">" => Comparison::Greater,
            ">=" => Comparison::AtLeast,
            "=" => return Err(self.error(sign.span, "= means nothing", "write == to compare")),
            _ => return Err(self.error(sign.span, "a comparison is missing here", "==, !=, in, <, <=, >, >=")),
        };
        if !matches!(kind, Kind::Number(_) | Kind::Bytes) || matches!(subject, Subject::Label(..)) {
            return Err(self.error(sign.span, format!("{subject} has no order"), "write ==, != or in"));
        }
        let literal = self.literal()?;
        let number = self.number_literal(&literal, &subject)?;
        Ok(outcome(subject, Check::Compare(comparison, number), false))
    }
}

fn outcome(subject: Subject, check: Check, negated: bool) -> Expression {
    let test = Expression::Test(Test { subject, check });
    if negated { test.negated() } else { test }
}
