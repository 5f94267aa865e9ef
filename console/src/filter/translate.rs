//! An expression as a query that selects the documents of exactly the records that it holds for.
//!
//! Both work the same way: a test holds when it holds for one of the field's values, and there is no third truth value.

use serde_json::{Value, json};
use std::net::{IpAddr, Ipv6Addr};
use weir_filter::{Check, Comparison, End, EndField, Expression, Field, FlowField, Kind, Subject, Test};

/// The query; nothing when documents do not have what is asked, which parsing for a search refuses.
pub(super) fn query(expression: &Expression) -> Option<Value> {
    let each = |parts: &[Expression]| parts.iter().map(query).collect::<Option<Vec<_>>>();
    Some(match expression {
        Expression::Always(true) => json!({"match_all": {}}),
        Expression::Always(false) => json!({"match_none": {}}),
        Expression::All(parts) => json!({"bool": {"filter": each(parts)?}}),
        Expression::Any(parts) => any(each(parts)?),
        Expression::Not(inner) => json!({"bool": {"must_not": [query(inner)?]}}),
        Expression::Test(test) => {
            let clauses: Option<Vec<Value>> =
                paths(test.subject.field())?.iter().map(|path| clause(test, path)).collect();
            any(clauses?)
        }
    })
}

fn any(mut clauses: Vec<Value>) -> Value {
    match clauses.len() {
        1 => clauses.remove(0),
        _ => json!({"bool": {"should": clauses, "minimum_should_match": 1}}),
    }
}

/// The fields of the documents that hold a field's values.
fn paths(field: Field) -> Option<Vec<String>> {
    if !field.is_known(weir_filter::Place::Search) {
        return None;
    }
    Some(match field {
        Field::Flow(FlowField::Sampling) => {
            vec!["weir.initiator.sampling".to_owned(), "weir.responder.sampling".to_owned()]
        }
        Field::Flow(FlowField::Protocol) => vec!["network.iana_number".to_owned()],
        Field::Flow(_) => vec![field.ecs().to_owned()],
        Field::End(End::Source, EndField::TcpFlags) => vec!["weir.tcp_flags.forward".to_owned()],
        Field::End(End::Destination, EndField::TcpFlags) => vec!["weir.tcp_flags.reverse".to_owned()],
        Field::End(end, of_end) => {
            let side = if end == End::Source { "source" } else { "destination" };
            let own = matches!(of_end, EndField::Scope | EndField::Attribution | EndField::Reason);
            vec![format!("{}{side}.{}", if own { "weir." } else { "" }, field.ecs())]
        }
    })
}

fn clause(test: &Test, path: &str) -> Option<Value> {
    let kind = test.subject.field().kind();
    // A label's value stands behind its key.
    let key = match &test.subject {
        Subject::Label(_, key) => format!("{key}="),
        Subject::Field(_) => String::new(),
    };
    Some(match &test.check {
        Check::Present if kind == Kind::Flag => json!({"term": {path: true}}),
        Check::Present if key.is_empty() => json!({"exists": {"field": path}}),
        Check::Present => json!({"prefix": {path: {"value": key}}}),
        Check::Texts(texts) if matches!(test.subject.field(), Field::End(_, EndField::TcpFlags)) => {
            json!({"terms": {path: texts.iter().map(|text| text.to_ascii_uppercase()).collect::<Vec<_>>()}})
        }
        Check::Texts(texts) => {
            json!({"terms": {path: texts.iter().map(|text| format!("{key}{text}")).collect::<Vec<_>>()}})
        }
        Check::Numbers(numbers) if kind == Kind::Protocol => {
            json!({"terms": {path: numbers.iter().map(ToString::to_string).collect::<Vec<_>>()}})
        }
        Check::Numbers(numbers) => json!({"terms": {path: numbers}}),
        Check::Compare(comparison, limit) => {
            let bound = match comparison {
                Comparison::Less => "lt",
                Comparison::AtMost => "lte",
                Comparison::Greater => "gt",
                Comparison::AtLeast => "gte",
            };
            json!({"range": {path: {bound: limit}}})
        }
        Check::Networks(networks) => any(networks.iter().flat_map(|network| of_network(path, *network)).collect()),
        Check::StartsWith(text) => json!({"prefix": {path: {"value": format!("{key}{text}")}}}),
        Check::EndsWith(text) => wildcard(path, &key, &format!("*{}", plain(text))),
        Check::Contains(text) => wildcard(path, &key, &format!("*{}*", plain(text))),
        Check::Matches(_) => return None,
    })
}

fn wildcard(path: &str, key: &str, pattern: &str) -> Value {
    json!({"wildcard": {path: {"value": format!("{}{pattern}", plain(key))}}})
}

/// A text in a wildcard that means itself.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '\\') {
            plain.push('\\');
        }
        plain.push(c);
    }
    plain
}

/// The first and the last IPv4 address as an engine keeps them.
const MAPPED: (u128, u128) = (0xFFFF_0000_0000, 0xFFFF_FFFF_FFFF);

/// Addresses in a network. An engine keeps IPv4 addresses within `::ffff:0:0/96`: an IPv6 network around it does without.
fn of_network(path: &str, network: ipnet::IpNet) -> Vec<Value> {
    let (first, last) = match network {
        ipnet::IpNet::V6(six) => (u128::from(six.network()), u128::from(six.broadcast())),
        ipnet::IpNet::V4(_) => (u128::MAX, 0),
    };
    if first > MAPPED.0 || last < MAPPED.1 {
        let whole = network.prefix_len() == network.max_prefix_len();
        let text = if whole { network.addr().to_string() } else { network.to_string() };
        return vec![json!({"term": {path: text}})];
    }
    let range = |first: u128, last: u128| {
        let address = |bits: u128| IpAddr::from(Ipv6Addr::from(bits)).to_string();
        json!({"range": {path: {"gte": address(first), "lte": address(last)}}})
    };
    let below = (first < MAPPED.0).then(|| range(first, MAPPED.0 - 1));
    let above = (last > MAPPED.1).then(|| range(MAPPED.1 + 1, last));
    below.into_iter().chain(above).collect()
}
