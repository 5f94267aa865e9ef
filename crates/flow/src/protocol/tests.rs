use super::*;

#[test]
fn every_name_is_read_back() {
    for number in 0..=255u8 {
        assert_eq!(parse(&name(number)), Some(number));
    }
}
