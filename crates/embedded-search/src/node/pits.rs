//! Points in time: searchers kept open, so that pages of a search see the same documents.

use std::sync::Arc;

use foldhash::HashMap;
use tantivy::Searcher;

use crate::error::{ApiError, ApiResult};
use crate::index::Index;

/// A point in time.
#[derive(Clone)]
pub(crate) struct Pit {
    pub(crate) indices: Vec<(Arc<Index>, Searcher)>,
    expires: i64,
}

/// The points in time that are open.
#[derive(Default)]
pub(crate) struct Pits(HashMap<String, Pit>);

impl Pits {
    /// Opens one; times in milliseconds.
    pub(crate) fn open(
        &mut self,
        indices: Vec<(Arc<Index>, Searcher)>,
        keep_alive: i64,
        now: i64,
        most: usize,
    ) -> ApiResult<String> {
        if self.0.len() >= most {
            return Err(ApiError::new(
                429,
                "es_rejected_execution_exception",
                format!("Trying to create too many points in time. Must be less than or equal to: [{most}]."),
            ));
        }
        let id = uuid::Uuid::new_v4().simple().to_string();
        self.0.insert(id.clone(), Pit { indices, expires: now + keep_alive });
        Ok(id)
    }

    /// Looks one up and extends its life.
    pub(crate) fn get(&mut self, id: &str, keep_alive: Option<i64>, now: i64) -> ApiResult<Pit> {
        if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ApiError::illegal(format!("invalid id: [{id}]")));
        }
        let pit = self.0.get_mut(id).ok_or_else(|| {
            ApiError::new(404, "search_context_missing_exception", format!("No search context found for id [{id}]"))
        })?;
        pit.expires = pit.expires.max(now + keep_alive.unwrap_or(0));
        Ok(pit.clone())
    }

    /// Closes one; says whether there was one.
    pub(crate) fn close(&mut self, id: &str) -> bool {
        self.0.remove(id).is_some()
    }

    pub(crate) fn expire(&mut self, now: i64) {
        self.0.retain(|_, pit| pit.expires > now);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
