//! Finding documents by `_id` and loading them.

use std::sync::Arc;

use tantivy::columnar::Column;
use tantivy::schema::{IndexRecordOption, Value as _};
use tantivy::{DocAddress, DocSet, InvertedIndexReader, Searcher, SegmentReader, TERMINATED, TantivyDocument, Term};

use super::Fields;
use crate::error::{ApiError, ApiResult};

/// A document as it was stored.
#[derive(Debug, Clone)]
pub(crate) struct StoredDocument {
    pub(crate) id: String,
    pub(crate) version: u64,
    pub(crate) seq_no: u64,
    pub(crate) source: Vec<u8>,
}

/// Finds documents by `_id` in one state of an index.
pub(super) struct Finder {
    segments: Vec<SegmentFinder>,
    fields: Fields,
}

struct SegmentFinder {
    inverted: Arc<InvertedIndexReader>,
    reader: SegmentReader,
    version: Column<u64>,
    seq_no: Column<u64>,
}

/// Where a document is, and its version.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) address: DocAddress,
    pub(super) version: u64,
    pub(super) seq_no: u64,
}

impl Finder {
    pub(super) fn new(searcher: &Searcher, fields: Fields) -> ApiResult<Self> {
        let mut segments = Vec::new();
        for reader in searcher.segment_readers() {
            segments.push(SegmentFinder {
                inverted: reader.inverted_index(fields.id)?,
                reader: reader.clone(),
                version: reader.fast_fields().u64("_version")?,
                seq_no: reader.fast_fields().u64("_seq_no")?,
            });
        }
        Ok(Self { segments, fields })
    }

    pub(super) fn find(&self, id: &str) -> ApiResult<Option<Found>> {
        let term = Term::from_field_text(self.fields.id, id);
        for (ordinal, segment) in self.segments.iter().enumerate() {
            if let Some(doc) = live_doc(&segment.inverted, &segment.reader, &term)? {
                let segment_ord = crate::numbers::to_u32(ordinal);
                return Ok(Some(Found {
                    address: DocAddress { segment_ord, doc_id: doc },
                    version: segment.version.first(doc).unwrap_or(1),
                    seq_no: segment.seq_no.first(doc).unwrap_or(0),
                }));
            }
        }
        Ok(None)
    }
}

/// The document with the term that is not deleted; there is at most one.
fn live_doc(inverted: &InvertedIndexReader, reader: &SegmentReader, term: &Term) -> ApiResult<Option<u32>> {
    let Some(mut postings) = inverted.read_postings(term, IndexRecordOption::Basic)? else {
        return Ok(None);
    };
    let mut doc = postings.doc();
    while doc != TERMINATED {
        if !reader.is_deleted(doc) {
            return Ok(Some(doc));
        }
        doc = postings.advance();
    }
    Ok(None)
}

/// The documents of a segment with one of the ids, deleted ones left out.
pub(crate) fn docs_with_ids(reader: &SegmentReader, fields: Fields, ids: &[String]) -> ApiResult<Vec<u32>> {
    let inverted = reader.inverted_index(fields.id)?;
    let mut docs = Vec::new();
    for id in ids {
        docs.extend(live_doc(&inverted, reader, &Term::from_field_text(fields.id, id))?);
    }
    Ok(docs)
}

/// Loads a document from the store.
pub(crate) fn load_document(searcher: &Searcher, fields: Fields, address: DocAddress) -> ApiResult<StoredDocument> {
    let document: TantivyDocument = searcher.doc(address)?;
    let id = document.get_first(fields.id).and_then(|value| value.as_str().map(str::to_owned));
    let source = document.get_first(fields.source).and_then(|value| value.as_bytes().map(<[u8]>::to_vec));
    let columns = searcher.segment_reader(address.segment_ord).fast_fields();
    Ok(StoredDocument {
        id: id.ok_or_else(|| ApiError::internal("a stored document has no _id"))?,
        version: columns.u64("_version")?.first(address.doc_id).unwrap_or(1),
        seq_no: columns.u64("_seq_no")?.first(address.doc_id).unwrap_or(0),
        source: source.unwrap_or_default(),
    })
}
