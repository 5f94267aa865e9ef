//! Entries of the audit for what commands do.

use weir_schemas::audit::Audit;
use weir_schemas::{EncodeError, encode, topics};
use weir_stream::NewRecord;

/// An act of a command, now, by whoever runs it.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    /// The command, e.g. `weir dlq retry`.
    pub(crate) command: &'static str,
    /// What it does, as [`Audit::action`].
    pub(crate) action: &'static str,
    /// To what.
    pub(crate) target: String,
    /// Why, in words.
    pub(crate) reason: String,
    /// Bytes concerned.
    pub(crate) bytes: u64,
    /// Documents concerned.
    pub(crate) documents: u64,
}

impl Act {
    /// The message for the audit's topic.
    pub(crate) fn message(self) -> Result<NewRecord, EncodeError> {
        let entry = Audit {
            at: jiff::Timestamp::now().as_millisecond(),
            action: self.action.to_owned(),
            target: self.target,
            reason: self.reason,
            bytes: self.bytes,
            documents: self.documents,
            by: format!("{} by {}", self.command, user()),
        };
        Ok(NewRecord::new(topics::AUDIT, entry.target.clone(), encode(&entry)?))
    }
}

/// User and host, as far as the environment and the kernel tell.
fn user() -> String {
    let user =
        ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let host = if host.is_empty() { "an unknown host" } else { host };
    format!("{}@{host}", user.as_deref().unwrap_or("unknown"))
}
