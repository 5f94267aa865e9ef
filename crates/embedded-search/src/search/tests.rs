use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::mapping::Mapping;

fn meta() -> Meta {
    let mapping = json!({"properties": {"s": {"type": "keyword"}, "n": {"type": "long"}, "ip": {"type": "ip"}}});
    let mapping = Arc::new(Mapping::parse(&mapping).unwrap());
    Meta {
        name: "x".into(),
        uuid: "u".into(),
        created: 0,
        settings: Default::default(),
        mapping,
        aliases: Default::default(),
    }
}

/// Which of the numbers from 0 to 29 a query on `n` finds, and which a naive reading does.
fn found(folder: &std::path::Path, query: &Value) -> Vec<i64> {
    let index = Arc::new(Index::create(folder, meta(), 1).unwrap());
    let writes: Vec<_> = (0..30)
        .map(|n| crate::index::WriteRequest {
            id: n.to_string(),
            action: crate::index::Action::Index,
            check: crate::index::VersionCheck::None,
            source: json!({"n": n, "s": format!("v{n}")}).to_string().into_bytes(),
            fresh_id: false,
        })
        .collect();
    // In two halves, so that there are two segments.
    for half in writes.chunks(15) {
        assert!(index.write(half, 100, 2).iter().all(Result::is_ok));
        index.refresh(3).unwrap();
    }
    let searched = [Searched { meta: index.meta(), searcher: index.searcher(4).unwrap(), index }];
    let limits = Limits::default();
    let request =
        SearchRequest::parse(&json!({"query": query, "size": 100, "sort": ["n"], "_source": false}), &limits).unwrap();
    let found = run(&searched, &request, &limits, 5).unwrap();
    found.hits.iter().map(|hit| serde_json::from_str::<Value>(hit).unwrap()["sort"][0].as_i64().unwrap()).collect()
}

fn clause() -> impl Strategy<Value = (Value, Vec<i64>)> {
    (0..30_i64, 0..30_i64)
        .prop_map(|(low, high)| (json!({"range": {"n": {"gte": low, "lt": high}}}), (low..high).collect()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn clauses_come_together_as_sets_do(must in clause(), not in clause(), should in proptest::collection::vec(clause(), 1..4), minimum in 1..3_usize) {
        let folder = tempfile::tempdir().unwrap();
        let shoulds: Vec<&Value> = should.iter().map(|(query, _)| query).collect();
        let query = json!({"bool": {"must": must.0, "must_not": not.0, "should": shoulds, "minimum_should_match": minimum}});
        let enough = |n: &i64| should.iter().filter(|(_, numbers)| numbers.contains(n)).count() >= minimum;
        let naive: Vec<i64> = must.1.iter().copied().filter(|n| !not.1.contains(n) && enough(n)).collect();
        prop_assert_eq!(found(folder.path(), &query), naive);
    }

    #[test]
    fn sets_of_documents_behave_as_sets(docs in 1..200_u32, left in proptest::collection::btree_set(0..200_u32, 0..60), right in proptest::collection::btree_set(0..200_u32, 0..60)) {
        let build = |members: &std::collections::BTreeSet<u32>| {
            let mut set = DocSet::empty(docs);
            members.iter().filter(|doc| **doc < docs).for_each(|doc| set.insert(*doc));
            set
        };
        let naive = |keep: &dyn Fn(&u32) -> bool| (0..docs).filter(keep).collect::<Vec<_>>();
        let (mut both, mut any, mut first) = (build(&left), build(&left), build(&left));
        both.intersect(&build(&right));
        any.unite(&build(&right));
        first.subtract(&build(&right));
        prop_assert_eq!(both.iter().collect::<Vec<_>>(), naive(&|doc| left.contains(doc) && right.contains(doc)));
        prop_assert_eq!(any.iter().collect::<Vec<_>>(), naive(&|doc| left.contains(doc) || right.contains(doc)));
        prop_assert_eq!(first.iter().collect::<Vec<_>>(), naive(&|doc| left.contains(doc) && !right.contains(doc)));
        prop_assert_eq!(DocSet::full(docs).len(), u64::from(docs));
    }
}
