//! The truth table: sentences of the specifications, policies, and what follows for connections.

use crate::cluster::{Cluster, engine};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use weir_policy::{Cache, Profile};

/// Kinds as the table abbreviates them.
fn policies(group: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    for (at, entry) in group["policies"].as_array().into_iter().flatten().enumerate() {
        let (kind, spec) = entry.as_object().unwrap().iter().find(|(key, _)| *key != "staged").unwrap();
        let staged = if entry["staged"] == true { "true" } else { "false" };
        let mut spec = spec.clone();
        let mut meta = json!({"name": format!("p{at}"), "annotations": {"weir.dev/staged": staged}});
        let (version, kind) = match kind.as_str() {
            "np" => {
                meta["namespace"] = spec.as_object_mut().unwrap().remove("in").unwrap_or(json!("x"));
                ("networking.k8s.io/v1", "NetworkPolicy")
            }
            "cnp" => ("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy"),
            "anp" => ("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy"),
            "banp" => {
                meta["name"] = json!("default");
                ("policy.networking.k8s.io/v1alpha1", "BaselineAdminNetworkPolicy")
            }
            "cilium" => ("cilium.io/v2", "CiliumNetworkPolicy"),
            other => panic!("what is {other}?"),
        };
        found.push(json!({"apiVersion": version, "kind": kind, "metadata": meta, "spec": spec}));
    }
    found
}

/// `x/a > y/b TCP/80 allow`, perhaps with `via ADDRESS` at its end: what follows for one connection.
fn case(cluster: &Cluster, policies: &[Value], profile: Profile, line: &str) -> Result<(), String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [source, ">", destination, port, wanted, rest @ ..] = words.as_slice() else { panic!("{line:?}") };
    let (protocol, port) = port.split_once('/').unwrap_or((port, "0"));
    let (wanted, pending) = wanted.split_once('+').map_or((*wanted, None), |(now, then)| (now, Some(then)));
    let translated = match rest {
        ["via", address] => Some(address.parse().unwrap()),
        [] => None,
        _ => panic!("{line:?}"),
    };
    let mut engine = engine(profile, policies.iter());
    let asked = (protocol, port.parse().unwrap());
    let judged = cluster.judge(&mut engine, &mut Cache::new(9), (source, destination), asked, translated);
    if judged.enforced.outcome.name() != wanted {
        return Err(format!("{line}: {} {}", judged.enforced.outcome, judged.enforced.reasons));
    }
    let then = judged.pending.as_ref().map(|pending| pending.outcome.name());
    if then != pending {
        return Err(format!("{line}: pending {then:?}"));
    }
    Ok(())
}

#[test]
fn what_the_specifications_say_is_what_comes_out() {
    let table: Value = serde_saphyr::from_str(include_str!("truth.yaml")).unwrap();
    let mut cluster = Cluster::default();
    table["cluster"].as_array().unwrap().iter().for_each(|object| cluster.add(object));
    let (mut cases, mut specified, mut wrong) = (0, 0, Vec::new());
    let (mut sentences, mut asked) = (BTreeSet::new(), BTreeSet::new());
    for group in table["table"].as_array().unwrap() {
        let sentence = group["says"].as_str().expect("a sentence");
        assert!(sentence.len() > 20, "{sentence:?} is no sentence");
        assert!(sentences.insert(sentence), "{sentence:?} stands there twice");
        let is_specified = match group["of"].as_str() {
            Some("k8s" | "cnp" | "anp") => true,
            Some("plugin" | "weir") => false,
            other => panic!("{sentence:?}: whose sentence is it? {other:?}"),
        };
        let profile = Profile::named(group["profile"].as_str().unwrap_or("none")).unwrap();
        let policies = policies(group);
        for line in group["then"].as_array().unwrap() {
            cases += 1;
            specified += u32::from(is_specified);
            let case_of = (group["profile"].to_string(), group["policies"].to_string(), line.to_string());
            assert!(asked.insert(case_of), "{line} is asked twice of the same policies, in: {sentence}");
            if let Err(found) = case(&cluster, &policies, profile, line.as_str().unwrap()) {
                wrong.push(format!("{found}\n    where it says: {sentence}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {cases} cases:\n{}", wrong.len(), wrong.join("\n"));
    assert!(specified >= 300, "only {specified} of {cases} cases try a sentence of a specification");
}
