//! A filter as a search body, and the pages of its answers.

use serde_json::{Value, json};

use super::{Cursor, Filter, Network, Pattern};

/// How many hits are asked for beyond a page, so that it can end where the order does not tie: of four million records of one
/// window about this many tie.
pub(crate) const TIES: usize = 64;

/// Newest first. The tie-breaker of a record is not its own, so a page ends where it changes, and a cursor neither skips nor
/// repeats.
pub(crate) const SORT: [(&str, &str); 2] = [("@timestamp", "desc"), ("weir.tiebreak", "desc")];

impl Filter {
    /// The search body.
    #[must_use]
    pub fn query(&self) -> Value {
        let mut clauses = vec![json!({"term": {"weir.level": self.level}})];
        clauses.extend(
            self.namespace.as_ref().map(|namespace| {
                either(|end| vec![json!({"term": {format!("{end}.kubernetes.namespace"): namespace}})])
            }),
        );
        clauses.extend(self.pod.as_ref().map(|pod| either(|end| pod.clauses(end))));
        clauses.extend(self.address.map(Network::clause));
        clauses.extend(self.port.map(|port| either(|end| vec![json!({"term": {format!("{end}.port"): port}})])));
        if !self.actions.is_empty() {
            clauses.push(json!({"terms": {"event.action": self.actions}}));
        }
        clauses.extend(self.policy.as_ref().map(super::policy::Wanted::clause));
        clauses.extend(self.clause.clone());
        let mut range = serde_json::Map::new();
        range.extend(self.since.map(|since| ("gte".to_owned(), json!(since))));
        range.extend(self.until.map(|until| ("lt".to_owned(), json!(until))));
        if !range.is_empty() {
            range.insert("format".to_owned(), json!("epoch_millis"));
            clauses.push(json!({"range": {"@timestamp": range}}));
        }
        let sort: Vec<Value> = SORT.iter().map(|(field, order)| json!({*field: order})).collect();
        let mut body = json!({
            "size": self.limit + TIES,
            "track_total_hits": false,
            "query": {"bool": {"filter": clauses}},
            "sort": sort,
        });
        if let Some(cursor) = self.cursor {
            body["search_after"] = json!([cursor.time, cursor.tiebreak]);
        }
        body
    }
}

impl Filter {
    /// The page at the beginning of an answer's hits, and where the next begins if there is more. Those behind the limit that
    /// tie with its last are on it too.
    #[must_use]
    pub fn page<'h>(&self, hits: &'h [Value]) -> (&'h [Value], Option<Cursor>) {
        let last = self.limit.checked_sub(1).and_then(|last| hits.get(last)).and_then(place);
        let Some((last, behind)) = last.zip(hits.get(self.limit..)) else { return (hits, None) };
        let ties = behind.iter().take_while(|hit| place(hit) == Some(last)).count();
        let more = ties < behind.len() || ties == TIES;
        (hits.get(..self.limit + ties).unwrap_or(hits), more.then_some(last))
    }
}

/// Where a hit stands in the order.
fn place(hit: &Value) -> Option<Cursor> {
    Some(Cursor { time: hit["sort"][0].as_i64()?, tiebreak: hit["sort"][1].as_i64()? })
}

/// A clause that holds when one of the clauses of either end does.
fn either(clauses: impl Fn(&str) -> Vec<Value>) -> Value {
    let all: Vec<Value> = ["source", "destination"].into_iter().flat_map(clauses).collect();
    json!({"bool": {"should": all, "minimum_should_match": 1}})
}

impl Pattern {
    fn clauses(&self, end: &str) -> Vec<Value> {
        // Names hold none of the characters that mean something in a wildcard; parsing refuses them.
        let listed = format!("*/{}{}", self.text, if self.prefix { "*" } else { "" });
        let kind = if self.prefix { "prefix" } else { "term" };
        vec![
            json!({kind: {format!("{end}.kubernetes.pod.name"): self.text}}),
            json!({kind: {format!("{end}.kubernetes.workload.name"): self.text}}),
            json!({"wildcard": {format!("{end}.kubernetes.pods"): {"value": listed}}}),
        ]
    }
}

impl Network {
    fn clause(self) -> Value {
        let whole = if self.address.is_ipv4() { 32 } else { 128 };
        let text =
            if self.prefix == whole { self.address.to_string() } else { format!("{}/{}", self.address, self.prefix) };
        json!({"term": {"related.ip": text}})
    }
}
