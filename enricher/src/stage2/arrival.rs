//! What a record says of its packets: whether they arrived, and whether policies let them pass.

use super::close::Heard;
use crate::merge::policy_drops;
use weir_flow::Millis;
use weir_schemas::enriched::{Action, Arrival, Report};
use weir_schemas::partial::Partial;
use weir_schemas::raw::Origin;

/// What is sent in a window's last second may arrive in the next window.
const SETTLING: Millis = 1_000;

fn forward(report: Option<&Report>) -> u64 {
    report.map_or(0, |report| report.counters.forward_packets)
}

fn reverse(report: Option<&Report>) -> u64 {
    report.map_or(0, |report| report.counters.reverse_packets)
}

/// Whether what was sent arrived, and why that is unknown.
///
/// * `Ok`: both reporters counted packets of the same direction.
/// * `Never`: the initiator's side sent packets, the last of them at least 1 s before the window's end; the responder's
///   side counted none in either direction although its end was covered at every tick, its node is known and reported
///   every tick of the window in time; nothing was sampled, and nothing of its level coarsened; the tuple was translated
///   where it had to be, and the record is of the window's own generation.
/// * `Unknown`: anything else, with the first reason that applies.
pub(super) fn arrival(
    partial: &Partial,
    generation: Millis,
    window_length: Millis,
    heard: &Heard,
) -> (Arrival, &'static str) {
    let (initiator, responder) = (partial.by_initiator.as_ref(), partial.by_responder.as_ref());
    let both = |count: fn(Option<&Report>) -> u64| count(initiator) > 0 && count(responder) > 0;
    if both(forward) || (both(reverse) && forward(initiator) == 0) {
        return (Arrival::Ok, "");
    }
    let unknown = |reason| (Arrival::Unknown, reason);
    if partial.origin == Origin::Capture {
        return unknown("one observer for both ends");
    }
    if forward(initiator) == 0 {
        return unknown(if initiator.is_none() {
            "no report of the initiator"
        } else {
            "nothing sent by the initiator"
        });
    }
    if generation > partial.window {
        return unknown("late");
    }
    if reverse(responder) > 0 || reverse(initiator) > 0 {
        return unknown("one direction only");
    }
    if partial.coarsened || heard.coarsened.contains(&partial.level) {
        return unknown("coarsened");
    }
    if partial.untranslated {
        return unknown("translation unknown");
    }
    if [initiator, responder].into_iter().flatten().any(|report| report.sampling > 1) {
        return unknown("sampled");
    }
    if !partial.responder_covered {
        return unknown("responder not covered");
    }
    let end = partial.window.saturating_add(window_length);
    if initiator.and_then(|report| report.last_forward).is_none_or(|last| last > end.saturating_sub(SETTLING)) {
        return unknown("sent at the end of the window");
    }
    match partial.responder.view().node.map(|node| heard.missing.get(node)) {
        None => unknown("responder's node not known"),
        Some(None) => unknown("responder's node did not report"),
        Some(Some(0)) => (Arrival::Never, ""),
        Some(Some(_)) => unknown("ticks of the responder's node missing"),
    }
}

/// What the packets showed.
///
/// * `Allow`: no reporter counted a packet dropped by what a policy does.
/// * `Deny`: one did, and nothing came through.
/// * `Mixed`: one did, and something came through.
///
/// Something came through when the responder's report counted a packet in either direction, or the initiator's report
/// counted an answer; and, where the responder's end was not covered so that its report cannot be expected, when the
/// initiator's report counted more packets sent than were dropped.
pub(super) fn action(partial: &Partial) -> Action {
    let (initiator, responder) = (partial.by_initiator.as_ref(), partial.by_responder.as_ref());
    let dropped = |report: Option<&Report>| report.map_or((0, 0), policy_drops);
    let (at_initiator, at_responder) = (dropped(initiator), dropped(responder));
    if at_initiator == (0, 0) && at_responder == (0, 0) {
        return Action::Allow;
    }
    let responder_saw = forward(responder) > 0 || reverse(responder) > 0;
    let answered = reverse(initiator) > 0;
    let more_sent = responder.is_none() && !partial.responder_covered && forward(initiator) > at_initiator.0;
    if responder_saw || answered || more_sent { Action::Mixed } else { Action::Deny }
}
