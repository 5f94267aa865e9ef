//! Several revisions may have held something: those of one object are one holder, and of an address that is certainly
//! somebody's, whoever had it before is out.

use super::lookup::{Held, Names, common};
use super::{Stored, Table, element};
use crate::holders::{Holder, ObjectNumber, View, certain};
use crate::identity::{Identity, IdentityKind};
use crate::span::Span;
use std::borrow::Cow;
use weir_flow::Millis;

#[cfg(test)]
mod tests;

/// One object that may have held, by the revisions that may have.
struct Group<'t, T> {
    object: ObjectNumber,
    /// Sorted by ordinal.
    revisions: Vec<(u64, Span)>,
    first: &'t Holder<T>,
    identity: Cow<'t, Identity>,
    certain: bool,
}

impl Table {
    /// Who held something, of at least two revisions that may have.
    pub(super) fn of_several<'t, T: Names>(
        &'t self,
        holders: View<'t, T>,
        possible: &[&'t Holder<T>],
        at: Millis,
    ) -> Held<'t, T> {
        let mut groups = self.groups(possible, at);
        if groups.len() > 1 {
            self.leave_out_predecessors(holders, &mut groups);
        }
        match groups.pop() {
            Some(only) if groups.is_empty() && only.certain => Held::One(&only.first.who, only.identity),
            last => Held::Several(groups.into_iter().chain(last).map(|group| group.identity).collect()),
        }
    }

    fn groups<'t, T: Names>(&'t self, possible: &[&'t Holder<T>], at: Millis) -> Vec<Group<'t, T>> {
        let place = |holder: &&'t Holder<T>| (self.object_of(holder), self.revision_of(holder), *holder);
        let mut possible: Vec<(ObjectNumber, u64, &Holder<T>)> = possible.iter().map(place).collect();
        possible.sort_unstable_by_key(|(object, revision, _)| (*object, *revision));
        let group = |group: &[(ObjectNumber, u64, &'t Holder<T>)]| {
            let (object, _, first) = group.first()?;
            let revisions: Vec<(u64, Span)> = group.iter().map(|(_, number, holder)| (*number, holder.span)).collect();
            let identities = group.iter().map(|(.., holder)| Cow::Borrowed(self.identity_of(holder)));
            let certain = certain(&revisions, at);
            Some(Group {
                object: *object,
                first,
                identity: identities.reduce(|a, b| common(a, &b))?,
                certain,
                revisions,
            })
        };
        possible.chunk_by(|(a, ..), (b, ..)| a == b).filter_map(group).collect()
    }

    /// An address is one pod's at a time. Where a pod certainly has it, whoever surely got it before that pod did has
    /// given it back, though nobody may have told yet. Whoever may have got it later stays a candidate: that pod's own
    /// end may not have been told. Where two certainly have it, addresses are given twice, and nothing follows.
    fn leave_out_predecessors<'t, T: Names>(&'t self, holders: View<'t, T>, groups: &mut Vec<Group<'t, T>>) {
        let mut certain = groups.iter().filter(|group| group.certain);
        let (Some(holder), None) = (certain.next(), certain.next()) else { return };
        if holder.identity.kind != IdentityKind::Pod {
            return;
        }
        // Whatever it held of the address before counts as one holding, from the first time on.
        let own = holders.list.iter().filter(|other| self.object_of(other) == holder.object);
        let Some(begin) = own.clone().map(|own| own.span.earliest_start()).min() else { return };
        if own.clone().any(|own| own.span.earliest_start() == begin && own.span.began_unseen()) {
            return;
        }
        groups.retain(|group| group.certain || group.revisions.iter().any(|(_, span)| span.latest_start() >= begin));
    }

    fn identity_of<T: Names>(&self, holder: &Holder<T>) -> &Identity {
        self.identities.get(holder.who.identity())
    }

    fn object_of<T: Names>(&self, holder: &Holder<T>) -> ObjectNumber {
        self.identity_of(holder).object
    }

    /// The ordinal of the revision by which something is held.
    fn revision_of<T: Names>(&self, holder: &Holder<T>) -> u64 {
        let list = element(&self.objects, self.object_of(holder)).map_or(&[][..], |revisions| &revisions.list);
        let is = |stored: &&Stored| stored.span == holder.span && stored.identity() == Some(holder.who.identity());
        list.iter().find(is).map_or(0, |stored| stored.revision)
    }
}
