use crate::harness::{Ports, weir};
use std::net::TcpListener;
use std::process::Output;

/// Asserts a one-line error that names the thing, a remedy, and a non-zero exit.
fn assert_refused(output: &Output, names: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "exit 0: {text}");
    let error = text.lines().find(|l| l.starts_with("error")).unwrap_or_else(|| panic!("no error line: {text}"));
    assert!(error.contains(names), "{error:?} does not name {names:?}");
    assert!(text.lines().any(|l| l.starts_with("hint:") || l.contains("tip:")), "no remedy: {text}");
}

fn up(data: &std::path::Path, more: &[&str]) -> Output {
    let ports = Ports::free();
    let (kafka, search, console) = (
        format!("127.0.0.1:{}", ports.kafka),
        format!("127.0.0.1:{}", ports.elasticsearch),
        format!("127.0.0.1:{}", ports.console),
    );
    let mut arguments = vec!["up", "--data", data.to_str().unwrap(), "--console-listen", &console];
    if !more.contains(&"--kafka-listen") {
        arguments.extend(["--kafka-listen", &kafka]);
    }
    if !more.contains(&"--elasticsearch-listen") {
        arguments.extend(["--elasticsearch-listen", &search]);
    }
    arguments.extend(more);
    weir(&arguments)
}

#[test]
fn an_occupied_port() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for flag in ["--kafka-listen", "--elasticsearch-listen"] {
        let data = tempfile::tempdir().unwrap();
        assert_refused(&up(data.path(), &["--demo", flag, &address]), &address);
    }
}

#[test]
fn a_data_folder_that_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert_refused(&up(&file.join("data"), &["--demo"]), "file/data");
}

#[test]
fn a_data_folder_of_a_newer_version() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("format"), "99\n").unwrap();
    assert_refused(&up(dir.path(), &["--demo"]), "format 99");
}

#[test]
fn broken_toml() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("weir.toml");
    std::fs::write(&file, "console-listen = \n").unwrap();
    let output = up(&dir.path().join("data"), &["--demo", "--config", file.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("weir.toml:1"), "{text}");
}

#[test]
fn an_unknown_key_names_its_nearest() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("weir.toml");
    std::fs::write(&file, "console-listne = \"127.0.0.1:1\"\n").unwrap();
    let output = up(&dir.path().join("data"), &["--demo", "--config", file.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("console-listne") && text.contains("console-listen"), "{text}");
}

#[test]
fn a_kubeconfig_that_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kubeconfig");
    std::fs::write(&file, "not: a kubeconfig\n").unwrap();
    assert_refused(&up(&dir.path().join("data"), &["--kubeconfig", file.to_str().unwrap()]), "kubeconfig");
    let missing = dir.path().join("missing");
    assert_refused(&up(&dir.path().join("data2"), &["--kubeconfig", missing.to_str().unwrap()]), "missing");
}

#[test]
fn a_truncated_capture() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cut.pcap");
    // A little-endian pcap header (microseconds, Ethernet) and a packet header that promises more than there is.
    let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0];
    bytes.extend([1, 0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0, 60, 0, 0, 0, 1, 2, 3]);
    std::fs::write(&file, bytes).unwrap();
    assert_refused(&up(&dir.path().join("data"), &["--pcap", file.to_str().unwrap()]), "cut.pcap");
    assert_refused(&up(&dir.path().join("data2"), &["--pcap", "/nonexistent.pcap"]), "/nonexistent.pcap");
}

#[test]
fn unreachable_engines() {
    let closed = Ports::free();
    let kafka = format!("127.0.0.1:{}", closed.kafka);
    let dir = tempfile::tempdir().unwrap();
    assert_refused(&up(&dir.path().join("a"), &["--demo", "--kafka", &kafka]), &kafka);
    let search = format!("http://127.0.0.1:{}", closed.elasticsearch);
    assert_refused(&up(&dir.path().join("b"), &["--demo", "--elasticsearch", &search]), &search);
}
