//! The columns of a segment.

use std::cell::{Cell, OnceCell, RefCell};
use std::ops::{Bound, Range};
use std::rc::Rc;

use foldhash::HashMap;
use tantivy::SegmentReader;
use tantivy::columnar::{Column, DynamicColumn, StrColumn};

use super::docset::DocSet;
use crate::error::ApiResult;
use crate::index::Fields;
use crate::numbers;

/// Where a field's values are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ColumnName {
    pub(crate) column: String,
    /// The key below a flattened field.
    pub(crate) key: Option<String>,
}

/// Strings of a column, or those below one key of a flattened field.
pub(crate) struct Strings {
    column: StrColumn,
    ords: Range<u64>,
    strip: usize,
    asked: Cell<usize>,
    texts: OnceCell<Texts>,
}

/// All texts of a column, one after the other.
#[derive(Default)]
struct Texts {
    joined: String,
    ends: Vec<usize>,
}

impl Texts {
    fn get(&self, at: usize) -> Option<&str> {
        let start = at.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.joined.get(start..*self.ends.get(at)?)
    }
}

/// After this many single look-ups all texts are read in one go, which is far faster.
const SINGLE_TEXTS: usize = 64;
/// Columns with more texts than this are never read in one go, to bound memory.
const MOST_TEXTS: u64 = 2_000_000;

/// The values of a field in one segment.
pub(crate) enum Values {
    Missing,
    I64(Column<i64>),
    U64(Column<u64>),
    F64(Column<f64>),
    Strings(Strings),
}

/// One segment while a search runs over it.
pub(crate) struct Segment<'a> {
    pub(crate) reader: &'a SegmentReader,
    pub(crate) fields: Fields,
    pub(crate) index_ordinal: u32,
    pub(crate) segment_ordinal: u32,
    opened: RefCell<HashMap<ColumnName, Rc<Values>>>,
}

impl<'a> Segment<'a> {
    pub(crate) fn new(reader: &'a SegmentReader, fields: Fields, index_ordinal: u32, segment_ordinal: u32) -> Self {
        Self { reader, fields, index_ordinal, segment_ordinal, opened: RefCell::default() }
    }

    pub(crate) fn docs(&self) -> u32 {
        self.reader.max_doc()
    }

    /// The documents that are not deleted.
    pub(crate) fn alive(&self) -> DocSet {
        let mut set = DocSet::full(self.docs());
        if self.reader.has_deletes() {
            set = DocSet::empty(self.docs());
            for doc in self.reader.doc_ids_alive() {
                set.insert(doc);
            }
        }
        set
    }

    pub(crate) fn seq_no(&self) -> ApiResult<Column<u64>> {
        Ok(self.reader.fast_fields().u64("_seq_no")?)
    }

    /// Forgets the columns that were opened, to bound memory.
    pub(crate) fn close(&self) {
        self.opened.borrow_mut().clear();
    }

    /// The values of a field, opened once.
    pub(crate) fn values(&self, name: &ColumnName) -> ApiResult<Rc<Values>> {
        if let Some(values) = self.opened.borrow().get(name) {
            return Ok(values.clone());
        }
        let values = Rc::new(open(self.reader, name)?);
        self.opened.borrow_mut().insert(name.clone(), values.clone());
        Ok(values)
    }
}

fn open(reader: &SegmentReader, name: &ColumnName) -> ApiResult<Values> {
    // Dots are part of the name: they must not be taken for a path.
    let escaped = name.column.replace('\\', "\\\\").replace('.', "\\.");
    let handles = reader.fast_fields().dynamic_column_handles(&format!("f.{escaped}"))?;
    let Some(handle) = handles.first() else {
        return Ok(Values::Missing);
    };
    Ok(match handle.open()? {
        DynamicColumn::I64(column) => Values::I64(column),
        DynamicColumn::U64(column) => Values::U64(column),
        DynamicColumn::F64(column) => Values::F64(column),
        DynamicColumn::Str(column) => Values::Strings(Strings::new(column, name.key.as_deref())?),
        _ => Values::Missing,
    })
}

/// The smallest text that is greater than all that start with `prefix`.
fn after_prefix(prefix: &str) -> Option<Vec<u8>> {
    let mut bytes = prefix.as_bytes().to_vec();
    // UTF-8 never holds 0xff, so the last byte can always be raised.
    let last = bytes.last_mut()?;
    *last += 1;
    Some(bytes)
}

impl Strings {
    fn new(column: StrColumn, key: Option<&str>) -> ApiResult<Self> {
        let all = 0..numbers::to_u64(column.num_terms());
        let mut strings = Self { column, ords: all, strip: 0, asked: Cell::new(0), texts: OnceCell::new() };
        if let Some(key) = key {
            let prefix = format!("{key}\0");
            strings.ords = strings.prefix(&prefix)?;
            strings.strip = prefix.len();
        }
        Ok(strings)
    }

    /// The ordinals of the terms within bounds of raw terms.
    fn bounds(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> ApiResult<Range<u64>> {
        let (lower, upper) = self.column.dictionary().term_bounds_to_ord(lower, upper)?;
        let start = match lower {
            Bound::Included(ord) => ord,
            Bound::Excluded(ord) => ord + 1,
            Bound::Unbounded => 0,
        };
        let end = match upper {
            Bound::Included(ord) => ord + 1,
            Bound::Excluded(ord) => ord,
            Bound::Unbounded => numbers::to_u64(self.column.num_terms()),
        };
        Ok(start..end.max(start))
    }

    /// The ordinals of the terms that start with a raw prefix.
    pub(crate) fn prefix(&self, prefix: &str) -> ApiResult<Range<u64>> {
        match after_prefix(prefix) {
            None => Ok(self.ords.clone()),
            Some(after) => self.bounds(Bound::Included(prefix.as_bytes()), Bound::Excluded(&after)),
        }
    }

    /// The ordinals of the terms between two raw terms.
    pub(crate) fn range(&self, lower: &Bound<String>, upper: &Bound<String>) -> ApiResult<Range<u64>> {
        let found = self.bounds(lower.as_ref().map(String::as_bytes), upper.as_ref().map(String::as_bytes))?;
        Ok(found.start.max(self.ords.start)..found.end.min(self.ords.end).max(found.start.max(self.ords.start)))
    }

    /// The ordinal of a raw term.
    pub(crate) fn ordinal(&self, term: &str) -> ApiResult<Option<u64>> {
        Ok(self.column.dictionary().term_ord(term)?)
    }

    /// The text of an ordinal, without the key of a flattened field.
    pub(crate) fn text(&self, ordinal: u64) -> ApiResult<String> {
        self.asked.set(self.asked.get() + 1);
        if self.asked.get() > SINGLE_TEXTS && self.ords.end - self.ords.start <= MOST_TEXTS {
            if self.texts.get().is_none() {
                let _ = self.texts.set(self.read_texts()?);
            }
            let at = ordinal.checked_sub(self.ords.start).map_or(usize::MAX, numbers::to_usize);
            let text = self.texts.get().and_then(|texts| texts.get(at));
            return Ok(text.unwrap_or_default().to_owned());
        }
        let mut text = String::new();
        self.column.ord_to_str(ordinal, &mut text)?;
        Ok(text.get(self.strip..).unwrap_or_default().to_owned())
    }

    fn read_texts(&self) -> ApiResult<Texts> {
        let mut texts = Texts::default();
        let dictionary = self.column.dictionary();
        let mut stream = dictionary.range().into_stream()?;
        while stream.advance() {
            if self.ords.contains(&stream.term_ord()) {
                let text = std::str::from_utf8(stream.key()).ok().and_then(|text| text.get(self.strip..));
                texts.joined.push_str(text.unwrap_or_default());
                texts.ends.push(texts.joined.len());
            }
        }
        Ok(texts)
    }

    /// The ordinals whose texts (without the key) satisfy a predicate.
    pub(crate) fn matching(&self, mut predicate: impl FnMut(&str) -> bool) -> ApiResult<Vec<Range<u64>>> {
        let mut found: Vec<Range<u64>> = Vec::new();
        let mut stream = self.column.dictionary().stream()?;
        while stream.advance() {
            let ordinal = stream.term_ord();
            if !self.ords.contains(&ordinal) {
                continue;
            }
            let text = std::str::from_utf8(stream.key()).ok().and_then(|text| text.get(self.strip..));
            if text.is_some_and(&mut predicate) {
                match found.last_mut() {
                    Some(last) if last.end == ordinal => last.end += 1,
                    _ => found.push(ordinal..ordinal + 1),
                }
            }
        }
        Ok(found)
    }

    /// The ordinals of a document's values.
    pub(crate) fn ordinals(&self, doc: u32) -> impl Iterator<Item = u64> + '_ {
        self.column.ords().values_for_doc(doc).filter(|ordinal| self.ords.contains(ordinal))
    }

    /// Adds the documents that have a value with one of the ordinals.
    pub(crate) fn select(&self, ranges: &[Range<u64>], set: &mut DocSet, docs: u32) {
        const SCANS: usize = 8;
        let ords = self.column.ords();
        let mut buffer = Vec::new();
        if ranges.len() <= SCANS {
            for range in ranges.iter().filter(|range| range.start < range.end) {
                buffer.clear();
                ords.get_docids_for_value_range(range.start..=range.end - 1, 0..docs, &mut buffer);
                buffer.iter().for_each(|doc| set.insert(*doc));
            }
            return;
        }
        let mut wanted = vec![false; self.column.num_terms()];
        for ordinal in ranges.iter().cloned().flatten() {
            if let Some(slot) = wanted.get_mut(numbers::to_usize(ordinal)) {
                *slot = true;
            }
        }
        for doc in 0..docs {
            if ords.values_for_doc(doc).any(|ordinal| wanted.get(numbers::to_usize(ordinal)) == Some(&true)) {
                set.insert(doc);
            }
        }
    }
}

impl Values {
    /// Calls `each` with a document's integers (floats that are integral included).
    pub(crate) fn integers(&self, doc: u32, mut each: impl FnMut(i128)) {
        match self {
            Self::I64(column) => column.values_for_doc(doc).for_each(|value| each(value.into())),
            Self::U64(column) => column.values_for_doc(doc).for_each(|value| each(value.into())),
            Self::F64(column) => column.values_for_doc(doc).filter_map(numbers::f64_to_i128).for_each(each),
            Self::Missing | Self::Strings(_) => {}
        }
    }

    /// Calls `each` with a document's numbers.
    pub(crate) fn floats(&self, doc: u32, mut each: impl FnMut(f64)) {
        match self {
            Self::I64(column) => column.values_for_doc(doc).for_each(|value| each(numbers::to_f64(value.into()))),
            Self::U64(column) => column.values_for_doc(doc).for_each(|value| each(numbers::to_f64(value.into()))),
            Self::F64(column) => column.values_for_doc(doc).for_each(each),
            Self::Missing | Self::Strings(_) => {}
        }
    }

    /// How many values a document has.
    pub(crate) fn count(&self, doc: u32) -> u64 {
        let count = match self {
            Self::I64(column) => column.values_for_doc(doc).count(),
            Self::U64(column) => column.values_for_doc(doc).count(),
            Self::F64(column) => column.values_for_doc(doc).count(),
            Self::Strings(strings) => strings.ordinals(doc).count(),
            Self::Missing => 0,
        };
        numbers::to_u64(count)
    }

    /// Adds the documents that have a value.
    pub(crate) fn existing(&self, set: &mut DocSet, docs: u32) {
        for doc in 0..docs {
            let has = match self {
                Self::I64(column) => column.index.has_value(doc),
                Self::U64(column) => column.index.has_value(doc),
                Self::F64(column) => column.index.has_value(doc),
                Self::Strings(strings) => strings.ordinals(doc).next().is_some(),
                Self::Missing => false,
            };
            if has {
                set.insert(doc);
            }
        }
    }

    /// Adds the documents that have an integer within bounds, both included.
    pub(crate) fn select_integers(&self, lower: i128, upper: i128, set: &mut DocSet, docs: u32) {
        let mut buffer = Vec::new();
        match self {
            Self::I64(column) => {
                if let Some((lower, upper)) = clamp(lower, upper, column.min_value(), column.max_value()) {
                    column.get_docids_for_value_range(lower..=upper, 0..docs, &mut buffer);
                }
            }
            Self::U64(column) => {
                if let Some((lower, upper)) = clamp(lower, upper, column.min_value(), column.max_value()) {
                    column.get_docids_for_value_range(lower..=upper, 0..docs, &mut buffer);
                }
            }
            Self::F64(_) => return self.select_floats(numbers::to_f64(lower), numbers::to_f64(upper), set, docs),
            Self::Missing | Self::Strings(_) => {}
        }
        buffer.iter().for_each(|doc| set.insert(*doc));
    }

    /// Adds the documents that have a number within bounds, both included.
    pub(crate) fn select_floats(&self, lower: f64, upper: f64, set: &mut DocSet, docs: u32) {
        for doc in 0..docs {
            self.floats(doc, |value| {
                if (lower..=upper).contains(&value) {
                    set.insert(doc);
                }
            });
        }
    }
}

fn clamp<T: Into<i128> + TryFrom<i128> + Copy>(lower: i128, upper: i128, min: T, max: T) -> Option<(T, T)> {
    if lower > upper || lower > max.into() || upper < min.into() {
        return None;
    }
    let lower = T::try_from(lower.max(min.into())).ok()?;
    let upper = T::try_from(upper.min(max.into())).ok()?;
    Some((lower, upper))
}
