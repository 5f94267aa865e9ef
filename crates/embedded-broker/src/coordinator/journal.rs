//! An append-only file of entries: length and checksum (both 32 bits, big-endian), then the entry as JSON.

use super::image::Entry;
use crate::files;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The journal is rewritten when it has this many bytes and four times as many as after the last rewriting.
const REWRITE_BYTES: u64 = 8 << 20;

/// An append-only file of entries.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: Arc<File>,
    size: u64,
    size_after_rewriting: u64,
    unsynced: bool,
}

fn frame(entries: &[Entry]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for entry in entries {
        let json = serde_json::to_vec(entry)?;
        let length = u32::try_from(json.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        bytes.extend(length.to_be_bytes());
        bytes.extend(crc32c::crc32c(&json).to_be_bytes());
        bytes.extend(json);
    }
    Ok(bytes)
}

/// Splits the first entry off; none if it is torn or damaged.
fn next_entry(bytes: &[u8]) -> Option<(Entry, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (json, rest) = rest.split_at_checked(length)?;
    if length == 0 || crc32c::crc32c(json) != u32::from_be_bytes(*checksum) {
        return None;
    }
    Some((serde_json::from_slice(json).ok()?, rest))
}

impl Journal {
    /// Opens or creates a journal, hands its entries over in order and cuts off a torn end. Also returns how many bytes
    /// that was.
    ///
    /// # Errors
    /// Whatever the file system refuses.
    pub(super) fn open(path: &Path, mut apply: impl FnMut(Entry)) -> io::Result<(Self, u64)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let content = fs::read(path)?;
        let mut rest = content.as_slice();
        while let Some((entry, after)) = next_entry(rest) {
            apply(entry);
            rest = after;
        }
        let truncated = files::length(rest);
        let size = files::length(&content) - truncated;
        file.set_len(size)?;
        let journal =
            Self { path: path.to_path_buf(), file: Arc::new(file), size, size_after_rewriting: size, unsynced: true };
        Ok((journal, truncated))
    }

    /// Writes entries: all of them or, on an error, none.
    ///
    /// # Errors
    /// Whatever the file system refuses.
    pub(super) fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        let bytes = frame(entries)?;
        if let Err(error) = self.file.write_all_at(&bytes, self.size) {
            self.file.set_len(self.size)?;
            return Err(error);
        }
        self.size += files::length(&bytes);
        self.unsynced = true;
        Ok(())
    }

    /// Whether most of the journal is probably out of date.
    pub(super) fn wants_rewriting(&self) -> bool {
        self.size > REWRITE_BYTES && self.size / 4 > self.size_after_rewriting
    }

    /// Replaces the journal by `entries`, durably and as a whole.
    ///
    /// # Errors
    /// Whatever the file system refuses; the journal is then as before.
    pub(super) fn rewrite(&mut self, entries: &[Entry]) -> io::Result<()> {
        let bytes = frame(entries)?;
        files::replace(&self.path, &bytes)?;
        self.file = Arc::new(OpenOptions::new().read(true).write(true).open(&self.path)?);
        self.size = files::length(&bytes);
        self.size_after_rewriting = self.size;
        self.unsynced = false;
        Ok(())
    }

    /// The file if it has unsynced entries; they count as synced from now on.
    pub(super) fn unsynced(&mut self) -> Option<Arc<File>> {
        std::mem::take(&mut self.unsynced).then(|| Arc::clone(&self.file))
    }
}
