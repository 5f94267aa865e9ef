use serde_json::json;

use super::*;
use crate::mapping::Mapping;

fn meta() -> Meta {
    let mapping = Arc::new(Mapping::parse(&json!({"properties": {"n": {"type": "long"}}})).unwrap());
    Meta {
        name: "x".into(),
        uuid: "u".into(),
        created: 0,
        settings: Default::default(),
        mapping,
        aliases: Default::default(),
    }
}

fn request(id: &str, action: Action, check: VersionCheck) -> WriteRequest {
    WriteRequest { id: id.to_owned(), action, check, source: br#"{"n":1}"#.to_vec(), fresh_id: false }
}

#[test]
fn versions_are_the_same_before_and_after_a_refresh_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let one = |index: &Index, action, check| index.write(&[request("a", action, check)], 100, 1).pop().unwrap();
    {
        let index = Index::create(folder.path(), meta(), 1).unwrap();
        assert_eq!(one(&index, Action::Index, VersionCheck::External(5)).unwrap().version, 5);
        assert!(one(&index, Action::Index, VersionCheck::External(5)).is_err());
        index.refresh(2).unwrap();
        assert!(one(&index, Action::Index, VersionCheck::External(4)).is_err());
        assert!(one(&index, Action::Create, VersionCheck::None).is_err());
        assert_eq!(one(&index, Action::Index, VersionCheck::ExternalGte(5)).unwrap().version, 5);
    }
    let index = Index::open(folder.path(), meta(), 3).unwrap();
    assert_eq!(index.get("a", 3).unwrap().unwrap().version, 5);
    assert_eq!(index.snapshot().num_docs(), 1);
    let written = one(&index, Action::Index, VersionCheck::None).unwrap();
    assert_eq!((written.version, written.seq_no), (6, 2));
}

#[test]
fn a_deleted_documents_version_is_not_forgotten_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::create(folder.path(), meta(), 1).unwrap();
    let at = |now, action, check| index.write(&[request("a", action, check)], 100, now).pop().unwrap();
    at(1, Action::Index, VersionCheck::External(9)).unwrap();
    assert_eq!(at(2, Action::Delete, VersionCheck::External(10)).unwrap().outcome, Outcome::Deleted);
    index.refresh(3).unwrap();
    assert!(at(4, Action::Index, VersionCheck::External(8)).is_err());
    assert!(at(5, Action::Index, VersionCheck::External(11)).is_ok());
}

#[test]
fn an_idle_writer_is_closed_and_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::create(folder.path(), meta(), 1).unwrap();
    assert!(index.write(&[request("a", Action::Index, VersionCheck::None)], 100, 1)[0].is_ok());
    assert!(index.tick(2));
    assert!(index.tick(UNSEARCHED_REFRESH_MS + 2), "refreshed, still open");
    assert_eq!(index.snapshot().num_docs(), 1);
    assert!(!index.tick(WRITER_IDLE_MS * 2));
    assert!(index.write(&[request("b", Action::Index, VersionCheck::None)], 100, 60_000)[0].is_ok());
    index.refresh(60_001).unwrap();
    assert_eq!(index.snapshot().num_docs(), 2);
}
