use super::*;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weir_elastic::Mark;

/// Of a disk of 10 000 bytes 1 000 are free at the high watermark, 500 at flood stage.
fn held(available: u64, held_back: bool) -> bool {
    let marks =
        Watermarks { low: Mark::Used(8_500, None), high: Mark::Used(9_000, None), flood: Mark::Used(9_500, None) };
    let disks = [disk(9_999), disk(available)];
    too_full(&disks, &marks, held_back).is_some()
}

fn disk(available: u64) -> NodeDisk {
    NodeDisk { node: "n".into(), total: 10_000, available, ..NodeDisk::default() }
}

#[test]
fn bulks_are_held_back_before_flood_stage_and_pass_again_a_good_way_off() {
    assert_eq!([held(625, false), held(624, false), held(0, false)], [false, true, true]);
    assert_eq!([held(749, true), held(750, true)], [true, false]);
}

#[test]
fn watermarks_in_the_wrong_order_still_hold_back_at_flood_stage() {
    let marks = Watermarks { low: Mark::Free(1), high: Mark::Free(1), flood: Mark::Free(700) };
    assert!(too_full(&[disk(699)], &marks, false).is_some());
    assert!(too_full(&[disk(700)], &marks, false).is_none());
}

#[test]
fn what_is_held_back_says_why_as_an_engine_that_is_not_available() {
    let guard = Guard::default();
    guard.pass().unwrap();
    *guard.why.write().unwrap() = Some("full".into());
    let error = guard.pass().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.to_string().contains("full"));
}

/// An engine with two data nodes, of which `a` has room and `b` is at flood stage, and one shard of an index of Weir's on the node
/// given, as far as it is asked; other indices have theirs on both.
async fn engine(node: &'static str) -> Elastic {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {
                    if head.ends_with(b"\r\n\r\n") {
                        let answer = answer(std::str::from_utf8(&head).unwrap().split(' ').nth(1).unwrap(), node);
                        let length = answer.len();
                        let whole = format!(
                            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{answer}"
                        );
                        stream.write_all(whole.as_bytes()).await.unwrap();
                        head.clear();
                    }
                }
            });
        }
    });
    Elastic::new(&weir_elastic::ElasticSettings::of(&[&url])).unwrap()
}

fn answer(path: &str, node: &str) -> String {
    let disk = |available: u32| json!({"roles": ["data"], "fs": {"total": {"total_in_bytes": 10_000, "available_in_bytes": available}}});
    let marks = ["low", "high", "flood_stage"].into_iter().zip(["85%", "90%", "95%"]);
    let marks = marks.map(|(name, mark)| (format!("cluster.routing.allocation.disk.watermark.{name}"), json!(mark)));
    let answer = match path.split(['?', ',']).next().unwrap() {
        "/_cluster/settings" => json!({"defaults": marks.collect::<serde_json::Map<_, _>>()}),
        "/_nodes/stats/fs" => json!({"nodes": {"a": disk(9_000), "b": disk(400)}}),
        "/_cat/shards/weir-flows-l*" => json!([{"index": "weir-flows-l1-2026.11.22", "id": node, "store": "1"}]),
        other => json!({"error": other}),
    };
    answer.to_string()
}

#[tokio::test]
async fn a_full_disk_without_indices_of_weirs_holds_nothing_back() {
    let guard = Guard::default();
    guard.look(&engine("a").await).await.unwrap();
    assert!(guard.pass().is_ok());
    guard.look(&engine("b").await).await.unwrap();
    assert!(guard.pass().unwrap_err().to_string().contains("the disk of b is nearly at flood stage"));
    // It goes elsewhere, or retention has deleted it.
    guard.look(&engine("a").await).await.unwrap();
    assert!(guard.pass().is_ok());
}

#[tokio::test]
async fn what_holds_back_names_the_settings_that_let_retention_delete_more() {
    let guard = Guard::default();
    guard.look(&engine("b").await).await.unwrap();
    let alarm = guard.pass().unwrap_err().to_string();
    for word in ["weir-retention", "--disk-reserve", "--budget", "--min-age", "weir retention plan"] {
        assert!(alarm.contains(word), "{word}: {alarm}");
    }
}
