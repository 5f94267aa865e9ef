use super::*;
use crate::fixtures::{address, question};
use weir_flow::AddressScope;
use weir_schemas::raw::Origin;

fn partial(name: &str, code: &str) -> DnsPartial {
    let sample = question(name);
    let mut server = nobody(AddressScope::Private);
    (server.address, server.port) = (Some(address("10.0.0.53")), Some(sample.server_port));
    DnsPartial {
        window: 100_000,
        origin: Origin::Ebpf,
        cluster_known: true,
        client: nobody(AddressScope::Private),
        server,
        question: sample.question,
        question_type: "A".to_owned(),
        response_code: code.to_owned(),
        count: 1,
        latency: sample.latency,
        answers: Vec::new(),
    }
}

fn bytes(partial: &DnsPartial) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_key(&mut bytes, partial.window, &DnsKey::of(partial));
    bytes
}

#[test]
fn every_part_of_a_key_matters() {
    let base = partial("db.shop", "NOERROR");
    let mut server = base.clone();
    server.server.address = Some(address("10.0.0.54"));
    let others = [
        server,
        DnsPartial { window: 105_000, ..base.clone() },
        DnsPartial { origin: Origin::Demo, ..base.clone() },
        DnsPartial { question: "db".to_owned(), ..base.clone() },
        DnsPartial { question_type: "AAAA".to_owned(), ..base.clone() },
        DnsPartial { response_code: String::new(), ..base.clone() },
        DnsPartial { client: nobody(AddressScope::Public), ..base.clone() },
    ];
    assert!(others.iter().all(|other| bytes(other) != bytes(&base)));
}

#[test]
fn one_question_stands_for_its_parent_domain_and_is_never_coarsened_again() {
    let mut bytes = Vec::new();
    let (mut a, b) = (partial("a.x.example.com", "NOERROR"), partial("b.example.com", "NOERROR"));
    assert_eq!(group(&a, &mut bytes), group(&b, &mut bytes));
    assert_ne!(group(&a, &mut bytes), group(&partial("a.example.org", "NOERROR"), &mut bytes));
    coarsen(&mut a);
    assert_eq!((a.question.as_str(), group(&a, &mut bytes)), ("(more).example.com", None));
    leave_out(&mut a);
    assert_eq!((a.question.as_str(), a.question_type.as_str(), a.server.address), (MORE, MORE, None));
}

#[test]
fn names_that_do_not_exist_go_first() {
    let real = (0..60).map(|n| partial(&format!("{n}.cdn.example"), "NOERROR"));
    let random = (0..30).map(|n| partial(&format!("{n}.victim.example"), "NXDOMAIN"));
    let all: Vec<DnsPartial> = real.chain(random).collect();
    let mut bytes = Vec::new();
    let expected = group(&all[60], &mut bytes).unwrap();
    assert_eq!(noisiest_groups(all.iter(), 10, &mut bytes), (vec![expected], 29));
}
