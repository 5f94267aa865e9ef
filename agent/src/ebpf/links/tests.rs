use super::{Link, Role, Selection, list, parse, role};

fn link(kind: Option<&str>, hardware: u16, crosses: bool, master: Option<u32>) -> Link {
    Link {
        index: 7,
        name: "x".to_owned(),
        hardware,
        kind: kind.map(str::to_owned),
        crosses,
        namespace: None,
        master,
        tunnel_port: None,
    }
}

#[test]
fn roles_follow_kind_and_the_other_end() {
    assert_eq!(role(&link(Some("veth"), 1, true, None)), Role::Pod { bridged: false });
    assert_eq!(role(&link(Some("veth"), 1, true, Some(3))), Role::Pod { bridged: true });
    assert_eq!(role(&link(Some("veth"), 1, false, None)), Role::Host);
    assert_eq!(role(&link(Some("bridge"), 1, false, None)), Role::Host);
    assert_eq!(role(&link(None, 772, false, None)), Role::Loopback);
    assert_eq!(role(&link(Some("tun"), 65534, false, None)), Role::Raw);
    assert!(matches!(role(&link(None, 1, false, Some(3))), Role::Ignored(_)));
    assert!(matches!(role(&link(None, 32, false, None)), Role::Ignored(_)));
}

#[test]
fn selection_takes_patterns() {
    let selection = Selection { include: vec!["eth*".to_owned(), "lo".to_owned()], exclude: vec!["*1".to_owned()] };
    assert!(selection.wants("eth0"));
    assert!(selection.wants("lo"));
    assert!(!selection.wants("eth1"));
    assert!(!selection.wants("veth0"));
    assert!(Selection::default().wants("anything"));
}

#[test]
fn the_loopback_interface_is_always_there() {
    let links = list().unwrap().unwrap();
    let lo = links.iter().find(|link| link.name == "lo").unwrap();
    assert_eq!(role(lo), Role::Loopback);
    assert_eq!(lo.index, 1);
}

#[test]
fn cut_answers_give_no_links_and_no_panic() {
    assert!(parse(&[]).is_empty());
    let mut message = vec![0_u8; 40];
    message[..4].copy_from_slice(&40_u32.to_ne_bytes());
    message[4..6].copy_from_slice(&16_u16.to_ne_bytes());
    message[32..34].copy_from_slice(&60_u16.to_ne_bytes());
    for length in 0..message.len() {
        assert!(parse(&message[..length]).is_empty());
    }
    assert_eq!(parse(&message).len(), 1);
}
