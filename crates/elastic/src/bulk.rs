//! Bulk bodies and bulk answers, pure.
//!
//! An answer is taken only when it is whole: one item for each operation, each with a status. Anything else is an
//! error for the whole bulk, because a caller could not tell which documents were stored.

use crate::error::shorten;
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use thiserror::Error;

mod plain;
#[cfg(test)]
mod tests;

/// Where an operation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Index or write alias.
    pub index: &'a str,
    /// Document id.
    pub id: &'a str,
    /// External version: an operation is applied when none higher was before it (`external_gte`).
    pub version: u64,
}

/// One operation as it stands in a body: its action line and, for a write, its document line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    lines: Bytes,
    /// Length of the action line, bytes.
    action: usize,
}

/// Why an operation cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OperationError {
    /// The document would break the line format.
    #[error("document holds a line break: it must be one line of JSON")]
    LineBreak,
}

impl Operation {
    /// Writes `document` (one line of JSON), replacing an equal or lower version.
    ///
    /// # Errors
    /// When the document is not one line.
    pub fn index(target: Target<'_>, document: &[u8]) -> Result<Self, OperationError> {
        Self::index_with(target, |lines| {
            lines.extend_from_slice(document);
            Ok(())
        })
    }

    /// As [`index`](Self::index), of a document that `write` appends to what it is given.
    ///
    /// # Errors
    /// What `write` says, or that the document is not one line.
    pub fn index_with<E: From<OperationError>>(
        target: Target<'_>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut batch = Batch::default();
        let place = batch.index(target, write)?;
        Ok(batch.finish().operation(place))
    }

    /// Deletes a document of an equal or lower version; what is not there counts as deleted.
    #[must_use]
    pub fn delete(target: Target<'_>) -> Self {
        let mut batch = Batch::default();
        let place = batch.delete(target);
        batch.finish().operation(place)
    }

    /// The same operation on another document.
    #[must_use]
    pub fn on(&self, target: Target<'_>) -> Self {
        let document = self.lines.get(self.action..).unwrap_or_default();
        if document.is_empty() {
            return Self::delete(target);
        }
        let mut lines = Vec::new();
        write_action(&mut lines, "index", target);
        let action = lines.len();
        lines.extend_from_slice(document);
        Self { lines: lines.into(), action }
    }

    /// Its lines.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.lines
    }

    /// Its size in a body, bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether it is empty, which no operation is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

/// Operations that are written one behind the other, as they stand in a body: none is copied or has memory of its own.
#[derive(Debug, Default)]
pub struct Batch {
    lines: Vec<u8>,
    items: usize,
}

/// Where an operation stands in its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    start: usize,
    action: usize,
    end: usize,
}

impl Place {
    /// The operation's size in a body, bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether it is empty, which no operation is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end == self.start
    }
}

impl Batch {
    /// An empty one within the memory of an earlier body: megabytes that are asked of the system anew for each bulk cost more than
    /// what is written into them.
    #[must_use]
    pub fn within(mut memory: BytesMut) -> Self {
        memory.clear();
        Self { lines: memory.into(), items: 0 }
    }

    /// Writes a document that `write` appends to what it is given (one line of JSON), replacing an equal or lower version.
    ///
    /// # Errors
    /// What `write` says, or that the document is not one line; the batch is as it was then.
    pub fn index<E: From<OperationError>>(
        &mut self,
        target: Target<'_>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Place, E> {
        let start = self.lines.len();
        write_action(&mut self.lines, "index", target);
        let document = self.lines.len();
        let written = write(&mut self.lines).and_then(|()| match self.lines.get(document..) {
            Some(line) if memchr::memchr(b'\n', line).is_some() => Err(OperationError::LineBreak.into()),
            _ => Ok(()),
        });
        if let Err(error) = written {
            self.lines.truncate(start);
            return Err(error);
        }
        self.lines.push(b'\n');
        self.items += 1;
        Ok(Place { start, action: document - start, end: self.lines.len() })
    }

    /// Deletes a document of an equal or lower version; what is not there counts as deleted.
    pub fn delete(&mut self, target: Target<'_>) -> Place {
        let start = self.lines.len();
        write_action(&mut self.lines, "delete", target);
        self.items += 1;
        Place { start, action: self.lines.len() - start, end: self.lines.len() }
    }

    /// An operation of its own, copied.
    pub fn append(&mut self, operation: &Operation) -> Place {
        let start = self.lines.len();
        self.lines.extend_from_slice(&operation.lines);
        self.items += 1;
        Place { start, action: operation.action, end: self.lines.len() }
    }

    /// Its size so far, bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.lines.len()
    }

    /// Nothing more is written.
    #[must_use]
    pub fn finish(self) -> Body {
        Body { bytes: self.lines.into(), items: self.items }
    }
}

fn write_action(line: &mut Vec<u8>, name: &str, target: Target<'_>) {
    let mut write = || {
        line.extend_from_slice(b"{\"");
        line.extend_from_slice(name.as_bytes());
        line.extend_from_slice(br#"":{"_index":"#);
        serde_json::to_writer(&mut *line, target.index)?;
        line.extend_from_slice(br#","_id":"#);
        serde_json::to_writer(&mut *line, target.id)?;
        line.extend_from_slice(br#","version":"#);
        serde_json::to_writer(&mut *line, &target.version)?;
        line.extend_from_slice(b",\"version_type\":\"external_gte\"}}\n");
        Ok(())
    };
    let written: serde_json::Result<()> = write();
    debug_assert!(written.is_ok(), "writing to memory cannot fail");
}

/// A bulk body: operations back to back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    bytes: Bytes,
    items: usize,
}

impl Body {
    /// One of the operations of the batch that it was; it shares the body's memory.
    #[must_use]
    pub fn operation(&self, place: Place) -> Operation {
        Operation { lines: self.bytes.slice(place.start..place.end), action: place.action }
    }

    /// The body of these operations, in this order.
    #[must_use]
    pub fn of<'a>(operations: impl Iterator<Item = &'a Operation>) -> Self {
        let mut batch = Batch::default();
        for operation in operations {
            batch.append(operation);
        }
        batch.finish()
    }

    /// Its memory, for the next one; nothing while somebody else still reads it.
    #[must_use]
    pub fn into_memory(self) -> Option<BytesMut> {
        self.bytes.try_into_mut().ok()
    }

    /// How many operations it holds.
    #[must_use]
    pub fn items(&self) -> usize {
        self.items
    }

    /// Its size in bytes, as it will be sent.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Its bytes; a cheap copy.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }
}

/// A whole answer: one item for each operation, in the order of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What became of each operation.
    pub items: Vec<Item>,
    /// How long the engine took, ms; 0 when it did not say.
    pub took: u64,
}

/// What became of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// HTTP status of the operation.
    pub status: u16,
    /// Why it was refused; absent when it was done.
    pub error: Option<Cause>,
}

/// Why the engine refused an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The engine's name of the error, e.g. `strict_dynamic_mapping_exception`.
    pub code: String,
    /// Its words, with what caused it, cut to a bounded length.
    pub reason: String,
}

impl Cause {
    /// Whether the index or the cluster refuses writes for now.
    #[must_use]
    pub fn is_block(&self) -> bool {
        crate::error::is_block(&self.code)
    }
}

/// Why an answer cannot be believed.
#[derive(Debug, Error)]
pub enum AnswerError {
    /// Not the JSON that a bulk answers with: cut, or from something else.
    #[error("bulk answer of {length} bytes is cut or not JSON: {source}")]
    Json {
        /// Length of the answer, bytes.
        length: usize,
        /// What the parser met.
        source: serde_json::Error,
    },
    /// Not as many items as operations.
    #[error("bulk answer holds {found} items for {expected} operations")]
    Count {
        /// Operations sent.
        expected: usize,
        /// Items answered.
        found: usize,
    },
    /// An item without one operation and a status.
    #[error("item {0} of the bulk answer names no operation with a valid status")]
    Item(usize),
}

/// Reads a bulk answer for `expected` operations.
///
/// # Errors
/// When it is cut, is not a bulk answer, or does not hold exactly one item for each operation: then nothing is known
/// of any document, and the whole bulk must be sent again.
pub fn response(body: &[u8], expected: usize) -> Result<Answer, AnswerError> {
    let answer = match plain::read(body, expected) {
        Some(answer) => answer,
        None => json(body)?,
    };
    if answer.items.len() != expected {
        return Err(AnswerError::Count { expected, found: answer.items.len() });
    }
    Ok(answer)
}

/// Reads an answer however it is written.
fn json(body: &[u8]) -> Result<Answer, AnswerError> {
    let envelope: Envelope =
        serde_json::from_slice(body).map_err(|source| AnswerError::Json { length: body.len(), source })?;
    let items = envelope
        .items
        .into_iter()
        .enumerate()
        .map(|(position, item)| item.read().ok_or(AnswerError::Item(position)))
        .collect::<Result<_, _>>()?;
    Ok(Answer { items, took: envelope.took })
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    took: u64,
    items: Vec<RawItem>,
}

#[derive(Deserialize)]
struct RawItem {
    index: Option<Outcome>,
    create: Option<Outcome>,
    update: Option<Outcome>,
    delete: Option<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    status: u16,
    error: Option<RawError>,
}

/// Engines write an object; proxies and old versions a plain string.
#[derive(Deserialize)]
#[serde(untagged)]
enum RawError {
    Object {
        #[serde(rename = "type", default)]
        code: String,
        reason: Option<String>,
        caused_by: Option<CausedBy>,
    },
    Text(String),
}

#[derive(Deserialize)]
struct CausedBy {
    reason: Option<String>,
}

impl RawItem {
    fn read(self) -> Option<Item> {
        let mut outcomes = [self.index, self.create, self.update, self.delete].into_iter().flatten();
        let outcome = outcomes.next()?;
        if outcomes.next().is_some() || !(100..600).contains(&outcome.status) {
            return None;
        }
        Some(Item { status: outcome.status, error: outcome.error.map(RawError::read) })
    }
}

impl RawError {
    fn read(self) -> Cause {
        match self {
            Self::Text(text) => Cause { code: String::new(), reason: shorten(&text) },
            Self::Object { code, reason, caused_by } => {
                let reason = reason.unwrap_or_default();
                let because = caused_by.and_then(|c| c.reason).filter(|inner| !reason.contains(inner.as_str()));
                let text = match because {
                    Some(inner) => format!("{reason}: {inner}"),
                    None => reason,
                };
                Cause { code: shorten(&code), reason: shorten(&text) }
            }
        }
    }
}
