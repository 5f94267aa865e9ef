//! Other projects' cases with known verdicts, from a folder beside the project: `../shared/policy-cases`, or where the variable
//! `WEIR_POLICY_CASES` says.

use crate::cluster::{Cluster, engine};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use weir_policy::{Cache, Engine, Outcome, Profile};

fn read(path: &Path) -> String {
    let mut text = String::new();
    std::fs::File::open(path).unwrap().read_to_string(&mut text).unwrap();
    text
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    found.sort_unstable();
    found
}

#[expect(clippy::disallowed_methods, reason = "where the cases are is no part of what is decided")]
fn folder() -> PathBuf {
    let told = std::env::var_os("WEIR_POLICY_CASES").map(PathBuf::from);
    told.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/policy-cases"))
}

fn documents(path: &Path) -> Vec<Value> {
    let text = read(path);
    serde_saphyr::from_multiple::<Value>(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A verdict of a row that is otherwise than expected.
fn row(cluster: &Cluster, engine: &mut Engine, cache: &mut Cache, row: &Value, aliases: &Value) -> Option<String> {
    let pods = |name: &Value| -> Vec<String> {
        let name = name.as_str().unwrap().to_owned();
        match aliases[&name].as_array() {
            Some(pods) => pods.iter().map(|pod| pod.as_str().unwrap().to_owned()).collect(),
            None => vec![name],
        }
    };
    let ports = row["ports"].as_str().unwrap();
    let bounds = |part: &str| -> Vec<u16> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        (first.parse().unwrap()..=last.parse().unwrap()).collect()
    };
    let ports: Vec<u16> =
        if ports == "all" { (1..=u16::MAX).collect() } else { ports.split(',').flat_map(bounds).collect() };
    for (source, destination) in pods(&row["src"])
        .iter()
        .flat_map(|source| pods(&row["dst"]).into_iter().map(move |destination| (source.clone(), destination)))
    {
        for port in &ports {
            let protocol = row["proto"].as_str().unwrap();
            let judged = cluster.judge(engine, cache, (&source, &destination), (protocol, *port), None);
            if judged.enforced.outcome.name() != row["verdict"] {
                let reasons = judged.enforced.reasons;
                return Some(format!("{row}, at port {port}: {} {reasons}", judged.enforced.outcome));
            }
        }
    }
    None
}

fn says_implementation(tags: &Value) -> bool {
    let left = ["ipblock-vs-pod-ip", "node-peers"];
    tags.as_array().unwrap().iter().any(|tag| left.contains(&tag.as_str().unwrap()))
}

#[test]
fn all_cases_of_other_projects_come_out_as_they_say() {
    let root = folder();
    if !root.is_dir() {
        // Not captured by the test harness, so that nobody takes it for a pass.
        let _ = writeln!(std::io::stderr(), "skipped: no cases at {}", root.display());
        return;
    }
    let (mut rows, mut cases, mut wrong) = (0, 0, Vec::new());
    for case in folders(&root).iter().flat_map(|suite| folders(suite)) {
        let Ok(expect) = serde_json::from_str::<Value>(&read(&case.join("expect.json"))) else { continue };
        let mut cluster = Cluster::default();
        for file in ["namespaces.yaml", "nodes.yaml", "pods.yaml"] {
            let path = case.join("manifests").join(file);
            if path.exists() {
                documents(&path).iter().for_each(|object| cluster.add(object));
            }
        }
        let path = case.join("manifests/policies.yaml");
        let policies = if path.exists() { documents(&path) } else { Vec::new() };
        // What is not left to the implementation is known under every profile.
        let profiles: &[Profile] =
            if says_implementation(&expect["tags"]) { &[Profile::CALICO] } else { &Profile::ALL };
        for profile in profiles {
            let mut engine = engine(*profile, policies.iter());
            let mut cache = Cache::new(1_000_000);
            for pair in expect["pairs"].as_array().unwrap() {
                rows += 1;
                let found = row(&cluster, &mut engine, &mut cache, pair, &expect["aliases"]);
                wrong.extend(found.map(|found| format!("{} ({}): {found}", case.display(), profile.name())));
            }
        }
        cases += 1;
    }
    assert!(wrong.is_empty(), "{} of {rows} rows:\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
    assert!(cases >= 300, "only {cases} cases in {}", root.display());
    let _ = writeln!(std::io::stderr(), "{cases} cases, {rows} rows");
}

#[test]
fn without_a_profile_what_is_left_to_the_implementation_is_unknown() {
    let case = folder().join("cyclonus/021-simple-ipblock");
    if !case.is_dir() {
        let _ = writeln!(std::io::stderr(), "skipped: no case at {}", case.display());
        return;
    }
    let mut cluster = Cluster::default();
    for file in ["namespaces.yaml", "pods.yaml"] {
        documents(&case.join("manifests").join(file)).iter().for_each(|object| cluster.add(object));
    }
    let policies = documents(&case.join("manifests/policies.yaml"));
    let mut engine = engine(Profile::NONE, policies.iter());
    let expect: Value = serde_json::from_str(&read(&case.join("expect.json"))).unwrap();
    let mut unknown = 0;
    for pair in expect["pairs"].as_array().unwrap() {
        let ends = (pair["src"].as_str().unwrap(), pair["dst"].as_str().unwrap());
        let ports = (pair["proto"].as_str().unwrap(), 80);
        let judged = cluster.judge(&mut engine, &mut Cache::new(1), ends, ports, None);
        unknown += usize::from(judged.enforced.outcome == Outcome::Unknown);
    }
    assert!(unknown > 0);
}
