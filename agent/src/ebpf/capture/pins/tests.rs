#![allow(clippy::unwrap_used, reason = "tests")]

use super::{Pins, file_system};
use crate::abi;

#[test]
fn what_another_version_or_size_pinned_is_removed_and_what_is_not_ours_is_not() {
    let root = tempfile::tempdir().unwrap();
    let (older, smaller) = (format!("v{}-64-64", abi::VERSION + 1), format!("v{}-32-64", abi::VERSION));
    let foreign = ["cilium", "v1", "v1-2-x", "version-1-2"];
    for name in [older.as_str(), &smaller, "gone-v1-2-3"].into_iter().chain(foreign) {
        std::fs::create_dir(root.path().join(name)).unwrap();
        std::fs::write(root.path().join(name).join("WEIR_LEDGER"), "").unwrap();
    }
    let pins = Pins::open(root.path(), 64, 64).unwrap();
    assert!(!pins.taken_over(), "nothing of another version is taken over");
    let mut left: Vec<String> = std::fs::read_dir(root.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    left.sort_unstable();
    let mut expected: Vec<String> = foreign.iter().map(|name| (*name).to_owned()).collect();
    expected.push(format!("v{}-64-64", abi::VERSION));
    expected.sort_unstable();
    assert_eq!(left, expected);
}

#[test]
fn a_predecessor_of_the_same_version_is_taken_over_by_one_at_a_time() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join(format!("v{}-64-64", abi::VERSION));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("WEIR_LEDGER"), "").unwrap();
    let pins = Pins::open(root.path(), 64, 64).unwrap();
    assert!(pins.taken_over());
    assert!(Pins::open(root.path(), 64, 64).unwrap_err().to_string().contains("another agent"));
    drop(pins);
    assert!(!folder.exists(), "an agent that ends leaves nothing behind");
}

#[test]
fn links_of_interfaces_that_are_not_watched_are_removed_once() {
    let root = tempfile::tempdir().unwrap();
    let mut pins = Pins::open(root.path(), 64, 64).unwrap();
    let (kept, stray) = (pins.link(7, "weir_pod_in"), pins.link(8, "weir_pod_in"));
    std::fs::write(&kept, "").unwrap();
    std::fs::write(&stray, "").unwrap();
    pins.sweep(|index| index == 7);
    assert!(kept.exists() && !stray.exists());
    std::fs::write(&stray, "").unwrap();
    pins.sweep(|index| index == 7);
    assert!(stray.exists(), "from then on links come and go with their interfaces");
}

#[test]
fn a_folder_is_in_the_file_system_that_is_mounted_last_and_deepest() {
    let mounts =
        "sysfs /sys sysfs rw 0 0\ntmpfs /sys/fs tmpfs rw 0 0\nx /sys/fs/bpf tmpfs rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0\n";
    let of = |path: &str| file_system(mounts, std::path::Path::new(path));
    assert_eq!(of("/sys/fs/bpf/weir"), Some("bpf"));
    assert_eq!(of("/sys/fs/bpfs"), Some("tmpfs"));
    assert_eq!((of("/sys/kernel"), of("/")), (Some("sysfs"), None));
}
