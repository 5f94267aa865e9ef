use super::*;
use crate::fixtures::{CLUSTER, settings};
use weir_flow::RecordSettings;

/// The bytes of a small database that `weir-join` keeps for tests.
fn bytes() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/join/tests/places.mmdb")).unwrap()
}

fn naming(geography: &[&[&str]]) -> SettingsHistory {
    let entry = |(number, names): (usize, &&[&str])| RecordSettings {
        valid_from: i64::try_from(number).unwrap() * 100_000,
        geography: names.iter().map(|name| (*name).to_owned()).collect(),
        ..settings(1, 1)
    };
    SettingsHistory::new(CLUSTER, geography.iter().enumerate().map(entry).collect()).unwrap()
}

#[test]
fn a_file_is_read_again_only_where_others_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("places.mmdb");
    std::fs::write(&path, bytes()).unwrap();
    let name = Geography::fingerprint(&bytes());
    let mut databases = Databases::new(std::slice::from_ref(&path));
    let first = databases.load(&naming(&[&[&name]])).unwrap();
    // Whoever read it again would find no database.
    std::fs::write(&path, b"something else").unwrap();
    let second = databases.load(&naming(&[&[&name], &[], &[&name]])).unwrap();
    assert!(Arc::ptr_eq(&first[&name], &second[&name]));
    let error = databases.load(&naming(&[&[&name], &[&"ab".repeat(32)]])).unwrap_err();
    assert!(format!("{error:#}").contains(&name), "what the settings name is not there any more: {error:#}");
}

#[test]
fn a_file_that_is_named_later_or_was_put_in_another_ones_place_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("places.mmdb");
    std::fs::write(&path, b"something else").unwrap();
    let name = Geography::fingerprint(&bytes());
    let mut databases = Databases::new(std::slice::from_ref(&path));
    assert!(databases.load(&naming(&[&[]])).unwrap().is_empty());
    std::fs::write(&path, bytes()).unwrap();
    assert!(databases.load(&naming(&[&[]])).unwrap().is_empty(), "nobody asks for it yet");
    assert!(databases.load(&naming(&[&[], &[&name]])).unwrap().contains_key(&name));
    // The same file, known and unnamed at first.
    let mut databases = Databases::new(std::slice::from_ref(&path));
    assert!(databases.load(&naming(&[&[]])).unwrap().is_empty());
    assert!(databases.load(&naming(&[&[], &[&name]])).unwrap().contains_key(&name));
}
