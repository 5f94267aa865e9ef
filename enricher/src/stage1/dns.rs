//! DNS questions of one generation, added up by key.

use super::aggregate::At;
use super::generation::Of;
use super::record::{labels, side_at};
use crate::dns::{self, DnsKey, MORE, write_key};
use crate::filter::{Decided, FILTERED, QUESTIONS, SAMPLED_OUT, apply_to_question};
use crate::join::Join;
use crate::key::internal_partition;
use crate::merge::{merge_side, product, sum};
use crate::observe::{EndFound, Place, resolve_at, stands_for_an_end};
use crate::sets::BoundedSet;
use foldhash::{HashMap, HashSet};
use std::collections::BTreeMap;
use weir_filter::Rules;
use weir_flow::dns::{code_name, type_name};
use weir_flow::{Address, Level, RecordSettings};
use weir_schemas::ledger::{self, QuestionsLost};
use weir_schemas::partial::{DnsBatch, DnsPartial};
use weir_schemas::raw::{DnsSample, End, Point, RoundTrip};

#[cfg(test)]
mod tests;

/// Records in one message; the edge splits messages that are too large all the same.
const RECORDS_PER_MESSAGE: usize = 1_000;

/// Memory of a record without its answers, roughly.
const RECORD: usize = 1_200;

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is in a record of its own question.
    Whole,
    /// These many became coarse by it, itself included if it did.
    Coarsened(u64),
    /// Another observer's report of the same question counts.
    Outside,
    /// A filter left it out, or passed it over for another one of its kind.
    LeftOut,
}

/// Reason in the ledger: another observer's report of the same question counts, or it was seen in transit.
const OUTSIDE: &str = "outside";

/// What a line of the ledger says of questions.
#[derive(Debug, Default)]
pub(super) struct Booked {
    /// Those that went into records.
    pub(super) taken: ledger::Questions,
    /// How often those count there.
    pub(super) counted: u64,
    lost: BTreeMap<&'static str, ledger::Questions>,
}

impl Booked {
    /// Books a sample by what became of it.
    pub(super) fn book(&mut self, sample: &DnsSample, taken: Taken, decided: Decided) {
        match (taken, decided) {
            (Taken::Outside, _) => self.lose(OUTSIDE, sample),
            (Taken::LeftOut, Decided::PassedOver) => self.lose(SAMPLED_OUT, sample),
            (Taken::LeftOut, _) => self.lose(FILTERED, sample),
            (Taken::Whole | Taken::Coarsened(_), decided) => {
                add(&mut self.taken, sample);
                self.counted = sum(self.counted, product(sample.count, u64::from(decided.factor())));
            }
        }
    }

    /// Books a sample that is in no record, for a reason.
    pub(super) fn lose(&mut self, reason: &'static str, sample: &DnsSample) {
        add(self.lost.entry(reason).or_default(), sample);
    }

    /// What is in no record, by reason.
    pub(super) fn into_lost(self) -> Vec<QuestionsLost> {
        let named = |(reason, lost): (&str, _)| QuestionsLost { reason: reason.to_owned(), lost };
        self.lost.into_iter().map(named).collect()
    }
}

fn add(questions: &mut ledger::Questions, sample: &DnsSample) {
    questions.samples = sum(questions.samples, 1);
    questions.asked = sum(questions.asked, sample.count);
}

/// All questions of one generation.
#[derive(Debug, Default)]
pub(super) struct Questions {
    records: HashMap<Box<[u8]>, Question>,
    /// How many of them are no catch-alls.
    counted: usize,
    coarse: HashSet<u128>,
    /// Whether nothing more is worth coarsening.
    exhausted: bool,
    bytes: Vec<u8>,
    answers: usize,
}

#[derive(Debug)]
struct Question {
    partial: DnsPartial,
    answers: BoundedSet<Address>,
    /// Whether answers were left out before they came here.
    more: bool,
    samples: u64,
}

impl Questions {
    /// Adds a sample. Of the two nodes that may have seen a question the client's counts if it was covered, else the
    /// server's, as for flows.
    ///
    /// Filters are asked first, so that what they drop is nowhere, whoever reports it.
    pub(super) fn add(
        &mut self,
        sample: &DnsSample,
        place: &Place<'_>,
        at: &At<'_>,
        rules: &Rules,
        join: &impl Join,
    ) -> (Taken, Decided) {
        let mut client = client(sample, place, join);
        let one_observer = sample.point == Point::Capture || join.one_observer(place.tick);
        let outside =
            !stands_for_an_end(sample.point) || (!one_observer && (sample.end == End::Source) != client.covered);
        let is_asked = !rules.is_empty() && at.settings.semantics >= QUESTIONS;
        if outside && !is_asked {
            return (Taken::Outside, Decided::Kept(1));
        }
        let mut server = server(sample, place, join);
        let decided = if is_asked {
            apply_to_question(rules, sample, (&mut client, &mut server), at.origin)
        } else {
            Decided::Kept(1)
        };
        if outside {
            return (Taken::Outside, decided);
        }
        if matches!(decided, Decided::Dropped | Decided::PassedOver) {
            return (Taken::LeftOut, decided);
        }
        let mut partial = partial(sample, &client, &server, at);
        let coarsened = self.make_place(&mut partial, at.settings);
        let key = self.bytes.as_slice();
        let record = match self.records.get_mut(key) {
            Some(record) => {
                merge_side(&mut record.partial.client, &partial.client);
                merge_side(&mut record.partial.server, &partial.server);
                record
            }
            None => {
                self.counted += usize::from(partial.question != MORE);
                let new = Question { partial, answers: BoundedSet::default(), more: false, samples: 0 };
                self.records.entry(key.into()).or_insert(new)
            }
        };
        self.answers += record.add(sample, decided.factor());
        (if coarsened == 0 { Taken::Whole } else { Taken::Coarsened(coarsened) }, decided)
    }

    /// Writes the key for which there is place, and leaves out of the record what the key has not. The answer is how many
    /// samples became coarse.
    fn make_place(&mut self, partial: &mut DnsPartial, settings: &RecordSettings) -> u64 {
        let limit = usize::try_from(settings.keys_limit).unwrap_or(usize::MAX);
        write_key(&mut self.bytes, partial.window, &DnsKey::of(partial));
        if self.records.contains_key(self.bytes.as_slice()) {
            return u64::from(dns::is_coarse(&partial.question));
        }
        let mut coarsened = 0;
        if self.counted >= limit && !self.exhausted {
            coarsened = self.coarsen((limit / 8).max(1));
        }
        let group = dns::group(partial, &mut self.bytes).filter(|group| self.coarse.contains(group));
        if group.is_some() {
            dns::coarsen(partial);
        }
        write_key(&mut self.bytes, partial.window, &DnsKey::of(partial));
        if self.counted >= limit && !self.records.contains_key(self.bytes.as_slice()) {
            dns::leave_out(partial);
            write_key(&mut self.bytes, partial.window, &DnsKey::of(partial));
        }
        coarsened + u64::from(dns::is_coarse(&partial.question))
    }

    /// Coarsens the noisiest domains; the answer is how many samples became coarse.
    fn coarsen(&mut self, goal: usize) -> u64 {
        let partials = self.records.values().map(|record| &record.partial);
        let (groups, freed) = dns::noisiest_groups(partials, goal, &mut self.bytes);
        self.exhausted = freed < goal;
        self.coarse.extend(groups);
        let (bytes, coarse) = (&mut self.bytes, &self.coarse);
        let is_noisy = |record: &Question, bytes: &mut Vec<u8>| {
            dns::group(&record.partial, bytes).is_some_and(|group| coarse.contains(&group))
        };
        let noisy = self.records.iter().filter(|(_, record)| is_noisy(record, bytes)).map(|(key, _)| key.clone());
        let mut coarsened = 0;
        for key in noisy.collect::<Vec<_>>() {
            let Some(mut record) = self.records.remove(&key) else { continue };
            coarsened = sum(coarsened, record.samples);
            dns::coarsen(&mut record.partial);
            write_key(&mut self.bytes, record.partial.window, &DnsKey::of(&record.partial));
            match self.records.get_mut(self.bytes.as_slice()) {
                Some(known) => {
                    known.merge(record);
                    self.counted = self.counted.saturating_sub(1);
                }
                None => {
                    self.records.insert(self.bytes.as_slice().into(), record);
                }
            }
        }
        coarsened
    }

    /// Writes all records, in the order of their keys.
    pub(super) fn close(
        self,
        of: &Of<'_>,
        settings: &RecordSettings,
        join: &impl Join,
        batches: &mut Vec<(i32, DnsBatch)>,
    ) {
        let mut records: Vec<(Box<[u8]>, Question)> = self.records.into_iter().collect();
        records.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut by_internal: BTreeMap<i32, Vec<DnsPartial>> = BTreeMap::new();
        for (bytes, record) in records {
            let internal = internal_partition(bytes.get(8..).unwrap_or_default(), settings.internal_partitions);
            let mut partial = record.finish();
            join.place(settings, &mut partial.client);
            join.place(settings, &mut partial.server);
            by_internal.entry(internal).or_default().push(partial);
        }
        for (internal, mut records) in by_internal {
            while !records.is_empty() {
                let rest = records.split_off(records.len().min(RECORDS_PER_MESSAGE));
                let batch = DnsBatch {
                    cluster: of.cluster.to_owned(),
                    partition: of.partition,
                    generation: of.generation,
                    dns: std::mem::replace(&mut records, rest),
                };
                batches.push((internal, batch));
            }
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.records.len() * RECORD + self.answers * 32
    }
}

impl Question {
    /// Adds what a sample counted, which stands for `factor`; the answer is how many answers are new.
    fn add(&mut self, sample: &DnsSample, factor: u32) -> usize {
        let factor = u64::from(factor);
        self.partial.count = sum(self.partial.count, product(sample.count, factor));
        let latency = sample.latency.map(|l| RoundTrip {
            sum: product(l.sum, factor),
            count: product(l.count, factor),
            min: sum(l.min, 0),
            max: sum(l.max, 0),
        });
        crate::merge::add_round_trip(&mut self.partial.latency, latency.as_ref());
        self.more |= sample.answers_more > 0;
        self.samples = sum(self.samples, 1);
        sample.answers.iter().filter(|answer| self.answers.insert(**answer)).count()
    }

    fn merge(&mut self, other: Self) {
        dns::merge(&mut self.partial, &other.partial);
        self.answers.merge(other.answers);
        self.more |= other.more;
        self.samples = sum(self.samples, other.samples);
    }

    fn finish(self) -> DnsPartial {
        let (answers, more) = self.answers.into_parts();
        let mut partial = self.partial;
        partial.answers = answers.iter().map(ToString::to_string).collect();
        if more > 0 || self.more {
            partial.answers.push(MORE.to_owned());
        }
        partial.answers.sort_unstable();
        partial
    }
}

fn client<'a>(sample: &'a DnsSample, place: &Place<'a>, join: &'a impl Join) -> EndFound<'a> {
    let far = weir_join::Ask { protocol: sample.protocol, ..weir_join::Ask::address(place.tick, sample.client) };
    let by_address = resolve_at(&far, place, join);
    let covered = join.covered(&by_address, sample.client, place.tick);
    if sample.end != End::Source || sample.point == Point::Capture {
        return EndFound { ask: far, found: by_address, covered, without_address: false };
    }
    let on_host = sample.point == Point::Host && sample.pod_uid.is_none();
    let ask = weir_join::Ask { pod_uid: sample.pod_uid.as_deref(), local_host: on_host.then_some(place.node), ..far };
    let found = if ask.pod_uid.is_some() || on_host { resolve_at(&ask, place, join) } else { by_address };
    EndFound { ask, found, covered, without_address: false }
}

fn server<'a>(sample: &'a DnsSample, place: &Place<'a>, join: &'a impl Join) -> EndFound<'a> {
    let ask = weir_join::Ask {
        port: Some(sample.server_port),
        protocol: sample.protocol,
        responder: true,
        ..weir_join::Ask::address(place.tick, sample.server)
    };
    let found = resolve_at(&ask, place, join);
    EndFound { ask, found, covered: false, without_address: false }
}

/// A record of this question, in which nothing is counted yet.
fn partial(sample: &DnsSample, client: &EndFound<'_>, server: &EndFound<'_>, at: &At<'_>) -> DnsPartial {
    let keep = &at.settings.labels_keep;
    let side = |level, end, initiator| side_at(level, end, initiator, &labels(level, end, keep)).into_owned();
    DnsPartial {
        window: at.window,
        origin: at.origin,
        cluster_known: at.cluster_known,
        client: side(Level::Three, client, true),
        server: side(Level::One, server, false),
        question: sample.question.clone(),
        question_type: type_name(sample.question_type),
        response_code: sample.response_code.map(code_name).unwrap_or_default(),
        count: 0,
        latency: None,
        answers: Vec::new(),
    }
}
