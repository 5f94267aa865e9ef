use super::*;
use crate::fixtures::address;

fn end(address_text: &str, port: u16) -> EndKey<'static> {
    let address = address(address_text);
    EndKey {
        present: true,
        address: Some(address),
        port: Some(port),
        scope: address.scope(),
        pod_uid: "",
        namespace: "",
        workload_kind: "",
        workload: "",
        node: "",
        host: "",
        service: "",
        network_set: "",
        attribution: Attribution::Exact,
        reason: None,
    }
}

fn key(level: Level) -> Key<'static> {
    let workload =
        |name| EndKey { namespace: "shop", workload_kind: "Deployment", workload: name, ..end("10.0.0.1", 80) };
    let ends = if level.keeps_addresses() {
        (EndKey { pod_uid: "u1", ..end("10.0.0.1", 40_000) }, EndKey { pod_uid: "u2", ..end("10.0.0.2", 80) })
    } else {
        (workload("web"), workload("db"))
    };
    Key { level, origin: Origin::Ebpf, protocol: 6, initiator: ends.0, responder: ends.1, shape: Shape::Whole }
}

fn bytes(key: &Key<'_>) -> (Vec<u8>, usize) {
    let mut bytes = Vec::new();
    let routing = key.write(&mut bytes);
    (bytes, routing)
}

#[test]
fn bytes_and_ids_stay_as_they_are_on_disk() {
    let (zero, routing) = bytes(&key(Level::Zero));
    assert_eq!(
        zero,
        [
            &[0, 0, 6, 4, 10, 0, 0, 1, 4, 10, 0, 0, 2, 1, 0x40, 0x9c, 1, 80, 0][..],
            &[2, 0, 0, 0, b'u', b'1', 2, 0, 0, 0, b'u', b'2'],
        ]
        .concat()
    );
    assert_eq!(routing, 19, "the tuple without the pods");
    let ids: Vec<String> = [Level::Zero, Level::One, Level::Two, Level::Three]
        .into_iter()
        .map(|level| record_id("local", 60_000, 120_000, level.number(), &bytes(&key(level)).0))
        .collect();
    assert_eq!(
        ids,
        [
            "ba881e5b28dba10e613a72f1eee0df7c",
            "5dd9ace886526e9f7f9959374c4df282",
            "3df43392dbce35c84c0f00e64406f48c",
            "a8f43e68ad7501ad5bd044e81d2395b2",
        ]
    );
    assert_eq!(internal_partition(&zero[..routing], 16), 3);
}

#[test]
fn every_part_of_an_id_matters() {
    let (bytes, _) = bytes(&key(Level::One));
    let base = record_id("local", 0, 0, 1, &bytes);
    let others = [
        record_id("edge", 0, 0, 1, &bytes),
        record_id("local", 5, 0, 1, &bytes),
        record_id("local", 0, 5, 1, &bytes),
        record_id("local", 0, 0, 0, &bytes),
        record_id("local", 0, 0, 1, &bytes[1..]),
    ];
    assert!(others.iter().all(|other| *other != base));
    assert_eq!(base.len(), 32);
}

#[test]
fn levels_drop_what_they_should() {
    let changed = |level, change: fn(&mut Key<'static>)| {
        let mut other = key(level);
        change(&mut other);
        bytes(&other) != bytes(&key(level))
    };
    let initiator_port = |key: &mut Key<'static>| key.initiator.port = Some(1);
    let responder_port = |key: &mut Key<'static>| key.responder.port = Some(1);
    let instance = |key: &mut Key<'static>| {
        key.initiator.pod_uid = "other";
        key.initiator.address = Some(address("10.9.9.9"));
    };
    let service = |key: &mut Key<'static>| key.responder.service = "shop/db";
    let workload = |key: &mut Key<'static>| key.responder.workload = "cache";
    assert_eq!(
        [Level::Zero, Level::One, Level::Two, Level::Three].map(|l| changed(l, initiator_port)),
        [true, false, false, false]
    );
    assert_eq!(
        [Level::Zero, Level::One, Level::Two, Level::Three].map(|l| changed(l, responder_port)),
        [true, true, true, false]
    );
    assert_eq!(
        [Level::Zero, Level::One, Level::Two, Level::Three].map(|l| changed(l, instance)),
        [true, true, false, false]
    );
    assert_eq!(
        [Level::Zero, Level::One, Level::Two, Level::Three].map(|l| changed(l, workload)),
        [false, false, true, true]
    );
    assert_eq!([Level::Two, Level::Three].map(|l| changed(l, service)), [false, false], "reporters may differ in it");
}

#[test]
fn texts_cannot_run_into_each_other() {
    let mut a = key(Level::Two);
    (a.initiator.namespace, a.initiator.workload) = ("ab", "c");
    let mut b = key(Level::Two);
    (b.initiator.namespace, b.initiator.workload) = ("a", "bc");
    assert_ne!(bytes(&a), bytes(&b));
}

#[test]
fn coarsened_keys_keep_what_their_shape_says() {
    let other = |key: Key<'static>| Key {
        initiator: EndKey { port: Some(1), ..key.initiator },
        responder: EndKey { port: Some(2), ..key.responder },
        ..key
    };
    let elsewhere = |end: EndKey<'static>| EndKey { address: Some(address("10.7.7.7")), workload: "other", ..end };
    for level in [Level::Zero, Level::One, Level::Two, Level::Three] {
        let key = key(level);
        let differs = |change: Key<'static>| {
            [Shape::Pair, Shape::Initiator, Shape::Responder, Shape::Nobody]
                .map(|shape| bytes(&change.coarsened(shape)) != bytes(&key.coarsened(shape)))
        };
        assert_eq!(differs(other(key)), [false, false, level != Level::Three, false], "{level:?}");
        assert_eq!(differs(Key { initiator: elsewhere(key.initiator), ..key }), [true, true, false, false]);
        assert_eq!(differs(Key { responder: elsewhere(key.responder), ..key }), [true, false, true, false]);
    }
}
