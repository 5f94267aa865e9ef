//! What policies say of a record's connections.

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// What policy says of a connection, as of the ticks of its samples.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Judgement {
    /// The enforced policies' verdict.
    pub verdict: Verdict,
    /// Why it is unknown; empty otherwise.
    pub reason: String,
    /// Policies and rules passed, `index|tier|policy|action|rule`, egress then ingress, in order.
    pub trace: Vec<String>,
    /// Where the end of a tier denies or may: the policies that select the end, sorted, at most 8. No one of them is what
    /// denies. From schema v2 on.
    #[serde(default)]
    pub selecting: Vec<String>,
    /// What it would be with the staged policies enforced; absent without staged policies that select either end.
    pub pending: Option<Pending>,
    /// How many samples it is of.
    pub samples: u64,
    /// Attempts that went otherwise, on connections opened after the verdict had held for the settle time.
    pub against: u64,
    /// Samples that went otherwise, at whatever time: with packets that came through though it says deny, or dropped as by
    /// a policy though it says allow. From schema v2 on.
    #[serde(default)]
    pub otherwise: u64,
}

/// A verdict of staged policies together with the enforced ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pending {
    /// The verdict.
    pub verdict: Verdict,
    /// Why it is unknown; empty otherwise.
    pub reason: String,
    /// Policies and rules passed, as in a judgement.
    pub trace: Vec<String>,
}

/// What policies decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The connection may be.
    Allow,
    /// The connection may not be.
    Deny,
    /// The policies known do not say.
    Unknown,
}

/// How what the packets showed fits what policy said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Explanation {
    /// No policy was asked.
    #[default]
    NotJudged,
    /// Allowed and flowed, or denied and dropped.
    AsJudged,
    /// At least three attempts inside the record went otherwise.
    Mismatch,
    /// Something went otherwise, but fewer attempts, or before the verdict had settled.
    Unexplained,
    /// The verdict, or what the packets showed, is unknown.
    Unknown,
}

impl Verdict {
    /// Its name on records and in filters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Unknown => "unknown",
        }
    }
}

impl Explanation {
    /// Its name on records and in filters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotJudged => "not_judged",
            Self::AsJudged => "as_judged",
            Self::Mismatch => "mismatch",
            Self::Unexplained => "unexplained",
            Self::Unknown => "unknown",
        }
    }
}

/// The tier of what no policy decided: nothing selected the end.
const NO_POLICY: &str = "__PROFILE__";

impl Judgement {
    /// Tier, policy and action of what decided it, in order: without rules that left it to the next tier, and without what no policy
    /// decided. Where the end of a tier decided, the policy is called `end of tier`.
    pub fn deciding(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        deciding(&self.trace)
    }
}

impl Pending {
    /// As [`Judgement::deciding`], with the staged policies.
    pub fn deciding(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        deciding(&self.trace)
    }
}

fn deciding(trace: &[String]) -> impl Iterator<Item = (&str, &str, &str)> {
    trace.iter().filter_map(|entry| {
        let mut parts = entry.split('|').skip(1);
        let (tier, policy, action) = (parts.next()?, parts.next()?, parts.next()?);
        (tier != NO_POLICY && action != "pass").then_some((tier, policy, action))
    })
}

impl<S> super::Enriched<S> {
    /// The policies that decided, of all answers, each once and sorted.
    #[must_use]
    pub fn rules(&self) -> Vec<&str> {
        each_once(self.judgements.iter().flat_map(Judgement::deciding).map(|(_, policy, _)| policy))
    }

    /// Their tiers.
    #[must_use]
    pub fn tiers(&self) -> Vec<&str> {
        each_once(self.judgements.iter().flat_map(Judgement::deciding).map(|(tier, ..)| tier))
    }

    /// The answers; none where they would say no more than that all is allowed and no policy decided it.
    #[must_use]
    pub fn telling_judgements(&self) -> &[Judgement] {
        let tells = |judgement: &Judgement| {
            judgement.verdict != Verdict::Allow || judgement.pending.is_some() || judgement.deciding().next().is_some()
        };
        if self.judgements.iter().any(tells) { &self.judgements } else { &[] }
    }

    /// Attempts that went otherwise than policies say, once they had settled.
    #[must_use]
    pub fn against(&self) -> u64 {
        let sum = self.judgements.iter().fold(0_u64, |sum, judgement| sum.saturating_add(judgement.against));
        sum.min(i64::MAX.unsigned_abs())
    }

    /// What the enforced policies say, each verdict once.
    #[must_use]
    pub fn verdicts(&self) -> Vec<&'static str> {
        each_once(self.judgements.iter().map(|judgement| judgement.verdict.name()))
    }

    /// What they would say with the staged ones, where there are such.
    #[must_use]
    pub fn pending_verdicts(&self) -> Vec<&'static str> {
        let pending = self.judgements.iter().filter_map(|judgement| judgement.pending.as_ref());
        each_once(pending.map(|pending| pending.verdict.name()))
    }
}

fn each_once<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut all: Vec<&str> = texts.collect();
    all.sort_unstable();
    all.dedup();
    all
}
