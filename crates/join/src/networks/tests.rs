use super::*;
use crate::holders::Whose;
use crate::span::Span;
use weir_schemas::metadata::{Bound, BoundSource};

fn span() -> Span {
    let bound = |at| Bound { earliest: at, latest: at, source: BoundSource::Arrival };
    Span::between(bound(0), bound(10))
}

fn networks(texts: &[&str]) -> Networks<Whose> {
    let mut networks = Networks::default();
    let span = span();
    for (text, object) in texts.iter().zip(0..) {
        let network = canonical(text.parse().unwrap());
        networks.change(&network, |holders| holders.insert(span, Whose { object, revision: 1 }));
    }
    networks
}

fn containing(networks: &Networks<Whose>, address: &str) -> Vec<u32> {
    let address = address.parse().unwrap();
    networks.containing(address).flat_map(|holders| holders.possible(5).map(|holder| holder.who.object)).collect()
}

#[test]
fn the_longest_prefix_comes_first_and_families_are_apart() {
    let networks = networks(&["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "::/0", "fd00::/8"]);
    assert_eq!(containing(&networks, "10.1.2.3"), [3, 2, 1, 0]);
    assert_eq!(containing(&networks, "10.1.2.4"), [2, 1, 0]);
    assert_eq!(containing(&networks, "8.8.8.8"), [0]);
    assert_eq!(containing(&networks, "fd00::1"), [5, 4]);
    assert_eq!(containing(&networks, "::1"), [4]);
}

#[test]
fn mapped_networks_are_those_of_the_mapped_addresses() {
    let networks = networks(&["::ffff:10.1.0.0/112", "10.1.2.77/24", "::ffff:0:0/96", "::/64"]);
    assert_eq!(containing(&networks, "10.1.2.3"), [1, 0, 2]);
    assert_eq!(containing(&networks, "::ffff:10.1.9.9"), [0, 2]);
    assert_eq!(containing(&networks, "::5"), [3]);
}

#[test]
fn nothing_is_left_of_what_is_taken_out() {
    let mut networks = networks(&["10.0.0.0/8"]);
    let span = span();
    networks.change(&"10.0.0.0/8".parse().unwrap(), |holders| holders.remove(span, &Whose { object: 0, revision: 1 }));
    assert!(networks.lengths.is_empty());
}
