//! What policies said, as fields of a document.
//!
//! What is searched for stands in short lists; which trace belongs to which answer is only in the answers themselves, which
//! are kept but not indexed. They are left out where they would say no more: all is allowed, and no policy decided it.

use serde::Serialize;
use weir_schemas::enriched::{Enriched, Explanation, Judgement};

/// ECS `rule`: which policies decided.
#[derive(Serialize)]
pub(super) struct Rule<'a> {
    name: Vec<&'a str>,
    ruleset: Vec<&'a str>,
}

impl<'a> Rule<'a> {
    pub(super) fn of<S>(record: &'a Enriched<S>) -> Option<Self> {
        if record.judgements.is_empty() {
            return None;
        }
        let name = record.rules();
        (!name.is_empty()).then(|| Self { name, ruleset: record.tiers() })
    }
}

/// What policies said.
#[derive(Serialize)]
pub(super) struct Policy<'a> {
    verdict: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pending: Vec<&'static str>,
    explanation: &'static str,
    #[serde(skip_serializing_if = "super::is_false")]
    mismatch: bool,
    #[serde(skip_serializing_if = "super::is_zero")]
    against: u64,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    answers: &'a [Judgement],
    #[serde(skip_serializing_if = "super::is_zero")]
    answers_more: u64,
}

impl<'a> Policy<'a> {
    /// Nothing where nothing was judged.
    pub(super) fn of<S>(record: &'a Enriched<S>) -> Option<Self> {
        if record.judgements.is_empty() {
            return None;
        }
        Some(Self {
            verdict: record.verdicts(),
            pending: record.pending_verdicts(),
            explanation: record.explanation.name(),
            mismatch: record.explanation == Explanation::Mismatch,
            against: record.against(),
            answers: record.telling_judgements(),
            answers_more: record.judgements_more,
        })
    }
}
