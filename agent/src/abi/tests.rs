#![allow(clippy::unwrap_used, reason = "tests")]

use super::{RING, VERSION};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

const HEADER: &str = include_str!("../../bpf/flow_abi.h");
const VERSIONS: &str = include_str!("../../bpf/abi.versions");

/// The header without comments and blank space: what can change a layout or a meaning by number.
fn substance() -> String {
    let mut text = String::new();
    let mut rest = HEADER;
    while let Some(start) = rest.find("/*") {
        text.push_str(&rest[..start]);
        rest = rest[start..].find("*/").map_or("", |end| &rest[start + end + 2..]);
    }
    text.push_str(rest);
    text.split_whitespace().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[test]
fn both_sides_have_the_same_version() {
    let defined = HEADER.lines().find_map(|line| line.strip_prefix("#define WEIR_ABI_VERSION ")).unwrap();
    assert_eq!(defined.trim().parse(), Ok(VERSION));
    let size = HEADER.lines().find_map(|line| line.strip_prefix("#define WEIR_MESSAGES_SIZE ")).unwrap();
    assert_eq!((size, RING), ("(4 << 20)", 4 << 20));
}

#[test]
fn whatever_crosses_the_border_differently_has_a_version_of_its_own() {
    let hash = Sha256::digest(substance().as_bytes()).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    });
    let last = VERSIONS.lines().last().unwrap_or_default();
    let now = format!("{VERSION} {hash}");
    assert_eq!(last, now, "flow_abi.h changed: raise its version and add this line to bpf/abi.versions");
    let numbers: Vec<u32> = VERSIONS.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "versions only grow: {numbers:?}");
}
