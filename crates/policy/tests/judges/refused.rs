//! What is wrong with a policy, in the words of an API server: `refused.json` holds what a real one answered, version 1.37, and
//! `metadata/tests/kubernetes` asks one again.

use serde_json::Value;
use std::collections::BTreeSet;
use weir_policy::{Parsed, PolicyObject, parse};

#[test]
fn policies_are_refused_in_the_words_of_an_api_server() {
    let object = PolicyObject {
        api_version: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        namespace: "default",
        name: "t",
        staged: false,
    };
    let cases: Vec<Value> = serde_json::from_str(include_str!("refused.json")).unwrap();
    let mut wrong = Vec::new();
    for case in &cases {
        let said = match parse(object, &case["spec"]) {
            Parsed::Invalid(errors) => errors,
            Parsed::Policy(_, remarks) => remarks.newer,
            Parsed::Foreign(foreign) => panic!("{foreign}"),
        };
        // Labels are in no order.
        let said: BTreeSet<String> = said.iter().map(ToString::to_string).collect();
        let server = case["refused"].as_array().unwrap().iter();
        let server: BTreeSet<String> = server.map(|error| error.as_str().unwrap().to_owned()).collect();
        if said != server {
            wrong.push(format!("{}\n  server: {server:#?}\n  said: {said:#?}", case["spec"]));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!(cases.len() >= 50);
}
