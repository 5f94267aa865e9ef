//! Records by key. Hashes are kept, so that keys need not be read again when the table grows, and keys stand one behind the
//! other.

use crate::key::head;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher as _;

/// Numbers of records by key.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    table: HashTable<Entry>,
    keys: Vec<u8>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    /// Where the key stands.
    start: usize,
    length: u32,
    number: u32,
}

impl Entry {
    fn key<'k>(&self, keys: &'k [u8]) -> &'k [u8] {
        let length = usize::try_from(self.length).unwrap_or(usize::MAX);
        keys.get(self.start..self.start.saturating_add(length)).unwrap_or_default()
    }
}

impl Numbers {
    /// With room for so many keys.
    pub(super) fn with_room(keys: usize) -> Self {
        Self { table: HashTable::with_capacity(keys), ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<u32> {
        self.get_hashed(self.hash(key), key)
    }

    /// The same with the key's hash.
    pub(super) fn get_hashed(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let same = |entry: &Entry| entry.hash == hash && entry.key(&self.keys) == key;
        self.table.find(hash, same).map(|entry| entry.number)
    }

    /// Enters a key that is not there, with its hash.
    pub(super) fn insert(&mut self, (hash, key): (u64, &[u8]), number: u32) {
        let (start, length) = (self.keys.len(), u32::try_from(key.len()).unwrap_or(u32::MAX));
        self.keys.extend_from_slice(key);
        self.table.insert_unique(hash, Entry { hash, start, length, number }, |entry| entry.hash);
    }

    /// Takes a key out; its bytes stay.
    pub(super) fn remove(&mut self, key: &[u8]) {
        let hash = self.hasher.hash_one(key);
        let keys = &self.keys;
        if let Ok(entry) = self.table.find_entry(hash, |entry| entry.hash == hash && entry.key(keys) == key) {
            entry.remove();
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], u32)> {
        self.table.iter().map(|entry| (entry.key(&self.keys), entry.number))
    }

    /// All keys in order.
    pub(super) fn into_order(self) -> Order {
        let Self { table, keys, .. } = self;
        let mut order: Vec<((u64, u128), Entry)> =
            table.into_iter().map(|entry| (head(entry.key(&keys)), entry)).collect();
        order.sort_unstable_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.key(&keys).cmp(y.key(&keys))));
        Order { entries: order.into_iter().map(|(_, entry)| entry).collect(), keys }
    }
}

/// Keys in order.
#[derive(Debug)]
pub(super) struct Order {
    entries: Vec<Entry>,
    keys: Vec<u8>,
}

impl Order {
    /// Keys and numbers of records, so many at a time.
    pub(super) fn groups(&self, many: usize) -> impl Iterator<Item = impl Iterator<Item = (&[u8], u32)> + Clone> {
        self.entries.chunks(many).map(|group| group.iter().map(|entry| (entry.key(&self.keys), entry.number)))
    }
}
