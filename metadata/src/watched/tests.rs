use super::*;

#[test]
fn every_kind_has_a_number_of_its_own() {
    let numbers: Vec<usize> = Watched::all().map(Watched::number).collect();
    assert_eq!(numbers, (0..WATCHED).collect::<Vec<_>>());
}

#[test]
fn a_kind_is_known_by_its_group_whatever_the_version() {
    let kind = |version, kind| PolicyKind::of(version, kind).map(|kind| kind.name);
    assert_eq!(kind("projectcalico.org/v3", "NetworkPolicy"), Some("networkpolicies.projectcalico.org"));
    assert_eq!(kind("crd.projectcalico.org/v1", "NetworkPolicy"), Some("networkpolicies.projectcalico.org"));
    assert_eq!(kind("cilium.io/v2alpha1", "CiliumNetworkPolicy"), Some("ciliumnetworkpolicies.cilium.io"));
    assert_eq!(kind("networking.k8s.io/v1", "NetworkPolicy"), None);
    assert_eq!(kind("v1", "NetworkPolicy"), None);
}
