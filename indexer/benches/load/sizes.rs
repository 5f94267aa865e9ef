//! What documents cost on disk, in all and by field, and the table of it in the documentation.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;
use weir_elastic::{Elastic, Method};

const BEGIN: &str = "<!-- bytes by field: the bench writes what stands from here to the end of it -->";
const END: &str = "<!-- end of bytes by field -->";
/// What costs less, B a document, is not listed.
const LEAST: f64 = 0.05;

/// Bytes of the indices of one set of documents.
pub(crate) struct Sizes {
    pub(crate) documents: u64,
    /// As JSON.
    pub(crate) json: u64,
    /// On disk, as written and after a merge.
    written: u64,
    merged: u64,
    /// By field; empty where the engine does not tell.
    fields: BTreeMap<String, u64>,
}

impl Sizes {
    /// Merges the indices of a pattern, and measures them.
    pub(crate) async fn of(elastic: &Elastic, pattern: &str, documents: u64, json: u64) -> Self {
        elastic.refresh(pattern).await.unwrap();
        let written = elastic.indices(pattern).await.unwrap().iter().filter_map(|i| i.bytes).sum();
        for index in elastic.indices(pattern).await.unwrap() {
            let merge = format!("/{}/_forcemerge", index.name);
            elastic.request(Method::Post, &merge, &[("max_num_segments", "1")], None).await.unwrap();
            elastic.request(Method::Post, &format!("/{}/_flush", index.name), &[], None).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let listed = elastic.indices(pattern).await.unwrap();
        let (found, merged) =
            listed.iter().fold((0, 0), |(d, b), i| (d + i.docs.unwrap_or(0), b + i.bytes.unwrap_or(0)));
        assert_eq!(found, documents, "every record is one document");
        let mut fields: BTreeMap<String, u64> = BTreeMap::new();
        for index in &listed {
            let path = format!("/{}/_disk_usage", index.name);
            let Ok(reply) = elastic.request(Method::Post, &path, &[("run_expensive_tasks", "true")], None).await else {
                fields.clear();
                break;
            };
            let answer: Value = serde_json::from_slice(&reply.body).unwrap();
            for (name, field) in answer[&index.name]["fields"].as_object().into_iter().flatten() {
                *fields.entry(name.clone()).or_default() += field["total_in_bytes"].as_u64().unwrap_or(0);
            }
        }
        Self { documents, json, written, merged, fields }
    }

    pub(crate) fn print(&self, name: &str) {
        let each = |bytes: u64| per(bytes, self.documents);
        println!("{name}: {:.1} B a document as written, {:.1} B merged", each(self.written), each(self.merged));
        if self.fields.is_empty() {
            return println!("this engine does not tell what a field costs");
        }
        println!("{name}: {:.1} B a document by all its fields", each(self.fields.values().sum()));
        let mut fields: Vec<_> = self.fields.iter().filter(|(_, bytes)| each(**bytes) >= LEAST).collect();
        fields.sort_by_key(|(_, bytes)| std::cmp::Reverse(**bytes));
        for (name, bytes) in fields {
            println!("  {:>6.2} B  {name}", each(*bytes));
        }
    }

    fn cell(&self, field: &str) -> Option<f64> {
        self.fields.get(field).map(|bytes| per(*bytes, self.documents)).filter(|bytes| *bytes >= LEAST)
    }
}

pub(crate) fn per(total: u64, count: u64) -> f64 {
    let number = |n: u64| n.to_string().parse::<f64>().unwrap();
    number(total) / number(count.max(1))
}

/// Puts the table of these sets into a file, in place of the one that is there.
pub(crate) fn write(file: &Path, engine: &str, command: &str, sets: &[(String, Sizes)]) {
    let before = std::fs::read_to_string(file).unwrap();
    let (head, rest) = before.split_once(BEGIN).unwrap_or_else(|| panic!("{} has no {BEGIN}", file.display()));
    let (_, tail) = rest.split_once(END).unwrap_or_else(|| panic!("{} has no {END}", file.display()));
    std::fs::write(file, format!("{head}{BEGIN}\n{}{END}{tail}", table(engine, command, sets))).unwrap();
}

fn table(engine: &str, command: &str, sets: &[(String, Sizes)]) -> String {
    let mut text = String::new();
    let documents: BTreeSet<u64> = sets.iter().map(|(_, sizes)| sizes.documents).collect();
    let documents: Vec<String> = documents.iter().map(u64::to_string).collect();
    writeln!(text, "{} documents of each on {engine}, by `{command}`; B a document.\n", documents.join(" and "))
        .unwrap();
    let mut row = |name: &str, cells: Vec<String>| writeln!(text, "| {name} | {} |", cells.join(" | ")).unwrap();
    row("field", sets.iter().map(|(name, _)| name.clone()).collect());
    row("---", sets.iter().map(|_| "---:".to_owned()).collect());
    row("as JSON", sets.iter().map(|(_, s)| format!("{:.0}", per(s.json, s.documents))).collect());
    let all = |s: &Sizes| format!("**{:.1}**", per(s.fields.values().sum(), s.documents));
    row("**all fields**", sets.iter().map(|(_, s)| all(s)).collect());
    let mut fields: Vec<&String> = sets.iter().flat_map(|(_, s)| s.fields.keys()).collect();
    fields.sort_unstable();
    fields.dedup();
    let listed = |field: &&String| sets.iter().any(|(_, s)| s.cell(field).is_some());
    for field in fields.into_iter().filter(listed) {
        let cell = |s: &Sizes| s.cell(field).map_or_else(String::new, |bytes| format!("{bytes:.1}"));
        row(&format!("`{field}`"), sets.iter().map(|(_, s)| cell(s)).collect());
    }
    let rest = |s: &Sizes| {
        let small = s.fields.values().map(|bytes| per(*bytes, s.documents)).filter(|bytes| *bytes < LEAST);
        format!("{:.1}", small.sum::<f64>())
    };
    row("what has less than 0.05 B, together", sets.iter().map(|(_, s)| rest(s)).collect());
    text
}
