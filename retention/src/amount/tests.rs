use super::*;

#[test]
fn sizes_and_shares_are_read() {
    assert_eq!("10GB".parse(), Ok(Amount::Bytes(10_000_000_000)));
    assert_eq!("512MiB".parse(), Ok(Amount::Bytes(512 << 20)));
    assert_eq!("70%".parse(), Ok(Amount::Percent(70)));
    for wrong in ["101%", "-1%", "x", "", "1.5%"] {
        assert!(wrong.parse::<Amount>().is_err(), "{wrong}");
    }
}

#[test]
fn a_share_is_of_all_disks() {
    assert_eq!(Amount::Percent(70).of(1_000), 700);
    assert_eq!(Amount::Percent(100).of(u64::MAX), u64::MAX / 100 * 100);
    assert_eq!(Amount::Bytes(5).of(1_000), 5);
}
