//! Capture on a live node by eBPF.

use std::io;
use std::path::Path;

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
pub mod questions;
pub mod reasons;
pub mod run;
pub mod schedule;

pub use capture::{Capture, CaptureError, Missing, Options};
pub use probe::{Report, probe};

/// Detaches and removes all that agents pinned under `root`, and says what that was, a line each.
///
/// # Errors
/// When an agent runs there; when `root` may not be read or written.
pub fn detach(root: &Path) -> io::Result<Vec<String>> {
    // Names are for reading only: without them there are numbers.
    let links = links::list().ok().flatten().unwrap_or_default();
    capture::detach(root, &links.into_iter().map(|link| (link.index, link.name)).collect())
}
