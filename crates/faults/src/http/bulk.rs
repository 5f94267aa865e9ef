//! Bulk requests to a search engine of which some items go wrong, or are answered one short.

use super::Ends;
use super::framing::{Body, Head, copy_body};
use crate::gate::Gate;
use crate::plan::{fraction, mix};
use crate::relay::{Answer, End};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

/// What becomes of a bulk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bulk {
    /// Some items are answered so and not passed on.
    Refuse { status: u16, code: &'static str, per_mille: u16, drawn: u64 },
    /// Everything is done, and the answer lacks the last item.
    Short,
}

impl Bulk {
    /// Whether an operation is refused: one that is at fault itself always, another by chance.
    fn strikes(self, operation: &[u8]) -> bool {
        let Self::Refuse { status, per_mille, drawn, .. } = self else { return false };
        let own = operation.iter().fold(0, |state, byte| mix(state ^ u64::from(*byte)));
        let chance = if matches!(status, 429 | 500..) { mix(own ^ drawn) } else { own };
        fraction(chance) < f64::from(per_mille) / 1_000.0
    }
}

/// One exchange, both bodies whole.
pub(super) async fn exchange(ends: &mut Ends<'_>, gate: &Gate, request: &Head, bulk: Bulk) -> Result<(), End> {
    let mut body = Vec::new();
    copy_body(&mut ends.from_client, &mut Answer::new(&mut body, gate, None), request.request_body()).await?;
    let operations = operations(&plain(body, request.request_body()));
    let passed: Vec<u8> = operations.iter().filter(|o| !bulk.strikes(o)).flatten().copied().collect();
    let answered = if passed.is_empty() {
        json!({"took": 0, "errors": true, "items": []})
    } else {
        pass(ends, gate, request, &passed).await?
    };
    let answer = merged(answered, &operations, bulk).to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-elastic-product: Elasticsearch\r\ncontent-length: {}\r\n\r\n",
        answer.len()
    );
    ends.to_client.write_all(head.as_bytes()).await.map_err(|_| End::Client)?;
    ends.to_client.write_all(answer.as_bytes()).await.map_err(|_| End::Client)?;
    if request.closes() { Err(End::Close) } else { Ok(()) }
}

/// Sends what is left of the request, and reads the answer.
async fn pass(ends: &mut Ends<'_>, gate: &Gate, request: &Head, body: &[u8]) -> Result<Value, End> {
    ends.to_server.write_all(&request.with_length(body.len())).await.map_err(|_| End::Upstream)?;
    ends.to_server.write_all(body).await.map_err(|_| End::Upstream)?;
    let (_, head) = super::answer_head(ends).await?;
    let mut answer = Vec::new();
    let framing = head.answer_body(request);
    copy_body(&mut ends.from_server, &mut Answer::new(&mut answer, gate, None), framing).await?;
    serde_json::from_slice(&plain(answer, framing)).map_err(|_| End::Upstream)
}

/// The operations of a body, each with its lines.
fn operations(body: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = body.split_inclusive(|b| *b == b'\n').filter(|line| line.iter().any(|b| !b.is_ascii_whitespace()));
    let mut operations = Vec::new();
    while let Some(action) = lines.next() {
        let mut operation = action.to_vec();
        if !action.starts_with(br#"{"delete""#) {
            operation.extend_from_slice(lines.next().unwrap_or_default());
        }
        operations.push(operation);
    }
    operations
}

/// The server's answer with what was refused in its place.
fn merged(mut answered: Value, operations: &[Vec<u8>], bulk: Bulk) -> Value {
    let mut from_server: Vec<Value> = match answered["items"].take() {
        Value::Array(items) => items,
        // An answer without items (a whole request that was refused) stays what it is.
        _ => return answered,
    };
    if bulk == Bulk::Short {
        from_server.pop();
        answered["items"] = Value::Array(from_server);
        return answered;
    }
    let Bulk::Refuse { status, code, .. } = bulk else { return answered };
    let mut from_server = from_server.into_iter();
    let mut refused = false;
    let items = operations.iter().filter_map(|operation| {
        if !bulk.strikes(operation) {
            return from_server.next();
        }
        refused = true;
        let name = if operation.starts_with(br#"{"delete""#) { "delete" } else { "index" };
        Some(json!({ name: {"status": status, "error": {"type": code, "reason": "injected by a test"}}}))
    });
    let items: Vec<Value> = items.collect();
    answered["items"] = Value::Array(items);
    if refused {
        answered["errors"] = true.into();
    }
    answered
}

/// A body without the marks of its chunks.
fn plain(bytes: Vec<u8>, framing: Body) -> Vec<u8> {
    if framing != Body::Chunked {
        return bytes;
    }
    let (mut rest, mut whole) = (bytes.as_slice(), Vec::new());
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let digits = std::str::from_utf8(&rest[..end]).unwrap_or_default().trim();
        let size = usize::from_str_radix(digits, 16).unwrap_or(0);
        let Some(chunk) = rest.get(end + 2..end + 2 + size).filter(|chunk| !chunk.is_empty()) else { break };
        whole.extend_from_slice(chunk);
        rest = rest.get(end + 4 + size..).unwrap_or_default();
    }
    whole
}
