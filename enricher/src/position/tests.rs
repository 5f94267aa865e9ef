use super::*;

#[test]
fn strings_stay_as_they_are_on_disk() {
    let one = Stage1Position { offset: 42, written: 1_700_000_000_000, watermark: 1_700_000_065_000 };
    assert_eq!(one.metadata(), "1,1700000000000,1700000065000");
    assert_eq!(Stage1Position::START.metadata(), "1,-9223372036854775808,-9223372036854775808");
    let two = Stage2Position { offset: 7, written: 1_700_000_000_000 };
    assert_eq!(two.metadata(), "1,1700000000000");
}

#[test]
fn strings_are_read_back() {
    for position in [Stage1Position::START, Stage1Position { offset: 9, written: -5, watermark: 12 }] {
        assert_eq!(Stage1Position::parse(position.offset, &position.metadata()), Ok(position));
    }
    let two = Stage2Position { offset: 7, written: 60_000 };
    assert_eq!(Stage2Position::parse(7, &two.metadata()), Ok(two));
}

#[test]
fn strings_of_others_are_refused() {
    for text in ["", "1", "1,2", "2,3,4", "1,2,3,4", "1,a,3", "1,2,"] {
        assert!(Stage1Position::parse(0, text).is_err(), "{text:?}");
    }
    for text in ["", "1", "1,2,3", "2,3"] {
        assert!(Stage2Position::parse(0, text).is_err(), "{text:?}");
    }
}
