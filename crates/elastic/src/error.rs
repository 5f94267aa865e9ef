//! Errors, sorted by what the caller should do next.

use serde::Deserialize;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// Longest cause kept of an engine's answer, in characters.
pub(crate) const CAUSE_LIMIT: usize = 600;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The engine is busy (429): the same again, later and smaller.
    Retriable,
    /// The engine understood and refused: the same again is refused again.
    Rejected,
    /// Not reachable, too slow, failing (5xx) or not writable (a block): the same again when it is well.
    Unavailable,
    /// Not allowed: a person must act.
    Auth,
    /// The answer cannot be understood, or the settings cannot be used.
    Invalid,
}

impl ErrorKind {
    /// The kind's name as a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retriable => "retriable",
            Self::Rejected => "rejected",
            Self::Unavailable => "unavailable",
            Self::Auth => "auth",
            Self::Invalid => "invalid",
        }
    }
}

/// Why a request did not do what was asked.
#[derive(Clone, Debug)]
pub struct Error {
    /// What to do next.
    pub kind: ErrorKind,
    /// What was asked, e.g. `bulk`.
    pub operation: &'static str,
    /// The host that was asked; empty when none was.
    pub host: Arc<str>,
    /// HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// The engine's own name of the error (`index_not_found_exception` …); empty when it gave none.
    pub code: String,
    /// What happened, in the engine's or the network's words.
    pub cause: String,
    /// What a person can do about it; may be empty.
    pub hint: &'static str,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "elasticsearch {}", self.operation)?;
        if !self.host.is_empty() {
            write!(f, " at {}", self.host)?;
        }
        write!(f, ": {}", self.cause)?;
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl Error {
    /// Whether the engine says that what was named does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status == Some(404)
    }

    /// Whether an index or the cluster refuses writes for now: a read-only or flood-stage block.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        is_block(&self.code)
    }

    pub(crate) fn settings(cause: impl Into<String>, hint: &'static str) -> Self {
        Self {
            kind: ErrorKind::Invalid,
            operation: "settings",
            host: "".into(),
            status: None,
            code: String::new(),
            cause: cause.into(),
            hint,
        }
    }

    pub(crate) fn transport(operation: &'static str, host: &Arc<str>, error: &elasticsearch::Error) -> Self {
        let hint = if error.is_timeout() {
            "the engine is slow or unreachable; --elasticsearch-timeout sets the limit"
        } else {
            "check that it runs and that --elasticsearch names it"
        };
        Self {
            kind: ErrorKind::Unavailable,
            operation,
            host: host.clone(),
            status: None,
            code: String::new(),
            cause: shorten(&chain(error)),
            hint,
        }
    }

    pub(crate) fn invalid(
        operation: &'static str,
        host: &Arc<str>,
        status: Option<u16>,
        cause: impl Into<String>,
    ) -> Self {
        Self {
            kind: ErrorKind::Invalid,
            operation,
            host: host.clone(),
            status,
            code: String::new(),
            cause: cause.into(),
            hint: "is this an Elasticsearch or OpenSearch server?",
        }
    }

    /// Reads an answer whose status is not a success.
    pub(crate) fn answered(operation: &'static str, host: &Arc<str>, status: u16, body: &[u8]) -> Self {
        let (code, cause) = read_error(status, body);
        let (kind, hint) = sort(status, &code);
        Self { kind, operation, host: host.clone(), status: Some(status), code, cause, hint }
    }
}

/// Whether an error's name stands for a block that ends when disk is freed or a person lifts it.
#[must_use]
pub(crate) fn is_block(code: &str) -> bool {
    matches!(code, "cluster_block_exception" | "index_create_block_exception")
}

fn sort(status: u16, code: &str) -> (ErrorKind, &'static str) {
    if is_block(code) {
        return (ErrorKind::Unavailable, "the index is read-only: free disk (weir retention plan) or lift the block");
    }
    match status {
        401 => (ErrorKind::Auth, "check the user name, password or API key"),
        403 => (ErrorKind::Auth, "the user or API key lacks a privilege"),
        408 | 500..=599 => (ErrorKind::Unavailable, ""),
        413 => (ErrorKind::Rejected, "the request is larger than the engine's http.max_content_length"),
        429 => (ErrorKind::Retriable, ""),
        400..=499 => (ErrorKind::Rejected, ""),
        _ => (ErrorKind::Invalid, "is this an Elasticsearch or OpenSearch server?"),
    }
}

#[derive(Deserialize)]
struct Envelope {
    error: Value,
}

/// The engine's name of the error and its words, from `{"error": {"type": …, "reason": …}}` or `{"error": "…"}`.
fn read_error(status: u16, body: &[u8]) -> (String, String) {
    let Ok(Envelope { error }) = serde_json::from_slice::<Envelope>(body) else {
        let text = String::from_utf8_lossy(body);
        let text = text.trim();
        return (
            String::new(),
            shorten(&if text.is_empty() { format!("status {status}") } else { format!("status {status}: {text}") }),
        );
    };
    let code = error["type"].as_str().unwrap_or_default().to_owned();
    let reason = error["reason"].as_str().or(error.as_str()).unwrap_or_default();
    (
        code.clone(),
        shorten(
            &[format!("status {status}"), code.clone(), reason.to_owned()]
                .iter()
                .filter(|p| !p.is_empty())
                .cloned()
                .collect::<Vec<_>>()
                .join(": "),
        ),
    )
}

/// An error with all its sources: the outermost says "error sending request", the innermost why.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let words = inner.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = inner.source();
    }
    text
}

/// Cuts a text from outside to [`CAUSE_LIMIT`] characters.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(CAUSE_LIMIT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
