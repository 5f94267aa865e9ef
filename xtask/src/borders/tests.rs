use super::*;
use serde_json::json;

#[test]
fn this_workspace_keeps_its_borders() {
    run().unwrap();
}

#[test]
fn a_service_that_knows_another_is_found() {
    let metadata = json!({"packages": [
        {"name": "weir-agent", "dependencies": [{"name": "weir-indexer", "kind": null}]},
        {"name": "weir-join", "dependencies": [{"name": "tokio", "kind": null}, {"name": "weir-agent", "kind": "dev"}]},
        {"name": "weir-common", "dependencies": []},
    ]});
    assert_eq!(
        violations(&metadata).unwrap(),
        [
            "weir-agent must not depend on weir-indexer",
            "weir-join is pure and must not depend on tokio",
            "weir-common is not in the table of borders (xtask/src/borders.rs)",
        ]
    );
}
