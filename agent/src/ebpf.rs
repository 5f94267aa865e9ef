//! Capture on a live node by eBPF.

pub mod addresses;
pub mod assemble;
pub mod capture;
pub mod conntrack;
pub mod doctor;
pub mod held;
pub mod inherit;
pub mod links;
pub mod messages;
pub mod probe;
pub mod reasons;
pub mod run;
pub mod schedule;

pub use capture::{Capture, CaptureError, Missing, Options};
pub use probe::{Report, probe};
