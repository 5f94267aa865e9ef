use super::*;

#[test]
fn topics_of_others_are_refused() {
    for topic in ["flows.enriched.v1", "flows.raw.v1.demo", "weir.settings.v1", "__consumer_offsets", ""] {
        assert!(check_topic(topic).is_err(), "{topic}");
    }
    for topic in ["flows.replayed", "flows.enriched-again", "investigation-7"] {
        assert!(check_topic(topic).is_ok(), "{topic}");
    }
}

#[tokio::test]
async fn a_file_appears_when_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flows.jsonl");
    let mut sink = Sink::open(Some(&path), None, &Log::memory()).await.unwrap();
    sink.write(&[crate::replay::samples::record()]).await.unwrap();
    assert!(!path.exists());
    sink.finish().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.ends_with("}\n") && text.lines().count() == 1, "{text}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
