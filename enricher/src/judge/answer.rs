//! Verdicts of the engine as they stand on records.

use weir_policy::{Engine, Judgement, Outcome, Verdict as Said};
use weir_schemas::enriched::{Pending, Verdict};
use weir_schemas::partial::Answer;

/// The most policies that are listed where the end of a tier denies.
const SELECTING: usize = 8;

fn verdict(outcome: Outcome) -> Verdict {
    match outcome {
        Outcome::Allow => Verdict::Allow,
        Outcome::Deny => Verdict::Deny,
        Outcome::Unknown => Verdict::Unknown,
    }
}

/// That nothing can be said, and why.
pub(super) fn unknown(why: &str) -> Answer {
    Answer {
        verdict: Verdict::Unknown,
        reason: why.to_owned(),
        trace: Vec::new(),
        selecting: Vec::new(),
        pending: None,
    }
}

/// What an engine said, between pods of these namespaces.
pub(super) fn answer(engine: &Engine, judgement: &Judgement, [source, destination]: [&str; 2]) -> Answer {
    let trace = |said: &Said| {
        let entries = engine.entries(said, source, destination);
        entries.iter().map(ToString::to_string).collect()
    };
    let enforced = &judgement.enforced;
    let selecting = enforced.steps().flat_map(|step| engine.selecting(step)).map(|policy| policy.id.to_string());
    let mut selecting: Vec<String> = selecting.collect();
    selecting.sort_unstable();
    selecting.dedup();
    selecting.truncate(SELECTING);
    Answer {
        verdict: verdict(enforced.outcome),
        reason: enforced.reasons.to_string(),
        trace: trace(enforced),
        selecting,
        pending: judgement.pending.as_ref().map(|pending| Pending {
            verdict: verdict(pending.outcome),
            reason: pending.reasons.to_string(),
            trace: trace(pending),
        }),
    }
}

/// The same without what names policies and namespaces.
pub(super) fn without_names(answer: &Answer) -> Answer {
    let pending = answer.pending.as_ref();
    Answer {
        verdict: answer.verdict,
        reason: answer.reason.clone(),
        trace: Vec::new(),
        selecting: Vec::new(),
        pending: pending.map(|pending| Pending { trace: Vec::new(), ..pending.clone() }),
    }
}
