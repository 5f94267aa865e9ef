use super::*;
use crate::index::IndexKind;
use std::collections::BTreeSet;

#[test]
fn there_is_a_data_view_for_each_alias_that_is_read() {
    let aliases: BTreeSet<_> = IndexKind::ALL.map(template::read_alias).into();
    assert_eq!(BTreeSet::from(DATA_VIEWS), aliases);
}

#[test]
fn what_is_described_is_what_is_put() {
    let text = describe().unwrap();
    for (name, template) in template::all().unwrap() {
        let (_, after) = text.split_once(&format!("PUT /_index_template/{name}\n")).unwrap();
        let mut bodies = serde_json::Deserializer::from_str(after).into_iter::<Value>();
        assert_eq!(bodies.next().unwrap().unwrap(), template);
    }
    assert_eq!(text.matches("/api/data_views/data_view").count(), DATA_VIEWS.len());
}
