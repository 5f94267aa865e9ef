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
    uids.insert(UidKey::of(lower), 1);
    uids.insert(UidKey::of(upper), 2);
    let get = |uids: &Uids, uid| uids.get(UidKey::of(uid)).map(|known| known.object);
    assert_eq!((get(&uids, lower), get(&uids, upper)), (Some(1), Some(2)));
    uids.remove(UidKey::of(lower));
    assert_eq!((get(&uids, lower), get(&uids, upper)), (None, Some(2)));
}

#[test]
fn every_byte_at_every_place_is_read_as_a_digit_or_refused() {
    let uuid = "0123abcd-4567-89ef-fedc-ba9876543210";
    assert_eq!(canonical_uuid(uuid), Some((0x0123_abcd_4567_89ef, 0xfedc_ba98_7654_3210)));
    for place in 0..uuid.len() {
        for byte in 0..=127_u8 {
            let mut text = uuid.as_bytes().to_vec();
            text[place] = byte;
            let text = String::from_utf8(text).unwrap();
            let is_dash = [8, 13, 18, 23].contains(&place);
            let is_digit = byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            let expected = if is_dash { byte == b'-' } else { is_digit };
            let number = u128::from_str_radix(&text.replace('-', ""), 16).ok().filter(|_| expected);
            let found = canonical_uuid(&text).map(|(high, low)| u128::from(high) << 64 | u128::from(low));
            assert_eq!(found, number, "{text}");
        }
    }
}
