use serde_json::json;

use super::*;

#[test]
fn addresses_are_taken_apart() {
    let request = Request::new(&Method::GET, &"/a%2Fb/_doc/%C3%A9?x=1+2&pretty".parse().unwrap()).unwrap();
    assert_eq!(request.path, ["a/b", "_doc", "é"]);
    assert_eq!(request.text("x"), Some("1 2"));
    assert_eq!(request.flag("pretty").unwrap(), Some(true));
    assert!(request.allow(&[]).is_err());
    assert!(Request::new(&Method::GET, &"/%zz".parse().unwrap()).is_err());
}

#[test]
fn filters_keep_what_they_name() {
    let answer = json!({"took": 1, "hits": {"total": 2, "hits": [{"_id": "a", "_source": {"x": 1}}]}});
    let filtered = |filter: &str| match filter::apply(Reply::ok(answer.clone()), filter).unwrap().payload {
        Payload::Json(json) => json,
        _ => panic!("not JSON"),
    };
    assert_eq!(filtered("took"), json!({"took": 1}));
    assert_eq!(filtered("hits.hits._id"), json!({"hits": {"hits": [{"_id": "a"}]}}));
    assert_eq!(filtered("**.x"), json!({"hits": {"hits": [{"_source": {"x": 1}}]}}));
    assert_eq!(filtered("nothing"), json!({}));
}
