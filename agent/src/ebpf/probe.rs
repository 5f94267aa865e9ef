//! What capture on this node is able to do, in plain sentences.

use super::capture::{Capture, Missing, Options, RETRANSMITS, ROUND_TRIPS, chain};
use super::links::{self, Role, Selection};

/// What is captured and what is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Sentences about what is captured.
    pub captured: Vec<String>,
    /// What is not, and why.
    pub missing: Vec<Missing>,
    /// A command that would give what is missing, where there is one.
    pub command: Option<String>,
}

impl Report {
    /// Whether anything can be captured.
    #[must_use]
    pub fn works(&self) -> bool {
        !self.captured.is_empty()
    }

    /// The report as lines of text.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let missing = self.missing.iter().map(|missing| format!("not captured: {} ({})", missing.what, missing.why));
        let command = self.command.iter().map(|command| format!("this would give it: {command}"));
        let captured = self.captured.iter().map(|what| format!("captured: {what}"));
        captured.chain(missing).chain(command).collect()
    }
}

/// The capabilities that capture uses: number in the kernel's set, name, and whether the base capture needs it.
const CAPABILITIES: [(u32, &str, bool); 3] =
    [(12, "CAP_NET_ADMIN", true), (39, "CAP_BPF", true), (38, "CAP_PERFMON", false)];

/// Tries to load the programs, without attaching them to any interface, and says what that gives.
#[must_use]
pub fn probe(selection: &Selection) -> Report {
    let lacking: Vec<(&str, bool)> = lacking(&std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default());
    let command = (!lacking.is_empty()).then(|| {
        let program = std::env::current_exe().map_or_else(|_| "weir".to_owned(), |path| path.display().to_string());
        format!("sudo setcap cap_bpf,cap_net_admin,cap_perfmon+ep {program}")
    });
    let options = Options::new(selection.clone(), 1024, 1024);
    let capture = match Capture::load(options) {
        Ok(capture) => capture,
        Err(error) => {
            let names: Vec<&str> = lacking.iter().filter(|(_, needed)| *needed).map(|(name, _)| *name).collect();
            let why =
                if names.is_empty() { chain(&error) } else { format!("no {}: {}", names.join(", "), chain(&error)) };
            let missing = vec![Missing { what: "connections of this node".to_owned(), why }];
            return Report { captured: Vec::new(), missing, command };
        }
    };
    let mut report = Report { captured: Vec::new(), missing: capture.missing().to_vec(), command: None };
    let links = links::list().ok().flatten().unwrap_or_default();
    let names = |wanted: fn(Role) -> bool| -> Vec<&str> {
        links
            .iter()
            .filter(|link| selection.wants(&link.name) && wanted(links::role(link)))
            .map(|link| link.name.as_str())
            .collect()
    };
    let host = names(|role| matches!(role, Role::Host | Role::Raw | Role::Loopback));
    let pods = names(|role| matches!(role, Role::Pod { .. }));
    report.captured.push(format!("connections of the host on {}", list(&host)));
    report.captured.push(if pods.is_empty() {
        "connections of pods, as soon as there are any".to_owned()
    } else {
        format!("connections of {} pods", pods.len())
    });
    if !report.missing.iter().any(|missing| missing.what.starts_with("why")) {
        report.captured.push("which packets the kernel drops, and why".to_owned());
    }
    if !report.missing.iter().any(|missing| missing.what.starts_with("names")) {
        report.captured.push("names of host processes, for sockets made from now on".to_owned());
    }
    report.captured.push("DNS questions and answers".to_owned());
    for what in [ROUND_TRIPS, RETRANSMITS] {
        if !report.missing.iter().any(|missing| missing.what == what) {
            report.captured.push(format!("{what} of TCP connections"));
        }
    }
    report.missing.extend(links.iter().filter(|link| selection.wants(&link.name)).filter_map(
        |link| match links::role(link) {
            Role::Ignored(why) => Some(Missing { what: format!("interface {}", link.name), why: why.to_owned() }),
            _ => None,
        },
    ));
    report.command = command;
    report
}

fn list(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => "no interface".to_owned(),
        n if n > SHOWN => format!("{shown} and {} more", n - SHOWN),
        _ => shown,
    }
}

/// The capabilities that the process does not have, by `/proc/thread-self/status`.
fn lacking(status: &str) -> Vec<(&'static str, bool)> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    CAPABILITIES
        .iter()
        .filter(|(number, ..)| effective & (1 << number) == 0)
        .map(|(_, name, needed)| (*name, *needed))
        .collect()
}
