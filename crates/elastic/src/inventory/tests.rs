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
fn disks_come_from_nodes_that_have_one() {
    let body = br#"{"nodes":{"x":{"name":"n1","fs":{"total":{"total_in_bytes":10,"available_in_bytes":4}}},"y":{"name":"n2"}}}"#;
    assert_eq!(disks(body).unwrap(), [NodeDisk { node: "n1".into(), total: 10, available: 4 }]);
}

#[test]
fn only_blocks_that_are_set_count() {
    let body = br#"{"a":{"settings":{"index.blocks.read_only_allow_delete":"true","index.blocks.write":"false"}},"b":{"settings":{}}}"#;
    assert_eq!(blocks(body).unwrap(), [Block { index: "a".into(), name: "read_only_allow_delete".into() }]);
}
