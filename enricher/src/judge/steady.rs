//! Pods that stay what they are to policies for long: what was found out about one is kept from batch to batch, for as long as
//! nothing is told of it. Nothing depends on what is kept.

use super::parties::When;
use super::state::State;
use super::{ObjectKey, Party};
use crate::policies::{Policies, SteadyPod};
use foldhash::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use weir_flow::Millis;
use weir_flow::time::NEVER;
use weir_join::{Entity, IdentityKind, Resolution};
use weir_policy::EndNumber;
use weir_schemas::enriched::Attribution;

/// The most pods that are kept. Beyond, all are forgotten, and those that are still spoken of are kept anew.
const LIMIT: usize = 200_000;

/// What is kept of one set of objects.
#[derive(Debug, Default)]
pub(super) struct SteadyPods {
    /// Of which.
    of: Option<Arc<()>>,
    /// How often times of changes were found out anew.
    round: u64,
    /// By where the pod's names are; with those, so that no others get there.
    places: HashMap<usize, usize>,
    pods: Vec<Kept>,
}

/// One pod.
#[derive(Debug)]
struct Kept {
    pod: SteadyPod,
    object: ObjectKey,
    /// Since when no policy of its namespace has changed, as asked in a round for a tick that ends then.
    settled: Option<(u64, Millis, Millis)>,
    /// Its number in the engines that were asked last, before and after.
    numbers: [Option<(Arc<()>, EndNumber)>; 2],
    #[expect(dead_code, reason = "held, so that no other pod's names get to the same place")]
    names: Arc<Entity>,
}

/// Where the names of a pod are, of which it is certain that it was that one.
fn place(end: &Resolution<'_>) -> Option<usize> {
    let identity = end.identity.as_ref().filter(|_| end.attribution == Attribution::Exact)?;
    Some(Arc::as_ptr(&identity.entity).addr())
}

impl SteadyPods {
    /// Begins with questions about so many ends.
    pub(super) fn begin(&mut self, policies: &Policies, ends: usize) {
        let is_same = self.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, policies.of()));
        if !is_same || self.pods.len() + ends > LIMIT {
            self.of = Some(policies.of().clone());
            self.places.clear();
            self.pods.clear();
        }
    }

    /// Policies changed, or others are asked about.
    pub(super) fn unsettle(&mut self) {
        self.round = self.round.wrapping_add(1);
    }

    /// The number of an end, if it is a pod of which is known what it was throughout the tick.
    pub(super) fn find(
        &self,
        policies: &Policies,
        end: &Resolution<'_>,
        (begin, ends): (Millis, Millis),
    ) -> Option<usize> {
        let number = *self.places.get(&place(end)?)?;
        let SteadyPod { between: (from, until), mark, .. } = self.pods.get(number)?.pod;
        (from <= begin && ends < until && policies.is_unchanged(mark)).then_some(number)
    }

    /// Reads what is asked of ends next, of all of them side by side.
    pub(super) fn touch(&self, ends: &[&Resolution<'_>]) {
        let found = ends.iter().filter_map(|end| self.pods.get(*self.places.get(&place(end)?)?));
        black_box(found.fold(0, |all, kept| all ^ kept.pod.since ^ i64::from(kept.numbers[1].is_some())));
    }

    /// Keeps a pod, if it stays what it is for a while and was that throughout the tick; the answer is its number.
    pub(super) fn keep(
        &mut self,
        policies: &Policies,
        end: &Resolution<'_>,
        object: ObjectKey,
        tick: (Millis, Millis),
    ) -> Option<usize> {
        let identity = end.identity.as_ref().filter(|identity| identity.kind == IdentityKind::Pod)?;
        let place = place(end)?;
        let pod = policies.steady_pod(object)?;
        let kept = Kept { pod, object, settled: None, numbers: [None, None], names: Arc::clone(&identity.entity) };
        match self.places.get(&place).and_then(|number| self.pods.get_mut(*number)) {
            Some(known) => *known = kept,
            None => {
                self.places.insert(place, self.pods.len());
                self.pods.push(kept);
            }
        }
        self.find(policies, end, tick)
    }

    /// Which object it is.
    pub(super) fn object(&self, number: usize) -> Option<ObjectKey> {
        self.pods.get(number).map(|kept| kept.object)
    }

    /// The pod as policies see it.
    pub(super) fn party(&self, number: usize) -> Option<Party<'_>> {
        let SteadyPod { facts, namespace, .. } = &self.pods.get(number)?.pod;
        Some(Party::Pod { facts, namespace: Some(namespace), node: None })
    }

    /// Since when it is what it is, and no policy of its namespace has changed as far as is known of a tick that ends then.
    pub(super) fn since(&mut self, number: usize, end: Millis, settled: impl Fn(&str) -> Millis) -> Millis {
        let round = self.round;
        let Some(kept) = self.pods.get_mut(number) else { return NEVER };
        let settled = match kept.settled {
            Some((asked, at, settled)) if (asked, at) == (round, end) => settled,
            _ => {
                let settled = settled(&kept.pod.facts.namespace);
                kept.settled = Some((round, end, settled));
                settled
            }
        };
        kept.pod.since.max(settled)
    }

    /// Its number in an engine.
    pub(super) fn number(&mut self, number: usize, when: When, state: &mut State) -> Option<EndNumber> {
        let Kept { pod, numbers: [before, after], .. } = self.pods.get_mut(number)?;
        let number = if when == When::Before { before } else { after };
        let party = Party::Pod { facts: &pod.facts, namespace: Some(&pod.namespace), node: None };
        Some(state.number(number, &party))
    }
}
