use super::*;

#[test]
fn copies_are_what_was_copied_and_share_pieces_of_memory() {
    let mut copies = Copies::default();
    let texts: Vec<Vec<u8>> = (0..400_u32).map(|n| n.to_le_bytes().repeat(usize::try_from(n).unwrap())).collect();
    let copied: Vec<Bytes> = texts.iter().map(|text| copies.of(text)).collect();
    assert_eq!(copied, texts);
    let together = |pair: &[Bytes]| pair[0].as_ptr_range().end == pair[1].as_ptr_range().start;
    let pieces = copied[1..].windows(2).filter(|pair| !together(pair)).count();
    let bytes: usize = texts.iter().map(Vec::len).sum();
    assert!(pieces <= 1 + bytes / (PIECE - 1_600), "{pieces} of {bytes} bytes");
    let long = vec![7; 3 * PIECE];
    assert_eq!(copies.of(&long), long);
    assert_eq!(copies.of(b"behind"), b"behind".as_slice());
    assert_eq!(copied, texts, "none was written over");
}

#[test]
fn a_name_is_one_string_however_often_it_is_asked_for() {
    let mut names = Names::default();
    let first = names.get("a");
    let other = names.get("b");
    assert_eq!((&*first, &*other), ("a", "b"));
    assert!(Arc::ptr_eq(&first, &names.get("a")) && Arc::ptr_eq(&first, &names.get("a")));
    assert!(Arc::ptr_eq(&other, &names.get("b")));
}
