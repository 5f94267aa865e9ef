use super::*;

#[test]
fn a_folder_is_held_by_one_and_keeps_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let held = take(folder.path()).unwrap();
    assert!(matches!(take(folder.path()), Err(BrokerError::Locked { .. })));
    let id = held.cluster_id.clone();
    drop(held);
    assert_eq!(take(folder.path()).unwrap().cluster_id, id);
    let format: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join("format")).unwrap()).unwrap();
    assert_eq!(format["format"], 1);
}

#[test]
fn a_format_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (content, newer) in [(r#"{"format":7}"#, true), ("{}", false), ("", false), ("\u{0}", false)] {
        fs::write(folder.path().join("format"), content).unwrap();
        match take(folder.path()) {
            Err(BrokerError::NewerFormat { found: 7, .. }) => assert!(newer),
            Err(BrokerError::Damaged { .. }) => assert!(!newer),
            other => panic!("{other:?}"),
        }
    }
}
