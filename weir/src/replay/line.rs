//! A record as a JSON object: every field by its name on the topic, addresses as people write them.

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};
use weir_flow::Address;
use weir_schemas::enriched::Side;

#[cfg(test)]
mod tests;

/// The record's object; the ends are those of its fields that hold addresses.
pub(super) fn object(record: &impl Serialize, ends: [(&str, &Side); 2]) -> Result<Value> {
    let mut object = serde_json::to_value(record)?;
    for (name, side) in ends {
        write_addresses(&mut object[name], side);
    }
    Ok(object)
}

/// On the topic an address is its bytes.
fn write_addresses(object: &mut Value, side: &Side) {
    let texts: Vec<String> = side.addresses.iter().map(Address::to_string).collect();
    object["address"] = json!(side.address.map(|address| address.to_string()));
    object["addresses"] = json!(texts);
}

/// The fields in which two records differ, by their dotted names, each with both values; at most `most`.
pub(super) fn differences(standing: &Value, replayed: &Value, most: usize) -> Vec<(String, Value, Value)> {
    let mut found = Vec::new();
    walk("", standing, replayed, most, &mut found);
    found
}

fn walk(name: &str, left: &Value, right: &Value, most: usize, found: &mut Vec<(String, Value, Value)>) {
    if left == right || found.len() >= most {
        return;
    }
    let (Value::Object(lefts), Value::Object(rights)) = (left, right) else {
        found.push((name.to_owned(), left.clone(), right.clone()));
        return;
    };
    let mut names: Vec<&String> = lefts.keys().chain(rights.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for inner in names {
        let inner_name = if name.is_empty() { inner.clone() } else { format!("{name}.{inner}") };
        let value = |of: &serde_json::Map<String, Value>| of.get(inner).cloned().unwrap_or(Value::Null);
        walk(&inner_name, &value(lefts), &value(rights), most, found);
    }
}
