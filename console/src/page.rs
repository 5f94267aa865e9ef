//! The page: a few files in the binary, nothing from elsewhere.

use axum::http::header;
use axum::response::{IntoResponse, Response};

const INDEX: &str = include_str!("../page/index.html");
const STYLE: &str = include_str!("../page/console.css");
const ICON: &str = include_str!("../page/icon.svg");

/// The scripts, each with its path: `console.js` is the page's, and the others are the modules that it is made of.
pub(crate) const SCRIPTS: [(&str, &str); 12] = [
    ("/console.js", include_str!("../page/console.js")),
    ("/details.js", include_str!("../page/details.js")),
    ("/filters.js", include_str!("../page/filters.js")),
    ("/map.js", include_str!("../page/map.js")),
    ("/map-view.js", include_str!("../page/map-view.js")),
    ("/marks.js", include_str!("../page/marks.js")),
    ("/panel.js", include_str!("../page/panel.js")),
    ("/preview.js", include_str!("../page/preview.js")),
    ("/state.js", include_str!("../page/state.js")),
    ("/status.js", include_str!("../page/status.js")),
    ("/table.js", include_str!("../page/table.js")),
    ("/words.js", include_str!("../page/words.js")),
];

fn file(kind: &'static str, content: &'static str) -> Response {
    // A new version of the console must not meet an old script.
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], content).into_response()
}

pub(crate) async fn index() -> Response {
    file("text/html; charset=utf-8", INDEX)
}

pub(crate) fn script(content: &'static str) -> Response {
    file("text/javascript; charset=utf-8", content)
}

pub(crate) async fn style() -> Response {
    file("text/css; charset=utf-8", STYLE)
}

pub(crate) async fn icon() -> Response {
    file("image/svg+xml", ICON)
}
