//! The translog of an index: every acknowledged operation since the last commit, append-only.
//!
//! An entry is its length, a CRC-32C and the operation; it is handed to the operating system before
//! the operation is acknowledged, so it survives the death of the process. Reading stops at the first
//! entry that is not whole: what is recovered is always a prefix of what was written.

#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::numbers::to_u64;

const HEADER_BYTES: usize = 8;
/// No entry can be longer: bodies are limited to less.
const MAX_ENTRY_BYTES: usize = 1 << 30;

/// What happened to a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) seq_no: u64,
    pub(crate) version: u64,
    pub(crate) id: String,
    /// The new source; `None` for a deletion.
    pub(crate) source: Option<Vec<u8>>,
}

impl Operation {
    fn encode(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        out.push(u8::from(self.source.is_some()));
        out.extend_from_slice(&self.seq_no.to_le_bytes());
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&u32::try_from(self.id.len()).map_err(io::Error::other)?.to_le_bytes());
        out.extend_from_slice(self.id.as_bytes());
        out.extend_from_slice(self.source.as_deref().unwrap_or_default());
        let (_, entry) = out.split_at_mut(start);
        let (header, payload) = entry.split_at_mut(HEADER_BYTES);
        header[..4].copy_from_slice(&u32::try_from(payload.len()).map_err(io::Error::other)?.to_le_bytes());
        header[4..].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
        Ok(())
    }

    fn decode(payload: &[u8]) -> Option<Self> {
        let (kind, rest) = payload.split_first()?;
        let (seq_no, rest) = rest.split_first_chunk::<8>()?;
        let (version, rest) = rest.split_first_chunk::<8>()?;
        let (id_length, rest) = rest.split_first_chunk::<4>()?;
        let (id, source) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*id_length)).ok()?)?;
        Some(Self {
            seq_no: u64::from_le_bytes(*seq_no),
            version: u64::from_le_bytes(*version),
            id: String::from_utf8(id.to_vec()).ok()?,
            source: (*kind == 1).then(|| source.to_vec()),
        })
    }
}

/// The open translog of an index.
pub(crate) struct Translog {
    folder: PathBuf,
    generation: u64,
    file: File,
    length: u64,
}

impl Translog {
    /// Starts a new generation.
    pub(crate) fn create(folder: &Path, generation: u64) -> io::Result<Self> {
        let path = path_of(folder, generation);
        let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path)?;
        Ok(Self { folder: folder.to_owned(), generation, file, length: 0 })
    }

    /// Bytes written to this generation.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Appends operations and gives the offset of each. Either all are written or none is.
    pub(crate) fn append(&mut self, operations: &[Operation]) -> io::Result<Vec<u64>> {
        let mut buffer = Vec::new();
        let mut offsets = Vec::with_capacity(operations.len());
        for operation in operations {
            offsets.push(self.length + to_u64(buffer.len()));
            operation.encode(&mut buffer)?;
        }
        let written = self.file.seek(SeekFrom::Start(self.length)).and_then(|_| self.file.write_all(&buffer));
        if let Err(error) = written {
            // A half-written entry would hide what is appended after it.
            self.file.set_len(self.length)?;
            return Err(error);
        }
        self.length += to_u64(buffer.len());
        Ok(offsets)
    }

    /// Reads back the operation at an offset that `append` gave.
    pub(crate) fn read(&self, offset: u64) -> io::Result<Operation> {
        let mut header = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut header, offset)?;
        let (length, _) = split_header(header);
        let mut payload = vec![0; length];
        self.file.read_exact_at(&mut payload, offset + to_u64(HEADER_BYTES))?;
        Operation::decode(&payload).ok_or_else(|| io::Error::other("translog entry is damaged"))
    }

    /// Starts the next generation; the one before stays until [`Translog::remove_older`].
    pub(crate) fn rotate(&mut self) -> io::Result<()> {
        *self = Self::create(&self.folder, self.generation + 1)?;
        Ok(())
    }

    /// Removes the generations that a commit has made needless.
    pub(crate) fn remove_older(&self) -> io::Result<()> {
        for generation in generations(&self.folder)? {
            if generation < self.generation {
                std::fs::remove_file(path_of(&self.folder, generation))?;
            }
        }
        Ok(())
    }
}

fn path_of(folder: &Path, generation: u64) -> PathBuf {
    folder.join(format!("translog-{generation}"))
}

fn split_header(header: [u8; HEADER_BYTES]) -> (usize, u32) {
    let [a, b, c, d, e, f, g, h] = header;
    (usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX), u32::from_le_bytes([e, f, g, h]))
}

/// The generations in a folder, oldest first.
pub(crate) fn generations(folder: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let generation: Option<u64> =
            name.to_str().and_then(|name| name.strip_prefix("translog-")).and_then(|text| text.parse().ok());
        found.extend(generation);
    }
    found.sort_unstable();
    Ok(found)
}

/// What was left behind where reading stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Whole,
    Torn,
}

/// Hands every whole operation to `apply`, oldest first, up to the first that is not whole.
pub(crate) fn replay<E: From<io::Error>>(
    folder: &Path,
    mut apply: impl FnMut(Operation) -> Result<(), E>,
) -> Result<Ending, E> {
    for generation in generations(folder)? {
        let mut file = io::BufReader::new(File::open(path_of(folder, generation))?);
        loop {
            match read_entry(&mut file)? {
                Entry::Operation(operation) => apply(operation)?,
                Entry::End => break,
                Entry::Torn => return Ok(Ending::Torn),
            }
        }
    }
    Ok(Ending::Whole)
}

enum Entry {
    Operation(Operation),
    End,
    Torn,
}

fn read_entry(file: &mut impl Read) -> io::Result<Entry> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    file.by_ref().take(to_u64(HEADER_BYTES)).read_to_end(&mut header)?;
    if header.is_empty() {
        return Ok(Entry::End);
    }
    let Ok(header) = <[u8; HEADER_BYTES]>::try_from(header) else {
        return Ok(Entry::Torn);
    };
    let (length, checksum) = split_header(header);
    if length > MAX_ENTRY_BYTES {
        return Ok(Entry::Torn);
    }
    // Grows with what is there, so a damaged length cannot ask for memory.
    let mut payload = Vec::new();
    file.by_ref().take(to_u64(length)).read_to_end(&mut payload)?;
    if payload.len() != length || crc32c::crc32c(&payload) != checksum {
        return Ok(Entry::Torn);
    }
    Ok(Operation::decode(&payload).map_or(Entry::Torn, Entry::Operation))
}
