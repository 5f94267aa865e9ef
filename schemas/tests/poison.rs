//! Hostile bytes: what is no message of a topic is refused, whatever it looks like, and costs a bounded memory. What is
//! taken can be written again.
//!
//! `WEIR_TEST_FUZZ` says how many mutated messages are tried, `WEIR_TEST_SEED` which.
#![allow(clippy::unwrap_used, reason = "tests")]

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::path::Path;
use weir_schemas::audit::Audit;
use weir_schemas::checkpoint::Checkpoint;
use weir_schemas::dead_letter::DeadLetter;
use weir_schemas::dns::Dns;
use weir_schemas::enriched::{Enriched, ReadSide};
use weir_schemas::horizon::Horizon;
use weir_schemas::ledger::Ledger;
use weir_schemas::metadata::Metadata;
use weir_schemas::partial::PartialMessage;
use weir_schemas::raw::RawBatch;
use weir_schemas::settings::Settings;
use weir_schemas::{DecodeError, Message, decode, decode_enriched, decode_metadata, encode};

/// The most memory that the process may ever have, kB: a batch has a hundred thousand samples at most.
const MEMORY: u64 = 300_000;

/// What became of bytes.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// Of a version or a topic that is not known.
    Unknown,
    Refused,
    Taken,
}

fn as_message<T: Message + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> Outcome {
    match decode::<T>(bytes) {
        Ok(message) => {
            // Numbers that were changed may be too large to be written.
            if let Ok(again) = encode(&message) {
                assert_eq!(decode::<T>(&again).unwrap(), message, "{}: read differently when written again", T::NAME);
            }
            Outcome::Taken
        }
        Err(DecodeError::UnknownSchema(..)) => Outcome::Unknown,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            Outcome::Refused
        }
    }
}

/// A topic's format: the golden files that are messages of it, and how it reads bytes.
type Format = (&'static [&'static str], fn(&[u8]) -> Outcome);

const FORMATS: [Format; 11] = [
    (&["raw"], as_message::<RawBatch>),
    (&["metadata-"], as_message::<Metadata>),
    (&["enriched"], as_message::<Enriched>),
    (&["partials", "marker"], as_message::<PartialMessage>),
    (&["checkpoint"], as_message::<Checkpoint>),
    (&["ledger-"], as_message::<Ledger>),
    (&["dns"], as_message::<Dns>),
    (&["settings"], as_message::<Settings>),
    (&["dead-letter"], as_message::<DeadLetter>),
    (&["horizon"], as_message::<Horizon>),
    (&["audit"], as_message::<Audit>),
];

/// All messages of all versions: the file's name, the number of its format and the bytes.
fn golden() -> Vec<(String, usize, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let format = FORMATS.iter().position(|(names, _)| names.iter().any(|start| name.starts_with(start)));
        let format = format.unwrap_or_else(|| panic!("{name} is of no format that is tested here"));
        all.push((name, format, std::fs::read(entry.path()).unwrap()));
    }
    all.sort();
    all
}

#[test]
fn every_version_is_read_by_its_own_topic_and_refused_by_every_other() {
    let all = golden();
    for (number, (names, read)) in FORMATS.iter().enumerate() {
        assert!(all.iter().any(|(_, format, _)| *format == number), "no golden file of {names:?}");
        for (name, format, bytes) in &all {
            let expected = if *format == number { Outcome::Taken } else { Outcome::Unknown };
            assert_eq!(read(bytes), expected, "{name} read as {names:?}");
        }
    }
}

/// A message as a hostile or broken sender makes it of a valid one; the header stays, so that the body is looked at.
fn mutated(random: &mut SmallRng, valid: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(10..bytes.len().max(11)).min(bytes.len());
        match random.random_range(0..7) {
            0 => bytes.truncate(at),
            1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.random_range(0..8)),
            2 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = random.random()),
            // A length, a count or a number that is as large as can be.
            3 => drop(bytes.splice(at..at, [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01])),
            4 => {
                let from = random.random_range(0..other.len());
                let to = (from + random.random_range(0..64)).min(other.len());
                drop(bytes.splice(at..at, other[from..to].iter().copied()));
            }
            5 => {
                let piece = bytes[at..].to_vec();
                for _ in 0..random.random_range(1..40) {
                    bytes.extend_from_slice(&piece);
                }
            }
            _ => bytes.extend((0..random.random_range(0..40)).map(|_| random.random::<u8>())),
        }
        bytes.truncate(64 << 10);
    }
    bytes
}

#[test]
fn hostile_bytes_are_refused_or_read_within_bounded_memory() {
    let number = |name: &str, otherwise: u64| std::env::var(name).map_or(otherwise, |text| text.parse().unwrap());
    let (count, seed) = (number("WEIR_TEST_FUZZ", 40_000), number("WEIR_TEST_SEED", 1));
    let mut random = SmallRng::seed_from_u64(seed);
    let all = golden();
    let (mut taken, mut refused) = (0_u64, 0_u64);
    for _ in 0..count {
        let (_, format, valid) = &all[random.random_range(0..all.len())];
        let (_, _, other) = &all[random.random_range(0..all.len())];
        let bytes = mutated(&mut random, valid, other);
        let (_, read) = FORMATS[*format];
        match read(&bytes) {
            Outcome::Taken => taken += 1,
            Outcome::Refused => refused += 1,
            Outcome::Unknown => panic!("the header was not touched"),
        }
        let _ = decode_metadata(&bytes);
        // With ends that stay in the message the same is taken.
        let whole = |side| matches!(side, ReadSide::Other(side) if side.read().is_ok());
        let taken = decode_enriched(&bytes, [None, None]).is_ok_and(|r| whole(r.initiator) && whole(r.responder));
        assert_eq!(taken, decode::<Enriched>(&bytes).is_ok());
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: u64 = peak.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
    eprintln!("fault poison: {count} messages, seed {seed}: {refused} refused, {taken} taken, at most {peak} kB");
    assert!(refused > count / 2, "{refused} of {count}");
    assert!(peak < MEMORY, "{peak} kB");
}
