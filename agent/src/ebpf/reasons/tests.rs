use super::{Reasons, class, enumeration};
use weir_schemas::raw::DropClass;

/// BTF with an integer, a structure of one member and the enumeration, in that order.
fn btf() -> Vec<u8> {
    let strings = b"\0skb_drop_reason\0SKB_CONSUMED\0SKB_DROP_REASON_NETFILTER_DROP\0";
    let mut types: Vec<u32> = vec![0, 1 << 24, 4, 32];
    types.extend([0, (4 << 24) | 1, 4, 0, 1, 0]);
    types.extend([1, (6 << 24) | 2, 4, 17, 1, 30, 12]);
    let length = u32::try_from(types.len() * 4).unwrap();
    let mut bytes = vec![0x9f, 0xeb, 1, 0];
    for word in [24, 0, length, length, u32::try_from(strings.len()).unwrap()] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(types.iter().flat_map(|word| word.to_ne_bytes()));
    bytes.extend(strings);
    bytes
}

#[test]
fn names_come_from_btf_and_unknown_ones_keep_their_bits() {
    let reasons = Reasons::new(&enumeration(&btf(), "skb_drop_reason").unwrap());
    assert_eq!(reasons.name(12), "NETFILTER_DROP");
    assert_eq!(reasons.number("CONSUMED"), Some(1));
    assert_eq!(reasons.name((2 << 16) | 5), "SUBSYS_2_REASON_5");
    assert_eq!(reasons.name(99), "REASON_99");
}

#[test]
fn cut_type_information_is_refused() {
    let whole = btf();
    assert!(enumeration(&whole, "another").is_none());
    for length in 0..24 {
        assert!(enumeration(&whole[..length], "skb_drop_reason").is_none());
    }
}

#[test]
fn policies_are_told_from_faults() {
    assert_eq!(class("NETFILTER_DROP"), DropClass::Policy);
    assert_eq!(class("NO_SOCKET"), DropClass::Other);
}
