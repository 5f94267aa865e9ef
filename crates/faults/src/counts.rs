//! What a proxy has seen and done.

use crate::http::Bulk;
use crate::plan::{Action, Kind, Plan, Request, Strikes};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a proxy has seen and injected so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections taken.
    pub connections: u64,
    /// Exchanges begun: requests, or connections of a tcp proxy.
    pub exchanges: u64,
    /// Connections broken by [`reset_connections`](crate::Proxy::reset_connections) or refused by
    /// [`refuse`](crate::Proxy::refuse).
    pub broken: u64,
    /// Connections that the server refused or ended.
    pub upstream_gone: u64,
    injected: BTreeMap<Kind, u64>,
}

impl Counts {
    /// How often a kind of fault was injected.
    #[must_use]
    pub fn of(&self, kind: Kind) -> u64 {
        self.injected.get(&kind).copied().unwrap_or(0)
    }

    /// How many faults were injected in all.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.injected.values().sum()
    }
}

/// The plan and its progress.
#[derive(Debug)]
pub(crate) struct Tally {
    plan: Plan,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    strikes: Vec<Strikes>,
    counts: Counts,
    healed: bool,
}

impl Tally {
    pub(crate) fn new(plan: Plan) -> Self {
        let strikes = vec![Strikes::default(); plan.rules.len()];
        Self { plan, state: Mutex::new(State { strikes, counts: Counts::default(), healed: false }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.state().counts.clone()
    }

    pub(crate) fn note(&self, what: impl FnOnce(&mut Counts)) {
        what(&mut self.state().counts);
    }

    /// From now on nothing is injected, or the plan goes on.
    pub(crate) fn set_healed(&self, healed: bool) {
        self.state().healed = healed;
    }

    /// What becomes of an exchange.
    pub(crate) fn decide(&self, request: &Request<'_>, connection: u64, exchange: u64) -> Option<Action> {
        let state = &mut *self.state();
        state.counts.exchanges += 1;
        if state.healed {
            return None;
        }
        let action = self.plan.decide(&mut state.strikes, request, connection, exchange)?;
        *state.counts.injected.entry(kind(action)).or_default() += 1;
        Some(action)
    }
}

fn kind(action: Action) -> Kind {
    match action {
        Action::Delay(_) => Kind::Delay,
        Action::Throttle(_) => Kind::Throttle,
        Action::Stall(_) => Kind::Stall,
        Action::Blackhole => Kind::Blackhole,
        Action::Reset | Action::ResetAfter(_) => Kind::Reset,
        Action::HalfClose => Kind::HalfClose,
        Action::CutAfter(_) => Kind::Cut,
        Action::DropAnswer => Kind::DropAnswer,
        Action::Status(_) => Kind::Status,
        Action::Bulk(Bulk::Refuse { .. }) => Kind::Items,
        Action::Bulk(Bulk::Short) => Kind::ShortAnswer,
    }
}
