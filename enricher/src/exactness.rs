//! Whether the set of records is the same whatever happens: a broker of a few lines, and both stages run over it with
//! crashes, torn transactions, changes of owner and any batching.

use crate::fixtures::Fake;
use crate::history::SettingsHistory;
use crate::merge::is_empty_report;
use crate::position::{Stage1Position, Stage2Position};
use crate::stage1::{self, Input, Partition};
use crate::stage2::{self, Enriched, InternalPartition};
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_flow::Millis;
use weir_schemas::checkpoint::Checkpoint;
use weir_schemas::dns::Dns;
use weir_schemas::enriched::{Attribution, Side};
use weir_schemas::ledger::Ledger;
use weir_schemas::partial::PartialMessage;

mod explored;
pub(crate) mod properties;

/// What an owner does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Reads the next message.
    Read,
    /// Reads the next message, and joins what can be joined already.
    Advance,
    /// Metadata is known up to its next heartbeat. Before the first of them nothing can be joined, and nothing closed.
    Learn,
    /// Closes what can be closed, in one transaction.
    Close,
    /// Closes at most one generation that holds something.
    CloseOne,
    /// Writes what `Close` would; the records are committed and the positions are not. Then the owner is gone.
    Torn,
    /// The owner is gone, without having written anything.
    Crash,
}

/// The messages of one transaction to each internal partition.
pub(crate) type Transaction = Vec<Vec<PartialMessage>>;

pub(crate) struct Stage1<'a> {
    history: &'a Arc<SettingsHistory>,
    join: Fake,
    /// The heartbeats of metadata that are still to come, the next one last.
    heartbeats: Vec<Millis>,
    log: &'a [Input],
    number: i32,
    committed: Stage1Position,
    owner: Partition,
    /// Up to which message the owner has joined, and as of which heartbeat.
    joined: (i64, Millis),
    written: Vec<Transaction>,
    /// What every transaction has written to the checkpoint topic.
    pub(crate) checkpoints: Vec<Checkpoint>,
    /// And to the ledger.
    ledger: Vec<Ledger>,
}

impl<'a> Stage1<'a> {
    pub(crate) fn new(history: &'a Arc<SettingsHistory>, join: &'a Fake, number: i32, log: &'a [Input]) -> Self {
        let owner = Partition::new("local", number, history.clone(), Stage1Position::START);
        Self {
            history,
            join: join.clone(),
            heartbeats: Vec::new(),
            log,
            number,
            committed: Stage1Position::START,
            owner,
            joined: (0, Millis::MIN),
            written: Vec::new(),
            checkpoints: Vec::new(),
            ledger: Vec::new(),
        }
    }

    /// The same with metadata that stalls: it is known up to each of these times, one after the other.
    fn stalling(mut self, heartbeats: &[Millis]) -> Self {
        self.heartbeats = heartbeats.iter().rev().copied().collect();
        self.take(Step::Learn);
        self
    }

    fn can_learn(&self) -> bool {
        !self.heartbeats.is_empty()
    }

    fn restart(&mut self) {
        let committed = Stage1Position::parse(self.committed.offset, &self.committed.metadata()).unwrap();
        self.owner = Partition::new("local", self.number, self.history.clone(), committed);
        self.joined = (0, Millis::MIN);
    }

    fn can_read(&self) -> bool {
        usize::try_from(self.owner.next_offset()).unwrap() < self.log.len()
    }

    fn can_close(&self) -> bool {
        self.owner.ready(self.join.complete_to, usize::MAX).is_some()
    }

    pub(crate) fn take(&mut self, step: Step) {
        match step {
            Step::Read | Step::Advance => {
                if let Some(input) = self.log.get(usize::try_from(self.owner.next_offset()).unwrap()) {
                    self.owner.read(input.clone());
                }
                if step == Step::Advance {
                    self.owner.advance(&self.join);
                    self.joined = (self.owner.next_offset(), self.join.complete_to);
                }
            }
            Step::Learn => {
                if let Some(heartbeat) = self.heartbeats.pop() {
                    self.join.complete_to = heartbeat;
                }
            }
            Step::Close => self.close(usize::MAX, true),
            Step::CloseOne => self.close(1, true),
            Step::Torn => {
                self.close(usize::MAX, false);
                self.restart();
            }
            Step::Crash => self.restart(),
        }
    }

    fn close(&mut self, most: usize, commit: bool) {
        let Some(last) = self.owner.ready(self.join.complete_to, most) else { return };
        let mut closed = self.owner.close(last, &self.join);
        self.checkpoints.extend(closed.checkpoint.take());
        self.ledger.append(&mut closed.ledger);
        self.written.push(messages(self.history, closed));
        if commit {
            self.committed = self.owner.position();
        }
    }

    fn finish(self) -> Vec<Transaction> {
        self.finish_booked().0
    }

    fn finish_booked(mut self) -> (Vec<Transaction>, Vec<Ledger>) {
        while self.can_read() {
            self.take(Step::Read);
        }
        while self.can_learn() {
            self.take(Step::Learn);
        }
        self.take(Step::Close);
        (self.written, self.ledger)
    }
}

fn messages(history: &SettingsHistory, closed: stage1::Closed) -> Transaction {
    let count = usize::try_from(history.latest().internal_partitions).unwrap();
    let mut transaction: Transaction = vec![Vec::new(); count];
    let at = |internal: i32| usize::try_from(internal).unwrap();
    for (internal, batch) in closed.partials {
        transaction[at(internal)].push(PartialMessage::Partials(batch));
    }
    for (internal, batch) in closed.dns {
        transaction[at(internal)].push(PartialMessage::Dns(batch));
    }
    for (internal, marker) in closed.markers {
        transaction[at(internal)].push(PartialMessage::Marker(marker));
    }
    transaction
}

struct Stage2<'a> {
    history: &'a Arc<SettingsHistory>,
    log: &'a [PartialMessage],
    number: i32,
    committed: Stage2Position,
    owner: InternalPartition,
    written: Written,
}

/// Records of both kinds, and lines of the ledger.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) flows: Vec<Enriched>,
    pub(crate) dns: Vec<Dns>,
    pub(crate) ledger: Vec<Ledger>,
}

impl<'a> Stage2<'a> {
    fn new(history: &'a Arc<SettingsHistory>, number: i32, log: &'a [PartialMessage]) -> Self {
        let owner = InternalPartition::new("local", number, history.clone(), Stage2Position::START);
        Self { history, log, number, committed: Stage2Position::START, owner, written: Written::default() }
    }

    fn restart(&mut self) {
        let committed = Stage2Position::parse(self.committed.offset, &self.committed.metadata()).unwrap();
        self.owner = InternalPartition::new("local", self.number, self.history.clone(), committed);
    }

    fn next(&self) -> usize {
        usize::try_from(self.owner.next_offset()).unwrap()
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Read | Step::Advance => {
                if let Some(message) = self.log.get(self.next()) {
                    self.owner.read(self.owner.next_offset(), message.clone());
                }
            }
            Step::Learn => {}
            Step::Close => self.close(usize::MAX, true),
            Step::CloseOne => self.close(1, true),
            Step::Torn => {
                self.close(usize::MAX, false);
                self.restart();
            }
            Step::Crash => self.restart(),
        }
    }

    fn close(&mut self, most: usize, commit: bool) {
        let Some(last) = self.owner.ready(most) else { return };
        let closed: stage2::Closed = self.owner.close(last);
        self.written.flows.extend(closed.records);
        self.written.dns.extend(closed.dns);
        self.written.ledger.extend(closed.ledger);
        if commit {
            self.committed = self.owner.position();
        }
    }

    fn finish(mut self) -> Written {
        while self.next() < self.log.len() {
            self.take(Step::Read);
        }
        self.take(Step::Close);
        self.written
    }
}

/// What a consumer of the output topics holds: by id, or by the key of a ledger's line; a repeat must be byte-identical.
pub(crate) type Stored = BTreeMap<String, Vec<u8>>;

fn store(stored: &mut Stored, written: &Written) {
    let flows = written.flows.iter().map(|record| (&record.id, weir_schemas::encode(record).unwrap()));
    let dns = written.dns.iter().map(|record| (&record.id, weir_schemas::encode(record).unwrap()));
    for (id, bytes) in flows.chain(dns) {
        let before = stored.insert(id.clone(), bytes.clone());
        assert!(before.is_none_or(|before| before == bytes), "the id {id} was used again with other content");
    }
    book(stored, &written.ledger);
}

fn book(stored: &mut Stored, ledger: &[Ledger]) {
    for line in ledger {
        let bytes = weir_schemas::encode(line).unwrap();
        let before = stored.insert(line.key(), bytes.clone());
        assert!(before.is_none_or(|before| before == bytes), "another line {line:?}");
    }
}

/// Internal logs of transactions in this order.
fn internal_logs(count: i32, transactions: impl IntoIterator<Item = Transaction>) -> Vec<Vec<PartialMessage>> {
    let mut logs = vec![Vec::new(); usize::try_from(count).unwrap()];
    for transaction in transactions {
        for (log, messages) in logs.iter_mut().zip(transaction) {
            log.extend(messages);
        }
    }
    logs
}

/// What stage 2 stores in a run in which nothing goes wrong and everything is read before anything is closed, and all that was
/// written, stage 1's lines of the ledger among it.
pub(crate) fn reference(history: &Arc<SettingsHistory>, join: &Fake, raw: &[Vec<Input>]) -> (Stored, Written) {
    let (mut transactions, mut records) = (Vec::new(), Written::default());
    for (number, log) in raw.iter().enumerate() {
        let (written, ledger) = Stage1::new(history, join, i32::try_from(number).unwrap(), log).finish_booked();
        transactions.extend(written);
        records.ledger.extend(ledger);
    }
    let logs = internal_logs(history.latest().internal_partitions, transactions);
    let (mut stored, mut lines) = (Stored::new(), 0);
    for (number, log) in logs.iter().enumerate() {
        let written = Stage2::new(history, i32::try_from(number).unwrap(), log).finish();
        assert_bounded(&written, history.latest().keys_limit);
        lines += written.ledger.len();
        store(&mut stored, &written);
        records.flows.extend(written.flows);
        records.dns.extend(written.dns);
        records.ledger.extend(written.ledger);
    }
    assert_eq!(stored.len(), records.flows.len() + records.dns.len() + lines, "ids are unique");
    (stored, records)
}

/// No record is of nothing, and no level of a generation has more keys than it may, but for those of which nothing is left.
fn assert_bounded(written: &Written, limit: u32) {
    let left = |side: &Side| side.attribution != Attribution::None || side.reason.is_some();
    let mut counts: BTreeMap<(Millis, u8), u32> = BTreeMap::new();
    for record in &written.flows {
        let reports = [&record.by_initiator, &record.by_responder].into_iter().flatten();
        assert!(reports.clone().any(|report| !is_empty_report(report)), "nothing is in {record:?}");
        if left(&record.initiator) || left(&record.responder) {
            *counts.entry((record.generation, record.level)).or_default() += 1;
        }
    }
    for record in &written.dns {
        assert!(record.count > 0, "nothing is in {record:?}");
        if record.question != crate::dns::MORE {
            *counts.entry((record.generation, crate::dns::LEVEL)).or_default() += 1;
        }
    }
    assert!(counts.values().all(|count| *count <= limit), "{counts:?} of {limit}");
}

/// A raw log: each batch is appended when its tick is over, or when the one before was.
pub(crate) fn raw_log(batches: Vec<crate::stage1::RawBatch>) -> Vec<Input> {
    let mut now = Millis::MIN;
    let inputs = batches.into_iter().enumerate().map(|(offset, batch)| {
        now = now.max(batch.tick.saturating_add(1_000));
        Input {
            offset: i64::try_from(offset).unwrap(),
            append_time: now,
            size: 100,
            content: stage1::Content::Batch(batch),
        }
    });
    inputs.collect()
}
