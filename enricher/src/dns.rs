//! What both stages know of DNS records: keys, sums, and how too many questions are coarsened.
//!
//! A record's key is who asked (by identity, as at level 3), the server's address and port, the question, its type and the
//! answer's code. Under too many keys the questions of the noisiest parent domain become one, `(more).example.com`; where no
//! domain has many, `(more)` stands for all that is left, whoever asked.

use crate::coarsen::{Coarse, Member, nobody, noisiest};
use crate::key::{EndKey, push_text, write_question};
use crate::merge::{add_round_trip, merge_side, sum};
use weir_flow::Millis;
use weir_flow::dns::last_two_labels;
use weir_schemas::partial::DnsPartial;
use xxhash_rust::xxh3::xxh3_128;

#[cfg(test)]
mod tests;

/// The number that stands for the level `dns` in ids.
pub(crate) const LEVEL: u8 = 4;

/// What stands for all that was left out: no name of a host, no type and no code begins with a parenthesis.
pub(crate) const MORE: &str = "(more)";

/// How much heavier a name weighs that nobody could resolve.
const UNRESOLVED: u64 = 16;

/// What a record's key is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DnsKey<'a> {
    pub(crate) origin: weir_schemas::raw::Origin,
    pub(crate) client: EndKey<'a>,
    pub(crate) server: EndKey<'a>,
    pub(crate) question: &'a str,
    pub(crate) question_type: &'a str,
    pub(crate) response_code: &'a str,
}

impl<'a> DnsKey<'a> {
    pub(crate) fn of(partial: &'a DnsPartial) -> Self {
        Self {
            origin: partial.origin,
            client: EndKey::of(&partial.client),
            server: EndKey::of(&partial.server),
            question: &partial.question,
            question_type: &partial.question_type,
            response_code: &partial.response_code,
        }
    }

    /// Appends the key's bytes.
    pub(crate) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.push(LEVEL);
        write_question(bytes, self.origin, &self.client, &self.server);
        for text in [self.question, self.question_type, self.response_code] {
            push_text(bytes, text);
        }
    }
}

/// Window (8 bytes, big-endian) and key.
pub(crate) fn write_key(bytes: &mut Vec<u8>, window: Millis, key: &DnsKey<'_>) {
    bytes.clear();
    bytes.extend_from_slice(&window.to_be_bytes());
    key.write(bytes);
}

/// The question that stands for all of the same parent domain.
pub(crate) fn coarse_question(question: &str) -> String {
    format!("{MORE}.{}", last_two_labels(question))
}

/// Whether a question stands for several.
pub(crate) fn is_coarse(question: &str) -> bool {
    question.starts_with(MORE)
}

/// The group of a record: all that one question would stand for. Nothing for a record that is coarse.
pub(crate) fn group(partial: &DnsPartial, bytes: &mut Vec<u8>) -> Option<u128> {
    if is_coarse(&partial.question) {
        return None;
    }
    let question = coarse_question(&partial.question);
    write_key(bytes, partial.window, &DnsKey { question: &question, ..DnsKey::of(partial) });
    Some(xxh3_128(bytes))
}

/// The groups that are worth coarsening, until `goal` records would be free, and how many would be.
pub(crate) fn noisiest_groups<'a>(
    records: impl Iterator<Item = &'a DnsPartial>,
    goal: usize,
    bytes: &mut Vec<u8>,
) -> (Vec<u128>, usize) {
    let members: Vec<Member> = records
        .filter_map(|partial| {
            let initiator = group(partial, bytes)?;
            write_key(bytes, partial.window, &DnsKey::of(partial));
            let own = xxh3_128(bytes);
            let resolved = partial.response_code == "NOERROR";
            let weight = if resolved { 1 } else { UNRESOLVED };
            // There is but one kind of group: each record is alone in its others.
            Some(Member { initiator, responder: own, pair: own, is_pair: false, weight })
        })
        .collect();
    let found = noisiest(&members, &Coarse::default(), goal);
    (found.groups.into_iter().map(|(group, _)| group).collect(), found.freed)
}

/// Makes one question stand for all of its parent domain.
pub(crate) fn coarsen(partial: &mut DnsPartial) {
    partial.question = coarse_question(&partial.question);
}

/// Leaves out all that attackers can choose.
pub(crate) fn leave_out(partial: &mut DnsPartial) {
    partial.client = nobody(partial.client.scope);
    partial.server = nobody(partial.server.scope);
    for text in [&mut partial.question, &mut partial.question_type, &mut partial.response_code] {
        MORE.clone_into(text);
    }
}

/// Adds a record of the same key; answers are merged elsewhere.
pub(crate) fn merge(a: &mut DnsPartial, b: &DnsPartial) {
    a.cluster_known |= b.cluster_known;
    merge_side(&mut a.client, &b.client);
    merge_side(&mut a.server, &b.server);
    a.count = sum(a.count, b.count);
    add_round_trip(&mut a.latency, b.latency.as_ref());
}
