//! One sample, oriented and joined: who opened the connection, whose report it is, who both ends were at its tick, and
//! whether its counters feed the totals.

use crate::join::Join;
use crate::key::EndKey;
use crate::pages::Pages;
use crate::stage1::Sample;
use std::borrow::Cow;
use std::fmt::{Debug, Formatter};
use std::hint::black_box;
use std::ops::Deref;
use std::sync::Arc;
use weir_flow::{Address, Millis, protocol};
use weir_join::{Ask, Identity, IdentityKind, Resolution};
use weir_schemas::enriched::{Attribution, NoneReason, Side};
use weir_schemas::ledger::Reporter;
use weir_schemas::raw::{DropClass, End, OpenedBy, Point, Tuple};

mod conversations;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use conversations::Conversations;
use conversations::{Ends, Spoken};

/// Where and when a sample was taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// Start of the tick that the sample is placed in.
    pub(crate) tick: Millis,
    /// Length of the tick, ms.
    pub(crate) tick_length: Millis,
    /// Name of the reporter's node.
    pub(crate) node: &'a str,
}

/// One end as it was asked for and found.
#[derive(Clone, Debug)]
pub(crate) struct EndFound<'a> {
    pub(crate) ask: Ask<'a>,
    pub(crate) found: Resolution<'a>,
    pub(crate) covered: bool,
    /// Whether a filter emptied the address.
    pub(crate) without_address: bool,
}

/// An end of an observation: that of its conversation, or its own where a filter changed it. Ends are large and observations
/// many, so that they point at them.
#[derive(Clone)]
pub(crate) enum EndSeen<'o, 'a> {
    Shared(&'o EndFound<'a>),
    Own(Box<EndFound<'a>>),
}

impl<'a> Deref for EndSeen<'_, 'a> {
    type Target = EndFound<'a>;

    fn deref(&self) -> &EndFound<'a> {
        match self {
            Self::Shared(end) => end,
            Self::Own(end) => end,
        }
    }
}

impl Debug for EndSeen<'_, '_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(formatter)
    }
}

impl<'a> EndSeen<'_, 'a> {
    /// Changes the end, of this observation alone.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut EndFound<'a>)) {
        let mut own = Box::new(EndFound::clone(self));
        change(&mut own);
        *self = Self::Own(own);
    }
}

/// A sample with everything that decides where it is counted.
#[derive(Clone, Debug)]
pub(crate) struct Observation<'o, 'a> {
    pub(crate) sample: &'a Sample,
    /// Whether the packets went from the initiator to the responder.
    pub(crate) forward: bool,
    pub(crate) reporter: Reporter,
    /// Whether the counters feed the totals.
    pub(crate) authority: bool,
    pub(crate) guessed: bool,
    pub(crate) untranslated: bool,
    pub(crate) initiator: EndSeen<'o, 'a>,
    pub(crate) responder: EndSeen<'o, 'a>,
    pub(crate) policy_drops: bool,
    /// How many the sample stands for, at least 1: the agent's sampling and filters'.
    pub(crate) sampling: u32,
    /// Number of the conversation in its batch: what is the same of all its samples. None where a filter emptied something.
    pub(crate) conversation: Option<usize>,
}

/// Whether a sample's point stands for one of the ends; what is seen in transit or under a tunnel is outside totals.
pub(crate) fn stands_for_an_end(point: Point) -> bool {
    matches!(point, Point::Pod | Point::Host | Point::Capture)
}

/// How many samples are joined side by side.
const SIDE_BY_SIDE: usize = 128;

/// Orients and joins samples, which must stand for an end, and gives them in order, some at a time. Look-ups that wait for
/// memory wait together, and what was asked in the batch is not asked again; what is found is what each sample alone would
/// have found. `port` is whether the port of an initiator may decide anything; otherwise it may be that of another sample.
pub(crate) fn observe_all<'a>(
    samples: impl Iterator<Item = &'a Sample>,
    place: &Place<'a>,
    join: &'a impl Join,
    port: bool,
    conversations: &mut Conversations,
    mut take: impl FnMut(Group<'_, 'a>),
) {
    let mut samples = samples.peekable();
    let one_observer = join.one_observer(place.tick);
    conversations.begin();
    // By the conversation's number.
    let mut ends: Pages<Ends<'a>> = Pages::default();
    let (mut heard, mut new) = (Vec::with_capacity(SIDE_BY_SIDE), Vec::with_capacity(SIDE_BY_SIDE));
    let (mut asks, mut answers) = (Vec::with_capacity(2 * SIDE_BY_SIDE), Vec::with_capacity(2 * SIDE_BY_SIDE));
    while samples.peek().is_some() {
        for sample in samples.by_ref().take(SIDE_BY_SIDE) {
            let asker = Asker::new(sample, place, one_observer);
            let (conversation, is_new) = conversations.number(&Spoken::of(&asker, port));
            heard.push(Heard { sample, forward: asker.forward, guessed: asker.guessed, conversation });
            if is_new {
                asker.ask(&mut asks);
                new.push(asker);
            }
        }
        resolve(&asks, place, join, &mut answers);
        fetch(&answers);
        let mut found = asks.drain(..).zip(answers.drain(..));
        new.drain(..).for_each(|asker: Asker<'a>| ends.push(asker.ends(&mut found, join)));
        drop(found);
        take(Group { heard: &heard, ends: &ends });
        heard.clear();
    }
}

/// Some samples that were joined.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group<'o, 'a> {
    heard: &'o [Heard<'a>],
    /// By the conversation's number.
    ends: &'o Pages<Ends<'a>>,
}

impl<'o, 'a> Group<'o, 'a> {
    /// The observations, in order.
    pub(crate) fn observations(self) -> impl Iterator<Item = Observation<'o, 'a>> {
        self.heard.iter().filter_map(move |heard| self.observation(heard))
    }

    /// The first observation of each conversation from a number on. They have numbers in the order in which they were first
    /// heard.
    pub(crate) fn first_of_each(self, mut from: usize) -> impl Iterator<Item = Observation<'o, 'a>> {
        let first = move |heard: &&Heard<'a>| {
            let is_first = heard.conversation >= from;
            from = from.max(heard.conversation.saturating_add(1));
            is_first
        };
        self.heard.iter().filter(first).filter_map(move |heard| self.observation(heard))
    }

    fn observation(self, heard: &Heard<'a>) -> Option<Observation<'o, 'a>> {
        let ends = u32::try_from(heard.conversation).ok().and_then(|number| self.ends.get(number));
        ends.map(|ends| heard.observation(ends))
    }
}

/// Reads from each identity, so that what is asked about them next need not wait for one after the other.
fn fetch(answers: &[Resolution<'_>]) {
    let read = answers.iter().filter_map(|found| found.identity.as_deref());
    black_box(read.fold(0, |all, identity| all ^ Arc::as_ptr(&identity.entity).addr()));
}

/// A sample whose conversation is known.
#[derive(Clone, Copy, Debug)]
struct Heard<'a> {
    sample: &'a Sample,
    forward: bool,
    guessed: bool,
    conversation: usize,
}

impl<'a> Heard<'a> {
    fn observation<'o>(&self, ends: &'o Ends<'a>) -> Observation<'o, 'a> {
        Observation {
            sample: self.sample,
            forward: self.forward,
            reporter: ends.reporter,
            authority: ends.authority,
            guessed: self.guessed,
            untranslated: ends.untranslated,
            initiator: EndSeen::Shared(&ends.initiator),
            responder: EndSeen::Shared(&ends.responder),
            sampling: self.sample.sampling.max(1),
            policy_drops: self.sample.drops.iter().any(|drop| drop.class == DropClass::Policy && drop.packets > 0),
            conversation: Some(self.conversation),
        }
    }
}

/// Asks as of the tick's start; for who came only within the tick, as of its end.
fn resolve<'a>(asks: &[Ask<'a>], place: &Place<'a>, join: &'a impl Join, answers: &mut Vec<Resolution<'a>>) {
    join.resolve_all(asks, answers);
    let end = place.tick.saturating_add(place.tick_length).saturating_sub(1);
    let again: Vec<usize> = (0..answers.len()).filter(|n| answers.get(*n).is_some_and(may_come)).collect();
    let later: Vec<Ask<'a>> = again.iter().filter_map(|n| asks.get(*n)).map(|ask| Ask { at: end, ..*ask }).collect();
    let mut found = Vec::new();
    join.resolve_all(&later, &mut found);
    for (number, later) in again.into_iter().zip(found) {
        if let Some(answer) = answers.get_mut(number).filter(|_| later.attribution != Attribution::None) {
            *answer = later;
        }
    }
}

/// Whether nobody was there, but may have come since.
fn may_come(found: &Resolution<'_>) -> bool {
    use NoneReason::{BeforeHistory, NotYetReported, Outside, UnknownPodAddress};
    let may_come = matches!(found.reason, Some(UnknownPodAddress | NotYetReported | BeforeHistory | Outside));
    found.attribution == Attribution::None && may_come
}

/// The tuple after translation, in the direction of the packets. At a pod's interface the pod's own end is as seen, and
/// the other end is as translated: behind a service's address stands a pod, behind a masqueraded source its client. A
/// host's interface sees packets after translation already.
fn real_tuple(sample: &Sample) -> Tuple {
    let seen = Tuple {
        source: sample.source,
        destination: sample.destination,
        source_port: sample.source_port,
        destination_port: sample.destination_port,
    };
    match (&sample.translated, sample.point, sample.end) {
        (Some(other), Point::Pod, End::Source) => {
            Tuple { destination: other.destination, destination_port: other.destination_port, ..seen }
        }
        (Some(other), Point::Pod, End::Destination) => {
            Tuple { source: other.source, source_port: other.source_port, ..seen }
        }
        _ => seen,
    }
}

/// Whether the packets go from the initiator to the responder, and whether that was guessed: the lower port is the
/// responder's; where the ports say nothing, the lower address is.
fn orientation(sample: &Sample, tuple: &Tuple) -> (bool, bool) {
    match sample.opened_by {
        OpenedBy::Source => (true, false),
        OpenedBy::Destination => (false, false),
        OpenedBy::Unknown => {
            let ports = protocol::has_ports(sample.protocol) && tuple.source_port != tuple.destination_port;
            let forward =
                if ports { tuple.destination_port < tuple.source_port } else { tuple.destination <= tuple.source };
            (forward, true)
        }
    }
}

/// A sample that is oriented and not joined yet.
#[derive(Clone, Copy, Debug)]
struct Asker<'a> {
    sample: &'a Sample,
    place: Place<'a>,
    forward: bool,
    guessed: bool,
    one_observer: bool,
    tuple: Tuple,
}

impl<'a> Asker<'a> {
    fn new(sample: &'a Sample, place: &Place<'a>, one_observer: bool) -> Self {
        let tuple = real_tuple(sample);
        let (forward, guessed) = orientation(sample, &tuple);
        let one_observer = one_observer || sample.point == Point::Capture;
        Self { sample, place: *place, forward, guessed, one_observer, tuple }
    }

    fn local_is_initiator(&self) -> bool {
        (self.sample.end == End::Source) == self.forward
    }

    fn ends_of(&self, tuple: &Tuple, initiator: bool) -> (Address, u16) {
        if initiator == self.forward {
            (tuple.source, tuple.source_port)
        } else {
            (tuple.destination, tuple.destination_port)
        }
    }

    /// Asks about the initiator and the responder by address, then about the reporter's own end by what only its node
    /// knows, if it knows more.
    fn ask(&self, asks: &mut Vec<Ask<'a>>) {
        let ends = [self.by_address(true), self.by_address(false)];
        asks.extend(ends);
        let [initiator, responder] = ends;
        let own = self.own(if self.local_is_initiator() { initiator } else { responder });
        asks.extend(own.filter(|own| own.pod_uid.is_some() || own.local_host.is_some()));
    }

    fn by_address(&self, initiator: bool) -> Ask<'a> {
        let (address, port) = self.ends_of(&self.tuple, initiator);
        Ask {
            port: protocol::has_ports(self.sample.protocol).then_some(port),
            protocol: self.sample.protocol,
            responder: !initiator,
            ..Ask::address(self.place.tick, address)
        }
    }

    /// What is asked about the reporter's own end; nothing where the reporter is at neither.
    fn own(&self, by_address: Ask<'a>) -> Option<Ask<'a>> {
        let on_host = self.sample.point == Point::Host && self.sample.pod_uid.is_none();
        (self.sample.point != Point::Capture).then_some(Ask {
            pod_uid: self.sample.pod_uid.as_deref(),
            container: self.sample.container.as_deref(),
            process: self.sample.process.as_deref(),
            local_host: on_host.then_some(self.place.node),
            ..by_address
        })
    }

    /// Who the ends were, by the answers to the questions, which are the next ones.
    fn ends(&self, found: &mut impl Iterator<Item = (Ask<'a>, Resolution<'a>)>, join: &'a impl Join) -> Ends<'a> {
        let local_is_initiator = self.local_is_initiator();
        let mut initiator = self.end(true, found.next(), join);
        let mut responder = self.end(false, found.next(), join);
        let local = if local_is_initiator { &mut initiator } else { &mut responder };
        if let Some(own) = self.own(local.ask) {
            let asked = own.pod_uid.is_some() || own.local_host.is_some();
            local.ask = own;
            if let Some((_, answer)) = asked.then(|| found.next()).flatten() {
                local.found = answer;
            }
        }
        self.service_before_translation(&mut responder, join);
        let reporter = if self.one_observer || local_is_initiator { Reporter::Initiator } else { Reporter::Responder };
        let is_service = |identity: &Cow<'_, Identity>| identity.kind == IdentityKind::Service;
        Ends {
            reporter,
            authority: self.one_observer || (reporter == Reporter::Initiator) == initiator.covered,
            untranslated: responder.found.identity.as_ref().is_some_and(is_service),
            initiator,
            responder,
        }
    }

    /// An end by its address. Who has the authority must be the same question for both reporters, so it goes by address
    /// alone.
    fn end(&self, initiator: bool, found: Option<(Ask<'a>, Resolution<'a>)>, join: &impl Join) -> EndFound<'a> {
        let (ask, found) = found.unwrap_or_else(|| (self.by_address(initiator), Resolution::none(None)));
        let covered = join.covered(&found, ask.address, self.place.tick);
        EndFound { ask, found, covered, without_address: false }
    }

    /// Where the connection is translated, the service is known by the responder's address in the other tuple.
    fn service_before_translation(&self, responder: &mut EndFound<'a>, join: &'a impl Join) {
        let Some(other) = &self.sample.translated else { return };
        if responder.found.service.is_some() {
            return;
        }
        let seen = Tuple {
            source: self.sample.source,
            destination: self.sample.destination,
            source_port: self.sample.source_port,
            destination_port: self.sample.destination_port,
        };
        responder.found.service = [seen, *other].iter().find_map(|tuple| {
            let (address, port) = self.ends_of(tuple, false);
            let same = address == responder.ask.address;
            if same { None } else { join.service(self.place.tick, address, port, self.sample.protocol) }
        });
    }
}

/// One question, as of the tick's start; for who came only within the tick, as of its end.
pub(crate) fn resolve_at<'a>(ask: &Ask<'a>, place: &Place<'a>, join: &'a impl Join) -> Resolution<'a> {
    let mut answers = Vec::new();
    resolve(std::slice::from_ref(ask), place, join, &mut answers);
    answers.pop().unwrap_or_else(|| Resolution::none(None))
}

/// The workload that all candidates of an ambiguous end belong to.
fn shared_workload<'f>(found: &'f Resolution<'_>) -> Option<&'f Identity> {
    let first: &Identity = found.candidates.first()?;
    let same = |other: &Identity| {
        (&other.namespace, &other.workload_kind, &other.workload)
            == (&first.namespace, &first.workload_kind, &first.workload)
    };
    (!first.workload.is_empty() && found.candidates.iter().all(|other| same(other))).then_some(first)
}

/// A text, or an empty one.
fn text<'f>(text: Option<&'f Cow<'_, Arc<str>>>) -> &'f str {
    text.map_or("", |text| text)
}

impl EndFound<'_> {
    /// What keys see of this end; `instance` is whether the level tells pods of one workload apart.
    pub(crate) fn key(&self, instance: bool) -> EndKey<'_> {
        let identity: Option<&Identity> = self.found.identity.as_deref();
        let workload = if instance { identity } else { identity.or_else(|| shared_workload(&self.found)) };
        let pod = identity.filter(|identity| instance && identity.kind == IdentityKind::Pod);
        EndKey {
            present: true,
            address: (instance && !self.without_address).then_some(self.ask.address),
            port: self.ask.port,
            scope: self.ask.address.scope(),
            pod_uid: pod.map_or("", |identity| &identity.uid),
            namespace: workload.map_or("", |identity| &identity.namespace),
            workload_kind: workload.map_or("", |identity| &identity.workload_kind),
            workload: workload.map_or("", |identity| &identity.workload),
            node: identity.map_or("", |identity| &identity.node),
            host: self.found.host.as_deref().unwrap_or_default(),
            service: text(self.found.service.as_ref()),
            network_set: text(self.found.network_set.as_ref()),
            attribution: self.found.attribution,
            reason: self.found.reason,
        }
    }

    /// The end as it stands on a record, without its labels.
    pub(crate) fn side(&self, instance: bool) -> Side<Cow<'_, str>> {
        let mut side = self.found.view(&self.ask);
        if self.without_address {
            side.address = None;
        }
        if instance {
            return side;
        }
        if let (None, Some(identity)) = (&self.found.identity, shared_workload(&self.found)) {
            let some = |text| Some(Cow::Borrowed(text)).filter(|text: &Cow<'_, str>| !text.is_empty());
            side.namespace = some(&*identity.namespace);
            side.workload_kind = some(&identity.workload_kind);
            side.workload = some(&identity.workload);
        }
        let port = side.port;
        side = crate::merge::without_instance(side);
        side.port = port;
        side
    }

    /// Whether no one pod is known, but the workload of all that it may have been.
    pub(crate) fn shares_workload(&self) -> bool {
        self.found.identity.is_none() && shared_workload(&self.found).is_some()
    }

    /// The pod behind a record of levels 2 and 3, `namespace/name`.
    pub(crate) fn pod(&self) -> Option<String> {
        let is_named =
            |identity: &&weir_join::Identity| identity.kind == IdentityKind::Pod && !identity.name.is_empty();
        let identity = self.found.identity.as_deref().filter(is_named)?;
        Some(identity.qualified_name())
    }
}
