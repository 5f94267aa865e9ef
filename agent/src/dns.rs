//! DNS: questions, and what became of them, from the packets of both. Pure: time comes with the packets.
//!
//! A question waits for its answer for [`PATIENCE`]; how many may wait, and how many different questions a tick may hold,
//! has a limit. What is seen of a server over TCP is read where a message begins with its segment, which is how clients and
//! servers send them (RFC 7766 §8); messages over several segments are counted as such.

pub mod message;

use crate::tick::merge_times;
use message::{Answer, DnsMessage, Question};
use std::collections::{BTreeSet, HashMap};
use weir_flow::Address;
use weir_flow::protocol::TCP;
use weir_schemas::raw::{DnsSample, End, Point, RoundTrip};

#[cfg(test)]
mod tests;

/// The ports of DNS servers (RFC 1035 §4.2).
pub const PORTS: [u16; 1] = [53];

/// How long an answer is waited for, ns. Stub resolvers wait for as long before they ask again (resolv.conf(5)).
pub const PATIENCE: u64 = 5_000_000_000;

/// A packet's payload that may be a DNS message.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// When, ns of any clock that does not go back.
    pub time: u64,
    /// Where it was seen.
    pub point: Point,
    /// Which end of this packet's way the point stands for.
    pub end: End,
    /// Index of the interface where the point is a pod's; 0 elsewhere, since questions and answers may take different ones.
    pub interface: u32,
    /// Who sent it.
    pub source: (Address, u16),
    /// To whom.
    pub destination: (Address, u16),
    /// IANA protocol number: TCP's or UDP's.
    pub protocol: u8,
    /// For how many it stands, at least 1.
    pub sampling: u32,
    /// The payload's first bytes.
    pub payload: &'a [u8],
    /// Where it stands in what it is read from, growing; 0 where nobody reads that again.
    pub position: u64,
}

/// What was seen and not made a sample of, as counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DnsCounts {
    /// Questions read.
    pub questions: u64,
    /// Answers read.
    pub answers: u64,
    /// Payloads that are no DNS query or answer.
    pub unreadable: u64,
    /// Messages over TCP that do not begin and end in one segment.
    pub split: u64,
    /// Answers to no question that waits.
    pub unmatched: u64,
    /// Questions that nobody answered in time, or that were asked again.
    pub unanswered: u64,
    /// Questions left out because too many waited, or too many different ones were in the tick.
    pub full: u64,
}

impl DnsCounts {
    /// The counters by name.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 7] {
        [
            ("questions", self.questions),
            ("answers", self.answers),
            ("unreadable", self.unreadable),
            ("split", self.split),
            ("unmatched", self.unmatched),
            ("unanswered", self.unanswered),
            ("full", self.full),
        ]
    }
}

/// A conversation with a server, up to its message's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Asked {
    point: Point,
    end: End,
    interface: u32,
    client: (Address, u16),
    server: (Address, u16),
    protocol: u8,
    id: u16,
}

#[derive(Clone, Debug)]
struct Waiting {
    question: Question,
    time: u64,
    sampling: u32,
    position: u64,
}

/// What a sample is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    point: Point,
    end: End,
    interface: u32,
    client: Address,
    server: (Address, u16),
    protocol: u8,
    question: String,
    kind: u16,
    code: Option<u16>,
}

#[derive(Clone, Debug, Default)]
struct Outcome {
    count: u64,
    latency: Option<RoundTrip>,
    answers: BTreeSet<Address>,
    more: u64,
    client_port: u16,
}

/// A sample whose interface and client are still to be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unnamed {
    /// The sample.
    pub sample: DnsSample,
    /// Index of the interface; 0 where it has none.
    pub interface: u32,
    /// The port that the client asked from, or one of them.
    pub client_port: u16,
}

/// Pairs questions and answers, tick by tick.
#[derive(Debug)]
pub struct Tracker {
    limit: usize,
    waiting: HashMap<Asked, Waiting>,
    running: HashMap<Key, Outcome>,
    /// Of the tick after the running one, whose packets come before the running one is taken.
    next: HashMap<Key, Outcome>,
    /// Where the first stands of the questions behind `next`.
    next_from: Option<u64>,
    counts: DnsCounts,
}

impl Tracker {
    /// At most `limit` questions wait, and as many different ones are in a tick.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            waiting: HashMap::new(),
            running: HashMap::new(),
            next: HashMap::new(),
            next_from: None,
            counts: DnsCounts::default(),
        }
    }

    /// What was counted since the start.
    #[must_use]
    pub fn counts(&self) -> DnsCounts {
        self.counts
    }

    /// Right after a tick has ended: where the first stands of the questions of which no tick has told.
    pub fn first_untold(&mut self) -> Option<u64> {
        let waiting = self.waiting.values().map(|waiting| waiting.position).min();
        waiting.into_iter().chain(self.next_from.take()).min()
    }

    /// Ends a tick of which somebody else has told: only questions that wait for their answer outlast it, and nothing is counted.
    pub fn pass_over(&mut self, boundary: u64) {
        self.end_tick(boundary);
        self.counts = DnsCounts::default();
    }

    /// Takes a payload. What happens at `boundary` or later belongs to the tick after the running one.
    pub fn observe(&mut self, seen: &Seen<'_>, boundary: u64) {
        if seen.protocol != TCP {
            return self.take(seen, seen.payload, boundary);
        }
        let mut rest = seen.payload;
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let Some((message, after)) = after.split_at_checked(usize::from(u16::from_be_bytes(*length))) else {
                break;
            };
            self.take(seen, message, boundary);
            rest = after;
        }
        self.counts.split += u64::from(!rest.is_empty());
    }

    fn take(&mut self, seen: &Seen<'_>, bytes: &[u8], boundary: u64) {
        let Some(DnsMessage { id, question, answer }) = message::read(bytes) else {
            self.counts.unreadable += 1;
            return;
        };
        let asked = |end, client, server| Asked {
            point: seen.point,
            end,
            interface: seen.interface,
            client,
            server,
            protocol: seen.protocol,
            id,
        };
        match (answer, question) {
            (Some(answer), question) => {
                self.counts.answers += 1;
                // A capture file's one observer stands for both ends alike.
                let end = if seen.point == Point::Capture { seen.end } else { opposite(seen.end) };
                self.answer(asked(end, seen.destination, seen.source), question.as_ref(), &answer, seen.time, boundary);
            }
            (None, Some(question)) => {
                self.counts.questions += 1;
                let sampling = seen.sampling.max(1);
                let waiting = Waiting { question, time: seen.time, sampling, position: seen.position };
                self.ask(asked(seen.end, seen.source, seen.destination), waiting, boundary);
            }
            (None, None) => {}
        }
    }

    fn ask(&mut self, asked: Asked, waiting: Waiting, boundary: u64) {
        if self.waiting.len() >= self.limit && !self.waiting.contains_key(&asked) {
            self.counts.full += 1;
            return;
        }
        let time = waiting.time;
        if let Some(before) = self.waiting.insert(asked, waiting) {
            self.close(asked, before, None, time, boundary);
        }
    }

    fn answer(&mut self, asked: Asked, question: Option<&Question>, answer: &Answer, time: u64, boundary: u64) {
        // A server that could not read the question answers without it.
        let fits = |waiting: &Waiting| question.is_none_or(|question| *question == waiting.question);
        match self.waiting.get(&asked).is_some_and(fits).then(|| self.waiting.remove(&asked)).flatten() {
            Some(waiting) => self.close(asked, waiting, Some(answer), time, boundary),
            None => self.counts.unmatched += 1,
        }
    }

    /// A question has its outcome at `time`.
    fn close(&mut self, asked: Asked, waiting: Waiting, answer: Option<&Answer>, time: u64, boundary: u64) {
        let key = Key {
            point: asked.point,
            end: asked.end,
            interface: asked.interface,
            client: asked.client.0,
            server: asked.server,
            protocol: asked.protocol,
            question: waiting.question.name,
            kind: waiting.question.kind,
            code: answer.map(|answer| answer.code),
        };
        self.counts.unanswered += u64::from(answer.is_none());
        if time >= boundary {
            self.next_from = self.next_from.into_iter().chain([waiting.position]).min();
        }
        let tick = if time < boundary { &mut self.running } else { &mut self.next };
        if tick.len() >= self.limit && !tick.contains_key(&key) {
            self.counts.full += 1;
            return;
        }
        let outcome = tick.entry(key).or_default();
        let times = u64::from(waiting.sampling);
        outcome.count = outcome.count.saturating_add(times);
        outcome.client_port = asked.client.1;
        let Some(answer) = answer else { return };
        let micros = time.saturating_sub(waiting.time) / 1_000;
        let latency = RoundTrip { sum: micros.saturating_mul(times), count: times, min: micros, max: micros };
        outcome.latency = merge_times(outcome.latency, Some(latency));
        outcome.more = outcome.more.saturating_add(answer.unread);
        for address in &answer.addresses {
            if outcome.answers.contains(address) {
                continue;
            }
            if outcome.answers.len() < message::ADDRESSES {
                outcome.answers.insert(*address);
            } else {
                outcome.more = outcome.more.saturating_add(1);
            }
        }
    }

    /// Ends the running tick at `boundary`: its samples, in a fixed order.
    pub fn end_tick(&mut self, boundary: u64) -> Vec<Unnamed> {
        let late: Vec<Asked> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| boundary.saturating_sub(waiting.time) >= PATIENCE)
            .map(|(asked, _)| *asked)
            .collect();
        for asked in late {
            if let Some(waiting) = self.waiting.remove(&asked) {
                self.close(asked, waiting, None, 0, boundary);
            }
        }
        self.take_running()
    }

    /// Ends the last tick: what still waits has no answer.
    pub fn finish(&mut self) -> Vec<Unnamed> {
        for (asked, waiting) in std::mem::take(&mut self.waiting) {
            self.close(asked, waiting, None, 0, 1);
        }
        // A tick has passed since whatever came last: both halves are its.
        let mut all = self.take_running();
        all.extend(self.take_running());
        all
    }

    fn take_running(&mut self) -> Vec<Unnamed> {
        let next = std::mem::take(&mut self.next);
        let mut ended: Vec<(Key, Outcome)> = std::mem::replace(&mut self.running, next).into_iter().collect();
        ended.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        ended.into_iter().map(|(key, outcome)| unnamed(key, outcome)).collect()
    }
}

fn opposite(end: End) -> End {
    match end {
        End::Source => End::Destination,
        End::Destination => End::Source,
    }
}

fn unnamed(key: Key, outcome: Outcome) -> Unnamed {
    let sample = DnsSample {
        point: key.point,
        end: key.end,
        interface: String::new(),
        client: key.client,
        server: key.server.0,
        server_port: key.server.1,
        protocol: key.protocol,
        question: key.question,
        question_type: key.kind,
        response_code: key.code,
        count: outcome.count,
        latency: outcome.latency,
        answers: outcome.answers.into_iter().collect(),
        answers_more: outcome.more,
        pod_uid: None,
        container: None,
        process: None,
    };
    Unnamed { sample, interface: key.interface, client_port: outcome.client_port }
}
