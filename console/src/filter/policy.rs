//! What is asked of policies.

use super::{FilterError, wrong};
use crate::row::Row;
use serde_json::{Value, json};

/// A verdict or an explanation that is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Of the enforced policies.
    Verdict(String),
    /// With the staged ones.
    Pending(String),
    Explanation(String),
}

pub(super) fn wanted(text: &str) -> Result<Wanted, FilterError> {
    match text {
        "allow" | "deny" | "unknown" => Ok(Wanted::Verdict(text.to_owned())),
        "pending:allow" | "pending:deny" => Ok(Wanted::Pending(text.trim_start_matches("pending:").to_owned())),
        "mismatch" | "unexplained" => Ok(Wanted::Explanation(text.to_owned())),
        _ => Err(wrong("policy", "write allow, deny, unknown, pending:allow, pending:deny, mismatch or unexplained")),
    }
}

impl Wanted {
    pub(super) fn is(&self, row: &Row) -> bool {
        row.policy.as_ref().is_some_and(|policy| match self {
            Self::Verdict(verdict) => policy.verdict.contains(verdict),
            Self::Pending(verdict) => policy.pending.contains(verdict),
            Self::Explanation(explanation) => policy.explanation == *explanation,
        })
    }

    pub(super) fn clause(&self) -> Value {
        match self {
            Self::Verdict(verdict) => json!({"term": {"weir.policy.verdict": verdict}}),
            Self::Pending(verdict) => json!({"term": {"weir.policy.pending": verdict}}),
            Self::Explanation(explanation) => json!({"term": {"weir.policy.explanation": explanation}}),
        }
    }
}
