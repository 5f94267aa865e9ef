use super::*;

#[test]
fn rows_and_aliases_meet_by_name() {
    let cat = br#"[{"index":"b","docs.count":"3","store.size":"4096","creation.date":"1700000000000","status":"open"},
        {"index":"a","docs.count":null,"store.size":null,"creation.date":"1","status":"close"}]"#;
    let aliases = br#"{"b":{"aliases":{"w":{},"all":{}}},"a":{"aliases":{}}}"#;
    let found = indices(cat, aliases).unwrap();
    assert_eq!(found[0].name, "a");
    assert_eq!((found[0].docs, found[0].bytes, found[0].open), (None, None, false));
    assert_eq!((found[1].docs, found[1].bytes, found[1].created), (Some(3), Some(4096), 1_700_000_000_000));
    assert_eq!(found[1].aliases, ["all", "w"]);
}

#[test]
fn a_size_that_is_no_number_is_an_error_not_zero() {
    let cat = br#"[{"index":"b","docs.count":"3","store.size":"4kb","creation.date":"1"}]"#;
    let error = indices(cat, b"{}").unwrap_err().to_string();
    assert!(error.contains("index b") && error.contains("4kb"), "{error}");
}

#[test]
fn disks_come_from_nodes_that_hold_data() {
    let fs = r#""fs":{"timestamp":7,"total":{"total_in_bytes":10,"available_in_bytes":4}}"#;
    let node = |id: &str, roles: &str| format!(r#""{id}":{{"name":"n{id}",{roles}{fs}}}"#);
    let body = [
        node("a", r#""roles":["data_hot","ingest"],"#),
        node("b", r#""roles":["master"],"#),
        node("c", r#""roles":[],"#),
        node("d", r#""roles":["data_frozen"],"#),
        node("e", r#""roles":["ml","remote_cluster_client"],"#),
        node("f", r#""roles":["data_frozen","data_cold"],"#),
        node("g", r#""roles":["data","master"],"#),
        node("h", r#""roles":["warm"],"#),
        // An engine without roles has no others.
        node("i", ""),
        r#""j":{"name":"without a disk","roles":["data"]}"#.to_owned(),
    ];
    let body = format!(r#"{{"nodes":{{{}}}}}"#, body.join(","));
    let found = disks(body.as_bytes()).unwrap();
    assert_eq!(found.iter().map(|disk| disk.id.as_str()).collect::<Vec<_>>(), ["a", "f", "g", "i"]);
    let first = NodeDisk { id: "a".into(), node: "na".into(), total: 10, available: 4, measured: Some(7) };
    assert_eq!(found[0], first);
}

#[test]
fn shards_that_stand_nowhere_are_on_no_disk() {
    let body = br#"[{"index":"b","id":"x","store":"12"},{"index":"a","id":"y","store":"3"},
        {"index":"a","id":null,"store":null},{"index":"a","id":"x","store":null}]"#;
    let copy = |index: &str, node: &str, bytes| ShardCopy { index: index.into(), node: node.into(), bytes };
    assert_eq!(shards(body).unwrap(), [copy("a", "y", 3), copy("b", "x", 12)]);
    let error = shards(br#"[{"index":"b","id":"x","store":"4kb"}]"#).unwrap_err().to_string();
    assert!(error.contains("4kb"), "{error}");
}

#[test]
fn only_blocks_that_are_set_count() {
    let body = br#"{"a":{"settings":{"index.blocks.read_only_allow_delete":"true","index.blocks.write":"false"}},"b":{"settings":{}}}"#;
    assert_eq!(blocks(body).unwrap(), [Block { index: "a".into(), name: "read_only_allow_delete".into() }]);
}
