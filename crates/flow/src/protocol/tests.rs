use super::*;

#[test]
fn every_name_is_read_back() {
    for number in 0..=255u8 {
        assert_eq!(parse(&name(number)), Some(number));
    }
}

#[test]
fn flags_have_names_by_bit() {
    assert_eq!(flag_names(SYN | ACK).collect::<Vec<_>>(), ["syn", "ack"]);
    assert_eq!(flag_names(FIN | RST | 0x100).collect::<Vec<_>>(), ["fin", "rst"]);
}
