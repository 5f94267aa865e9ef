//! What an error tells the person who sees it: one line with the chain of causes, a hint where there is something to
//! do, and the exit code.

#[cfg(test)]
mod tests;

use std::error::Error;
use std::fmt;

use anyhow::anyhow;

use crate::settings::SettingsError;

/// Exit code of any error at run time.
pub const EXIT_RUNTIME: u8 = 1;
/// Exit code of wrong usage or settings.
pub const EXIT_USAGE: u8 = 2;
/// Exit code when logging or telemetry cannot start.
pub const EXIT_TELEMETRY: u8 = 64;

/// An error with something added that is not part of its message.
#[derive(Debug)]
struct Annotated {
    error: anyhow::Error,
    hint: Option<String>,
    exit_code: Option<u8>,
}

impl fmt::Display for Annotated {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, formatter)
    }
}

impl Error for Annotated {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.chain().nth(1)
    }
}

/// Adds a hint or an exit code to an error, without changing its message.
pub trait HintExt<T> {
    /// Adds what a person can do about the error; printed on a line of its own.
    ///
    /// # Errors
    /// The error of `self`.
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T>;

    /// Makes the process end with this code.
    ///
    /// # Errors
    /// The error of `self`.
    fn exit_code(self, code: u8) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> HintExt<T> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| anyhow!(Annotated { error: error.into(), hint: Some(hint.into()), exit_code: None }))
    }

    fn exit_code(self, code: u8) -> anyhow::Result<T> {
        self.map_err(|error| anyhow!(Annotated { error: error.into(), hint: None, exit_code: Some(code) }))
    }
}

/// Visits the errors of the chain from the outside in, looking into annotations, until one gives an answer.
fn find<R>(error: &anyhow::Error, visit: &dyn Fn(&(dyn Error + 'static)) -> Option<R>) -> Option<R> {
    for link in error.chain() {
        if let Some(found) = visit(link) {
            return Some(found);
        }
        if let Some(annotated) = link.downcast_ref::<Annotated>() {
            // The rest of the chain is the annotated error's own chain.
            return find(&annotated.error, visit);
        }
    }
    None
}

/// The outermost hint of an error.
#[must_use]
pub fn hint_of(error: &anyhow::Error) -> Option<String> {
    find(error, &|link| {
        if let Some(annotated) = link.downcast_ref::<Annotated>() {
            return annotated.hint.clone();
        }
        link.downcast_ref::<SettingsError>().and_then(SettingsError::hint)
    })
}

/// The exit code for an error.
#[must_use]
pub fn exit_code_of(error: &anyhow::Error) -> u8 {
    find(error, &|link| {
        if let Some(annotated) = link.downcast_ref::<Annotated>() {
            return annotated.exit_code;
        }
        link.is::<SettingsError>().then_some(EXIT_USAGE)
    })
    .unwrap_or(EXIT_RUNTIME)
}

/// What is printed on standard error: `error: what: why` and, where there is one, `hint: what to do`.
#[must_use]
pub fn report(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error:#}");
    if let Some(hint) = hint_of(error) {
        text.push_str("\nhint: ");
        text.push_str(&hint);
    }
    text
}
