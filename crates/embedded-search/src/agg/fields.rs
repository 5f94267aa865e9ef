//! The field that an aggregation is about.

use std::rc::Rc;

use crate::error::{ApiError, ApiResult};
use crate::index::Meta;
use crate::mapping::FieldType;
use crate::search::columns::{ColumnName, Segment, Values};

/// A field, looked up in each index and opened in each segment.
pub(super) struct FieldSource {
    path: String,
    column: Option<ColumnName>,
    pub(super) kind: Option<FieldType>,
    pub(super) values: Rc<Values>,
}

impl FieldSource {
    pub(super) fn new(path: &str) -> Self {
        Self { path: path.to_owned(), column: None, kind: None, values: Rc::new(Values::Missing) }
    }

    /// Looks the field up. A field that an index does not have has no values there.
    pub(super) fn open_index(&mut self, meta: &Meta) -> ApiResult<()> {
        if self.path.starts_with('_') && meta.mapping.resolve(&self.path).is_none() {
            return Err(ApiError::unsupported(format!("an aggregation on [{}]", self.path)));
        }
        let Some(field) = meta.mapping.resolve(&self.path) else {
            self.column = None;
            return Ok(());
        };
        let on_shard = |error: ApiError| error.on_shard(&meta.name);
        if field.field.kind == FieldType::Text {
            return Err(on_shard(ApiError::illegal(format!(
                "Fielddata is disabled on [{}] in [{}]. Text fields are not optimised for operations that require per-document field data like aggregations and sorting, so these operations are disabled by default. Please use a keyword field instead.",
                self.path, meta.name
            ))));
        }
        if !field.field.doc_values {
            return Err(on_shard(ApiError::illegal(format!(
                "Can't load fielddata on [{}] because fielddata is unsupported on fields of type [{}]. Use doc values instead.",
                self.path,
                field.field.kind.name()
            ))));
        }
        let kind = &field.field.kind;
        if let Some(known) = &self.kind
            && super::keys::KeyKind::of(known) != super::keys::KeyKind::of(kind)
        {
            return Err(on_shard(ApiError::illegal(format!(
                "Failed trying to format bytes or mixed types: field [{}] is of type [{}] in one index and of type [{}] in another",
                self.path,
                known.name(),
                kind.name()
            ))));
        }
        self.kind = Some(kind.clone());
        self.column = Some(ColumnName { column: field.column, key: field.key });
        Ok(())
    }

    pub(super) fn open_segment(&mut self, segment: &Segment<'_>) -> ApiResult<()> {
        self.values = match &self.column {
            Some(column) => segment.values(column)?,
            None => Rc::new(Values::Missing),
        };
        Ok(())
    }

    /// Refuses fields whose values are not numbers.
    pub(super) fn require_numbers(&self, name: &str, kind: &str, meta: &Meta) -> ApiResult<()> {
        match &self.kind {
            Some(field) if field.is_string() => Err(ApiError::illegal(format!(
                "Field [{}] of type [{}] is not supported for aggregation [{kind}]",
                self.path,
                field.name()
            ))
            .with("aggregation", name)
            .on_shard(&meta.name)),
            _ => Ok(()),
        }
    }
}
