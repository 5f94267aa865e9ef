//! What stage 1 asks of the metadata, as of a time.

use crate::judge::{Connection, Judge, Judged, Parties};
use crate::policies::Policies;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_flow::{Address, Millis, RecordSettings};
use weir_join::{Ask, Geography, Resolution, Table};
use weir_schemas::enriched::Side;

/// The temporal join. Answers for times up to `complete_to` never change.
pub trait Join {
    /// H: metadata is complete up to here.
    fn complete_to(&self) -> Millis;
    /// Whether Kubernetes names could be had at all at a time.
    fn cluster_known(&self, at: Millis) -> bool;
    /// Who an end was.
    fn resolve(&self, ask: &Ask<'_>) -> Resolution<'_>;
    /// [`Join::resolve`] of each question, in order; the answers are appended.
    fn resolve_all<'t>(&'t self, asks: &[Ask<'_>], answers: &mut Vec<Resolution<'t>>) {
        answers.extend(asks.iter().map(|ask| self.resolve(ask)));
    }
    /// Whether an end had a ready agent.
    fn covered(&self, resolution: &Resolution<'_>, address: Address, at: Millis) -> bool;
    /// Whether one observer stood for both ends.
    fn one_observer(&self, at: Millis) -> bool;
    /// The service that had an address and port.
    fn service(&self, at: Millis, address: Address, port: u16, protocol: u8) -> Option<Cow<'_, Arc<str>>>;
    /// Finds out who ends are to policies, before connections of a tick, which is given with its last millisecond, are judged.
    fn meet<'j>(
        &'j self,
        _ends: &[&Resolution<'j>],
        _at: ((Millis, Millis), &RecordSettings),
        _parties: &mut Parties<'j>,
    ) {
    }
    /// What policies said of a connection; nothing where nobody asks them. `parties` are the ends of the batch's connections.
    fn judge<'j>(&'j self, connection: &Connection<'_, 'j>, parties: &mut Parties<'j>) -> Option<Judged>;
    /// Fills in where a side's public address is, by the databases that the settings name.
    fn place(&self, settings: &RecordSettings, side: &mut Side);
}

/// Databases of places by their fingerprints.
pub type Places = BTreeMap<String, Arc<Geography>>;

/// The table, the policies, and where public addresses are.
#[derive(Clone, Copy, Debug)]
pub struct Joined<'a> {
    /// The table.
    pub table: &'a Table,
    /// The databases; the settings say which are asked.
    pub places: &'a Places,
    /// The policies, and who judges by them.
    pub policies: (&'a Policies, &'a Judge),
}

impl Join for Joined<'_> {
    fn complete_to(&self) -> Millis {
        self.table.complete_to()
    }

    fn cluster_known(&self, at: Millis) -> bool {
        self.table.cluster_known(at)
    }

    fn resolve(&self, ask: &Ask<'_>) -> Resolution<'_> {
        self.table.resolve(ask)
    }

    fn resolve_all<'t>(&'t self, asks: &[Ask<'_>], answers: &mut Vec<Resolution<'t>>) {
        self.table.resolve_all(asks, answers);
    }

    fn covered(&self, resolution: &Resolution<'_>, address: Address, at: Millis) -> bool {
        self.table.covered(resolution, address, at)
    }

    fn one_observer(&self, at: Millis) -> bool {
        self.table.one_observer(at)
    }

    fn service(&self, at: Millis, address: Address, port: u16, protocol: u8) -> Option<Cow<'_, Arc<str>>> {
        self.table.service(at, address, port, protocol).map(Cow::Borrowed)
    }

    fn meet<'j>(
        &'j self,
        ends: &[&Resolution<'j>],
        at: ((Millis, Millis), &RecordSettings),
        parties: &mut Parties<'j>,
    ) {
        let (policies, judge) = self.policies;
        let ((tick, _), _) = at;
        if self.table.cluster_known(tick) {
            judge.meet(policies, ends, at, parties);
        }
    }

    fn judge<'j>(&'j self, connection: &Connection<'_, 'j>, parties: &mut Parties<'j>) -> Option<Judged> {
        let (policies, judge) = self.policies;
        let is_known = self.table.cluster_known(connection.tick.0);
        if is_known { judge.judge(policies, connection, parties) } else { None }
    }

    fn place(&self, settings: &RecordSettings, side: &mut Side) {
        for geography in settings.geography.iter().filter_map(|fingerprint| self.places.get(fingerprint)) {
            geography.fill(side);
        }
    }
}
