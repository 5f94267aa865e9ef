#![allow(clippy::unwrap_used, reason = "tests")]

use super::{FileError, publish, read};
use etherparse::PacketBuilder;
use std::path::PathBuf;
use tempfile::TempDir;
use weir_flow::RecordSettings;
use weir_schemas::raw::{Origin, RawBatch};
use weir_service::{Health, Metrics};
use weir_stream::{Log, MemoryLog, TopicSpec};

fn udp(port: u16) -> Vec<u8> {
    let mut data = Vec::new();
    PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(port, 53).write(&mut data, &[0; 72]).unwrap();
    data
}

/// A classic file of raw IP packets at times in ms, cut to `snap` bytes each.
fn pcap(packets: &[(u32, Vec<u8>)], snap: usize) -> Vec<u8> {
    let mut file = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
    for word in [0x0004_0002_u32, 0, 0, 65_535, 101] {
        file.extend(word.to_le_bytes());
    }
    for (time, data) in packets {
        let kept = data.len().min(snap);
        for word in
            [time / 1_000, time % 1_000 * 1_000, u32::try_from(kept).unwrap(), u32::try_from(data.len()).unwrap()]
        {
            file.extend(word.to_le_bytes());
        }
        file.extend(&data[..kept]);
    }
    file
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len().next_multiple_of(4) + 12).unwrap();
    let mut block = kind.to_le_bytes().to_vec();
    block.extend(length.to_le_bytes());
    block.extend(body);
    block.resize(block.len().next_multiple_of(4), 0);
    block.extend(length.to_le_bytes());
    block
}

/// The same as a pcapng file, with time stamps in ns.
fn pcapng(packets: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut section = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
    section.extend([1, 0, 0, 0]);
    section.extend([0xff; 8]);
    let mut file = block(0x0a0d_0d0a, &section);
    let mut interface = vec![101, 0, 0, 0, 0, 0, 0, 0];
    interface.extend([9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
    file.extend(block(1, &interface));
    for (time, data) in packets {
        let nanos = u64::from(*time) * 1_000_000;
        let mut body = vec![0; 4];
        body.extend(u32::try_from(nanos >> 32).unwrap().to_le_bytes());
        body.extend(u32::try_from(nanos & 0xffff_ffff).unwrap().to_le_bytes());
        let length = u32::try_from(data.len()).unwrap().to_le_bytes();
        body.extend([length, length].concat());
        body.extend(data);
        file.extend(block(6, &body));
    }
    file
}

fn settings() -> RecordSettings {
    RecordSettings { live: false, ..RecordSettings::small("capture") }
}

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

fn batches(files: &[PathBuf]) -> Vec<RawBatch> {
    read(files, &settings()).unwrap().batches().collect::<Result<_, _>>().unwrap()
}

#[test]
fn files_are_merged_by_time_whatever_their_order_and_format() {
    let files = Files::new();
    let a = files.write("a.pcap", &pcap(&[(1_100, udp(1)), (3_200, udp(1))], 65_535));
    let b = files.write("b.pcapng", &pcapng(&[(1_050, udp(2)), (2_300, udp(2))]));
    let all = batches(&[a.clone(), b.clone()]);
    assert_eq!(all.iter().map(|batch| batch.tick).collect::<Vec<_>>(), [1_000, 2_000, 3_000, 7_000]);
    assert_eq!(all[0].samples.len(), 2);
    assert!(all.iter().flat_map(|batch| &batch.samples).all(|sample| sample.bytes == 100 * sample.packets));
    assert!(all[3].samples.is_empty(), "the end is a heartbeat");
    assert!(all.iter().all(|batch| batch.origin == Origin::Capture && batch.seen == batch.published));
    assert_eq!(batches(&[b, a]), all);
    assert!(all[0].cluster.starts_with("capture-") && all[0].cluster.len() == 20);
}

#[test]
fn the_cluster_is_a_function_of_the_contents_alone() {
    let files = Files::new();
    let a = files.write("a.pcap", &pcap(&[(1, udp(1))], 65_535));
    let same = files.write("other-name.pcap", &pcap(&[(1, udp(1))], 65_535));
    let other = files.write("b.pcap", &pcap(&[(1, udp(2))], 65_535));
    let cluster = |file: &PathBuf| read(std::slice::from_ref(file), &settings()).unwrap().cluster;
    assert_eq!(cluster(&a), cluster(&same));
    assert_ne!(cluster(&a), cluster(&other));
}

#[test]
fn packets_cut_by_the_snapshot_length_keep_their_size() {
    let files = Files::new();
    let cut = files.write("cut.pcap", &pcap(&[(1, udp(1))], 40));
    assert_eq!(batches(&[cut])[0].samples[0].bytes, 100);
    let short = files.write("short.pcap", &pcap(&[(1, udp(1))], 24));
    let lost = batches(&[short]);
    assert!(lost[0].samples.is_empty());
    assert_eq!((lost[0].lost[0].reason.as_str(), lost[0].lost[0].lost.bytes, lost[0].seen.bytes), ("parse", 100, 100));
}

#[test]
fn a_file_that_is_cut_off_says_where_on_one_line() {
    let files = Files::new();
    for (name, whole, last) in [
        ("a.pcap", pcap(&[(1, udp(1)), (2, udp(1))], 65_535), 116),
        ("a.pcapng", pcapng(&[(1, udp(1)), (2, udp(1))]), 132),
    ] {
        let path = files.write(name, &whole[..whole.len() - 5]);
        let answers: Vec<_> = read(&[path], &settings()).unwrap().ticks().collect();
        let Some(Err(error)) = answers.last() else { panic!("{answers:?}") };
        let FileError::Truncated { offset, .. } = error else { panic!("{error}") };
        assert_eq!(*offset, u64::try_from(whole.len() - last).unwrap());
        assert!(error.to_string().contains(name) && !error.to_string().contains('\n'));
    }
}

#[test]
fn what_is_no_capture_is_refused() {
    let files = Files::new();
    let text = files.write("text", b"not a capture file at all, but a text");
    assert!(matches!(read(&[text], &settings()), Err(FileError::Format { .. })));
    let empty = files.write("empty", b"");
    assert!(matches!(read(&[empty], &settings()), Err(FileError::Format { .. })));
    let mut wifi = pcap(&[(1, udp(1))], 65_535);
    wifi[20] = 105;
    let wifi = files.write("wifi.pcap", &wifi);
    assert!(matches!(read(&[wifi], &settings()), Err(FileError::LinkType { number: 105, .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn captures_are_published_under_their_own_cluster() {
    let files = Files::new();
    let packets: Vec<_> = (0..500_u16).map(|i| (u32::from(i) * 10, udp(i))).collect();
    let file = files.write("a.pcap", &pcap(&packets, 65_535));
    let cluster = read(std::slice::from_ref(&file), &settings()).unwrap().cluster;
    let memory = MemoryLog::new();
    let log = Log::from(memory.clone());
    let topic = weir_schemas::topics::raw(&cluster);
    log.ensure_topics(&[TopicSpec::new(topic.clone(), 1)]).await.unwrap();
    let again = file.clone();
    let summary = publish(&[file], &log, &settings(), &Metrics::new(), &Health::default()).await.unwrap();
    assert_eq!(summary.cluster, cluster);
    assert_eq!(
        (summary.published.totals.packets, summary.published.totals.bytes, summary.published.batches),
        (500, 50_000, 6)
    );
    let first = memory.records(&topic, 0);
    assert_eq!(first.len(), 6);
    // A second start publishes nothing; one after an interruption completes what is missing, with the same bytes.
    publish(std::slice::from_ref(&again), &log, &settings(), &Metrics::new(), &Health::default()).await.unwrap();
    assert_eq!(memory.records(&topic, 0).len(), 6);
    let other = MemoryLog::new();
    let log = Log::from(other.clone());
    log.ensure_topics(&[TopicSpec::new(topic.clone(), 1)]).await.unwrap();
    let producer = log.producer(&weir_stream::ProducerSettings::new("test")).unwrap();
    for record in &first[..2] {
        let new =
            weir_stream::NewRecord::new(topic.clone(), record.key.clone().unwrap(), record.value.clone().unwrap());
        producer.send(new.to_partition(0)).unwrap().await.unwrap();
    }
    publish(&[again], &log, &settings(), &Metrics::new(), &Health::default()).await.unwrap();
    let values = |records: &[weir_stream::Record]| records.iter().map(|r| r.value.clone()).collect::<Vec<_>>();
    assert_eq!(values(&other.records(&topic, 0)), values(&first));
}

#[test]
fn questions_and_answers_in_a_file_are_samples_of_its_one_observer() {
    let header = |answer: bool| [0, 7, if answer { 0x80 } else { 0 }, 0, 0, 1, 0, u8::from(answer), 0, 0, 0, 0];
    let question = [&[2][..], b"Db", &[7], b"example", &[0, 0, 1, 0, 1]].concat();
    // A pointer to the question's name (RFC 1035 §4.1.4), type A, class IN, a second to live, four bytes.
    let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 192, 0, 2, 9];
    let packet = |forth: bool, payload: &[u8]| {
        let (from, to, ports) = if forth { (1, 2, (40_000, 53)) } else { (2, 1, (53, 40_000)) };
        let mut data = Vec::new();
        let step = PacketBuilder::ipv4([10, 0, 0, from], [10, 0, 0, to], 64).udp(ports.0, ports.1);
        step.write(&mut data, payload).unwrap();
        data
    };
    let asked = packet(true, &[&header(false)[..], &question].concat());
    let answered = packet(false, &[&header(true)[..], &question, &record].concat());
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("dns.pcap");
    std::fs::write(&path, pcap(&[(100, asked.clone()), (130, answered), (6_000, asked)], 65_535)).unwrap();
    let batches: Vec<RawBatch> =
        read(&[path], &RecordSettings::small("x")).unwrap().batches().map(Result::unwrap).collect();
    let all: Vec<_> = batches.iter().flat_map(|batch| batch.dns.iter().map(|sample| (batch.tick, sample))).collect();
    let told: Vec<_> = all.iter().map(|(tick, s)| (*tick, s.response_code, s.count)).collect();
    assert_eq!(told, [(0, Some(0), 1), (6_000, None, 1)]);
    let sample = all[0].1;
    assert_eq!((sample.question.as_str(), sample.client.to_string().as_str()), ("db.example", "10.0.0.1"));
    assert_eq!((sample.server.to_string().as_str(), sample.server_port), ("10.0.0.2", 53));
    assert_eq!((sample.latency.unwrap().max, sample.answers[0].to_string().as_str()), (30_000, "192.0.2.9"));
    // Flows count the same packets.
    assert_eq!(batches.iter().flat_map(|batch| &batch.samples).map(|sample| sample.packets).sum::<u64>(), 3);
}
