//! A real engine with a disk of its own, in memory and as large as the test says.

use serde_json::json;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use weir_elastic::bulk::{Body, Operation, Target};
use weir_elastic::{Elastic, ElasticSettings, Method};

pub(crate) const MIB: u64 = 1 << 20;

/// An engine and its disk; both go with it.
pub(crate) struct Engine {
    pub(crate) elastic: Elastic,
    script: PathBuf,
    port: u16,
    folder: TempDir,
}

impl Engine {
    /// Starts one with these node settings (`key=value key=value`); none where no script is named.
    pub(crate) fn start(settings: &str) -> Option<Self> {
        let Ok(script) = std::env::var("WEIR_TEST_SEARCH_SCRIPT") else {
            eprintln!("skipped: WEIR_TEST_SEARCH_SCRIPT is not set");
            return None;
        };
        let port = free_port();
        let elastic = Elastic::new(&ElasticSettings::of(&[&format!("http://127.0.0.1:{port}")])).unwrap();
        let engine = Self { elastic, script: script.into(), port, folder: TempDir::new().unwrap() };
        std::fs::create_dir(engine.disk()).unwrap();
        mount(&["-t", "tmpfs", "-o", "size=1g", "weir-test"], &engine.disk());
        assert!(engine.run("start", settings), "{}", engine.script.display());
        Some(engine)
    }

    fn disk(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn run(&self, verb: &str, settings: &str) -> bool {
        let mut command = Command::new(&self.script);
        command.arg(verb).env("SEARCH_PORT", self.port.to_string()).env("SEARCH_DATA", self.disk());
        command.env("SEARCH_HEAP", "512m").env("SEARCH_OPTS", settings).stdout(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// Free space on the disk, bytes, as it is.
    pub(crate) fn free(&self) -> u64 {
        let output = Command::new("df").args(["--block-size=1", "--output=avail"]).arg(self.disk()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().last().unwrap().trim().parse().unwrap()
    }

    /// Makes the disk so large that `free` bytes are free on it.
    pub(crate) fn leave(&self, free: u64) {
        let output = Command::new("df").args(["--block-size=1", "--output=used"]).arg(self.disk()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let used: u64 = text.lines().last().unwrap().trim().parse().unwrap();
        mount(&["-o", &format!("remount,size={}", used + free)], &self.disk());
    }

    /// Makes an index as the indexer does, with documents of random text of a MiB each.
    pub(crate) async fn fill(&self, index: &str, mebibytes: u64) {
        let alias = format!("{index}-WRITE");
        let body = json!({
            "settings": {"number_of_replicas": 0},
            "mappings": {"dynamic": "strict", "properties": {"filler": {"type": "binary"}}},
            "aliases": { alias.clone(): {} },
        });
        self.elastic.create_index(index, &body).await.unwrap();
        for n in 0..mebibytes {
            let id = n.to_string();
            let document = json!({"filler": random_text(n)}).to_string();
            let target = Target { index: &alias, id: &id, version: 1 };
            let operation = Operation::index(target, document.as_bytes()).unwrap();
            let answer = self.elastic.bulk(&Body::of([operation].iter())).await.unwrap();
            assert!(answer.items[0].error.is_none(), "{:?}", answer.items[0]);
        }
        // So that no document stands in the translog, too.
        self.elastic.request(Method::Post, &format!("/{index}/_flush"), &[], None).await.unwrap();
    }

    /// Waits until the engine says how large indices have become, which it does some seconds later. They are to be old.
    pub(crate) async fn knows_sizes(&self, indices: &[impl AsRef<str>], mebibytes: u64) {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let listed = self.elastic.indices("weir-flows-l*").await.unwrap();
            let known = |name: &str| listed.iter().any(|i| i.name == name && i.bytes >= Some(mebibytes * MIB));
            if indices.iter().all(|name| known(name.as_ref())) {
                return;
            }
            assert!(Instant::now() < until, "{listed:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let stopped = self.run("stop", "");
        let unmounted = Command::new("umount").arg(self.disk()).status().is_ok_and(|status| status.success());
        if !(stopped && unmounted) {
            eprintln!("{} is still mounted", self.disk().display());
        }
    }
}

fn mount(arguments: &[&str], on: &Path) {
    assert!(Command::new("mount").args(arguments).arg(on).status().unwrap().success(), "only root can mount a disk");
}

/// A port that is free, as is the one that the script takes for the engine's own protocol.
fn free_port() -> u16 {
    (0..100)
        .find_map(|_| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            TcpListener::bind(("127.0.0.1", port.checked_add(100)?)).ok().map(|_| port)
        })
        .unwrap()
}

/// A MiB of base64 that does not compress.
fn random_text(seed: u64) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut digit = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(DIGITS[usize::try_from(state >> 58).unwrap()])
    };
    (0..MIB).map(|_| digit()).collect()
}
