//! A writer of small databases in MaxMind DB format (specification 2.0), for tests.

use ipnet::IpNet;
use std::net::IpAddr;

/// A value of the data section.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Double(f64),
    Short(u16),
    Number(u32),
    Long(u64),
    Map(Vec<(&'static str, Value)>),
    List(Vec<Value>),
}

pub(super) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// Control byte or bytes: type and size.
fn head(kind: u8, size: usize, out: &mut Vec<u8>) {
    let (low, more): (u8, Vec<u8>) = match size {
        0..29 => (u8::try_from(size).unwrap(), Vec::new()),
        29..285 => (29, vec![u8::try_from(size - 29).unwrap()]),
        _ => (30, u16::try_from(size - 285).unwrap().to_be_bytes().to_vec()),
    };
    // Types above 7 stand in a second byte.
    if kind > 7 {
        out.extend([low, kind - 7]);
    } else {
        out.push(kind << 5 | low);
    }
    out.extend(more);
}

/// Numbers are written without leading zero bytes.
fn number(kind: u8, bytes: &[u8], out: &mut Vec<u8>) {
    let significant: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    head(kind, significant.len(), out);
    out.extend(significant);
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Text(text) => {
            head(2, text.len(), out);
            out.extend(text.as_bytes());
        }
        Value::Double(double) => {
            head(3, 8, out);
            out.extend(double.to_be_bytes());
        }
        Value::Short(short) => number(5, &short.to_be_bytes(), out),
        Value::Number(value) => number(6, &value.to_be_bytes(), out),
        Value::Long(long) => number(9, &long.to_be_bytes(), out),
        Value::Map(entries) => {
            head(7, entries.len(), out);
            for (key, value) in entries {
                write(&text(key), out);
                write(value, out);
            }
        }
        Value::List(values) => {
            head(11, values.len(), out);
            values.iter().for_each(|value| write(value, out));
        }
    }
}

#[derive(Clone, Copy)]
enum Record {
    Empty,
    Node(usize),
    Data(usize),
}

/// A database of networks that do not overlap.
pub(super) fn database(kind: &str, ip_version: u16, record_size: u16, networks: &[(&str, Value)]) -> Vec<u8> {
    let mut nodes = vec![[Record::Empty; 2]];
    let mut data = Vec::new();
    for (network, value) in networks {
        insert(&mut nodes, &path(network.parse().unwrap(), ip_version), data.len());
        write(value, &mut data);
    }
    let mut bytes = Vec::new();
    for node in &nodes {
        let [left, right] = node.map(|record| match record {
            Record::Empty => nodes.len(),
            Record::Node(node) => node,
            Record::Data(offset) => nodes.len() + 16 + offset,
        });
        write_node(u32::try_from(left).unwrap(), u32::try_from(right).unwrap(), record_size, &mut bytes);
    }
    bytes.extend([0; 16]);
    bytes.extend(data);
    bytes.extend(b"\xab\xcd\xefMaxMind.com");
    let metadata = Value::Map(vec![
        ("binary_format_major_version", Value::Short(2)),
        ("binary_format_minor_version", Value::Short(0)),
        ("build_epoch", Value::Long(1_760_000_000)),
        ("database_type", text(kind)),
        ("description", Value::Map(vec![("en", text("made for a test"))])),
        ("ip_version", Value::Short(ip_version)),
        ("languages", Value::List(vec![text("en")])),
        ("node_count", Value::Number(u32::try_from(nodes.len()).unwrap())),
        ("record_size", Value::Short(record_size)),
    ]);
    write(&metadata, &mut bytes);
    bytes
}

/// The bits of a network; IPv4 stands under `::/96` where the database is of IPv6.
fn path(network: IpNet, ip_version: u16) -> Vec<bool> {
    let (bits, width, skipped) = match network.network() {
        IpAddr::V4(four) if ip_version == 6 => (u128::from(u32::from(four)), 128, 96),
        IpAddr::V4(four) => (u128::from(u32::from(four)), 32, 0),
        IpAddr::V6(six) => (u128::from(six), 128, 0),
    };
    (0..skipped + u32::from(network.prefix_len())).map(|bit| bits >> (width - 1 - bit) & 1 == 1).collect()
}

fn insert(nodes: &mut Vec<[Record; 2]>, path: &[bool], offset: usize) {
    let (last, before) = path.split_last().unwrap();
    let mut node = 0;
    for bit in before {
        node = match nodes[node][usize::from(*bit)] {
            Record::Node(next) => next,
            Record::Empty => {
                nodes.push([Record::Empty; 2]);
                let next = nodes.len() - 1;
                nodes[node][usize::from(*bit)] = Record::Node(next);
                next
            }
            Record::Data(_) => panic!("networks overlap"),
        };
    }
    nodes[node][usize::from(*last)] = Record::Data(offset);
}

fn write_node(left: u32, right: u32, record_size: u16, out: &mut Vec<u8>) {
    let (left, right) = (left.to_be_bytes(), right.to_be_bytes());
    match record_size {
        24 => {
            out.extend(&left[1..]);
            out.extend(&right[1..]);
        }
        // The highest four bits of both stand in the byte between them.
        28 => {
            out.extend(&left[1..]);
            out.push(left[0] << 4 | right[0] & 15);
            out.extend(&right[1..]);
        }
        _ => {
            out.extend(left);
            out.extend(right);
        }
    }
}
