//! `weir doctor`: what can be captured here, feature by feature.

use clap::Args;
use std::io::Write as _;
use std::process::ExitCode;
use weir_agent::ebpf::doctor;

/// Settings of `weir doctor`: there are none.
#[derive(Debug, Clone, Args)]
pub(crate) struct DoctorSettings {}

pub(crate) const HELP: &str = "\
Each feature is tried, without attaching anything to an interface. A line says `yes` or `no` with the reason, and what the
feature needs. Capabilities count, not the user: `setpriv` or the container's security context decide what is found.
Exits with 1 where connections themselves cannot be captured.";

/// Prints what works here and why the rest does not.
pub(crate) fn main(_: &DoctorSettings) -> ExitCode {
    let features = doctor::features();
    let text = doctor::lines(&features).join("\n") + "\n";
    let written = std::io::stdout().write_all(text.as_bytes());
    let base = features.first().is_some_and(|feature| feature.problem.is_none());
    if written.is_ok() && base { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
