//! `weir doctor` under each set of capabilities. Needs root; says so where it is not.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::process::Command;

/// What it says as nobody with these capabilities alone, and whether it ends well.
fn doctor(capabilities: &str) -> (String, bool) {
    let sets = ["--bounding-set", "--inh-caps", "--ambient-caps"];
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .args(sets.iter().flat_map(|set| [(*set).to_owned(), format!("-all{capabilities}")]))
        .args([env!("CARGO_BIN_EXE_weir"), "doctor"])
        .output()
        .unwrap();
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
}

#[test]
fn each_missing_capability_is_named_and_the_base_decides_the_exit_code() {
    if !std::fs::read_to_string("/proc/self/status").unwrap().contains("Uid:\t0\t0") {
        eprintln!("skipped: needs root");
        return;
    }
    let says = |text: &str, answer: &str, feature: &str| {
        let line = text.lines().find(|line| line.contains(feature)).unwrap_or_else(|| panic!("{feature}: {text}"));
        assert!(line.starts_with(answer), "{feature}: {text}");
    };
    let (none, works) = doctor("");
    assert!(!works);
    says(&none, "no", "connections of the host");
    assert!(none.contains("CAP_BPF, CAP_NET_ADMIN") && none.contains("capabilities: none"), "{none}");

    let (base, works) = doctor(",+bpf,+net_admin");
    assert!(works, "{base}");
    says(&base, "yes", "connections of the host");
    says(&base, "no", "why packets are dropped");
    assert!(base.contains("CAP_PERFMON"), "{base}");

    let (whole, works) = doctor(",+bpf,+net_admin,+perfmon,+sys_ptrace");
    assert!(works, "{whole}");
    assert!(
        whole
            .lines()
            .filter(|line| !line.starts_with("capabilities") && !line.contains("missed between"))
            .all(|line| line.starts_with("yes")),
        "{whole}"
    );
}
