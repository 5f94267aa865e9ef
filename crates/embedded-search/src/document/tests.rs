use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(mapping: &Value, source: &Value) -> ApiResult<Extracted> {
    let mapping = Mapping::parse(mapping).unwrap();
    extract(&mapping, source.as_object().unwrap(), "1")
}

#[test]
fn dotted_names_and_nested_objects_are_the_same() {
    let mapping =
        json!({"properties": {"source": {"properties": {"ip": {"type": "ip"}, "port": {"type": "integer"}}}}});
    let nested = read(&mapping, &json!({"source": {"ip": "10.0.0.1", "port": 80}})).unwrap();
    let dotted = read(&mapping, &json!({"source.ip": "10.0.0.1", "source.port": "80"})).unwrap();
    assert_eq!(nested.values, dotted.values);
}

#[test]
fn strict_mappings_name_the_field_they_do_not_know() {
    let mapping = json!({"dynamic": "strict", "properties": {"a": {"properties": {"b": {"type": "long"}}}}});
    let error = read(&mapping, &json!({"a": {"c": 1}})).unwrap_err();
    assert_eq!(error.kind, "strict_dynamic_mapping_exception");
    assert_eq!(error.reason, "mapping set to strict, dynamic introduction of [c] within [a] is not allowed");
}

#[test]
fn values_out_of_range_are_refused_and_exact_ones_kept() {
    let long = json!({"properties": {"n": {"type": "long"}}});
    let exact = read(&long, &json!({"n": 9_007_199_254_740_993_i64})).unwrap();
    assert_eq!(exact.values, [("n".to_owned(), Scalar::Integer(9_007_199_254_740_993))]);
    assert!(read(&long, &json!({"n": 1e30})).is_err());
    assert!(read(&long, &json!({"n": "abc"})).is_err());
    assert!(read(&json!({"properties": {"n": {"type": "byte"}}}), &json!({"n": 128})).is_err());
    assert!(read(&json!({"properties": {"n": {"type": "ip"}}}), &json!({"n": "10.0.0.300"})).is_err());
}

#[test]
fn addresses_sort_as_numbers() {
    let encode = |text: &str| encode_ip(text.parse().unwrap());
    assert!(encode("9.255.255.255") < encode("10.0.0.1"));
    assert_eq!(decode_ip(&encode("10.0.0.1")), "10.0.0.1");
    assert_eq!(decode_ip(&encode("2001:db8::1")), "2001:db8::1");
}

proptest! {
    #[test]
    fn any_text_and_number_is_read_or_refused(text in ".{0,20}", number in any::<f64>(), integer in any::<i64>()) {
        let mapping = json!({"properties": {"a": {"type": "long"}, "b": {"type": "date"}, "c": {"type": "ip"}, "d": {"type": "float"}, "e": {"type": "flattened"}}});
        for name in ["a", "b", "c", "d", "e", "new"] {
            for value in [json!(text), json!(number), json!(integer), json!({text.clone(): [text.clone()]})] {
                let mut source = Map::new();
                source.insert(name.to_owned(), value);
                let _ = read(&mapping, &Value::Object(source));
            }
        }
    }
}
