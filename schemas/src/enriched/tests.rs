use super::*;

#[test]
fn the_id_of_a_document_is_96_bits_in_base64url() {
    assert_eq!(document_id("00000000000000000000000000000000"), "AAAAAAAAAAAAAAAA");
    assert_eq!(document_id("fbffbffbffbffbffbffbffbf12345678"), "-_-_-_-_-_-_-_-_");
    assert_eq!(document_id("0123456789abcdef0123456789abcdef"), "ASNFZ4mrze8BI0Vn");
}

#[test]
fn what_is_no_id_of_a_record_stays_as_it_is() {
    for id in ["", "x", "0123456789abcdef", "z123456789abcdef0123456789abcdef", "+123456789abcdef0123456789abcdef"] {
        assert_eq!(document_id(id), id);
    }
}
