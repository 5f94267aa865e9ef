//! What policies say of the conversations of a batch, and what its samples show of it.

use crate::join::Join;
use crate::judge::{Connection, Judged, Parties};
use crate::merge::product;
use crate::observe::{Group, Observation, Place};
use weir_flow::{Millis, RecordSettings, protocol};
use weir_join::Resolution;
use weir_schemas::enriched::Verdict;
use weir_schemas::ledger::Reporter;
use weir_schemas::raw::{DropClass, Point};

/// A conversation that was judged.
#[derive(Debug)]
struct Known {
    judged: Option<Judged>,
    /// The same for samples of which a filter emptied something.
    nameless: Option<Judged>,
}

/// Verdicts by conversation of one batch: what decides one is the same for all samples of a conversation.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    known: Vec<Option<Known>>,
}

impl Verdicts {
    /// Begins with another batch.
    pub(super) fn begin(&mut self) {
        self.known.clear();
    }

    /// Asks for the verdicts on conversations that are new. The observations must be as they were joined.
    pub(super) fn ask_all<'a>(
        &mut self,
        heard: Group<'_, 'a>,
        place: &Place<'_>,
        settings: &RecordSettings,
        join: &'a impl Join,
        parties: &mut Parties<'a>,
    ) {
        let new: Vec<Observation<'_, 'a>> = heard.first_of_each(self.known.len()).collect();
        if new.is_empty() {
            return;
        }
        let ends: Vec<&Resolution<'a>> = new.iter().flat_map(|o| [&o.initiator.found, &o.responder.found]).collect();
        join.meet(&ends, (tick(place), settings), parties);
        for observation in &new {
            self.ask(observation, place, settings, join, parties);
        }
    }

    fn ask<'a>(
        &mut self,
        o: &Observation<'_, 'a>,
        place: &Place<'_>,
        settings: &RecordSettings,
        join: &'a impl Join,
        parties: &mut Parties<'a>,
    ) {
        let Some(conversation) = o.conversation else { return };
        if self.known.len() <= conversation {
            self.known.resize_with(conversation + 1, || None);
        }
        if let Some(known) = self.known.get_mut(conversation).filter(|known| known.is_none()) {
            let connection = Connection {
                initiator: (&o.initiator.found, o.initiator.ask.address),
                responder: (&o.responder.found, o.responder.ask.address),
                translated: translated(o),
                protocol: o.sample.protocol,
                port: o.responder.ask.port.unwrap_or(0),
                tick: tick(place),
                settings,
            };
            *known = Some(Known { judged: join.judge(&connection, parties), nameless: None });
        }
    }

    /// Whether policies denied a conversation that was asked for.
    pub(super) fn is_denied(&self, conversation: Option<usize>) -> bool {
        let known = conversation.and_then(|conversation| self.known.get(conversation)?.as_ref());
        let judged = known.and_then(|known| known.judged.as_ref());
        judged.is_some_and(|judged| judged.answer.verdict == Verdict::Deny)
    }

    /// The verdict that was asked for; without the names of policies where a filter emptied something of the sample.
    pub(super) fn of(&mut self, conversation: Option<usize>, is_whole: bool) -> Option<&Judged> {
        let known = self.known.get_mut(conversation?)?.as_mut()?;
        let judged = known.judged.as_ref()?;
        if is_whole {
            return Some(judged);
        }
        Some(known.nameless.get_or_insert_with(|| judged.without_names()))
    }
}

/// First and last millisecond of the tick.
fn tick(place: &Place<'_>) -> (Millis, Millis) {
    (place.tick, place.tick.saturating_add(place.tick_length).saturating_sub(1))
}

/// The initiator's address as the responder's end saw it, where that is not its own.
fn translated(o: &Observation<'_, '_>) -> Option<weir_flow::Address> {
    let seen = if o.forward { o.sample.source } else { o.sample.destination };
    let is_other =
        o.reporter == Reporter::Responder && o.sample.translated.is_some() && seen != o.initiator.ask.address;
    is_other.then_some(seen)
}

/// What a sample shows against its verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    /// Attempts, on connections opened after the verdict had settled.
    pub(super) against: u64,
    /// Whether the sample went otherwise at all.
    pub(super) otherwise: bool,
}

/// What a sample shows against a verdict.
///
/// Of what is denied, that packets came through: to the responder's end, or, where nobody watches that, answers to the
/// initiator's. A packet at the initiator's end shows nothing, because policies are asked after it was seen; nor does a
/// refusal, which may be a policy's. Of what is allowed, that packets were dropped as a policy drops them.
///
/// Of these, attempts count that were seen to be opened once the verdict had settled: as many as the agent saw begin, none
/// of which came through where they were dropped.
pub(super) fn shown(judged: &Judged, o: &Observation<'_, '_>, tick: Millis, settings: &RecordSettings) -> Shown {
    let sample = o.sample;
    let dropped = sample.drops.iter().filter(|drop| drop.class == DropClass::Policy);
    let dropped = dropped.fold(0_u64, |sum, drop| sum.saturating_add(drop.packets));
    let passed = sample.packets > dropped;
    let factor = u64::from(o.sampling);
    let (otherwise, attempts) = match judged.answer.verdict {
        Verdict::Unknown => (false, 0),
        Verdict::Allow => (dropped > 0, if o.forward && !passed { sample.started } else { 0 }),
        Verdict::Deny if o.reporter == Reporter::Responder => (passed, if o.forward { sample.started } else { 0 }),
        Verdict::Deny => {
            let watched = o.responder.covered && sample.point != Point::Capture;
            let answered = passed && !o.forward && !watched && !is_refusal(o);
            let begins = if sample.protocol == protocol::TCP {
                sample.tcp_flags & protocol::SYN != 0
            } else {
                sample.opened_at.is_some_and(|opened| opened >= tick)
            };
            (answered, u64::from(begins))
        }
    };
    let counts = otherwise && sample.opened_at.is_some_and(|opened| judged.is_settled(opened, settings));
    Shown { against: if counts { product(attempts, factor) } else { 0 }, otherwise }
}

/// Whether an answer of TCP is no more than a reset.
fn is_refusal(o: &Observation<'_, '_>) -> bool {
    o.sample.protocol == protocol::TCP && o.sample.resets >= o.sample.packets
}
