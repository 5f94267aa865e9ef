//! The errors of the server: those that stop it from starting, and those it answers requests with.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The data folder cannot be created, read or written.
    #[error("search data folder {path}: {source}; check that it exists on a writable disk and belongs to this user")]
    Folder {
        /// The folder or file concerned.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Another live process works on the same data folder.
    #[error("search data folder {path} is in use by another process; stop that process or choose another folder")]
    Locked {
        /// The data folder.
        path: PathBuf,
    },
    /// The data folder was written by a newer program.
    #[error(
        "search data folder {path} has format {found}, this program reads up to {supported}; use a newer weir or an empty folder"
    )]
    Format {
        /// The data folder.
        path: PathBuf,
        /// The format found on disk.
        found: u64,
        /// The newest format that this program reads.
        supported: u64,
    },
    /// A file of the data folder cannot be understood.
    #[error("search data folder: {path} is damaged ({reason}); restore it from a copy or move it away")]
    Damaged {
        /// The file concerned.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The listening address cannot be used.
    #[error("search address {address}: {source}; stop what listens there or choose another port")]
    Listen {
        /// The address asked for.
        address: std::net::SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
}

/// An error that a request is answered with, in Elasticsearch's form.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) reason: String,
    pub(crate) details: Map<String, Value>,
    pub(crate) caused_by: Option<Box<ApiError>>,
    /// The index whose (only) shard failed, for errors found while a search runs.
    pub(crate) shard: Option<String>,
}

/// The result of whatever can be refused.
pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    pub(crate) fn new(status: u16, kind: &'static str, reason: impl Into<String>) -> Self {
        Self { status, kind, reason: reason.into(), details: Map::new(), caused_by: None, shard: None }
    }

    pub(crate) fn illegal(reason: impl Into<String>) -> Self {
        Self::new(400, "illegal_argument_exception", reason)
    }

    pub(crate) fn parsing(reason: impl Into<String>) -> Self {
        Self::new(400, "parsing_exception", reason)
    }

    /// A request for something that Elasticsearch has and this server does not.
    pub(crate) fn unsupported(what: impl std::fmt::Display) -> Self {
        Self::illegal(format!(
            "{what} is not supported by Weir's embedded search server; point Weir at a real Elasticsearch for it"
        ))
    }

    pub(crate) fn internal(reason: impl std::fmt::Display) -> Self {
        Self::new(500, "exception", reason.to_string())
    }

    pub(crate) fn index_not_found(name: &str) -> Self {
        Self::new(404, "index_not_found_exception", format!("no such index [{name}]"))
            .with("resource.type", "index_or_alias")
            .with("resource.id", name)
            .with("index_uuid", "_na_")
            .with("index", name)
    }

    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }

    pub(crate) fn reworded(mut self, reason: String) -> Self {
        self.reason = reason;
        self
    }

    pub(crate) fn caused_by(mut self, cause: ApiError) -> Self {
        self.caused_by = Some(Box::new(cause));
        self
    }

    /// Marks the error as one that the shard of `index` answered.
    pub(crate) fn on_shard(mut self, index: &str) -> Self {
        if self.shard.is_none() {
            self.shard = Some(index.to_owned());
        }
        self
    }

    /// The error itself: type, reason, details and cause.
    pub(crate) fn cause(&self, with_cause: bool) -> Value {
        let mut map = Map::new();
        map.insert("type".into(), self.kind.into());
        map.insert("reason".into(), self.reason.clone().into());
        for (key, value) in &self.details {
            map.insert(key.clone(), value.clone());
        }
        if let (true, Some(cause)) = (with_cause, &self.caused_by) {
            map.insert("caused_by".into(), cause.cause(true));
        }
        Value::Object(map)
    }

    /// The whole answer's body.
    pub(crate) fn body(&self) -> Value {
        let Some(index) = &self.shard else {
            let mut error = self.cause(true);
            error["root_cause"] = json!([self.cause(false)]);
            return json!({"error": error, "status": self.status});
        };
        let root = json!([self.cause(false)]);
        let shards = json!([{"shard": 0, "index": index, "node": crate::NODE_ID, "reason": self.cause(true)}]);
        let mut error = json!({"root_cause": root, "type": "search_phase_execution_exception", "reason": "all shards failed",
            "phase": "query", "grouped": true, "failed_shards": shards});
        if let Some(cause) = &self.caused_by {
            error["caused_by"] = cause.cause(true);
        }
        json!({"error": error, "status": self.status})
    }
}

impl From<tantivy::TantivyError> for ApiError {
    fn from(error: tantivy::TantivyError) -> Self {
        Self::internal(error)
    }
}

impl From<std::io::Error> for ApiError {
    fn from(error: std::io::Error) -> Self {
        Self::internal(error)
    }
}
