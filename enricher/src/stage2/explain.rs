//! What policies said of a record, and how what its packets showed fits that.

use crate::merge::is_folded;
use std::cmp::Reverse;
use weir_flow::RecordSettings;
use weir_schemas::enriched::{Arrival, Explanation, Judgement, Verdict};
use weir_schemas::partial::Judged;

#[cfg(test)]
mod tests;

/// The most answers that a record lists.
const LISTED: usize = 4;
/// How many attempts it takes to hold that policies do not do what they say. One may be a race, two a repeat.
const ATTEMPTS: u64 = 3;

/// What a record says of policies.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// The answers that are listed.
    pub(super) judgements: Vec<Judgement>,
    /// How many are not.
    pub(super) more: u64,
    /// Whether that is a lower bound.
    pub(super) at_least: bool,
    pub(super) explanation: Explanation,
}

/// What is said by the answers of a record, which are in order.
pub(super) fn said(mut judged: Vec<Judged>) -> Said {
    let explanation = explanation(&judged);
    let all = judged.len();
    let at_least = judged.iter().any(is_folded);
    if all > LISTED {
        // What went against policies first, then what is denied, then what there was most of.
        judged.sort_by_key(|judged| {
            let denied = judged.answer.verdict == Verdict::Deny;
            (is_folded(judged), Reverse(judged.against), Reverse(denied), Reverse(judged.samples))
        });
        judged.truncate(LISTED);
        judged.sort_by(|a, b| a.answer.cmp(&b.answer));
    }
    let more = u64::try_from(all - judged.len()).unwrap_or(u64::MAX);
    Said { judgements: judged.iter().map(Judgement::from).collect(), more, at_least, explanation }
}

/// * `NotJudged`: there is no answer.
/// * `Mismatch`: at least three attempts went otherwise, on connections that were opened when the verdict had held for the
///   settle time.
/// * `Unexplained`: something else went otherwise.
/// * `Unknown`: nothing did, but some answer is unknown.
/// * `AsJudged`: everything else.
fn explanation(judged: &[Judged]) -> Explanation {
    let against = judged.iter().fold(0_u64, |sum, judged| sum.saturating_add(judged.against));
    if judged.is_empty() {
        Explanation::NotJudged
    } else if against >= ATTEMPTS {
        Explanation::Mismatch
    } else if judged.iter().any(|judged| judged.otherwise > 0) {
        Explanation::Unexplained
    } else if judged.iter().any(|judged| judged.answer.verdict == Verdict::Unknown) {
        Explanation::Unknown
    } else {
        Explanation::AsJudged
    }
}

/// `Never` is said only where the other report would be at this level: a level may be kept for allowed flows or for denied
/// ones alone, and the two reports need not have the same verdict.
pub(super) fn doubted(
    (arrival, reason): (Arrival, &'static str),
    level: u8,
    settings: &RecordSettings,
) -> (Arrival, &'static str) {
    let kept = |levels: &[weir_flow::Level]| levels.iter().any(|kept| kept.number() == level);
    if arrival == Arrival::Never && !(kept(&settings.levels_allowed) && kept(&settings.levels_denied)) {
        return (Arrival::Unknown, "level not kept for all flows");
    }
    (arrival, reason)
}
