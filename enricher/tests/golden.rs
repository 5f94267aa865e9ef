//! What both stages write for traffic of a fixed seed, byte by byte: making the enricher faster must not change it.
//!
//! A change of what records say changes `golden.txt` as well: `WEIR_BLESS=1 cargo test -p weir-enricher --test golden`.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "the load driver uses more of these modules")]

#[path = "../benches/load/cluster.rs"]
mod cluster;
#[path = "../benches/load/path.rs"]
mod path;
#[path = "../benches/load/traffic.rs"]
mod traffic;

use cluster::Cluster;
use path::Path;
use traffic::{Mix, Timing, Window};
use weir_flow::{Level, RecordSettings};

/// Digest of everything that two windows of all four levels make; of a cluster with as many policies, or without namespaces,
/// of whose pods policies then say nothing.
fn digest(keys_limit: u32, pods: u32, policies: Option<u32>) -> String {
    let namespaces = policies.is_some();
    let cluster = Cluster { name: "local".to_owned(), pods, namespaces, policies: policies.unwrap_or_default() };
    let levels = vec![Level::Zero, Level::One, Level::Two, Level::Three];
    let settings = RecordSettings {
        levels_allowed: levels.clone(),
        levels_denied: levels,
        raw_partitions: 3,
        internal_partitions: 2,
        keys_limit,
        set_limit: 10,
        live: false,
        // Newer meanings of records change their bytes; those of this one stay.
        semantics: 2,
        ..RecordSettings::standard("local")
    };
    let timing = Timing { tick: settings.tick, window: settings.window };
    let mix = Mix { keys: 2_000, flows: 20_000, zipf: 1.0, seed: 42 };
    let mut window = Window::new(&cluster, timing, &mix);
    let mut path = Path::new(&cluster, settings);
    path.run(&mut window, timing, 2);
    let records: Vec<u64> = path.outcome.levels.values().map(|stored| stored.records).collect();
    let (partials, digest) = (path.outcome.partials_digest, path.outcome.digest);
    format!("{} {partials:032x} {records:?} {digest:032x}\n", path.outcome.partials)
}

#[test]
fn the_same_bytes_are_written_as_ever() {
    let mut found = digest(1_000_000, 400, None) + &digest(700, 400, None) + &digest(1_000_000, 40, None);
    found += &(digest(1_000_000, 400, Some(0)) + &digest(1_000_000, 400, Some(70)));
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden.txt");
    if std::env::var_os("WEIR_BLESS").is_some() {
        std::fs::write(file, &found).unwrap();
    }
    assert_eq!(
        found,
        std::fs::read_to_string(file).unwrap(),
        "partials and their digest, records by level and their digest"
    );
}
