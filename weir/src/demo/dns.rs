//! What the simulated cluster's pods ask coredns.

use super::cluster::{Cluster, RunningPod, WORKLOADS, mix, service_address};
use super::traffic::{CONVERSATIONS, DROP_ZONE, EXTERNAL_API, Moment, pods};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use weir_flow::{Address, protocol};
use weir_schemas::raw::{DnsSample, End, Point, RoundTrip};

/// IANA numbers: types A and AAAA, codes NOERROR and NXDOMAIN.
const A: u16 = 1;
const AAAA: u16 = 28;
const NOERROR: u16 = 0;
const NXDOMAIN: u16 = 3;

/// The tick's questions, by node of the client.
pub(super) fn questions(cluster: &Cluster, moment: &Moment) -> BTreeMap<usize, Vec<DnsSample>> {
    let mut all = BTreeMap::new();
    for (client, server, ..) in CONVERSATIONS {
        let service = WORKLOADS.iter().position(|w| w.name == server && w.service.is_some());
        let Some(service) = service.filter(|_| server != "coredns") else { continue };
        let name = format!("{server}.{}.svc.cluster.local", WORKLOADS[service].namespace);
        for from in pods(cluster, client) {
            ask(&mut all, from, moment, &name, A, Ok(service_address(service)));
            ask(&mut all, from, moment, &name, AAAA, Err(NOERROR));
        }
    }
    for from in pods(cluster, "gateway") {
        // A resolver tries the search domains first (resolv.conf, `ndots:5`).
        let searched = "api.payments.example.payments.svc.cluster.local";
        ask(&mut all, from, moment, searched, A, Err(NXDOMAIN));
        ask(&mut all, from, moment, "api.payments.example", A, Ok(EXTERNAL_API));
    }
    if (70..85).contains(&(moment.seconds % 120)) {
        for from in pods(cluster, "debug-shell") {
            ask(&mut all, from, moment, "files.dropzone.example", A, Ok(DROP_ZONE));
        }
    }
    all
}

/// One question to coredns, and its address or the code without one.
fn ask(
    all: &mut BTreeMap<usize, Vec<DnsSample>>,
    from: &RunningPod,
    moment: &Moment,
    name: &str,
    question_type: u16,
    answer: Result<Ipv4Addr, u16>,
) {
    let Some(server) = WORKLOADS.iter().position(|w| w.name == "coredns") else { return };
    let micros =
        200 + mix(&[moment.seed, moment.tick, u64::from(from.address.to_bits()), u64::from(question_type)]) % 900;
    let sample = DnsSample {
        point: Point::Pod,
        end: End::Source,
        interface: String::new(),
        client: Address::new(from.address.into()),
        server: Address::new(service_address(server).into()),
        server_port: 53,
        protocol: protocol::UDP,
        question: name.to_owned(),
        question_type,
        response_code: Some(answer.err().unwrap_or(NOERROR)),
        count: 1,
        latency: Some(RoundTrip { sum: micros, count: 1, min: micros, max: micros }),
        answers: answer.ok().map(|address| Address::new(address.into())).into_iter().collect(),
        answers_more: 0,
        pod_uid: Some(from.uid.clone()),
        container: None,
        process: None,
    };
    all.entry(from.node).or_default().push(sample);
}
