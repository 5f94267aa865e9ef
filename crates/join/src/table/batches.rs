//! Many look-ups or messages at once. In a large table nearly every step of either waits for memory, and each
//! step needs the answer of the one before. So each step is first taken for many side by side: the processor
//! waits for all of them together, and what follows finds everything in its caches. What comes of it is what comes of
//! one by one.

use super::{Body, Stored, Table};
use crate::ask::Ask;
use crate::ends::Place;
use crate::holders::AtNode;
use crate::index::Home;
use crate::resolution::Resolution;
use crate::since::Moment;
use crate::timeline::Said;
use crate::uids::{Known, UidKey};
use std::hint::black_box;
use weir_flow::Address;
use weir_schemas::enriched::IdentifiedBy;
use weir_schemas::metadata::{Metadata, Object, Pod};

/// How many questions are taken side by side: as many as the processor can wait for at once, and their answers still fit
/// the first-level cache.
const SIDE_BY_SIDE: usize = 32;
/// Messages likewise, which need more for each.
const MESSAGES: usize = 16;

/// A message about a pod, with where its UID is looked for.
type PodMessage<'m, T, R> = (UidKey<'m>, Home, &'m Pod<T, R>);

/// Where the answer to a question is looked for.
#[derive(Clone, Copy)]
enum Where<'a> {
    Address(Home),
    Pod(Home, UidKey<'a>),
    /// Asked in another way than by address or UID.
    Otherwise,
}

/// Where the answer to a question is.
#[derive(Clone, Copy)]
enum Found {
    /// Beside what was asked.
    Latest(AtNode, IdentifiedBy),
    /// Nobody for certain.
    Nobody(IdentifiedBy),
    Address(Option<Place>),
    Pod(Option<Known>),
    Otherwise,
}

impl Table {
    /// [`Table::resolve`] of each question, in order; the answers are appended.
    pub fn resolve_all<'t>(&'t self, asks: &[Ask<'_>], answers: &mut Vec<Resolution<'t>>) {
        answers.reserve(asks.len());
        for group in asks.chunks(SIDE_BY_SIDE) {
            // What is looked up is read out of its texts first, so that the look-ups follow each other closely.
            let mut places = [Where::Otherwise; SIDE_BY_SIDE];
            for (ask, place) in group.iter().zip(&mut places) {
                *place = self.place(ask);
            }
            self.touch(&places);
            let mut found = [Found::Otherwise; SIDE_BY_SIDE];
            let mut is_history = false;
            for ((ask, place), found) in group.iter().zip(places).zip(&mut found) {
                *found = self.find(ask, place);
                is_history |= !matches!(found, Found::Latest(..));
            }
            if is_history {
                self.look_back(group, &mut found);
            }
            answers.extend(group.iter().zip(&found).map(|(ask, found)| match *found {
                Found::Latest(who, by) => self.latest(who, by, ask.at),
                Found::Nobody(IdentifiedBy::Uid) => self.by_pod_uid(None, ask.at),
                Found::Nobody(_) => self.outside(ask, self.nobody(ask.address, ask.at)),
                Found::Address(place) => self.by_address(ask, place),
                Found::Pod(known) => self.by_pod_uid(self.revisions_of(known), ask.at),
                Found::Otherwise => self.resolve(ask),
            }));
        }
    }

    fn place<'a>(&self, ask: &Ask<'a>) -> Where<'a> {
        match ask.pod_uid {
            _ if !self.cluster_known(ask.at) || self.known_before(ask.at).is_some() => Where::Otherwise,
            Some(uid) => {
                let uid = UidKey::of(uid);
                Where::Pod(self.pods().map(|pods| pods.home(uid)).unwrap_or_default(), uid)
            }
            None if ask.local_host.is_some() => Where::Otherwise,
            None => Where::Address(self.ends.home(ask.address)),
        }
    }

    /// Reads where the answers are looked for, without a look at what is read.
    fn touch(&self, places: &[Where<'_>]) {
        let touch = |place: &Where<'_>| match place {
            Where::Address(home) => self.ends.touch(*home),
            Where::Pod(home, _) => self.pods().map_or(0, |pods| pods.touch(*home)),
            Where::Otherwise => 0,
        };
        black_box(places.iter().map(touch).fold(0, |all, one| all ^ one));
    }

    fn find(&self, ask: &Ask<'_>, place: Where<'_>) -> Found {
        let moment = Moment::of(ask.at);
        match place {
            Where::Address(home) => {
                let place = self.ends.place_from(home, ask.address);
                let latest = place.and_then(|place| place.latest(moment));
                latest.map_or(Found::Address(place), |who| Found::Latest(who, IdentifiedBy::Address))
            }
            Where::Pod(home, uid) => {
                let known = self.pods().and_then(|pods| pods.get_from(home, uid));
                let latest = known.and_then(|known| known.latest.at(moment));
                latest.map_or(Found::Pod(known), |who| Found::Latest(who, IdentifiedBy::Uid))
            }
            Where::Otherwise => Found::Otherwise,
        }
    }

    /// Finds what is said of the past, and fetches what must be searched.
    fn look_back(&self, asks: &[Ask<'_>], found: &mut [Found]) {
        let past = |found: &Found| match found {
            Found::Address(Some(place)) => u64::from(self.ends.touch_known(*place)),
            Found::Pod(Some(known)) => self.pods().map_or(0, |pods| pods.touch_past_of(*known)),
            _ => 0,
        };
        black_box(found.iter().map(past).fold(0, |all, one| all ^ one));
        let mut is_searched = false;
        for (ask, found) in asks.iter().zip(found.iter_mut()) {
            let (said, by) = match *found {
                Found::Address(place) => (self.past_of_address(place, ask.at), IdentifiedBy::Address),
                Found::Pod(known) => (self.past_of_pod(known, ask.at), IdentifiedBy::Uid),
                Found::Latest(..) | Found::Nobody(_) | Found::Otherwise => continue,
            };
            match said {
                Said::Who(who) => *found = Found::Latest(self.said(who), by),
                Said::Nobody => *found = Found::Nobody(by),
                Said::Nothing => is_searched = true,
            }
        }
        if is_searched {
            self.fetch(asks, found);
        }
    }

    /// Reads what answers from history need, without a look at what is read.
    fn fetch(&self, asks: &[Ask<'_>], found: &[Found]) {
        let first = |found: &Found| match found {
            Found::Pod(known) => self.revisions_of(*known).is_some_and(|revisions| revisions.list.is_empty()),
            _ => false,
        };
        black_box(found.iter().map(first).fold(false, |all, one| all ^ one));
        let second = |(ask, found): (&Ask<'_>, &Found)| match found {
            Found::Address(Some(place)) => self.ends.at(*place).touch(),
            // Of a pod's revisions only those that are compared are read.
            Found::Pod(known) => {
                let last = self.revisions_of(*known).and_then(|revisions| revisions.begun(ask.at).last());
                last.and_then(Stored::pod).map_or(0, i64::from)
            }
            Found::Address(None) | Found::Latest(..) | Found::Nobody(_) | Found::Otherwise => 0,
        };
        black_box(asks.iter().zip(found).map(second).fold(0, |all, one| all ^ one));
    }

    /// [`Table::apply`] of each message, in order.
    pub fn apply_all<T: AsRef<str>, R>(&mut self, messages: &[(usize, Metadata<T, R>)]) {
        for group in messages.chunks(MESSAGES) {
            self.fetch_changed(group);
            group.iter().for_each(|(partition, message)| self.take(*partition, message));
        }
    }

    /// Reads what the pods among the messages are compared with, and the addresses that they have.
    fn fetch_changed<T: AsRef<str>, R>(&self, messages: &[(usize, Metadata<T, R>)]) {
        let mut pods: [Option<PodMessage<'_, T, R>>; MESSAGES] = [None; MESSAGES];
        let mut homes: [[Option<(Home, Address)>; 2]; MESSAGES] = [[None; 2]; MESSAGES];
        for (((_, message), pod), homes) in messages.iter().zip(&mut pods).zip(&mut homes) {
            if let Metadata::Revision(revision) = message
                && let Object::Pod(object) = &revision.object
            {
                let uid = UidKey::of(revision.uid.as_ref());
                *pod = Some((uid, self.pods().map(|pods| pods.home(uid)).unwrap_or_default(), object));
                let home = |number: usize| object.addresses.get(number).map(|at| (self.ends.home(*at), *at));
                *homes = [home(0), home(1)];
            }
        }
        let uids = pods.iter().flatten().map(|(_, home, _)| self.pods().map_or(0, |pods| pods.touch(*home)));
        let addresses = homes.iter().flatten().flatten().map(|(home, _)| self.ends.touch(*home));
        black_box(uids.chain(addresses).fold(0, |all, one| all ^ one));
        let last = pods.map(|pod| {
            let known = pod.and_then(|(uid, home, _)| self.pods().and_then(|pods| pods.get_from(home, uid)));
            self.revisions_of(known)
        });
        let places =
            homes.map(|homes| homes.map(|home| home.and_then(|(home, address)| self.ends.place_from(home, address))));
        let known = places.iter().flatten().flatten().map(|place| self.ends.touch_known(*place));
        black_box(known.fold(0, |all, one| all ^ one));
        let stored = last.map(|revisions| revisions.and_then(|revisions| revisions.list.last()));
        let known = stored.map(|stored| match &stored?.body {
            Body::Pod { identity, addresses, .. } => {
                Some((self.identities.get(*identity), self.address_lists.get(*addresses)))
            }
            _ => None,
        });
        black_box(known.iter().flatten().map(|(_, addresses)| addresses.len()).fold(0, usize::max));
        let entities = known.map(|known| known.map(|(identity, _)| (&*identity.entity, &*identity.labels)));
        let mut read = 0;
        for place in places.iter().flatten().flatten() {
            read ^= self.ends.at(*place).touch();
        }
        for (entity, labels) in entities.iter().flatten() {
            read ^= i64::from(entity.always_valid) ^ i64::from(entity.name.is_empty()) ^ i64::from(labels.is_empty());
        }
        black_box(read);
        let first = |text: &str| text.as_bytes().first().copied().unwrap_or_default();
        let texts = entities.iter().flatten().flat_map(|(entity, labels)| {
            [&entity.name, &entity.node, &entity.workload].into_iter().chain(labels.iter())
        });
        black_box(texts.map(|text| first(text)).fold(0, |all, one| all ^ one));
    }
}
