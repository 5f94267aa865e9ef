use super::*;

#[test]
fn a_folder_is_made_and_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b");
    drop(DataFolder::open(&path).unwrap());
    DataFolder::open(&path).unwrap();
}

#[test]
fn two_processes_do_not_share_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let _first = DataFolder::open(dir.path()).unwrap();
    assert!(matches!(DataFolder::open(dir.path()), Err(DataError::Busy { .. })));
}

#[test]
fn a_newer_versions_folder_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("format"), "2\n").unwrap();
    let error = DataFolder::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("has format 2"), "{error}");
    std::fs::write(dir.path().join("format"), "<html>").unwrap();
    assert!(matches!(DataFolder::open(dir.path()), Err(DataError::Foreign { .. })));
}

#[test]
fn a_file_in_the_folders_place_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, "").unwrap();
    assert!(matches!(DataFolder::open(&path), Err(DataError::Unwritable { .. })));
}
