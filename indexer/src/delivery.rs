//! What becomes of a bulk: a state machine without IO, clock or randomness.
//!
//! Nothing leaves it by accident. An operation is finished when the engine says that it is stored (or that a higher
//! correction is), or when it can never be stored and goes to the dead-letter topic; everything else is sent again.
//! Where the engine is at fault (down, full, read-only, forbidding) or where suspiciously much fails for one cause, the
//! bulk waits: nothing is committed and nothing is thrown away.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use weir_elastic::bulk::{Answer, Cause, Item};
use weir_elastic::{Error, ErrorKind};

#[cfg(test)]
mod tests;

/// How patient delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// First wait after the engine was busy.
    pub busy: Duration,
    /// First wait after the engine was not available.
    pub pause: Duration,
    /// Longest wait.
    pub longest: Duration,
    /// Over how many operations refusals are counted.
    pub refusal_window: usize,
    /// How many refusals for one cause are let through in any case.
    pub refusal_floor: usize,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            busy: Duration::from_millis(100),
            pause: Duration::from_millis(500),
            longest: Duration::from_secs(30),
            refusal_window: 1_000,
            refusal_floor: 10,
        }
    }
}

/// What the engine's answer means for one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Stored, or deleted.
    Stored,
    /// A higher correction is stored already.
    Superseded,
    /// The engine is busy.
    Busy,
    /// The write alias does not exist.
    NoIndex,
    /// The index or cluster cannot be written for now.
    Blocked(String),
    /// The engine failed.
    Failed(String),
    /// Not allowed.
    Forbidden(String),
    /// It can never be stored.
    Refused(Cause),
}

/// Reads the fate of one operation. Rejections are told by status, because engines name them differently.
#[must_use]
pub fn fate(item: &Item) -> Fate {
    let Some(cause) = &item.error else {
        return match item.status {
            200..=299 => Fate::Stored,
            // A delete of what is not there.
            404 => Fate::Stored,
            status => Fate::Failed(format!("status {status} without a cause")),
        };
    };
    let text = || format!("{}: {}", cause.code, cause.reason);
    if cause.is_block() {
        return Fate::Blocked(text());
    }
    match item.status {
        409 => Fate::Superseded,
        429 => Fate::Busy,
        404 if cause.code == "index_not_found_exception" => Fate::NoIndex,
        // The write alias is missing, and its name is none for an index that the engine would make for a delete.
        400 if cause.code == "invalid_index_name_exception" => Fate::NoIndex,
        401 | 403 => Fate::Forbidden(text()),
        400..=499 => Fate::Refused(cause.clone()),
        status => Fate::Failed(format!("status {status}, {}", text())),
    }
}

/// What was refused lately, by cause: whether a refusal is a single bad document or something is wrong as a whole.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    /// (operations, refused by cause) of the latest answers.
    answers: VecDeque<(usize, BTreeMap<String, usize>)>,
    operations: usize,
}

impl Refusals {
    /// Whether `refused` operations of `all` for `cause` are, with those before, more than 1 % (and more than the floor).
    fn too_many(&self, cause: &str, refused: usize, all: usize, patience: Patience) -> bool {
        let before: usize = self.answers.iter().filter_map(|(_, causes)| causes.get(cause)).sum();
        let total = self.operations.saturating_add(all);
        before.saturating_add(refused) > patience.refusal_floor.max(total / 100)
    }

    fn note(&mut self, all: usize, causes: BTreeMap<String, usize>, patience: Patience) {
        self.answers.push_back((all, causes));
        self.operations += all;
        while let Some((oldest, _)) = self.answers.front() {
            if self.operations - oldest < patience.refusal_window {
                break;
            }
            self.operations -= oldest;
            self.answers.pop_front();
        }
    }
}

/// Why a bulk waits although nothing is wrong with its documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The engine is busy.
    Busy,
    /// An index has to be made first.
    NoIndex,
    /// The engine is not available or cannot be written.
    Unavailable(String),
    /// Credentials or privileges are missing.
    Forbidden(String),
    /// The answer was cut, or did not have one item for each operation.
    Unbelievable(String),
    /// More than 1 % failed for one cause.
    Refusals(String),
}

impl Why {
    /// The name as a metric label.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::NoIndex => "no_index",
            Self::Unavailable(_) => "unavailable",
            Self::Forbidden(_) => "forbidden",
            Self::Unbelievable(_) => "unbelievable",
            Self::Refusals(_) => "refusals",
        }
    }

    /// Whether delivery stands still until someone or something else acts: health says so.
    #[must_use]
    pub fn is_alarm(&self) -> bool {
        !matches!(self, Self::Busy | Self::NoIndex)
    }

    fn rank(&self) -> u8 {
        match self {
            Self::NoIndex => 0,
            Self::Busy => 1,
            Self::Unbelievable(_) => 2,
            Self::Unavailable(_) => 3,
            Self::Forbidden(_) => 4,
            Self::Refusals(_) => 5,
        }
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Every operation is finished.
    Finished,
    /// Send what is left at once.
    More,
    /// Send what is left after this wait.
    Wait(Duration, Why),
    /// The engine was too busy for the smaller part: what is left goes with later bulks, since it would cost requests of its own;
    /// where there are none, after this wait.
    Later(Duration),
}

/// What an answer finished, and what to do next. Positions are those of the bulk's operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Stored or deleted.
    pub stored: Vec<usize>,
    /// A higher correction was there already.
    pub superseded: Vec<usize>,
    /// Can never be stored.
    pub dead: Vec<(usize, Cause)>,
    /// Whose write alias is missing.
    pub missing: Vec<usize>,
    /// What to do next.
    pub next: Next,
}

/// The state of one bulk.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Positions not finished, in order.
    pending: Vec<usize>,
    /// How many of them are sent at once, as far as this bulk has met.
    share: usize,
    /// How many are allowed at once by what others have met.
    most: usize,
    /// How often in a row nothing could be finished.
    attempt: u32,
    patience: Patience,
}

impl Delivery {
    /// A bulk of so many operations, none of them sent.
    #[must_use]
    pub fn new(operations: usize, patience: Patience) -> Self {
        let share = operations.max(1);
        Self { pending: (0..operations).collect(), share, most: share, attempt: 0, patience }
    }

    /// Allows so many operations at once from now on, at least one. Not between [`batch`](Self::batch) and its answer.
    pub fn restrict(&mut self, most: usize) {
        self.most = most.max(1);
    }

    /// The positions to send now.
    #[must_use]
    pub fn batch(&self) -> &[usize] {
        &self.pending[..self.share.min(self.most).min(self.pending.len())]
    }

    /// Takes a whole answer for [`batch`](Self::batch). `jitter` is a random number from 0 to 1.
    ///
    /// # Panics
    /// Never for an answer with one item for each operation of the batch, which the edge guarantees.
    pub fn answered(&mut self, answer: &Answer, refusals: &mut Refusals, jitter: f64) -> Outcome {
        let sent: Vec<usize> = self.batch().to_vec();
        assert_eq!(sent.len(), answer.items.len(), "the edge returns one item for each operation");
        let mut outcome =
            Outcome { stored: vec![], superseded: vec![], dead: vec![], missing: vec![], next: Next::More };
        let mut again = Vec::new();
        let mut refused: BTreeMap<String, Vec<(usize, Cause)>> = BTreeMap::new();
        let mut why: Option<Why> = None;
        let mut wait = |reason: Why| {
            if why.as_ref().is_none_or(|w| w.rank() < reason.rank()) {
                why = Some(reason);
            }
        };
        for (position, item) in sent.iter().copied().zip(&answer.items) {
            match fate(item) {
                Fate::Stored => outcome.stored.push(position),
                Fate::Superseded => outcome.superseded.push(position),
                Fate::Refused(cause) => refused.entry(cause.code.clone()).or_default().push((position, cause)),
                unfinished => {
                    again.push(position);
                    match unfinished {
                        Fate::NoIndex => {
                            outcome.missing.push(position);
                            wait(Why::NoIndex);
                        }
                        Fate::Blocked(text) | Fate::Failed(text) => wait(Why::Unavailable(text)),
                        Fate::Forbidden(text) => wait(Why::Forbidden(text)),
                        _ => wait(Why::Busy),
                    }
                }
            }
        }
        let mut counted = BTreeMap::new();
        for (code, operations) in refused {
            if refusals.too_many(&code, operations.len(), sent.len(), self.patience) {
                let example = operations.first().map(|(_, c)| c.reason.clone()).unwrap_or_default();
                wait(Why::Refusals(format!("{} of {} refused, {code}: {example}", operations.len(), sent.len())));
                again.extend(operations.into_iter().map(|(position, _)| position));
            } else {
                counted.insert(code, operations.len());
                outcome.dead.extend(operations);
            }
        }
        refusals.note(sent.len() - again.len(), counted, self.patience);
        outcome.next = self.go_on(sent.len(), again, why, jitter);
        outcome
    }

    /// Drops the operations for which this holds, as finished; hands back how many.
    pub fn give_up(&mut self, holds: impl Fn(usize) -> bool) -> usize {
        let before = self.pending.len();
        self.pending.retain(|position| !holds(*position));
        before - self.pending.len()
    }

    /// Takes an error after which nothing is known of any operation of the batch.
    pub fn failed(&mut self, error: &Error, jitter: f64) -> Next {
        let text = error.to_string();
        let why = match error.kind {
            ErrorKind::Retriable => Why::Busy,
            ErrorKind::Auth => Why::Forbidden(text),
            ErrorKind::Invalid => Why::Unbelievable(text),
            ErrorKind::Unavailable | ErrorKind::Rejected => Why::Unavailable(text),
        };
        if error.status == Some(413) {
            self.share = (self.batch().len() / 2).max(1);
        } else if error.kind == ErrorKind::Retriable {
            self.shrink(self.batch().len());
        }
        self.attempt = self.attempt.saturating_add(1);
        Next::Wait(self.delay(&why, jitter), why)
    }

    fn go_on(&mut self, sent: usize, mut again: Vec<usize>, why: Option<Why>, jitter: f64) -> Next {
        let busy = why == Some(Why::Busy);
        let finished = sent - again.len();
        again.sort_unstable();
        let mut rest = self.pending.split_off(sent);
        let takes_most = finished * 2 >= sent;
        // What was not sent yet goes first then, without a wait.
        let spread = busy && takes_most && !rest.is_empty();
        self.pending = if spread {
            rest.append(&mut again);
            rest
        } else {
            again.append(&mut rest);
            again
        };
        self.attempt = if finished > 0 { 0 } else { self.attempt };
        // An engine that takes most of a bulk is not helped by smaller ones.
        if busy && !takes_most {
            self.shrink(self.share);
        } else if why.is_none() || spread {
            self.share = self.share.saturating_mul(2);
        }
        match why {
            _ if self.pending.is_empty() => Next::Finished,
            None => Next::More,
            Some(_) if spread => Next::More,
            Some(why) => {
                self.attempt = self.attempt.saturating_add(1);
                let wait = self.delay(&why, jitter);
                if busy && takes_most { Next::Later(wait) } else { Next::Wait(wait, why) }
            }
        }
    }

    /// Sends half as much of what an engine was too busy for, the second time in a row: once is chance.
    fn shrink(&mut self, sent: usize) {
        if self.attempt > 0 {
            self.share = (sent / 2).max(1);
        }
    }

    /// Doubles with every attempt, with jitter, so that many indexers do not come back at once.
    fn delay(&self, why: &Why, jitter: f64) -> Duration {
        let base = if why.is_alarm() { self.patience.pause } else { self.patience.busy };
        let doublings = self.attempt.saturating_sub(1).min(16);
        let full = base.saturating_mul(1 << doublings).min(self.patience.longest);
        full.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}
