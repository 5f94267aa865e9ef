//! What stage 1 asks of the metadata, as of a time.

use std::sync::Arc;
use weir_flow::{Address, Millis};
use weir_join::{Ask, Resolution, Table};

/// The temporal join. Answers for times up to `complete_to` never change.
pub trait Join {
    /// H: metadata is complete up to here.
    fn complete_to(&self) -> Millis;
    /// Whether Kubernetes names can be had at all.
    fn cluster_known(&self) -> bool;
    /// Who an end was.
    fn resolve(&self, ask: &Ask<'_>) -> Resolution;
    /// Whether an end had a ready agent.
    fn covered(&self, resolution: &Resolution, address: Address, at: Millis) -> bool;
    /// Whether one observer stood for both ends.
    fn one_observer(&self, at: Millis) -> bool;
    /// The service that had an address and port.
    fn service(&self, at: Millis, address: Address, port: u16, protocol: u8) -> Option<Arc<str>>;
}

impl Join for Table {
    fn complete_to(&self) -> Millis {
        Table::complete_to(self)
    }

    fn cluster_known(&self) -> bool {
        Table::cluster_known(self)
    }

    fn resolve(&self, ask: &Ask<'_>) -> Resolution {
        Table::resolve(self, ask)
    }

    fn covered(&self, resolution: &Resolution, address: Address, at: Millis) -> bool {
        Table::covered(self, resolution, address, at)
    }

    fn one_observer(&self, at: Millis) -> bool {
        Table::one_observer(self, at)
    }

    fn service(&self, at: Millis, address: Address, port: u16, protocol: u8) -> Option<Arc<str>> {
        Table::service(self, at, address, port, protocol)
    }
}
