#![allow(clippy::unwrap_used, reason = "tests")]

use super::{Pins, Sizes, detach, file_system};
use crate::abi;
use std::collections::BTreeMap;
use std::time::Duration;

const NOW: Duration = Duration::ZERO;
const SIZES: Sizes = Sizes { flows: 64, connections: 64, slots: 0 };

#[test]
fn what_another_version_or_size_pinned_is_removed_and_what_is_not_ours_is_not() {
    let root = tempfile::tempdir().unwrap();
    let (older, smaller) = (format!("v{}-64-64", abi::VERSION + 1), format!("v{}-32-64", abi::VERSION));
    let foreign = ["cilium", "v1", "v1-2-x", "version-1-2"];
    for name in [older.as_str(), &smaller, "gone-v1-2-3"].into_iter().chain(foreign) {
        std::fs::create_dir(root.path().join(name)).unwrap();
        std::fs::write(root.path().join(name).join("WEIR_LEDGER"), "").unwrap();
    }
    let pins = Pins::open(root.path(), SIZES, NOW).unwrap();
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
    let pins = Pins::open(root.path(), SIZES, NOW).unwrap();
    assert!(pins.taken_over());
    assert!(Pins::open(root.path(), SIZES, NOW).unwrap_err().to_string().contains("another agent"));
    assert!(detach(root.path(), &BTreeMap::new()).unwrap_err().to_string().contains("end that one first"));
    // Whoever still publishes keeps what the next one must not read yet.
    let publisher = pins.lock();
    drop(pins);
    assert!(Pins::open(root.path(), SIZES, NOW).is_err());
    drop(publisher);
    assert!(
        Pins::open(root.path(), SIZES, NOW).unwrap().taken_over(),
        "an agent that ends leaves what it has to the next"
    );
}

#[test]
fn detaching_removes_what_agents_pinned_whatever_version_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().join("weir");
    let pins = Pins::open(&root, SIZES, NOW).unwrap();
    for link in [pins.link(7, "weir_pod_out"), pins.link(7, "weir_pod_in"), pins.link(8, "weir_host_in")] {
        std::fs::write(link, "").unwrap();
    }
    drop(pins);
    std::fs::create_dir(root.join("v1-2-3")).unwrap();
    std::fs::create_dir(root.join("cilium")).unwrap();
    let said = detach(&root, &BTreeMap::from([(7, "veth7".to_owned())])).unwrap();
    let detached: Vec<&str> = said.iter().map(String::as_str).filter(|line| line.starts_with("detached")).collect();
    let expected =
        ["weir_pod_in from veth7 (7)", "weir_pod_out from veth7 (7)", "weir_host_in from a nameless interface (8)"];
    assert_eq!(detached, expected.map(|end| format!("detached {end}")));
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 1, "others' pins stay");
    std::fs::remove_dir(root.join("cilium")).unwrap();
    assert!(detach(&root, &BTreeMap::new()).unwrap()[0].starts_with("nothing"));
    assert!(!root.exists());
    assert!(detach(&root, &BTreeMap::new()).unwrap()[0].starts_with("nothing"));
}

#[test]
fn links_of_interfaces_that_are_not_watched_are_removed_once() {
    let root = tempfile::tempdir().unwrap();
    let mut pins = Pins::open(root.path(), SIZES, NOW).unwrap();
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
