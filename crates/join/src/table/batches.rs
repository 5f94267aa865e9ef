//! Many look-ups or messages at once. In a large table nearly every step of either waits for memory, and each
//! step needs the answer of the one before. So each step is first taken for many side by side: the processor
//! waits for all of them together, and what follows finds everything in its caches. What comes of it is what comes of
//! one by one.

use super::{Body, Revisions, Stored, Table};
use crate::ask::Ask;
use crate::ends::Place;
use crate::resolution::Resolution;
use crate::uids::UidKey;
use std::hint::black_box;
use weir_schemas::metadata::{Metadata, Object, Pod};

/// How many questions are taken side by side: what they need, about 300 bytes each, fits the first-level cache.
const SIDE_BY_SIDE: usize = 32;

/// Where the answer to a question is.
#[derive(Clone, Copy)]
enum Found<'t> {
    Address(Option<Place>),
    Pod(Option<&'t Revisions>),
    /// Asked in another way than by address or UID.
    Otherwise,
}

impl Table {
    /// [`Table::resolve`] of each question, in order; the answers are appended.
    pub fn resolve_all<'t>(&'t self, asks: &[Ask<'_>], answers: &mut Vec<Resolution<'t>>) {
        answers.reserve(asks.len());
        for group in asks.chunks(SIDE_BY_SIDE) {
            // What is looked up is read out of its texts first, so that the look-ups follow each other closely.
            let mut uids = [None; SIDE_BY_SIDE];
            for (ask, uid) in group.iter().zip(&mut uids) {
                *uid = ask.pod_uid.map(UidKey::of);
            }
            let mut found = [Found::Otherwise; SIDE_BY_SIDE];
            for ((ask, uid), found) in group.iter().zip(uids).zip(&mut found) {
                *found = self.find(ask, uid);
            }
            self.fetch(group, &found);
            answers.extend(group.iter().zip(&found).map(|(ask, found)| match *found {
                Found::Address(place) => self.by_address(ask, place),
                Found::Pod(revisions) => self.by_pod_uid(revisions, ask.at),
                Found::Otherwise => self.resolve(ask),
            }));
        }
    }

    fn find(&self, ask: &Ask<'_>, uid: Option<UidKey<'_>>) -> Found<'_> {
        match uid {
            _ if !self.cluster_known(ask.at) => Found::Otherwise,
            Some(uid) => Found::Pod(self.pod_revisions(uid)),
            None if ask.local_host.is_some() => Found::Otherwise,
            None => Found::Address(self.ends.place(ask.address)),
        }
    }

    /// Reads what the answers need, without a look at what is read.
    fn fetch(&self, asks: &[Ask<'_>], found: &[Found<'_>]) {
        let mut read = 0;
        for found in found {
            match found {
                Found::Address(Some(place)) => read ^= self.ends.at(*place).touch(),
                Found::Pod(Some(revisions)) => read ^= i64::from(revisions.list.is_empty()),
                Found::Address(None) | Found::Pod(None) | Found::Otherwise => {}
            }
        }
        black_box(read);
        // Of a pod's revisions only those that are compared are read.
        let mut nodes = 0;
        for (ask, found) in asks.iter().zip(found) {
            if let Found::Pod(Some(revisions)) = found {
                let last = revisions.begun(ask.at).last().and_then(Stored::pod);
                nodes ^= last.map_or(0, |(_, node)| node);
            }
        }
        black_box(nodes);
    }

    /// [`Table::apply`] of each message, in order.
    pub fn apply_all<T: AsRef<str>, R>(&mut self, messages: &[(usize, Metadata<T, R>)]) {
        for group in messages.chunks(SIDE_BY_SIDE / 2) {
            self.fetch_changed(group);
            group.iter().for_each(|(partition, message)| self.take(*partition, message));
        }
    }

    /// Reads what the pods among the messages are compared with, and the addresses that they have.
    fn fetch_changed<T: AsRef<str>, R>(&self, messages: &[(usize, Metadata<T, R>)]) {
        let mut pods: [Option<(&str, &Pod<T, R>)>; SIDE_BY_SIDE] = [None; SIDE_BY_SIDE];
        let mut last: [Option<&Revisions>; SIDE_BY_SIDE] = [None; SIDE_BY_SIDE];
        for (((_, message), pod), last) in messages.iter().zip(&mut pods).zip(&mut last) {
            if let Metadata::Revision(revision) = message
                && let Object::Pod(object) = &revision.object
            {
                *pod = Some((revision.uid.as_ref(), object));
                *last = self.pod_revisions(UidKey::of(revision.uid.as_ref()));
            }
        }
        let stored = last.map(|revisions| revisions.and_then(|revisions| revisions.list.last()));
        let known = stored.map(|stored| match &stored?.body {
            Body::Pod { identity, addresses, .. } => Some((self.identities.get(*identity), addresses)),
            _ => None,
        });
        black_box(known.iter().flatten().map(|(_, addresses)| addresses.len()).fold(0, usize::max));
        let places = pods.map(|pod| {
            let place = |number: usize| pod.and_then(|(_, pod)| self.ends.place(*pod.addresses.get(number)?));
            [place(0), place(1)]
        });
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
