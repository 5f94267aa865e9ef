//! What every request passes: the check of the Host header, and the headers of every answer.
//!
//! A page on the Internet can make its own name resolve to 127.0.0.1 and so read a local service as if it were its own
//! (DNS rebinding). Such a request still carries that name, so only names that nobody else can own are answered: localhost,
//! plain addresses, and those named in the settings.

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Nothing but what this server sends itself, and nothing inline.
pub(crate) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// The names, besides localhost and addresses, under which the console is reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts(Arc<[String]>);

impl Hosts {
    pub(crate) fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Whether a Host header may be answered.
    fn allow(&self, host: &str) -> bool {
        let Some(name) = without_port(host) else {
            return false;
        };
        let name = name.to_ascii_lowercase();
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        bare == "localhost" || bare.parse::<IpAddr>().is_ok() || self.0.contains(&name)
    }
}

/// The host without its port; nothing if the port is no number.
fn without_port(host: &str) -> Option<&str> {
    if let Some(end) = host.strip_prefix('[').and_then(|rest| rest.find(']')) {
        let (name, port) = host.split_at_checked(end + 2)?;
        return (port.is_empty() || is_port(port.strip_prefix(':')?)).then_some(name);
    }
    match host.split_once(':') {
        Some((name, port)) => is_port(port).then_some(name),
        None => Some(host),
    }
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok()
}

/// Whether a request that makes the console work comes from its own page. Browsers say where a page that posts is from; what is
/// no browser says nothing.
fn own_page(hosts: &Hosts, host: Option<&str>, origin: Option<&str>) -> bool {
    let Some(origin) = origin else { return true };
    // A proxy in front may speak TLS and put another name in Host: its own name is among those of the settings.
    let Some((_, from)) = origin.split_once("://") else { return false };
    Some(from) == host || without_port(from).is_some_and(|name| hosts.0.contains(&name.to_ascii_lowercase()))
}

/// Why a request is not answered.
fn refusal(hosts: &Hosts, request: &Request) -> Option<(StatusCode, &'static str)> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let host = header(header::HOST);
    if !host.is_some_and(|host| hosts.allow(host)) {
        let text = "this host name is not the console's; --console-host adds one\n";
        return Some((StatusCode::MISDIRECTED_REQUEST, text));
    }
    if request.method() == Method::POST && !own_page(hosts, host, header(header::ORIGIN)) {
        return Some((StatusCode::FORBIDDEN, "this was sent by a page that is not the console's\n"));
    }
    None
}

/// The middleware.
pub(crate) async fn guard(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    let mut response = match refusal(&hosts, &request) {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
