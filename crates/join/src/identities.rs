//! Who ends are, by number: what is indexed holds a number of four bytes, and an answer points at an identity without
//! reading it.

use crate::identity::{Entity, Identity, IdentityKind, NOWHERE};
use std::sync::Arc;

/// Where an identity is in its table.
pub(crate) type IdentityNumber = u32;

/// Identities that revisions use, each with how many do.
#[derive(Debug)]
pub(crate) struct Identities {
    /// A free place holds nobody, so that a place need not be read to point at it.
    list: Vec<Identity>,
    /// The number of each one's node, side by side, because answers need it and nothing else of an identity.
    nodes: Vec<u32>,
    users: Vec<u32>,
    free: Vec<IdentityNumber>,
    nobody: Identity,
}

impl Default for Identities {
    fn default() -> Self {
        let empty: Arc<str> = Arc::from("");
        let entity = Entity {
            kind: IdentityKind::Pod,
            uid: empty.clone(),
            namespace: empty.clone(),
            name: empty.clone(),
            node: empty.clone(),
            workload_kind: empty.clone(),
            workload: empty.clone(),
            service_account: empty,
            always_valid: false,
        };
        let nobody = Identity::new(entity, Arc::default());
        Self { list: Vec::new(), nodes: Vec::new(), users: Vec::new(), free: Vec::new(), nobody }
    }
}

impl Identities {
    /// The identity of a number; nobody for a number that was never given.
    pub(crate) fn get(&self, number: IdentityNumber) -> &Identity {
        usize::try_from(number).ok().and_then(|place| self.list.get(place)).unwrap_or(&self.nobody)
    }

    /// The number of an identity's node.
    #[inline]
    pub(crate) fn node(&self, number: IdentityNumber) -> u32 {
        usize::try_from(number).ok().and_then(|place| self.nodes.get(place)).copied().unwrap_or(NOWHERE)
    }

    /// Takes in an identity with one user.
    pub(crate) fn insert(&mut self, identity: Identity) -> IdentityNumber {
        if let Some(number) = self.free.pop() {
            let place = usize::try_from(number).unwrap_or(usize::MAX);
            if let (Some(known), Some(node)) = (self.list.get_mut(place), self.nodes.get_mut(place)) {
                *node = identity.node_number;
                *known = identity;
            }
            self.count(number, |users| *users = 1);
            return number;
        }
        self.nodes.push(identity.node_number);
        self.list.push(identity);
        self.users.push(1);
        u32::try_from(self.list.len() - 1).unwrap_or(u32::MAX)
    }

    /// One more uses it.
    pub(crate) fn share(&mut self, number: IdentityNumber) -> IdentityNumber {
        self.count(number, |users| *users = users.saturating_add(1));
        number
    }

    /// One less uses it; what nobody uses is dropped.
    pub(crate) fn release(&mut self, number: IdentityNumber) {
        let mut left = 1;
        self.count(number, |users| {
            *users = users.saturating_sub(1);
            left = *users;
        });
        if left == 0
            && let Some(place) = usize::try_from(number).ok().and_then(|place| self.list.get_mut(place))
        {
            place.clone_from(&self.nobody);
            self.free.push(number);
        }
    }

    fn count(&mut self, number: IdentityNumber, change: impl FnOnce(&mut u32)) {
        if let Some(users) = usize::try_from(number).ok().and_then(|place| self.users.get_mut(place)) {
            change(users);
        }
    }
}
