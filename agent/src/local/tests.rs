use super::sockets::Socket;
use super::{Evidence, Local, Namespace, Owner, common};
use crate::testing::sample;
use std::collections::HashMap;
use std::net::TcpListener;
use std::path::Path;
use weir_schemas::raw::{End, Point, Sample};

fn owner(pod: &str, container: &str, process: &str) -> Owner {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Owner { pod_uid: some(pod), container: some(container), process: some(process) }
}

/// A pod of two containers behind `veth0`, and the host with one process.
fn evidence() -> Evidence {
    let mut pod = Namespace {
        all: owner("uid-1", "", ""),
        processes: HashMap::from([(10, owner("uid-1", "app", "")), (11, owner("uid-1", "sidecar", ""))]),
        ..Namespace::default()
    };
    let socket = |local: &str| Socket { protocol: 6, local: local.parse().unwrap(), remote: None };
    pod.sockets.add(socket("10.0.0.1:7"), 10);
    pod.sockets.add(socket("0.0.0.0:8"), 11);
    let mut own = Namespace { processes: HashMap::from([(1, owner("", "proxy", "nginx"))]), ..Namespace::default() };
    own.sockets.add(socket("0.0.0.0:80"), 1);
    Evidence { behind: HashMap::from([("veth0".to_owned(), pod)]), own }
}

fn named(point: Point, end: End, source_port: u16) -> Owner {
    let mut sample = Sample { point, end, source_port, ..sample(source_port, 1, 100) };
    evidence().fill(&mut sample);
    Owner { pod_uid: sample.pod_uid, container: sample.container, process: sample.process }
}

#[test]
fn a_pods_end_is_its_interfaces_pod_and_the_container_is_the_sockets() {
    assert_eq!(named(Point::Pod, End::Source, 7), owner("uid-1", "app", ""));
    assert_eq!(named(Point::Pod, End::Source, 8), owner("uid-1", "sidecar", ""));
    assert_eq!(named(Point::Pod, End::Source, 9), owner("uid-1", "", ""), "of two containers nobody knows which");
}

#[test]
fn the_hosts_ends_are_its_processes_and_what_is_forwarded_is_nobodys() {
    assert_eq!(named(Point::Host, End::Destination, 5000), owner("", "proxy", "nginx"));
    assert_eq!(named(Point::Host, End::Source, 5000), Owner::default());
    for point in [Point::Transit, Point::Underlay, Point::Capture] {
        assert_eq!(named(point, End::Destination, 7), Owner::default());
    }
}

#[test]
fn another_interface_is_not_this_pods() {
    let mut other = Sample { interface: "veth1".to_owned(), ..sample(7, 1, 100) };
    evidence().fill(&mut other);
    assert_eq!(other.pod_uid, None);
}

#[test]
fn the_kernels_word_stands_where_the_sockets_say_nothing() {
    let mut gone = Sample { point: Point::Host, process: Some("curl".to_owned()), ..sample(7, 1, 100) };
    evidence().fill(&mut gone);
    assert_eq!(gone.process.as_deref(), Some("curl"));
}

#[test]
fn only_what_all_agree_on_is_of_the_whole_namespace() {
    let (a, b) = (owner("uid-1", "app", "x"), owner("uid-1", "sidecar", "x"));
    assert_eq!(common(&[&a, &b]), owner("uid-1", "", ""));
    assert_eq!(common(&[&a, &owner("", "", "")]), owner("uid-1", "app", ""));
    assert_eq!(common(&[&a, &owner("uid-2", "app", "")]), owner("", "app", ""));
    assert_eq!(common(&[]), Owner::default());
}

#[test]
fn this_process_is_found_by_its_listener() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut local = Local::new(Path::new("/"));
    let end = listener.local_addr().unwrap();
    let mut samples = [Sample {
        point: Point::Host,
        end: End::Destination,
        destination: "127.0.0.1".parse().unwrap(),
        destination_port: end.port(),
        ..sample(1, 1, 100)
    }];
    local.fill(&mut samples, || 0);
    let name = std::fs::read_to_string("/proc/self/comm").unwrap();
    assert_eq!(samples[0].process.as_deref(), Some(name.trim_end()));
    assert_eq!(local.counts().scans, 1);
}

#[test]
fn scans_are_seldom_however_much_is_unknown() {
    let mut local = Local::new(Path::new("/"));
    for now in 0..3_000 {
        let clock = std::cell::Cell::new(now * 1_000_000);
        // Each look at the clock is 4 ms later: a scan takes that long.
        local.fill(&mut [sample(1, 1, 100)], || clock.replace(clock.get() + 4_000_000));
    }
    assert!((5..=7).contains(&local.counts().scans), "twice a second at most: {}", local.counts().scans);
}
