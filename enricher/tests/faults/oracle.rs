//! What stands on the output topics, compared with what was sent.

use crate::traffic::{Counted, Key, Traffic, Truth};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use weir_flow::Millis;
use weir_schemas::enriched::{Enriched, Report};
use weir_schemas::ledger::Ledger;
use weir_schemas::raw::Totals;
use weir_schemas::{decode, topics};
use weir_stream::{Log, Partitions, Reader, Start};

/// A consumer of the enriched topic.
pub(crate) struct Oracle {
    reader: Reader,
    log: Log,
    cluster: String,
    /// Each record's bytes by its id.
    records: BTreeMap<String, bytes::Bytes>,
    found: Truth,
    by_workload: Counted,
    total: [u64; 2],
    /// The newest window of which a record was seen.
    pub(crate) newest: Millis,
    /// Records that were met again.
    pub(crate) repeated: usize,
}

fn counted(report: Option<&Report>) -> Counted {
    report.map_or([0; 4], |report| {
        let counters = &report.counters;
        [counters.forward_bytes, counters.forward_packets, counters.reverse_bytes, counters.reverse_packets]
    })
}

fn add(a: &mut Counted, b: Counted) {
    for (a, b) in a.iter_mut().zip(b) {
        *a += b;
    }
}

impl Oracle {
    pub(crate) async fn new(log: &Log, cluster: &str) -> Self {
        let reader = log.reader(topics::ENRICHED, Partitions::All, Start::Beginning).await.unwrap();
        Self {
            reader,
            log: log.clone(),
            cluster: cluster.to_owned(),
            records: BTreeMap::new(),
            found: Truth::new(),
            by_workload: [0; 4],
            total: [0; 2],
            newest: 0,
            repeated: 0,
        }
    }

    /// Reads what has come.
    pub(crate) async fn read(&mut self, patience: Duration) {
        // A broker that is being killed does not answer.
        let Ok(records) = self.reader.next(patience).await else { return };
        for record in records {
            let value = record.value.unwrap();
            let enriched: Enriched = decode(&value).unwrap();
            if enriched.cluster != self.cluster {
                continue;
            }
            if let Some(before) = self.records.get(&enriched.id) {
                assert_eq!(*before, value, "an id with other content: {enriched:?}");
                self.repeated += 1;
                continue;
            }
            self.take(&enriched);
            self.records.insert(enriched.id, value);
        }
    }

    fn take(&mut self, record: &Enriched) {
        self.newest = self.newest.max(record.window);
        let reports = [counted(record.by_initiator.as_ref()), counted(record.by_responder.as_ref())];
        assert!(reports.iter().flatten().any(|count| *count > 0), "a record with zero counters: {record:?}");
        if record.level == 2 {
            reports.into_iter().for_each(|report| add(&mut self.by_workload, report));
        }
        if record.level != 1 {
            return;
        }
        let key = Key {
            window: record.window,
            initiator: record.initiator.address.unwrap(),
            responder: record.responder.address.unwrap(),
            port: record.responder.port.unwrap(),
        };
        let known = self.found.entry(key).or_default();
        for (known, report) in known.iter_mut().zip(reports) {
            add(known, report);
        }
        self.total[0] += record.totals.forward_bytes + record.totals.reverse_bytes;
        self.total[1] += reports[0][0] + reports[0][2];
    }

    /// Reads until all that was sent is there, then a little longer; then everything must be exactly what was sent.
    pub(crate) async fn expect(&mut self, traffic: &Traffic, patience: Duration) {
        let truth = &traffic.truth;
        let begun = Instant::now();
        while self.found != *truth && begun.elapsed() < patience {
            self.read(Duration::from_millis(300)).await;
        }
        let settled = Instant::now() + Duration::from_secs(3);
        while Instant::now() < settled {
            self.read(Duration::from_millis(300)).await;
        }
        let differing = truth.iter().filter(|(key, sent)| self.found.get(key) != Some(sent));
        let missing: Vec<_> = differing.clone().take(3).map(|(key, sent)| (key, sent, self.found.get(key))).collect();
        assert!(missing.is_empty(), "{} of {} keys differ: {missing:#?}", differing.count(), truth.len());
        let invented: Vec<_> = self.found.keys().filter(|key| !truth.contains_key(key)).take(3).collect();
        assert!(invented.is_empty(), "nobody sent {invented:?}");
        let mut sent = [0; 4];
        truth.values().flatten().for_each(|counted| add(&mut sent, *counted));
        assert_eq!(self.by_workload, sent, "the sums by workload");
        assert_eq!(self.total[0], self.total[1], "every node is covered, so that totals are the initiators' reports");
    }

    /// As [`expect`](Self::expect), where some nodes' clocks are wrong: the others' windows are as they were sent. What was
    /// lost, by reason.
    pub(crate) async fn expect_others(&mut self, traffic: &Traffic, patience: Duration) -> BTreeMap<String, Totals> {
        let begun = Instant::now();
        let right = |found: &Truth| {
            let fits = |sent: &Counted, found: &Counted| sent.iter().zip(found).all(|(sent, found)| found >= sent);
            traffic.truth.iter().all(|(key, sent)| {
                found.get(key).is_some_and(|found| sent.iter().zip(found).all(|(sent, found)| fits(sent, found)))
            })
        };
        while !right(&self.found) && begun.elapsed() < patience {
            self.read(Duration::from_millis(300)).await;
        }
        let settled = Instant::now() + Duration::from_secs(5);
        while Instant::now() < settled {
            self.read(Duration::from_millis(300)).await;
        }
        assert!(right(&self.found), "windows of nodes whose clocks are right are not whole");
        self.expect_ledger(traffic).await
    }

    /// The ledger adds up: received and lost is what was sent, and stored is what was received. What was lost, by reason.
    pub(crate) async fn expect_ledger(&self, traffic: &Traffic) -> BTreeMap<String, Totals> {
        let mut reader = self.log.reader(topics::LEDGER, Partitions::All, Start::Beginning).await.unwrap();
        let mut lines: BTreeMap<Vec<u8>, bytes::Bytes> = BTreeMap::new();
        let mut received = Totals::default();
        let mut stored = BTreeMap::new();
        let mut lost: BTreeMap<String, Totals> = BTreeMap::new();
        for record in reader.read_to_end(Duration::from_secs(30)).await.unwrap() {
            let value = record.value.unwrap();
            if let Some(before) = lines.insert(record.key.unwrap().to_vec(), value.clone()) {
                assert_eq!(before, value, "a line of the ledger with other content");
                continue;
            }
            match decode(&value).unwrap() {
                Ledger::Received(line) if line.cluster == self.cluster => {
                    add_totals(&mut received, line.received);
                    for loss in line.lost {
                        add_totals(lost.entry(loss.reason).or_default(), loss.lost);
                    }
                }
                Ledger::Stored(line) if line.cluster == self.cluster => {
                    add_totals(stored.entry(line.level).or_default(), line.stored);
                }
                Ledger::Received(_) | Ledger::Stored(_) | Ledger::Questions(_) => {}
            }
        }
        let mut all = received;
        lost.values().for_each(|totals| add_totals(&mut all, *totals));
        assert_eq!(all, traffic.sent, "received and lost is what was sent");
        for (level, totals) in stored {
            assert_eq!(totals, received, "at level {level} stored is what was received");
        }
        lost
    }

    /// How many records there are.
    pub(crate) fn count(&self) -> usize {
        self.records.len()
    }
}

fn add_totals(a: &mut Totals, b: Totals) {
    a.packets += b.packets;
    a.bytes += b.bytes;
    a.samples += b.samples;
}
