//! What the agent reads of DNS and TCP, against what the ends themselves say. Needs root; says so where it is not.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

#[path = "support/world.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod world;

use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name, Ttl};
use domain::rdata::A;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::str::FromStr;
use std::time::{Duration, Instant};
use weir_agent::AgentSettings;
use weir_schemas::raw::{End, Point, RoundTrip, Sample};
use world::{Agent, World, is_root, sh};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);
/// How long the server takes for an answer.
const DELAY: Duration = Duration::from_millis(5);

fn settings(name: &str) -> AgentSettings {
    AgentSettings {
        node: Some("node-1".to_owned()),
        interfaces: vec![format!("{name}-v*")],
        ..AgentSettings::default()
    }
}

/// Bytes of the connection with losses.
const SENT: usize = 3_000_000;

/// What a small server answers: an address, that there is no such name, or nothing.
fn reply(asked: &[u8]) -> Option<Vec<u8>> {
    let asked = Message::from_slice(asked).unwrap();
    let name = asked.first_question().unwrap().qname().to_string();
    if name.starts_with("silent") {
        return None;
    }
    let code = if name.starts_with("missing") { Rcode::NXDOMAIN } else { Rcode::NOERROR };
    let mut answer = MessageBuilder::new_vec().start_answer(asked, code).unwrap();
    if code == Rcode::NOERROR {
        let owner = Name::<Vec<u8>>::from_str(&name).unwrap();
        answer.push((owner, Class::IN, Ttl::from_secs(5), A::new(ADDRESS))).unwrap();
    }
    Some(answer.finish())
}

fn question(id: u16, name: &str) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    let mut builder = builder.question();
    builder.push((Name::<Vec<u8>>::from_str(name).unwrap(), Rtype::A)).unwrap();
    builder.finish()
}

fn ask(name: &str, count: u16) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let patience = Duration::from_millis(if name.starts_with("silent") { 100 } else { 5_000 });
    socket.set_read_timeout(Some(patience)).unwrap();
    for id in 0..count {
        socket.send_to(&question(id, name), "10.233.2.2:53").unwrap();
        assert_eq!(socket.recv_from(&mut [0; 512]).is_ok(), !name.starts_with("silent"), "{name}");
    }
}

fn serve_names() {
    let socket = UdpSocket::bind("0.0.0.0:53").unwrap();
    let listener = TcpListener::bind("0.0.0.0:53").unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut asked = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut asked).unwrap();
            let answer = reply(&asked).unwrap();
            stream.write_all(&[&u16::try_from(answer.len()).unwrap().to_be_bytes()[..], &answer].concat()).unwrap();
        }
    });
    let mut buffer = [0; 512];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        std::thread::sleep(DELAY);
        if let Some(answer) = reply(&buffer[..length]) {
            socket.send_to(&answer, from).unwrap();
        }
        if buffer[..length].windows(4).any(|word| word == b"last") {
            return;
        }
    }
}

fn ask_over_tcp(name: &str) {
    let mut stream = TcpStream::connect("10.233.2.2:53").unwrap();
    let asked = question(9, name);
    stream.write_all(&[&u16::try_from(asked.len()).unwrap().to_be_bytes()[..], &asked].concat()).unwrap();
    stream.read_exact(&mut [0; 20]).unwrap();
}

/// Reads what a socket says of itself: `retrans:0/N`, `rtt:MEAN/VARIANCE` and `minrtt:MIN` of ss(8), times in ms.
fn statistics(port: u16) -> String {
    let output = Command::new("ss").args(["-tinH", &format!("sport = :{port}")]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn until_connected(address: &str) -> TcpStream {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => return stream,
            Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            Err(error) => panic!("{error}"),
        }
    }
}

/// What the processes in the namespaces do. Not a test of its own.
#[test]
#[ignore = "started by the tests below"]
fn traffic() {
    let Ok(role) = std::env::var("WEIR_TEST_ROLE") else { return };
    match role.as_str() {
        "names" => serve_names(),
        "asker" => {
            ask("ok.Shop.example", 20);
            ask("missing.example", 10);
            ask("silent.example", 3);
            ask_over_tcp("ok.tcp.example");
        }
        "sink" => {
            let listener = TcpListener::bind("0.0.0.0:7200").unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut vec![0; SENT]).unwrap();
            stream.write_all(b"done").unwrap();
            stream.read_to_end(&mut Vec::new()).unwrap();
        }
        "sender" => {
            let mut stream = until_connected("10.234.2.2:7200");
            stream.write_all(&vec![7; SENT]).unwrap();
            stream.read_exact(&mut [0; 4]).unwrap();
            let port = stream.local_addr().unwrap().port();
            std::fs::write("/tmp/weir-test-tcp-info", format!("{port} {}", statistics(port))).unwrap();
            // Nobody listens there: a reset comes.
            assert!(TcpStream::connect("10.234.2.2:7299").is_err());
        }
        _ => unreachable!("{role}"),
    }
}

async fn finished(mut child: std::process::Child) {
    assert!(tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap().success());
}

/// Point, end, interface, question, protocol and code of DNS samples.
type Outcome = (Point, End, String, String, u8, Option<u16>);

#[tokio::test(flavor = "multi_thread")]
async fn dns_is_counted_at_both_ends_as_it_was_asked_and_answered() {
    if !is_root() {
        return;
    }
    let world = World::new("wd", 233, "");
    let agent = Agent::start(settings("wd")).await;
    let server = world.within("b", "names");
    tokio::time::sleep(Duration::from_millis(500)).await;
    finished(world.within("a", "asker")).await;
    tokio::task::spawn_blocking(|| ask("ok.last.example", 1)).await.unwrap();
    finished(server).await;
    let seen = agent.stop().await;

    let mut counts: BTreeMap<Outcome, (u64, u64)> = BTreeMap::new();
    for sample in seen.questions() {
        let key = (
            sample.point,
            sample.end,
            sample.interface.clone(),
            sample.question.clone(),
            sample.protocol,
            sample.response_code,
        );
        let count = counts.entry(key).or_default();
        count.0 += sample.count;
        count.1 += sample.latency.map_or(0, |latency| latency.count);
        let answers: Vec<String> = sample.answers.iter().map(ToString::to_string).collect();
        let expected = if sample.question.starts_with("ok") { vec![ADDRESS.to_string()] } else { Vec::new() };
        assert_eq!((answers, sample.answers_more), (expected, 0));
        assert_eq!(
            (sample.question_type, sample.server_port, sample.server.to_string().as_str()),
            (1, 53, "10.233.2.2")
        );
        // A sum of times that were at least the server's.
        let least = u64::try_from(DELAY.as_micros()).unwrap();
        if let Some(RoundTrip { sum, count, min, max }) = sample.latency.filter(|_| sample.protocol == 17) {
            assert!(min >= least && max < 5_000_000 && (min * count..=max * count).contains(&sum), "{sample:?}");
        }
    }
    let (pod, source, destination) = (Point::Pod, End::Source, End::Destination);
    let mut expected = BTreeMap::new();
    for (end, interface) in [(source, "wd-va"), (destination, "wd-vb")] {
        for (name, protocol, code, count) in [
            ("ok.shop.example", 17, Some(0), (20, 20)),
            ("missing.example", 17, Some(3), (10, 10)),
            ("silent.example", 17, None, (3, 0)),
            ("ok.tcp.example", 6, Some(0), (1, 1)),
        ] {
            expected.insert((pod, end, interface.to_owned(), name.to_owned(), protocol, code), count);
        }
    }
    // The host's own question: the host is the asker, and what no interface of its own shows is told by the pod's.
    let last = || ("ok.last.example".to_owned(), 17, Some(0));
    for (point, end) in [(pod, destination), (Point::Host, source)] {
        let (name, protocol, code) = last();
        let interface = "wd-vb";
        expected.insert((point, end, interface.to_owned(), name, protocol, code), (1, 1));
    }
    assert_eq!(counts, expected);
}

/// What was measured of a connection at one interface, in the direction of `from_port`.
fn of<'a>(
    samples: impl Iterator<Item = &'a Sample>,
    interface: &str,
    wanted: impl Fn(&Sample) -> bool,
) -> Vec<&'a Sample> {
    samples.filter(|s| s.point == Point::Pod && s.interface == interface && wanted(s)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_statistics_are_those_of_the_sockets() {
    if !is_root() {
        return;
    }
    let world = World::new("wt", 234, "nft delete table ip wt-loss");
    // The first SYN is lost, and one in twelve of what follows, counted and not by chance: what is sent at once by segmentation
    // offload comes as about fifty packets here. What ends the connection is not lost, since the socket is asked no more then.
    sh("nft 'table ip wt-loss { chain forward { type filter hook forward priority 0;
          ip daddr 10.234.2.2 tcp dport 7200 tcp flags syn / syn,ack numgen inc mod 2 == 0 drop;
          ip daddr 10.234.2.2 tcp dport 7200 tcp flags & (fin | syn) == 0 numgen inc mod 12 == 11 drop; }; }'");
    let agent = Agent::start(settings("wt")).await;
    let server = world.within("b", "sink");
    tokio::time::sleep(Duration::from_millis(500)).await;
    finished(world.within("a", "sender")).await;
    finished(server).await;
    let seen = agent.stop().await;

    let told = std::fs::read_to_string("/tmp/weir-test-tcp-info").unwrap();
    let port: u16 = told.split(' ').next().unwrap().parse().unwrap();
    let value = |name: &str| told.split_whitespace().find_map(|word| word.strip_prefix(name)).unwrap_or_default();
    let retransmitted: u64 = value("retrans:0/").parse().unwrap();
    let of_socket = |text: &str| -> f64 { text.split('/').next().unwrap().parse::<f64>().unwrap() * 1_000.0 };

    let sent = of(seen.samples(), "wt-va", |s| s.source_port == port);
    assert!(retransmitted >= 2, "{told}");
    assert_eq!(sent.iter().map(|s| s.retransmits).sum::<u64>(), retransmitted, "{told}");
    let (mut count, mut least, mut most) = (0, u64::MAX, 0);
    for time in sent.iter().filter_map(|s| s.round_trip) {
        (count, least, most) = (count + time.count, least.min(time.min), most.max(time.max));
        assert!((time.min * time.count..=time.max * time.count).contains(&time.sum));
    }
    // A smoothed time is never below the smallest single one; and the last one that was seen is at most 8/7 of the one after
    // it, of which it is seven eighths (RFC 6298 §2.3).
    let (smoothed, smallest) = (of_socket(value("rtt:")), of_socket(value("minrtt:")));
    assert!(count > 0, "{told}");
    #[allow(clippy::cast_precision_loss, reason = "microseconds of a test")]
    let least = least as f64;
    assert!(least + 1.0 >= smallest && least <= smoothed * 8.0 / 7.0 + 1.0, "{least} {told}");
    assert!(most < 5_000_000, "{most} {told}");

    // The handshake with a SYN sent again takes a second at the client's end, and less at the server's.
    let handshake = |interface: &str| {
        let back = of(seen.samples(), interface, |s| s.destination_port == port);
        let times: Vec<RoundTrip> = back.iter().filter_map(|s| s.handshake).collect();
        assert_eq!(times.iter().map(|time| time.count).sum::<u64>(), 1, "{interface}");
        times[0].max
    };
    assert!((1_000_000..3_000_000).contains(&handshake("wt-va")), "{}", handshake("wt-va"));
    assert!(handshake("wt-vb") < 500_000);

    let refused = of(seen.samples(), "wt-va", |s| s.source_port == 7_299);
    assert_eq!(refused.iter().map(|s| s.resets).sum::<u64>(), 1);
    assert_eq!(sent.iter().map(|s| s.resets).sum::<u64>(), 0);
}
