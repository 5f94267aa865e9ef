use crate::fixtures::{Fake, address, asking, batch, history, question, settings};
use crate::position::{Stage1Position, Stage2Position};
use crate::stage1::{Content, Input, Partition};
use crate::stage2::InternalPartition;
use weir_flow::{Millis, RecordSettings};
use weir_schemas::dns::Dns;
use weir_schemas::partial::PartialMessage;
use weir_schemas::raw::DnsSample;

/// Both stages over one raw partition for each list.
fn records(settings: RecordSettings, lists: Vec<Vec<DnsSample>>) -> Vec<Dns> {
    let history = history(settings);
    let mut second = InternalPartition::new("local", 0, history.clone(), Stage2Position::START);
    let mut offset = 0;
    for (number, list) in (0..).zip(lists) {
        let mut first = Partition::new("local", number, history.clone(), Stage1Position::START);
        let batches = [asking("node-a", 0, 100_000, vec![], list), batch("node-a", 1, 200_000, vec![])];
        for (offset, batch) in (0..).zip(batches) {
            first.read(Input { offset, append_time: 110_000, size: 1, content: Content::Batch(batch) });
        }
        let closed = first.close(first.ready(Millis::MAX, usize::MAX).unwrap(), &Fake::default());
        let partials = closed.dns.into_iter().map(|(_, batch)| PartialMessage::Dns(batch));
        let markers = closed.markers.into_iter().map(|(_, marker)| PartialMessage::Marker(marker));
        for message in partials.chain(markers) {
            second.read(offset, message);
            offset += 1;
        }
    }
    second.close(second.ready(usize::MAX).unwrap()).dns
}

#[test]
fn partitions_are_merged_and_answers_cut_with_an_exact_count() {
    let told = |from: u8| {
        let answers = (from..from + 4).map(|n| address(&format!("10.2.0.{n}"))).collect();
        vec![DnsSample { answers, ..question("db.shop") }]
    };
    let settings = RecordSettings { set_limit: 3, ..settings(2, 1) };
    let all = records(settings, vec![told(1), told(3)]);
    assert_eq!((all.len(), all[0].count, all[0].latency.map(|l| l.count)), (1, 2, Some(2)));
    assert_eq!((all[0].answers.len(), all[0].answers_more), (3, 3));
    assert_eq!((all[0].client.workload.as_deref(), all[0].server.address), (Some("web"), Some(address("10.0.0.53"))));
}

#[test]
fn what_nobody_asked_is_not_written() {
    assert!(records(settings(1, 1), vec![vec![DnsSample { count: 0, ..question("db.shop") }]]).is_empty());
}

/// Each raw partition is within the cap, both together are not.
#[test]
fn the_cap_holds_for_all_partitions_together() {
    let random = |from: u32| {
        let name = |n: u32| question(&format!("{n:x}.victim.example"));
        (from..from + 20)
            .map(|n| DnsSample { response_code: Some(3), ..name(n) })
            .chain([question("db.shop")])
            .collect()
    };
    let settings = RecordSettings { keys_limit: 30, ..settings(2, 1) };
    let all = records(settings, vec![random(0), random(20)]);
    let mut found: Vec<_> = all.iter().map(|record| (record.question.as_str(), record.count)).collect();
    found.sort_unstable();
    assert_eq!(found, [("(more).victim.example", 40), ("db.shop", 2)]);
}
