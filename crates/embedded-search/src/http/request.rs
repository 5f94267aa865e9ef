//! A request, taken apart.

use std::collections::BTreeMap;

use axum::http::{Method, Uri};
use bytes::Bytes;
use serde_json::Value;

use crate::error::{ApiError, ApiResult};

/// Parameters that every path takes.
const COMMON: [&str; 6] = ["pretty", "human", "error_trace", "filter_path", "format", "source_content_type"];

/// A request: method, path without slashes, parameters and body.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: Vec<String>,
    pub(crate) params: BTreeMap<String, String>,
    pub(crate) body: Bytes,
    pub(crate) uri: String,
}

impl Request {
    pub(crate) fn new(method: &Method, uri: &Uri) -> ApiResult<Self> {
        let bad = || ApiError::illegal(format!("the address [{uri}] is not well-formed"));
        let segments = uri.path().split('/').filter(|segment| !segment.is_empty());
        let path = segments.map(|segment| decode(segment, false)).collect::<Option<Vec<_>>>().ok_or_else(bad)?;
        let mut params = BTreeMap::new();
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            params.insert(decode(name, true).ok_or_else(bad)?, decode(value, true).ok_or_else(bad)?);
        }
        Ok(Self { method: method.clone(), path, params, body: Bytes::new(), uri: uri.path().to_owned() })
    }

    /// A parameter's text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.params.get(name).map(String::as_str)
    }

    /// A parameter that is true or false; present without a value means true.
    pub(crate) fn flag(&self, name: &str) -> ApiResult<Option<bool>> {
        match self.text(name) {
            None => Ok(None),
            Some("" | "true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(ApiError::illegal(format!(
                "Failed to parse value [{other}] as only [true] or [false] are allowed."
            ))),
        }
    }

    /// A parameter that is a number.
    pub(crate) fn number(&self, name: &str) -> ApiResult<Option<u64>> {
        self.text(name)
            .map(|text| {
                text.parse().map_err(|_| {
                    ApiError::illegal(format!("Failed to parse int parameter [{name}] with value [{text}]"))
                })
            })
            .transpose()
    }

    /// Refuses parameters that the path does not have, as Elasticsearch does.
    pub(crate) fn allow(&self, names: &[&str]) -> ApiResult<()> {
        let unknown =
            self.params.keys().find(|name| !names.contains(&name.as_str()) && !COMMON.contains(&name.as_str()));
        if let Some(name) = unknown {
            return Err(ApiError::illegal(format!("request [{}] contains unrecognized parameter: [{name}]", self.uri)));
        }
        match self.text("format") {
            None | Some("json" | "text" | "txt") => Ok(()),
            Some(other) => Err(ApiError::unsupported(format!("format [{other}]"))),
        }
    }

    /// The body as JSON; an empty one is an empty object.
    pub(crate) fn json(&self) -> ApiResult<Value> {
        if self.body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Object(serde_json::Map::new()));
        }
        parse_json(&self.body)
    }
}

/// Reads JSON, or says where it ends to be JSON.
pub(crate) fn parse_json(bytes: &[u8]) -> ApiResult<Value> {
    serde_json::from_slice(bytes)
        .map_err(|error| ApiError::new(400, "x_content_parse_exception", format!("the body is not JSON: {error}")))
}

/// Decodes `%41` and, in queries, `+`.
fn decode(text: &str, plus: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            b'+' if plus => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}
