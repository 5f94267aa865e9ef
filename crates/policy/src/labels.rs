//! Texts, sets of labels and selectors as numbers.

use crate::bits::number;
use crate::model::{Operator, Requirement, Selector};
use foldhash::fast::FixedState;
use std::collections::HashMap;
use std::sync::Arc;

/// The number of a text.
pub(crate) type Text = u32;

/// Labels as numbers of keys and values, sorted by key.
pub(crate) type LabelSet = Arc<[(Text, Text)]>;

/// One copy of each text and of each set of labels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Texts {
    texts: HashMap<Box<str>, Text, FixedState>,
}

impl Texts {
    /// The number of a text, which is made if there is none.
    pub(crate) fn make(&mut self, text: &str) -> Text {
        if let Some(known) = self.texts.get(text) {
            return *known;
        }
        let new = number(self.texts.len());
        self.texts.insert(text.into(), new);
        new
    }

    /// The number of a text that was made.
    pub(crate) fn find(&self, text: &str) -> Option<Text> {
        self.texts.get(text).copied()
    }

    /// Labels given as `k=v`, and one more pair if its key is not among them. Of a key that is given twice the last counts.
    pub(crate) fn labels<T: AsRef<str>>(&mut self, labels: &[T], more: Option<(&str, &str)>) -> LabelSet {
        let mut set: Vec<(Text, Text)> = Vec::with_capacity(labels.len() + 1);
        if let Some((key, value)) = more {
            let pair = (self.make(key), self.make(value));
            set.push(pair);
        }
        for label in labels {
            let (key, value) = label.as_ref().split_once('=').unwrap_or((label.as_ref(), ""));
            let pair = (self.make(key), self.make(value));
            set.push(pair);
        }
        // Stable: what came later stays later, and is kept.
        set.sort_by_key(|(key, _)| *key);
        let last = set.iter().enumerate().filter(|(at, (key, _))| set.get(at + 1).is_none_or(|(next, _)| next != key));
        last.map(|(_, pair)| *pair).collect()
    }
}

/// Whether something holds, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holds {
    No,
    Maybe,
    Yes,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Condition {
    key: Text,
    operator: Operator,
    /// Sorted.
    values: Box<[Text]>,
}

/// A selector as numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Conditions(Box<[Condition]>);

impl Conditions {
    pub(crate) fn new(texts: &mut Texts, selector: &Selector) -> Self {
        let of = |requirement: &Requirement, texts: &mut Texts| {
            let key = texts.make(&requirement.key);
            let mut values: Vec<Text> = requirement.values.iter().map(|value| texts.make(value)).collect();
            values.sort_unstable();
            Condition { key, operator: requirement.operator, values: values.into() }
        };
        Self(selector.requirements.iter().map(|requirement| of(requirement, texts)).collect())
    }

    /// Whether labels fulfil it; of labels that are not complete what is not there is not known.
    pub(crate) fn hold(&self, labels: &[(Text, Text)], complete: bool) -> Holds {
        let mut all = Holds::Yes;
        for condition in &self.0 {
            let value = labels.binary_search_by_key(&condition.key, |(key, _)| *key).ok();
            let value = value.and_then(|place| labels.get(place)).map(|(_, value)| value);
            let one = match (value, condition.operator) {
                (None, _) if !complete => Holds::Maybe,
                (None, Operator::In | Operator::Exists) => Holds::No,
                (None, Operator::NotIn | Operator::DoesNotExist) | (Some(_), Operator::Exists) => Holds::Yes,
                (Some(_), Operator::DoesNotExist) => Holds::No,
                (Some(value), operator) => {
                    let among = condition.values.binary_search(value).is_ok();
                    if among == (operator == Operator::In) { Holds::Yes } else { Holds::No }
                }
            };
            all = all.min(one);
            if all == Holds::No {
                return all;
            }
        }
        all
    }
}
