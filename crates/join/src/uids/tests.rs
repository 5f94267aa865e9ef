use super::*;

#[test]
fn only_the_canonical_form_is_a_number() {
    let uid = "01234567-89ab-cdef-0123-456789abcdef";
    assert_eq!(canonical_uuid(uid), Some((0x0123_4567_89ab_cdef, 0x0123_4567_89ab_cdef)));
    for other in ["01234567-89AB-cdef-0123-456789abcdef", "0123456789abcdef0123456789abcdef", "node", "", "uid-é"] {
        assert_eq!(canonical_uuid(other), None, "{other}");
    }
    assert_eq!(canonical_uuid("01234567-89ab-cdef-0123-456789abcdeg"), None);
    assert_eq!(canonical_uuid("01234567089ab-cdef-0123-456789abcdef"), None);
}

#[test]
fn two_spellings_are_two_objects() {
    let mut uids = Uids::default();
    let (lower, upper) = ("01234567-89ab-cdef-0123-456789abcdef", "01234567-89AB-CDEF-0123-456789ABCDEF");
    uids.insert(lower, 1);
    uids.insert(upper, 2);
    assert_eq!((uids.get(lower), uids.get(upper)), (Some(1), Some(2)));
    uids.remove(lower);
    assert_eq!((uids.get(lower), uids.get(upper)), (None, Some(2)));
}
