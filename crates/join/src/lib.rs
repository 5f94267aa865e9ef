//! The temporal join: who held an address or a pod UID at a moment.
//!
//! [`Table`] is filled from the metadata topic and answers [`Ask`]s as of any time. It is pure: no IO, no clock, and the
//! same messages give the same answers in whatever order different objects arrive and however the topic was compacted.
//!
//! An answer for a time `t` rests only on facts whose bounds reach `t`. As the metadata service clips what it learns
//! after a heartbeat H to after H, no answer for `t <= H` ever changes once [`Table::complete_to`] is at least `t`.
//! That is also why "not yet reported" is never concluded from a revision that came later.
//!
//! An address that nobody held may still have a name: of the network set that it lies in, which the table knows as of
//! any time, and of its country and autonomous system, which a user's [`Geography`] knows.

mod address_lists;
mod addresses;
mod ask;
mod ends;
mod geography;
mod holders;
mod identities;
mod identity;
mod index;
mod intern;
mod networks;
mod resolution;
mod since;
mod span;
mod table;
mod timeline;
mod uids;

pub use ask::Ask;
pub use geography::{Geography, GeographyError, Place};
pub use identity::{Entity, Identity, IdentityKind};
pub use intern::Interner;
pub use resolution::Resolution;
pub use table::Table;
