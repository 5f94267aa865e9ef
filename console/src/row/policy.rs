//! What policies said of a flow.

use serde::{Deserialize as _, Serialize};
use serde_json::Value;
use weir_schemas::enriched::{Enriched, Judgement};

/// What policies said.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Policy {
    /// `allow`, `deny` and `unknown`; several where it changed, or where the flow is of several connections.
    pub verdict: Vec<String>,
    /// What they would say with the staged policies, where there are such.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<String>,
    /// The policies that decided; the end of a tier is one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// `as_judged`, `mismatch`, `unexplained` or `unknown`.
    pub explanation: String,
    /// Attempts that went otherwise.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub against: u64,
    /// The answers with their traces; none where all is allowed and no policy decided it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Judgement>,
    /// Answers that are not listed.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub answers_more: u64,
}

fn owned(texts: Vec<&str>) -> Vec<String> {
    texts.into_iter().map(ToOwned::to_owned).collect()
}

/// Of a record; nothing where nothing was judged.
pub(super) fn of_record(record: &Enriched) -> Option<Policy> {
    (!record.judgements.is_empty()).then(|| Policy {
        verdict: owned(record.verdicts()),
        pending: owned(record.pending_verdicts()),
        rules: owned(record.rules()),
        explanation: record.explanation.name().to_owned(),
        against: record.against(),
        answers: record.telling_judgements().to_vec(),
        answers_more: record.judgements_more,
    })
}

/// Of a document, by its `weir.policy` and `rule`.
pub(super) fn of_document(policy: &Value, rule: &Value) -> Option<Policy> {
    use super::document::{number, text, texts};
    let answers = policy["answers"].as_array().map(Vec::as_slice).unwrap_or_default();
    policy.is_object().then(|| Policy {
        verdict: texts(&policy["verdict"]),
        pending: texts(&policy["pending"]),
        rules: texts(&rule["name"]),
        explanation: text(&policy["explanation"]),
        against: number(&policy["against"]),
        answers: answers.iter().filter_map(|answer| Judgement::deserialize(answer).ok()).collect(),
        answers_more: number(&policy["answers_more"]),
    })
}
