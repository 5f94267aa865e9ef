//! The page: a few files in the binary, nothing from elsewhere.

use axum::http::header;
use axum::response::{IntoResponse, Response};

const INDEX: &str = include_str!("../page/index.html");
const SCRIPT: &str = include_str!("../page/console.js");
const MAP: &str = include_str!("../page/map.js");
const PREVIEW: &str = include_str!("../page/preview.js");
const WORDS: &str = include_str!("../page/words.js");
const STYLE: &str = include_str!("../page/console.css");
const ICON: &str = include_str!("../page/icon.svg");

fn file(kind: &'static str, content: &'static str) -> Response {
    // A new version of the console must not meet an old script.
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], content).into_response()
}

pub(crate) async fn index() -> Response {
    file("text/html; charset=utf-8", INDEX)
}

pub(crate) async fn script() -> Response {
    file("text/javascript; charset=utf-8", SCRIPT)
}

pub(crate) async fn map() -> Response {
    file("text/javascript; charset=utf-8", MAP)
}

pub(crate) async fn preview() -> Response {
    file("text/javascript; charset=utf-8", PREVIEW)
}

pub(crate) async fn words() -> Response {
    file("text/javascript; charset=utf-8", WORDS)
}

pub(crate) async fn style() -> Response {
    file("text/css; charset=utf-8", STYLE)
}

pub(crate) async fn icon() -> Response {
    file("image/svg+xml", ICON)
}
