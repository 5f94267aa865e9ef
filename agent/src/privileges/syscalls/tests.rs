#![allow(clippy::unwrap_used, reason = "tests")]

use super::{ALLOWED, ALLOWED_HERE, FATAL, Seccomp, apply};
use std::collections::BTreeSet;

#[test]
fn what_ends_the_process_is_not_allowed() {
    let allowed: BTreeSet<i64> = ALLOWED.iter().chain(ALLOWED_HERE).copied().collect();
    assert_eq!(allowed.len(), ALLOWED.len() + ALLOWED_HERE.len(), "each stands once");
    assert!(FATAL.iter().all(|call| !allowed.contains(call)));
    assert!(!allowed.contains(&libc::SYS_perf_event_open) && !allowed.contains(&libc::SYS_seccomp));
}

/// This very program, confined, doing one thing. Not a test of its own.
#[test]
#[ignore = "started by the test below"]
fn confined() {
    let Ok(what) = std::env::var("WEIR_TEST_CONFINED") else { return };
    let (filter, what) = what.split_once(' ').unwrap();
    let other = std::thread::spawn(|| std::thread::sleep(std::time::Duration::from_millis(200)));
    apply(if filter == "log" { Seccomp::Log } else { Seccomp::Enforce }).unwrap();
    match what {
        "read" => assert!(std::fs::read_to_string("/proc/self/status").unwrap().contains("Seccomp:\t2")),
        // A call that is in neither list.
        "refused" => {
            let error = std::fs::hard_link("/nowhere", "/nowhere-else").unwrap_err();
            assert_eq!(error.raw_os_error(), Some(if filter == "log" { libc::ENOENT } else { libc::EPERM }));
        }
        "thread" => {
            let status = format!("/proc/self/task/{}/status", other_thread());
            assert!(std::fs::read_to_string(status).unwrap().contains("Seccomp:\t2"));
        }
        _ => unreachable!("{what}"),
    }
    other.join().unwrap();
}

/// The newest thread's number.
fn other_thread() -> u32 {
    let names = std::fs::read_dir("/proc/self/task").unwrap();
    names.map(|entry| entry.unwrap().file_name().to_string_lossy().parse().unwrap()).max().unwrap()
}

fn ends_well(what: &str) -> bool {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "privileges::syscalls::tests::confined", "--ignored", "--nocapture"])
        .env("WEIR_TEST_CONFINED", what)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() || text.contains("1 passed"), "{text}");
    output.status.success()
}

#[test]
fn a_confined_agent_reads_and_starts_no_program() {
    for filter in ["enforce", "log"] {
        for what in ["read", "refused", "thread"] {
            assert!(ends_well(&format!("{filter} {what}")), "{filter} {what}");
        }
        assert!(!started(filter), "{filter}");
    }
}

/// Whether a confined process becomes another program.
fn started(filter: &str) -> bool {
    let script = format!("{filter} program");
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "privileges::syscalls::tests::becomes", "--ignored", "--nocapture"])
        .env("WEIR_TEST_CONFINED", script)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).contains("become another")
}

/// This very program, confined, about to become another one. Not a test of its own.
#[test]
#[ignore = "started by the test above"]
fn becomes() {
    use std::os::unix::process::CommandExt as _;
    let Ok(what) = std::env::var("WEIR_TEST_CONFINED") else { return };
    apply(if what.starts_with("log") { Seccomp::Log } else { Seccomp::Enforce }).unwrap();
    // The argument is what shows that it worked.
    let error = std::process::Command::new("/bin/echo").arg("become another").exec();
    panic!("{error}");
}
