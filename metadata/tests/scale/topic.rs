//! What the topic holds, and what must hold of it whatever happened.

use std::collections::BTreeMap;
use std::time::Duration;
use weir_flow::Millis;
use weir_flow::time::{FOR_EVER, NEVER};
use weir_join::Table;
use weir_schemas::metadata::{Bound, Metadata, Object, Revision};
use weir_schemas::{decode, topics};
use weir_stream::{Log, Partitions, Start};

use crate::Faults;

/// The topic, read from its beginning.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) table: Table,
    /// When each heartbeat was written, and for which time, in order.
    pub(crate) heartbeats: Vec<(Millis, Millis)>,
    /// The last word on each revision, by kind and UID.
    pub(crate) lines: BTreeMap<(&'static str, String), Vec<Revision>>,
    /// How many revisions were written, repeats included.
    pub(crate) written: usize,
    /// How many transactions did not end (on a topic of one writer that was not compacted): more than an end is missing
    /// between two records.
    pub(crate) torn: usize,
}

impl Topic {
    /// Reads everything about a cluster, and checks the history itself on the way.
    pub(crate) async fn read(log: &Log, cluster: &str, faults: &mut Faults) -> Self {
        let mut topic =
            Self { table: Table::new(cluster, 1), heartbeats: Vec::new(), lines: BTreeMap::new(), written: 0, torn: 0 };
        let mut reader = log.reader(topics::METADATA, Partitions::All, Start::Beginning).await.unwrap();
        let (mut promised, mut next) = (NEVER, 0);
        while let Some(records) = reader.next_before_end(Duration::from_secs(30)).await.unwrap() {
            for record in records {
                topic.torn += usize::from(record.offset > next + 1);
                next = record.offset + 1;
                let message: Metadata = decode(&record.value.unwrap()).unwrap();
                topic.table.apply(0, &message);
                match message {
                    Metadata::Heartbeat(heartbeat) if heartbeat.cluster == cluster => {
                        let to = heartbeat.complete_to;
                        faults.check(to >= promised, || format!("the heartbeat went back from {promised} to {to}"));
                        promised = promised.max(to);
                        topic.heartbeats.push((record.timestamp, to));
                    }
                    Metadata::Revision(revision) if revision.cluster == cluster => {
                        topic.written += 1;
                        let line = topic.lines.entry((revision.object.kind(), revision.uid.clone())).or_default();
                        take(line, revision, promised, faults);
                    }
                    Metadata::Heartbeat(_) | Metadata::Revision(_) => {}
                }
            }
        }
        topic
    }

    /// The times between which the first heartbeat's promise and the last one's lie.
    pub(crate) fn promised(&self) -> (Millis, Millis) {
        let of = |heartbeat: Option<&(Millis, Millis)>| heartbeat.map_or(NEVER, |(_, to)| *to);
        (of(self.heartbeats.first()), of(self.heartbeats.last()))
    }

    /// For something that happened between two times: the last promise before it, and when the first promise that
    /// includes it was written. Between the two the history may be in doubt about it, and at no other time.
    pub(crate) fn window(&self, earliest: Millis, latest: Millis) -> (Millis, Millis) {
        let before = self.heartbeats.partition_point(|(written, _)| *written <= earliest);
        let after = self.heartbeats.partition_point(|(_, to)| *to < latest);
        let begin = before.checked_sub(1).and_then(|last| self.heartbeats.get(last)).map_or(NEVER, |(_, to)| *to);
        (begin, self.heartbeats.get(after).map_or(FOR_EVER, |(written, _)| *written))
    }
}

/// Takes a revision in the order of the topic, after a promise.
fn take(line: &mut Vec<Revision>, revision: Revision, promised: Millis, faults: &mut Faults) {
    let name = || format!("{}/{}/{} ({})", revision.object.kind(), revision.uid, revision.revision, revision.name);
    let place = usize::try_from(revision.revision).unwrap_or(0).saturating_sub(1);
    if place > line.len() {
        faults.add(format!("{}: an ordinal was left out after {}", name(), line.len()));
        return;
    }
    let Some(known) = line.get(place) else {
        faults.check(revision.valid_from.earliest > promised, || {
            format!("{}: begins at {:?}, after the promise of {promised}", name(), revision.valid_from)
        });
        if let Some(last) = line.last() {
            let follows = is_closed(last) && last.valid_to.is_some_and(|end| follows(end, revision.valid_from));
            faults.check(follows, || {
                format!("{}: {:?} does not follow {:?}", name(), revision.valid_from, last.valid_to)
            });
            faults.check(!same(last, &revision), || format!("{}: same content as the one before", name()));
        }
        line.push(revision);
        return;
    };
    faults.check(!is_closed(known), || format!("{}: written again after it was closed", name()));
    faults.check(same(known, &revision), || format!("{}: other content under the same ordinal", name()));
    // Only the last time of a begin may turn out to be sooner, and only while nothing was promised of it.
    let (begun, begins) = (known.valid_from, revision.valid_from);
    let is_sooner = begins.latest < begun.latest && begins.latest > promised;
    faults.check(begins == begun || (is_sooner && begins == Bound { latest: begins.latest, ..begun }), || {
        format!("{}: began at {begun:?}, now at {begins:?}, after the promise of {promised}", name())
    });
    let (old, new) = (end_of(known), end_of(&revision));
    let settled = |old: Millis, new: Millis| old == new || old.min(new) > promised;
    faults.check(settled(old.earliest, new.earliest) && settled(old.latest, new.latest), || {
        format!("{}: ended at {old:?}, now at {new:?}, after the promise of {promised}", name())
    });
    if let Some(known) = line.get_mut(place) {
        *known = revision;
    }
}

/// The end; for ever without one.
pub(crate) fn end_of(revision: &Revision) -> Bound {
    let open = Bound { earliest: FOR_EVER, latest: FOR_EVER, ..revision.valid_from };
    revision.valid_to.unwrap_or(open)
}

/// Whether its end is final.
pub(crate) fn is_closed(revision: &Revision) -> bool {
    revision.valid_to.is_some_and(|end| end.latest != FOR_EVER)
}

/// The end of one is the beginning of the next; but an end that was foreseen may have begun earlier.
fn follows(end: Bound, begin: Bound) -> bool {
    end == begin || (end.latest == begin.latest && end.earliest < begin.earliest)
}

/// Whether two revisions of an object say the same of what it is; what runs in it and how it is now is not that.
fn same(a: &Revision, b: &Revision) -> bool {
    let mut objects = [a.object.clone(), b.object.clone()];
    for object in &mut objects {
        match object {
            Object::Pod(pod) => {
                pod.phase.clear();
                pod.containers.clear();
            }
            Object::Namespace(namespace) => namespace.phase.clear(),
            _ => {}
        }
    }
    let [left, right] = objects;
    (&a.namespace, &a.name, &a.labels, left) == (&b.namespace, &b.name, &b.labels, right)
}
