//! Policies against the past: who there was at a time and which policies held, and what an edit of them would have done to the
//! connections since.
//!
//! [`History`] is the metadata topic as policies need it, and gives a [`World`](world::World) as of a time. A [`Preview`] judges
//! records of level 1 by the policies of their time and again with [edits](Edit), and adds up what becomes of them. Both are
//! functions of what they are given; only [`read`] reads topics. `docs/policy.md` is the description for users.
#![forbid(unsafe_code)]

pub mod edit;
pub mod history;
pub mod judges;
pub mod read;
pub mod tally;
pub mod world;

mod yaml;

#[cfg(test)]
mod tests;

pub use edit::{Edit, Fault, edits, parse_id};
pub use history::{Change, History};
pub use tally::{Becomes, Tally};

use judges::Judges;
use weir_flow::Millis;
use weir_policy::{PolicyId, Profile};
use weir_schemas::enriched::{Enriched, Kind};

/// The level at which policies can be judged exactly: it keeps addresses, pods and the responder's port.
pub const LEVEL: u8 = 1;

/// A time as people write it.
#[must_use]
pub fn shown(time: Millis) -> String {
    jiff::Timestamp::from_millisecond(time).map_or_else(|_| "the end of time".to_owned(), |time| time.to_string())
}

/// From when on everything is there, for programs: nothing if that is no later than what is asked for, `never` if it is not known.
#[must_use]
pub fn kept(from: Millis, since: Millis) -> Option<String> {
    match from {
        Millis::MAX => Some("never".to_owned()),
        from => (from > since).then(|| shown(from)),
    }
}

/// What an edit would have done, record by record.
#[derive(Debug)]
pub struct Preview<'a> {
    judges: Judges<'a>,
    cluster: &'a str,
    since: Millis,
    /// What was found so far.
    pub tally: Tally,
}

impl<'a> Preview<'a> {
    /// Begins with nothing. Records of other clusters and of windows before `since` will not count.
    #[must_use]
    pub fn new(history: &'a History, cluster: &'a str, profile: Profile, edits: Vec<Edit>, since: Millis) -> Self {
        Self { judges: Judges::new(history, profile, edits), cluster, since, tally: Tally::default() }
    }

    /// Takes a record, if it is one that counts.
    pub fn take(&mut self, flow: &Enriched) {
        if flow.level != LEVEL || flow.cluster != self.cluster || flow.window < self.since {
            return;
        }
        if flow.correction > 0 || flow.kind == Kind::Delete {
            // Its original was judged; what a repair changed is not known here.
            self.tally.corrections += 1;
            return;
        }
        let verdicts = self.judges.judge(flow);
        self.tally.add(flow, &verdicts);
    }

    /// The policies that were to be deleted and never were there, as far as records were judged.
    #[must_use]
    pub fn missing(&self) -> &[PolicyId] {
        self.judges.missing()
    }
}
