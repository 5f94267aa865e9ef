//! What an expression costs: to parse, and to evaluate on one flow.
#![allow(clippy::unwrap_used, reason = "a benchmark stops at the first error")]
#![allow(missing_docs, reason = "criterion's macros make an undocumented main")]

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::net::IpAddr;
use weir_filter::{End, EndField, Facts, Field, FlowField, Place, Value, parse};

/// A flow as a struct with fields, which is what facts are taken from.
struct Flow {
    addresses: [IpAddr; 2],
    ports: [u16; 2],
    namespaces: [&'static str; 2],
    pods: [&'static str; 2],
    labels: [&'static [&'static str]; 2],
    action: &'static str,
}

impl Facts for Flow {
    fn any(&self, field: Field, mut test: impl FnMut(Value<'_>) -> bool) -> bool {
        let number = |end| usize::from(end == End::Destination);
        match field {
            Field::End(end, EndField::Address) => test(Value::Address(self.addresses[number(end)])),
            Field::End(end, EndField::Port) => test(Value::Number(self.ports[number(end)].into())),
            Field::End(end, EndField::Namespace) => test(Value::Text(self.namespaces[number(end)])),
            Field::End(end, EndField::Pod) => test(Value::Text(self.pods[number(end)])),
            Field::End(end, EndField::Labels) => self.labels[number(end)].iter().any(|label| test(Value::Text(label))),
            Field::Flow(FlowField::Action) => test(Value::Text(self.action)),
            _ => false,
        }
    }
}

const EXPRESSIONS: [(&str, &str); 6] = [
    ("one test", r#"dst.namespace == "kube-system""#),
    ("three tests, all hold", r#"src.namespace == "shop" and dst.port in [80, 443] and action == deny"#),
    ("networks", "src.address in [192.168.0.0/16, 172.16.0.0/12, fd00::/8, 10.0.0.0/8]"),
    ("a label among ten", r#"src.labels["tier"] == "backend""#),
    (
        "ten tests, the last holds",
        r#"dst.port == 1 or dst.port == 2 or dst.port == 3 or src.namespace == "a" or src.namespace == "b" or dst.namespace == "c" or src.pod.startsWith("x") or src.pod.endsWith("y") or action == allow or dst.port == 443"#,
    ),
    ("a regular expression", r#"src.pod.matches("^web-[0-9a-f]+-")"#),
];

fn benches(c: &mut Criterion) {
    let flow = Flow {
        addresses: ["10.1.2.3".parse().unwrap(), "10.96.0.1".parse().unwrap()],
        ports: [40_000, 443],
        namespaces: ["shop", "database"],
        pods: ["web-7d9f8b6c5-x9k2p", "db-0"],
        labels: [
            &[
                "app=web",
                "chart=web-1.2.3",
                "heritage=Helm",
                "pod-template-hash=7d9f8b6c5",
                "region=eu",
                "release=shop",
                "team=cart",
                "tier=backend",
                "version=1.2.3",
                "zone=a",
            ],
            &[],
        ],
        action: "deny",
    };
    let mut group = c.benchmark_group("filter");
    for (name, text) in EXPRESSIONS {
        group.bench_function(format!("parse: {name}"), |b| b.iter(|| parse(black_box(text), Place::Sample).unwrap()));
        let expression = parse(text, Place::Sample).unwrap();
        group.bench_function(format!("evaluate: {name}"), |b| b.iter(|| expression.holds(black_box(&flow))));
    }
    group.finish();
}

criterion_group!(filter, benches);
criterion_main!(filter);
