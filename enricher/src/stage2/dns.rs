//! Closing a generation's DNS records.

use super::Closed;
use super::close::Of;
use crate::dns::{self, DnsKey, LEVEL, MORE, write_key};
use crate::key::record_id;
use crate::merge::{settle_side, sum};
use crate::sets::Union;
use foldhash::HashSet;
use std::collections::BTreeMap;
use weir_schemas::dns::Dns;
use weir_schemas::enriched::Kind;
use weir_schemas::ledger::{Ledger, StoredQuestions};
use weir_schemas::partial::DnsPartial;

#[cfg(test)]
mod tests;

/// The first byte of keys that were coarsened here.
const HERE: u8 = 0xFE;

/// What raw partitions know of each record, by window (8 bytes, big-endian) and key.
pub(super) type Slots = BTreeMap<Box<[u8]>, BTreeMap<i32, DnsPartial>>;

type Records = BTreeMap<Box<[u8]>, Merged>;

struct Merged {
    partial: DnsPartial,
    answers: Union<String>,
}

/// Window and key of a partial record.
pub(super) fn key_bytes(partial: &DnsPartial) -> Box<[u8]> {
    let mut bytes = Vec::with_capacity(128);
    write_key(&mut bytes, partial.window, &DnsKey::of(partial));
    bytes.into_boxed_slice()
}

/// Merges, caps and writes the records of a generation.
pub(super) fn close(slots: Slots, of: &Of<'_>, closed: &mut Closed) {
    let mut records = Records::new();
    for (key, twins) in slots {
        if let Some(merged) = twins.into_values().map(Merged::new).reduce(Merged::merge) {
            records.insert(key, merged);
        }
    }
    closed.coarsened += cap(&mut records, of);
    let (cluster, partition, generation) = (of.cluster.to_owned(), of.partition, of.generation);
    let mut line = StoredQuestions { cluster, partition, generation, records: 0, stored: 0, coarsened: 0 };
    for (key, merged) in records {
        let count = merged.partial.count;
        if count > 0 {
            line.records = sum(line.records, 1);
            line.stored = sum(line.stored, count);
            line.coarsened = sum(line.coarsened, if dns::is_coarse(&merged.partial.question) { count } else { 0 });
            closed.dns.push(merged.finish(key.get(8..).unwrap_or_default(), of));
        }
    }
    if line.records > 0 {
        closed.ledger.push(Ledger::Questions(line));
    }
}

/// Coarsens the noisiest domains while there are too many keys, then what comes last; the answer is how many records were.
fn cap(records: &mut Records, of: &Of<'_>) -> u64 {
    let mut coarsened = 0;
    let limit = usize::try_from(of.settings.keys_limit).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    let mut coarse: HashSet<u128> = HashSet::default();
    loop {
        let counted = || records.iter().filter(|(_, merged)| merged.partial.question != MORE);
        let count = counted().count();
        if count <= limit {
            return coarsened;
        }
        let partials = counted().map(|(_, merged)| &merged.partial);
        let (groups, freed) = dns::noisiest_groups(partials, count - limit, &mut bytes);
        if freed == 0 {
            for key in counted().map(|(key, _)| key.clone()).skip(limit).collect::<Vec<_>>() {
                replace(records, &key, dns::leave_out, of);
                coarsened += 1;
            }
            return coarsened;
        }
        coarse.extend(groups);
        let noisy = counted()
            .filter(|(_, merged)| dns::group(&merged.partial, &mut bytes).is_some_and(|group| coarse.contains(&group)));
        for key in noisy.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            replace(records, &key, dns::coarsen, of);
            coarsened += 1;
        }
    }
}

/// Takes a record out and adds it to the one of which the same is left. It is one of this internal partition alone:
/// another may hold a record of which the same is left.
fn replace(records: &mut Records, key: &[u8], leave_out: fn(&mut DnsPartial), of: &Of<'_>) {
    let Some(mut merged) = records.remove(key) else { return };
    leave_out(&mut merged.partial);
    let mut bytes = Vec::with_capacity(128);
    bytes.extend_from_slice(&merged.partial.window.to_be_bytes());
    bytes.push(HERE);
    bytes.extend_from_slice(&of.partition.to_be_bytes());
    DnsKey::of(&merged.partial).write(&mut bytes);
    let key = bytes.into_boxed_slice();
    let merged = match records.remove(&key) {
        Some(known) => known.merge(merged),
        None => merged,
    };
    records.insert(key, merged);
}

impl Merged {
    fn new(mut partial: DnsPartial) -> Self {
        let answers = Union::new(std::mem::take(&mut partial.answers), 0);
        Self { partial, answers }
    }

    fn merge(mut self, other: Self) -> Self {
        dns::merge(&mut self.partial, &other.partial);
        self.answers.merge(other.answers);
        self
    }

    fn finish(self, key: &[u8], of: &Of<'_>) -> Dns {
        let limit = usize::try_from(of.settings.set_limit).unwrap_or(usize::MAX);
        let Self { partial, answers } = self;
        let listed = answers.list(limit, &[]);
        let (mut client, mut server) = (partial.client, partial.server);
        settle_side(&mut client);
        settle_side(&mut server);
        Dns {
            id: record_id(of.cluster, partial.window, of.generation, LEVEL, key),
            correction: 0,
            kind: Kind::Upsert,
            origin: partial.origin,
            cluster: of.cluster.to_owned(),
            window: partial.window,
            generation: of.generation,
            client,
            server,
            question: partial.question,
            question_type: partial.question_type,
            response_code: partial.response_code,
            count: partial.count,
            latency: partial.latency,
            answers: listed.members,
            answers_more: listed.more,
        }
    }
}
