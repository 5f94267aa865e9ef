//! Where observations were counted. Whoever is between the same two ends, on the same ports, is counted at the same place,
//! until keys are coarsened; and its records know its ends already. Most conversations are found here, tick after tick.

use super::aggregate::{At, Places};
use super::ends::{EndNumber, Ends};
use super::names::Which;
use crate::observe::Observation;
use foldhash::HashMap;
use foldhash::fast::RandomState;
use std::hash::{Hash, Hasher};
use weir_flow::{Level, Millis};
use weir_schemas::raw::Origin;

/// The most routes that are remembered. Beyond, all are forgotten.
const LIMIT: usize = 131_072;

/// Memory of a route, roughly.
const ROUTE: usize = 192;

/// All of an observation that decides where it is counted and what its records then know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    ends: [EndNumber; 2],
    ports: [Option<u16>; 2],
    protocol: u8,
    policy_drops: bool,
    denied: bool,
    origin: Origin,
    window: Millis,
    names: Option<Which>,
}

impl Hash for Route {
    /// By what tells nearly all routes apart.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [initiator, responder] = self.ends;
        let [from, to] = self.ports.map(|port| u64::from(port.unwrap_or_default()));
        state.write_u64(initiator);
        state.write_u64(responder ^ from << 48 ^ to << 32);
    }
}

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct Routes {
    known: HashMap<Route, Places>,
}

impl Routes {
    /// With room for so many routes.
    pub(super) fn with_room(routes: usize) -> Self {
        Self { known: HashMap::with_capacity_and_hasher(routes.min(LIMIT), RandomState::default()) }
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// The route of an observation; `denied` is whether policies denied it.
    pub(super) fn route(&mut self, o: &Observation<'_, '_>, at: &At<'_>, ends: &mut Ends, denied: bool) -> Route {
        ends.make_place();
        if self.known.len() >= LIMIT {
            self.known.clear();
        }
        Self::between([ends.number(&o.initiator), ends.number(&o.responder)], o, at, denied)
    }

    /// The route of an observation between ends of these numbers.
    pub(super) fn between(ends: [EndNumber; 2], o: &Observation<'_, '_>, at: &At<'_>, denied: bool) -> Route {
        let zero = [&at.settings.levels_allowed, &at.settings.levels_denied].iter().any(|l| l.contains(&Level::Zero));
        Route {
            ends,
            ports: [o.initiator.ask.port.filter(|_| zero), o.responder.ask.port],
            protocol: o.sample.protocol,
            policy_drops: o.policy_drops,
            denied,
            origin: at.origin,
            window: at.window,
            names: at.domains.which(),
        }
    }

    pub(super) fn get(&self, route: &Route) -> Option<Places> {
        self.known.get(route).copied()
    }

    pub(super) fn remember(&mut self, route: Route, places: Places) {
        self.known.insert(route, places);
    }

    /// Forgets all places, because records are elsewhere.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }

    /// Bytes held, roughly.
    pub(super) fn memory(&self) -> usize {
        self.known.len() * ROUTE
    }
}

/// How much a generation held: room for as much is made for the next one, which then need not grow step by step.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Room {
    /// Keys by the level's number.
    pub(super) keys: [usize; 4],
    pub(super) routes: usize,
}

impl Room {
    /// Room for this, and for half of what there was room for: a generation of few late samples says little.
    pub(super) fn and(self, before: Self) -> Self {
        let mut keys = self.keys;
        keys.iter_mut().zip(before.keys).for_each(|(now, before)| *now = (*now).max(before / 2));
        Self { keys, routes: self.routes.max(before.routes / 2) }
    }
}
