use super::*;
use serde_json::json;

const GB: u64 = 1 << 30;

fn marks(defaults: &Value, persistent: &Value) -> Option<Watermarks> {
    let answer = json!({"persistent": persistent, "transient": {}, "defaults": defaults});
    read(answer.to_string().as_bytes()).unwrap()
}

fn usual() -> Value {
    json!({
        "cluster.routing.allocation.disk.threshold_enabled": "true",
        "cluster.routing.allocation.disk.watermark.low": "85%", "cluster.routing.allocation.disk.watermark.low.max_headroom": "200GB",
        "cluster.routing.allocation.disk.watermark.high": "90%", "cluster.routing.allocation.disk.watermark.high.max_headroom": "150GB",
        "cluster.routing.allocation.disk.watermark.flood_stage": "95%", "cluster.routing.allocation.disk.watermark.flood_stage.max_headroom": "100GB",
    })
}

#[test]
fn shares_count_up_to_their_headroom() {
    let marks = marks(&usual(), &json!({})).unwrap();
    assert_eq!(marks.flood.free(100_000), 5_000);
    assert_eq!(marks.low.free(1_000_000), 150_000);
    assert_eq!(marks.high.free(100_000 * GB), 150 * GB, "a large disk need not leave a tenth free");
}

#[test]
fn what_a_person_set_stands_before_defaults_as_size_share_or_ratio() {
    let set = json!({
        "cluster.routing.allocation.disk.watermark.low": "0.8", "cluster.routing.allocation.disk.watermark.high": "1.5gb",
        "cluster.routing.allocation.disk.watermark.flood_stage": "20b",
    });
    let marks = marks(&usual(), &set).unwrap();
    assert_eq!(marks.low.free(1_000_000), 200_000);
    assert_eq!(marks.high.free(1), GB + GB / 10 * 5);
    assert_eq!(marks.flood, Mark::Free(20));
}

#[test]
fn an_engine_without_watermarks_or_that_does_not_heed_them_has_none() {
    assert_eq!(marks(&json!({}), &json!({})), None);
    let off = json!({"cluster.routing.allocation.disk.threshold_enabled": "false"});
    assert_eq!(marks(&usual(), &off), None);
    let nonsense = json!({"cluster.routing.allocation.disk.watermark.low": "much"});
    assert_eq!(marks(&usual(), &nonsense), None);
    assert!(read(b"<html>").is_err());
}
