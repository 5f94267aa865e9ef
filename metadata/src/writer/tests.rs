use super::*;

fn records(keys: &[&str]) -> Vec<NewRecord> {
    keys.iter().map(|key| NewRecord::new(TOPIC, Bytes::from((*key).to_owned()), Bytes::new())).collect()
}

#[test]
fn a_transaction_never_ends_between_two_revisions_of_an_object() {
    let keys = ["c/Pod/a/1", "c/Pod/a/2", "c/Pod/b/1", "c/Pod/b/2", "c/Agent/b/1", "c/Agent/b/2"];
    let records = records(&keys);
    assert_eq!(first_part(&records, 2), 2);
    assert_eq!(first_part(&records, 1), 2);
    assert_eq!(first_part(&records, 3), 4);
    assert_eq!(first_part(&records, 5), 6);
    assert_eq!(first_part(&records, 100), 6);
}
