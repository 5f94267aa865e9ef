use super::*;

#[test]
fn numbers_have_their_names() {
    assert_eq!([1, 28, 65, 4_711].map(type_name), ["A", "AAAA", "HTTPS", "TYPE4711"]);
    assert_eq!([0, 3, 10, 23].map(code_name), ["NOERROR", "NXDOMAIN", "NOTZONE", "RCODE23"]);
    assert!(TYPES.is_sorted());
}

#[test]
fn the_last_two_labels_stand_for_many_names() {
    assert_eq!(
        ["a.b.example.com", "example.com", "com", ""].map(last_two_labels),
        ["example.com", "example.com", "com", ""]
    );
}
