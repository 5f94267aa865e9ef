//! Many look-ups at once. In a large table nearly every step of a look-up waits for memory, and each
//! step needs the answer of the one before. So each step is first taken for many questions side by side: the processor
//! waits for all of them together, and what follows finds everything in its caches. The answers are those of one by one.

use super::{Revisions, Table};
use crate::ask::Ask;
use crate::holders::Holders;
use crate::identity::Identity;
use crate::resolution::Resolution;
use std::hint::black_box;
use std::sync::Arc;

/// How many questions are taken side by side: what they need, about 500 bytes each, fits the first-level cache.
const SIDE_BY_SIDE: usize = 32;

impl Table {
    /// [`Table::resolve`] of each question, in order; the answers are appended.
    pub fn resolve_all(&self, asks: &[Ask<'_>], answers: &mut Vec<Resolution>) {
        answers.reserve(asks.len());
        for group in asks.chunks(SIDE_BY_SIDE) {
            self.fetch_answers(group);
            answers.extend(group.iter().map(|ask| self.resolve(ask)));
        }
    }

    fn fetch_answers(&self, asks: &[Ask<'_>]) {
        let mut lists: [Option<&Holders<Arc<Identity>>>; SIDE_BY_SIDE] = [None; SIDE_BY_SIDE];
        let mut pods: [Option<&Revisions>; SIDE_BY_SIDE] = [None; SIDE_BY_SIDE];
        for ((ask, list), pod) in asks.iter().zip(&mut lists).zip(&mut pods) {
            if self.is_by_uid(ask) {
                *pod = ask.pod_uid.and_then(|uid| self.pod_revisions(uid));
            } else {
                *list = self.ends.get(ask.address);
            }
        }
        // Where the revisions of a pod are is read before they are, like where the holders of an address are above.
        black_box(pods.iter().flatten().map(|pod| pod.list.len()).fold(0, usize::max));
        let mut found: [Option<&Arc<Identity>>; SIDE_BY_SIDE] = [None; SIDE_BY_SIDE];
        for (((ask, list), pod), found) in asks.iter().zip(&lists).zip(&pods).zip(&mut found) {
            let by_address = list.and_then(|list| list.possible(ask.at).next().map(|holder| &holder.who));
            *found = by_address.or_else(|| pod.and_then(|pod| pod.possible(ask.at).next()?.identity()));
        }
        fetch(&found);
    }
}

/// Reads what a copy of an answer writes to.
fn fetch(identities: &[Option<&Arc<Identity>>]) {
    black_box(identities.iter().flatten().map(|identity| Arc::strong_count(identity)).fold(0, usize::max));
}
