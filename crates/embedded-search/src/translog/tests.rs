use proptest::prelude::*;

use super::*;

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let one =
        (any::<u64>(), any::<u64>(), ".{0,12}", proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)));
    proptest::collection::vec(
        one.prop_map(|(seq_no, version, id, source)| Operation { seq_no, version, id, source }),
        0..12,
    )
}

fn recovered(folder: &Path) -> (Vec<Operation>, Ending) {
    let mut found = Vec::new();
    let ending = replay::<io::Error>(folder, |operation| {
        found.push(operation);
        Ok(())
    })
    .unwrap();
    (found, ending)
}

proptest! {
    #[test]
    fn what_is_written_is_recovered(first in operations(), second in operations()) {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Translog::create(folder.path(), 1).unwrap();
        let offsets = log.append(&first).unwrap();
        for (offset, operation) in offsets.iter().zip(&first) {
            prop_assert_eq!(&log.read(*offset).unwrap(), operation);
        }
        log.rotate().unwrap();
        log.append(&second).unwrap();
        let all: Vec<_> = first.into_iter().chain(second.clone()).collect();
        prop_assert_eq!(recovered(folder.path()), (all, Ending::Whole));
        log.remove_older().unwrap();
        prop_assert_eq!(recovered(folder.path()).0, second);
    }

    #[test]
    fn any_cut_or_flipped_bit_leaves_a_prefix(written in operations(), cut in any::<prop::sample::Index>(), bit in any::<prop::sample::Index>(), flip in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        Translog::create(folder.path(), 1).unwrap().append(&written).unwrap();
        let path = path_of(folder.path(), 1);
        let mut bytes = std::fs::read(&path).unwrap();
        if flip && !bytes.is_empty() {
            let at = bit.index(bytes.len() * 8);
            bytes[at / 8] ^= 1 << (at % 8);
        } else {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        std::fs::write(&path, &bytes).unwrap();
        let (found, _) = recovered(folder.path());
        prop_assert!(found.len() <= written.len());
        prop_assert_eq!(&found[..], &written[..found.len()]);
    }
}
