//! What samples count, added up for a batch before it goes to records: a conversation has several samples in most batches,
//! and each of its records is then looked up and written once.

use super::aggregate::At;
use super::verdicts::shown;
use crate::judge::Judged;
use crate::merge::{add_counters, add_counts, add_drops, add_judged, add_round_trip, empty_report, product, sum};
use crate::observe::Observation;
use weir_flow::Millis;
use weir_schemas::enriched::{Counters, DropCounter, Report};
use weir_schemas::ledger::Reporter;
use weir_schemas::partial::{self, Partial};
use weir_schemas::raw::RoundTrip;

/// The counts of some samples of one conversation.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    reporter: Reporter,
    authority: bool,
    initiator_covered: bool,
    responder_covered: bool,
    guessed: bool,
    untranslated: bool,
    first_seen: Millis,
    last_seen: Millis,
    samples: u64,
    /// What policies say, with what the samples showed of it.
    judged: Option<partial::Judged>,
    report: Report,
}

impl Counts {
    /// Of a conversation's sample, which is not counted yet.
    pub(super) fn of(o: &Observation<'_, '_>, judged: Option<&Judged>) -> Self {
        let judged = judged.map(|judged| judged.answer.clone());
        Self {
            reporter: o.reporter,
            authority: o.authority,
            initiator_covered: o.initiator.covered,
            responder_covered: o.responder.covered,
            guessed: false,
            untranslated: false,
            first_seen: Millis::MAX,
            last_seen: Millis::MIN,
            samples: 0,
            judged: judged.map(|answer| partial::Judged { answer, samples: 0, against: 0, otherwise: 0 }),
            report: empty_report(),
        }
    }

    /// Counts a sample of the same conversation, and so of the same verdict.
    pub(super) fn count(&mut self, o: &Observation<'_, '_>, at: &At<'_>, judged: Option<&Judged>) {
        if let (Some(counted), Some(judged)) = (&mut self.judged, judged) {
            let shown = shown(judged, o, at.times.0, at.settings);
            counted.samples = sum(counted.samples, 1);
            counted.against = sum(counted.against, shown.against);
            counted.otherwise = sum(counted.otherwise, u64::from(shown.otherwise));
        }
        let clamp = |time: Millis| time.clamp(at.times.0, at.times.1);
        self.guessed |= o.guessed;
        self.untranslated |= o.untranslated;
        self.first_seen = self.first_seen.min(clamp(o.sample.first_seen));
        self.last_seen = self.last_seen.max(clamp(o.sample.last_seen));
        self.samples = sum(self.samples, 1);
        add_sample(&mut self.report, o, &counters(o), clamp(o.sample.last_seen));
    }

    /// Adds it to a record.
    pub(super) fn add_to(&self, partial: &mut Partial) {
        partial.orientation_guessed |= self.guessed;
        partial.untranslated |= self.untranslated;
        partial.first_seen = partial.first_seen.min(self.first_seen);
        partial.last_seen = partial.last_seen.max(self.last_seen);
        partial.initiator_covered &= self.initiator_covered;
        partial.responder_covered &= self.responder_covered;
        partial.samples = sum(partial.samples, self.samples);
        if let Some(judged) = &self.judged {
            add_judged(&mut partial.judgements, judged);
        }
        if self.authority {
            add_counters(&mut partial.totals, &self.report.counters);
        }
        let report = match self.reporter {
            Reporter::Initiator => &mut partial.by_initiator,
            Reporter::Responder => &mut partial.by_responder,
        };
        add_counts(report.get_or_insert_with(empty_report), &self.report);
    }

    /// Begins anew with the same conversation.
    pub(super) fn clear(&mut self) {
        (self.guessed, self.untranslated, self.samples) = (false, false, 0);
        (self.first_seen, self.last_seen) = (Millis::MAX, Millis::MIN);
        self.report = empty_report();
        if let Some(judged) = &mut self.judged {
            (judged.samples, judged.against, judged.otherwise) = (0, 0, 0);
        }
    }

    /// Whether nothing was counted.
    pub(super) fn is_empty(&self) -> bool {
        self.samples == 0
    }
}

/// A sample's counters, corrected for sampling and turned to the record's directions.
fn counters(o: &Observation<'_, '_>) -> Counters {
    let factor = u64::from(o.sampling);
    let (bytes, packets) = (product(o.sample.bytes, factor), product(o.sample.packets, factor));
    let (started, ended) = (product(o.sample.started, factor), product(o.sample.ended, factor));
    let mut counters = Counters { started, ended, ..Counters::default() };
    if o.forward {
        (counters.forward_bytes, counters.forward_packets) = (bytes, packets);
    } else {
        (counters.reverse_bytes, counters.reverse_packets) = (bytes, packets);
    }
    counters
}

fn add_sample(report: &mut Report, o: &Observation<'_, '_>, counters: &Counters, last_seen: Millis) {
    let sample = o.sample;
    let factor = u64::from(o.sampling);
    add_counters(&mut report.counters, counters);
    for drop in &sample.drops {
        let (packets, bytes) = (product(drop.packets, factor), product(drop.bytes, factor));
        let (forward, reverse) = if o.forward { ((packets, bytes), (0, 0)) } else { ((0, 0), (packets, bytes)) };
        let counter = DropCounter {
            reason: drop.reason.clone(),
            class: drop.class,
            forward_packets: forward.0,
            forward_bytes: forward.1,
            reverse_packets: reverse.0,
            reverse_bytes: reverse.1,
        };
        add_drops(&mut report.drops, &counter);
    }
    if o.forward {
        report.forward_tcp_flags |= sample.tcp_flags;
        if sample.packets > 0 {
            report.last_forward = report.last_forward.max(Some(last_seen));
        }
    } else {
        report.reverse_tcp_flags |= sample.tcp_flags;
    }
    report.retransmits = sum(report.retransmits, product(sample.retransmits, factor));
    report.zero_windows = sum(report.zero_windows, product(sample.zero_windows, factor));
    report.resets = sum(report.resets, product(sample.resets, factor));
    add_round_trip(&mut report.round_trip, weighted(sample.round_trip.as_ref(), factor).as_ref());
    add_round_trip(&mut report.handshake, weighted(sample.handshake.as_ref(), factor).as_ref());
    report.sampling = report.sampling.max(o.sampling);
}

/// Times corrected for sampling: each that was measured stands for as many as were not, so that means of differently
/// sampled flows weigh what they should.
fn weighted(times: Option<&RoundTrip>, factor: u64) -> Option<RoundTrip> {
    times.map(|times| RoundTrip {
        sum: product(times.sum, factor),
        count: product(times.count, factor),
        min: sum(times.min, 0),
        max: sum(times.max, 0),
    })
}
