use super::*;
use crate::host;
use crate::revisions::{Kind, Observed};
use weir_join::{Ask, Table};
use weir_schemas::enriched::NoneReason;
use weir_schemas::metadata::{Object, Pod, parse_gap_key};

#[test]
fn only_what_has_passed_and_stands_still_is_given_up() {
    let standing = Standing { complete_to: 100_000, written_at: 101_000, cluster_known: true };
    let told = |standing, to, now| decide("c", standing, to, now).map_err(|error| error.to_string());
    assert_eq!(told(standing, 300_000, 400_000).unwrap(), Gap { after: 100_000, to: 299_999 });
    assert_eq!(told(standing, 359_998, 400_000).unwrap(), Gap { after: 100_000, to: 299_999 }, "no tick by half");
    let refused = |standing, to, now| told(standing, to, now).unwrap_err();
    assert!(refused(standing, 130_000, 160_999).contains("59 s ago"));
    assert!(
        refused(Standing { written_at: 999_000, ..standing }, 130_000, 400_000).contains("goes on"),
        "clocks differ"
    );
    assert!(refused(standing, 400_001, 400_000).contains("future"));
    assert!(refused(standing, 99_000, 400_000).contains("complete up to 100000"));
    assert!(refused(standing, 119_000, 400_000).contains("later --to"));
    assert!(refused(Standing { complete_to: NEVER, ..standing }, 300_000, 400_000).contains("no heartbeat"));
    assert!(refused(Standing { complete_to: FOR_EVER, ..standing }, 300_000, 400_000).contains("for ever"));
}

fn pod(name: &str) -> Observed {
    let addresses = vec!["10.0.0.1".parse().unwrap()];
    let node = "n".to_owned();
    Observed {
        uid: format!("uid-{name}"),
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        object: Object::Pod(Pod { addresses, node, ..Pod::default() }),
        ..host::agent("n", &[])
    }
}

async fn table(log: &Log) -> Table {
    let mut table = Table::new("c", 1);
    let mut reader = log.reader(topics::METADATA, Partitions::All, Start::Beginning).await.unwrap();
    for record in reader.read_to_end(IDLE).await.unwrap() {
        let message: Metadata = decode(&record.value.unwrap()).unwrap();
        let key = std::str::from_utf8(record.key.as_deref().unwrap()).unwrap();
        match (&message, parse_gap_key(key, "c")) {
            (Metadata::Heartbeat(gap), Some(after)) => table.leave_gap(after, gap),
            _ => table.apply(0, &message),
        }
    }
    table
}

#[tokio::test]
async fn after_a_gap_windows_go_on_and_nobody_is_named_in_it() {
    let written_at = 1_000_000;
    let log = Log::memory();
    let Log::Memory(memory) = &log else { panic!("no log in memory") };
    memory.set_time(written_at);
    let token = CancellationToken::new();
    let (mut stalled, mut history) = Writer::open(&log, "c").await.unwrap();
    let mut revisions = history.observe(host::agent("n", &[]), 50_000);
    revisions.extend(history.observe(pod("a"), 50_000));
    let beat = history.heartbeat_message(100_000, Proof::Probed, true);
    stalled.write(&revisions, Some(&beat), &token).await.unwrap();

    let alive = give_up(&log, "c", 240_000, written_at + ALIVE - 1).await.unwrap_err().to_string();
    assert!(alive.contains("its service goes on"), "{alive}");
    stalled.write(&[], None, &token).await.unwrap();
    let gap = give_up(&log, "c", 240_000, written_at + ALIVE).await.unwrap();
    assert_eq!(gap, Gap { after: 100_000, to: 239_999 });
    assert_eq!(table(&log).await.complete_to(), 239_999, "what waited is written");
    let again = give_up(&log, "c", 240_000, written_at + 4 * ALIVE).await.unwrap_err().to_string();
    assert!(again.contains("complete up to 239999"), "{again}");

    // The service that stood still is fenced, and goes on from what the topic holds.
    let later = history.heartbeat_message(150_000, Proof::Probed, true);
    let fenced = stalled.write(&[], Some(&later), &token).await.unwrap_err();
    assert!(fenced.needs_rebuild(), "{fenced}");
    let (mut writer, mut history) = Writer::open(&log, "c").await.unwrap();
    assert_eq!(history.heartbeat(), 239_999);
    let mut revisions: Vec<_> = history.vanish(Kind::Pod, "uid-a", None, 290_000).into_iter().collect();
    revisions.extend(history.observe(pod("b"), 290_000));
    let beat = history.heartbeat_message(300_000, Proof::Probed, true);
    writer.write(&revisions, Some(&beat), &token).await.unwrap();

    let table = table(&log).await;
    let ask = |at| Ask::address(at, "10.0.0.1".parse().unwrap());
    let name = |at| table.side(&ask(at)).pod;
    assert_eq!((name(100_000).as_deref(), name(300_000).as_deref()), (Some("a"), Some("b")));
    for at in [100_001, 170_000, 239_999] {
        let by_uid = Ask { pod_uid: Some("uid-a"), ..ask(at) };
        let by_host = Ask { local_host: Some("n"), ..ask(at) };
        for ask in [ask(at), by_uid, by_host] {
            let side = table.side(&ask);
            assert_eq!((side.pod, side.reason), (None, Some(NoneReason::NotYetReported)), "{at}");
        }
        let answers = &mut Vec::new();
        table.resolve_all(&[ask(at), by_uid], answers);
        assert!(answers.iter().all(|answer| answer.identity.is_none()), "{at}: {answers:?}");
        let found = table.resolve(&ask(at));
        assert!(table.covered(&found, ask(at).address, at), "whose report counts goes by what was last known");
    }
}

#[tokio::test]
async fn a_dry_look_disturbs_no_writer() {
    let log = Log::memory();
    let token = CancellationToken::new();
    let (mut writer, history) = Writer::open(&log, "c").await.unwrap();
    let beat = history.heartbeat_message(100_000, Proof::Probed, true);
    writer.write(&[], Some(&beat), &token).await.unwrap();
    let found = standing(&log, "c").await.unwrap();
    assert_eq!((found.complete_to, found.cluster_known), (100_000, true));
    assert_eq!(standing(&log, "other").await.unwrap().complete_to, NEVER);
    writer.write(&[], Some(&beat), &token).await.unwrap();
}
