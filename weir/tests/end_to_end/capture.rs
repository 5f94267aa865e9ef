use crate::harness::{Engines, Up, is_root, number};
use crate::network::{Network, POD_A};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Captures pod A's traffic into a file.
fn record(network: &Network, file: &Path) {
    let mut tcpdump = Command::new("ip")
        .args(["netns", "exec", &network.pod("a"), "tcpdump", "-i", "eth0", "-U", "-Z", "root", "-B", "16384", "-w"])
        .arg(file)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(1));
    network.traffic();
    std::thread::sleep(Duration::from_secs(1));
    Command::new("kill").args(["-INT", &tcpdump.id().to_string()]).status().unwrap();
    tcpdump.wait().unwrap();
}

/// What tshark sums: (bytes from A, packets from A, bytes to A, packets to A).
fn tshark(file: &Path) -> [u64; 4] {
    let output = Command::new("tshark")
        .args(["-n", "-Y", "ip", "-T", "fields", "-e", "ip.src", "-e", "ip.len", "-r"])
        .arg(file)
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let mut sums = [0; 4];
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let (source, length) = line.split_once('\t').unwrap();
        let at = if source == POD_A { 0 } else { 2 };
        sums[at] += length.parse::<u64>().unwrap();
        sums[at + 1] += 1;
    }
    sums
}

/// The sums stored of the capture that this start has published; its cluster's name stands in what it prints.
fn stored(up: &Up, level: u8) -> ([u64; 4], Vec<Value>) {
    let output = up.output();
    let Some(cluster) = output.split("as cluster ").last().and_then(|t| t.split('.').next()) else {
        return ([0; 4], Vec::new());
    };
    let filter = [json!({"term": {"weir.origin": "capture"}}), json!({"term": {"orchestrator.cluster.name": cluster}})];
    let documents = up.documents(level, &filter);
    let sum = |field: &str| documents.iter().map(|d| number(d, field)).sum();
    let sums = [sum("source.bytes"), sum("source.packets"), sum("destination.bytes"), sum("destination.packets")];
    (sums, documents)
}

#[test]
fn a_capture_gives_tsharks_sums_once_however_often_it_is_started() {
    if !is_root("capturing in a network namespace") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("traffic.pcap");
    record(&Network::new("4"), &file);
    let expected = tshark(&file);
    assert!(expected.iter().all(|n| *n > 0), "{expected:?}");
    for engines in Engines::all() {
        let data = tempfile::tempdir().unwrap();
        for round in 0..2 {
            let up = Up::start(&data.path().join("up"), &engines, None, &["--pcap", file.to_str().unwrap()]);
            for level in [1, 2] {
                up.wait_for("tshark's sums", 60, |up| {
                    let (sums, _) = stored(up, level);
                    assert!(
                        sums.iter().zip(&expected).all(|(s, e)| s <= e),
                        "level {level}: {sums:?}, tshark {expected:?}"
                    );
                    (sums == expected).then_some(())
                });
            }
            // Time for a second publication to show, if there were one.
            std::thread::sleep(Duration::from_secs(if round == 0 { 1 } else { 8 }));
            let (sums, documents) = stored(&up, 1);
            assert_eq!(sums, expected);
            let unknown = documents.iter().all(|d| d["weir"]["cluster_known"] == false);
            assert!(unknown, "a capture without manifests knows no cluster");
            assert_eq!(up.interrupt(), Some(0));
        }
    }
}
