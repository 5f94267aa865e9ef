//! How a verdict came about: steps, and their form in five parts.

use crate::engine::{Engine, Outcome, Verdict};
use crate::model::{Action, Direction, Foreign, Policy, PolicyKind, Tier};
use std::fmt;
use thiserror::Error;

#[cfg(test)]
mod tests;

/// A step of a verdict. The numbers of policies are the engine's, as long as its policies do not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Of which side.
    pub direction: Direction,
    /// What there was.
    pub hit: Hit,
}

/// What there was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hit {
    /// A rule that matched: the rules before it did not.
    Rule {
        /// The policy.
        policy: u32,
        /// Which of its rules for the direction, from 0.
        rule: u32,
        /// What the rule does.
        action: Action,
        /// Whether it certainly matches.
        certain: bool,
    },
    /// A policy of which no rule matched.
    NoRule {
        /// The policy.
        policy: u32,
        /// Whether it certainly selects the end.
        certain: bool,
    },
    /// `NetworkPolicy` objects select the end, and none allows it: the default deny, which is no policy's own.
    EndOfTier {
        /// The policies that select the end.
        policies: Box<[u32]>,
        /// Whether it certainly comes to this.
        certain: bool,
    },
    /// No policy decided: Kubernetes' default, which allows.
    NoPolicy,
    /// Traffic between a pod and its own node, which a `NetworkPolicy` does not hold back.
    OwnNode {
        /// Whether it certainly is.
        certain: bool,
    },
    /// Traffic of a pod to itself.
    Itself,
    /// Policies that may select and cannot be evaluated.
    Foreign {
        /// The first of them, at most [`FOREIGN_NAMED`].
        policies: Box<[Foreign]>,
        /// How many there are besides.
        more: usize,
    },
}

/// A step with the names of what it is about.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// The policy, of a rule or of a policy without a matching one.
    pub policy: Option<&'a Policy>,
    /// The name of the rule; empty without.
    pub rule_name: &'a str,
}

impl Engine {
    /// The names that belong to a step of a verdict that this engine gave, with the policies that it has now.
    #[must_use]
    pub fn named(&self, step: &Step) -> Named<'_> {
        let (policy, rule) = match step.hit {
            Hit::Rule { policy, rule, .. } => (self.policy_of(policy), Some(rule)),
            Hit::NoRule { policy, .. } => (self.policy_of(policy), None),
            _ => (None, None),
        };
        let rules = policy.and_then(|policy| policy.rules(step.direction));
        let rule = rules.zip(rule).and_then(|(rules, rule)| rules.get(crate::bits::index(rule)));
        Named { policy, rule_name: rule.map(|rule| rule.name.as_str()).unwrap_or_default() }
    }

    /// The policies that select an end of the default deny of a step.
    pub fn selecting<'a>(&'a self, step: &'a Step) -> impl Iterator<Item = &'a Policy> {
        let numbers: &[u32] = match &step.hit {
            Hit::EndOfTier { policies, .. } => policies,
            _ => &[],
        };
        numbers.iter().filter_map(|number| self.policy_of(*number))
    }

    /// What decided, in five parts each, in order: rules that matched, the end of a tier, or that no policy selects. `source` and
    /// `destination` are the ends' namespaces, empty for what has none.
    #[must_use]
    pub fn entries(&self, verdict: &Verdict, source: &str, destination: &str) -> Vec<Entry> {
        let mut entries = Vec::new();
        for step in verdict.steps() {
            let namespace = match step.direction {
                Direction::Egress => source,
                Direction::Ingress => destination,
            };
            let Some((tier, policy, action, rule)) = self.parts(step, namespace) else { continue };
            let index = u32::try_from(entries.len()).unwrap_or(u32::MAX);
            entries.push(Entry { index, tier, policy, action, rule: Some(rule) });
        }
        entries
    }

    fn parts(&self, step: &Step, namespace: &str) -> Option<(String, String, EntryAction, i32)> {
        let profile = || ("__PROFILE__".to_owned(), format!("__PROFILE__.kns.{namespace}"), EntryAction::Allow, 0);
        Some(match &step.hit {
            Hit::Rule { policy, rule, action, certain } => {
                let policy = self.policy_of(*policy)?;
                let action = match action {
                    _ if !certain => EntryAction::Unknown,
                    Action::Allow => EntryAction::Allow,
                    Action::Deny => EntryAction::Deny,
                    Action::Pass => EntryAction::Pass,
                };
                (tier_name(policy).to_owned(), policy_name(policy), action, i32::try_from(*rule).unwrap_or(i32::MAX))
            }
            Hit::EndOfTier { certain, .. } => {
                let action = if *certain { EntryAction::Deny } else { EntryAction::Unknown };
                ("default".to_owned(), END_OF_TIER.to_owned(), action, -1)
            }
            Hit::NoPolicy => profile(),
            Hit::OwnNode { certain } => {
                let action = if *certain { EntryAction::Allow } else { EntryAction::Unknown };
                ("default".to_owned(), OWN_NODE.to_owned(), action, -1)
            }
            Hit::Foreign { policies, more } => {
                let names = foreign_names(policies, *more).replace('|', "/");
                ("unknown".to_owned(), names, EntryAction::Unknown, -2)
            }
            Hit::Itself | Hit::NoRule { .. } => return None,
        })
    }
}

/// The most policies that cannot be evaluated of which a step holds the names: a cluster may have very many.
pub const FOREIGN_NAMED: usize = 8;

/// The names of policies that cannot be evaluated, and how many there are besides.
#[must_use]
pub fn foreign_names(policies: &[Foreign], more: usize) -> String {
    let names: Vec<String> = policies.iter().map(ToString::to_string).collect();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    names.join(", ") + &more
}

/// The policy's name where the default of a tier decided.
pub const END_OF_TIER: &str = "end of tier";
/// The policy's name where traffic between a pod and its own node was let through.
pub const OWN_NODE: &str = "own node";

fn tier_name(policy: &Policy) -> &'static str {
    match (policy.id.kind, policy.tier) {
        (PolicyKind::NetworkPolicy, _) | (_, Tier::NetworkPolicy) => "default",
        (PolicyKind::AdminNetworkPolicy, _) => "adminnetworkpolicy",
        (PolicyKind::BaselineAdminNetworkPolicy, _) => "baselineadminnetworkpolicy",
        (PolicyKind::ClusterNetworkPolicy, Tier::Admin) => "kube-admin",
        (PolicyKind::ClusterNetworkPolicy, Tier::Baseline) => "kube-baseline",
    }
}

fn policy_name(policy: &Policy) -> String {
    let staged = if policy.id.staged { "staged:" } else { "" };
    let tier = tier_name(policy);
    let (namespace, name) = (&policy.id.namespace, &policy.id.name);
    match policy.id.kind {
        PolicyKind::NetworkPolicy => format!("{namespace}/{staged}knp.{tier}.{name}"),
        PolicyKind::ClusterNetworkPolicy => format!("{staged}kcnp.{tier}.{name}"),
        PolicyKind::AdminNetworkPolicy => format!("{staged}kanp.{tier}.{name}"),
        PolicyKind::BaselineAdminNetworkPolicy => format!("{staged}kbanp.{tier}.{name}"),
    }
}

/// What an entry says was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryAction {
    /// Allowed.
    Allow,
    /// Denied.
    Deny,
    /// Left to the next tier.
    Pass,
    /// Not known.
    Unknown,
}

impl EntryAction {
    fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Pass => "pass",
            Self::Unknown => "unknown",
        }
    }
}

/// One hit in Calico's form, `index|tier|policy|action|rule`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place, from 0.
    pub index: u32,
    /// The tier.
    pub tier: String,
    /// The policy's name.
    pub policy: String,
    /// What was done.
    pub action: EntryAction,
    /// The rule, from 0; -1 where none matched and the tier's end decided, -2 where it is not known; absent from entries of four parts.
    pub rule: Option<i32>,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}|{}|{}", self.index, self.tier, self.policy, self.action.name())?;
        match self.rule {
            Some(rule) => write!(f, "|{rule}"),
            None => Ok(()),
        }
    }
}

/// Why a text is no entry.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{text:?} is no policy entry: {wrong}; the form is index|tier|policy|action|rule")]
pub struct EntryError {
    /// The text, cut if it is long.
    pub text: String,
    /// What is wrong.
    pub wrong: &'static str,
}

impl std::str::FromStr for Entry {
    type Err = EntryError;

    fn from_str(text: &str) -> Result<Self, EntryError> {
        let fail = |wrong| EntryError { text: text.chars().take(100).collect(), wrong };
        let parts: Vec<&str> = text.split('|').collect();
        let (index, tier, policy, action, rule) = match parts.as_slice() {
            [index, tier, policy, action] => (index, tier, policy, action, None),
            [index, tier, policy, action, rule] => (index, tier, policy, action, Some(rule)),
            _ => return Err(fail("it has neither four nor five parts")),
        };
        let action = match *action {
            "allow" => EntryAction::Allow,
            "deny" => EntryAction::Deny,
            "pass" => EntryAction::Pass,
            "unknown" => EntryAction::Unknown,
            _ => return Err(fail("its action is none of allow, deny, pass, unknown")),
        };
        let rule = match rule {
            // Older writers left the rule open with a dash.
            None | Some(&"-") => None,
            Some(rule) => Some(rule.parse().map_err(|_| fail("its rule is no number"))?),
        };
        Ok(Self {
            index: index.parse().map_err(|_| fail("its index is no number"))?,
            tier: (*tier).to_owned(),
            policy: (*policy).to_owned(),
            action,
            rule,
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
