//! Records by key. Hashes are kept, so that keys need not be read again when the table grows.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher as _;

/// Numbers of records by key.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    table: HashTable<Entry>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    key: Box<[u8]>,
    number: u32,
}

impl Numbers {
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        self.table.find(hash, |entry| entry.hash == hash && *entry.key == *key).map(|entry| entry.number)
    }

    /// Enters a key that is not there.
    pub(super) fn insert(&mut self, key: &[u8], number: u32) {
        let hash = self.hasher.hash_one(key);
        self.table.insert_unique(hash, Entry { hash, key: key.into(), number }, |entry| entry.hash);
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        let hash = self.hasher.hash_one(key);
        if let Ok(entry) = self.table.find_entry(hash, |entry| entry.hash == hash && *entry.key == *key) {
            entry.remove();
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], u32)> {
        self.table.iter().map(|entry| (&*entry.key, entry.number))
    }

    /// All keys in order.
    pub(super) fn into_sorted(self) -> Vec<(Box<[u8]>, u32)> {
        let mut all: Vec<(Box<[u8]>, u32)> = self.table.into_iter().map(|entry| (entry.key, entry.number)).collect();
        all.sort_unstable();
        all
    }
}
