//! What an agent costs a node: `cargo bench --bench node` as root. A network namespace as a pod, the embedded broker in this
//! process, the agent in one of its own.
//!
//! * flood: packets of 18 bytes that one sender gets over two veth pairs to a receiver's socket in a second of processor time: without
//!   anything, with programs that do nothing where the agent's would be, and with an agent, in turn. Each is compared with the mean of
//!   the two runs without anything around it.
//! * flows: processor time and bytes on the topic for each flow, and resident memory, at some numbers of flows a tick.
//!
//! `-- flood` or `-- flows` alone runs one of them, `-- flows 100000` with that number alone. `--peer COMMAND` runs another agent, in the flood in ours' place, and
//! after ours for each number of flows; the command is given to a shell with the broker's address in `KAFKA`, and ended when it is done. What it publishes for a
//! flow and tick is taken to be one record of the topic `peer`, as NetObserv's is.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark: prints a table, ends at the first surprise")]

use aya::Ebpf;
use aya::programs::{SchedClassifier, TcAttachType};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use weir_embedded_broker::{Broker, BrokerSettings};
use weir_flow::RecordSettings;
use weir_schemas::raw::RawBatch;
use weir_schemas::settings::Settings;
use weir_schemas::{encode, topics};
use weir_stream::{KafkaSettings, Log, NewRecord, Partitions, ProducerSettings, Record, Start, TopicSpec};

/// The topic of another agent.
const PEER: &str = "peer";
const ROLE: &str = "WEIR_BENCH_ROLE";
/// Turns of the flood, and how long each run lasts.
const ROUNDS: usize = 15;
const FLOOD: Duration = Duration::from_secs(2);
/// The cluster's tick.
const TICK: Duration = Duration::from_secs(5);
/// Ticks of each number of flows that are measured.
const TICKS: u32 = 6;

fn sh(script: &str) {
    let output = Command::new("bash").args(["-euc", script]).output().unwrap();
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
}

struct World;

impl World {
    fn new() -> Self {
        Self::remove();
        sh("ip netns add wb-a; ip link add wb-va type veth peer name wb-pa netns wb-a
            echo 1 >/proc/sys/net/ipv6/conf/wb-va/disable_ipv6
            nsenter --net=/run/netns/wb-a sysctl -qw net.ipv6.conf.wb-pa.disable_ipv6=1
            ip addr add 10.246.1.1/24 dev wb-va; ip link set wb-va up
            ip -n wb-a addr add 10.246.1.2/24 dev wb-pa; ip -n wb-a link set wb-pa up; ip -n wb-a link set lo up
            ip -n wb-a route add default via 10.246.1.1
            ip netns add wb-b; ip link add wb-d type veth peer name wb-e netns wb-b
            echo 1 >/proc/sys/net/ipv6/conf/wb-d/disable_ipv6
            ip addr add 10.246.9.1/24 dev wb-d; ip link set wb-d up
            ip -n wb-b link set wb-e address 02:00:00:f6:09:02 up; ip -n wb-b link set lo up
            ip -n wb-b addr add 10.247.250.2/32 dev wb-e
            ip neigh replace 10.246.9.2 lladdr 02:00:00:f6:09:02 dev wb-d nud permanent
            ip route add 10.247.0.0/16 via 10.246.9.2
            echo 1 >/proc/sys/net/ipv4/ip_forward");
        Self
    }

    fn remove() {
        let _ = Command::new("bash")
            .args(["-c", "ip netns del wb-a; ip netns del wb-b; ip link del wb-va; ip link del wb-d; true"])
            .output();
    }

    /// This program in a namespace, on the processors of a list as taskset(1) reads it.
    fn within(namespace: &str, processors: &str, role: &str) -> Child {
        Command::new("taskset")
            .args(["-c", processors, "nsenter"])
            .arg(format!("--net=/run/netns/{namespace}"))
            .arg(std::env::current_exe().unwrap())
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        Self::remove();
    }
}

/// What the process in the namespace does until its standard input ends.
fn play(role: &str) {
    std::thread::spawn(|| {
        let _ = std::io::read_to_string(std::io::stdin());
        std::process::exit(0);
    });
    let flows: usize = match role.strip_prefix("flows ") {
        Some(flows) => flows.parse().unwrap(),
        None if role == "receiver" => {
            // It never sleeps, so that nobody wakes it at the sender's cost.
            let socket = UdpSocket::bind("0.0.0.0:7000").unwrap();
            socket.set_nonblocking(true).unwrap();
            loop {
                let _ = socket.recv(&mut [0; 64]);
            }
        }
        None => {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect("10.247.250.2:7000").unwrap();
            loop {
                let _ = socket.send(&[7; 18]);
            }
        }
    };
    // 30 pods' worth of clients do not fit into one namespace: ports stand for them. 200 others, 20 service ports.
    let sockets: Vec<UdpSocket> = (0..flows.div_ceil(4_000)).map(|_| UdpSocket::bind("0.0.0.0:0").unwrap()).collect();
    let targets: Vec<(usize, SocketAddr)> = (0..flows)
        .map(|flow| {
            let (pod, port) = (flow % 200, 8_000 + (flow / 200) % 20);
            let port = u16::try_from(port).unwrap();
            let last = [10, 247, u8::try_from(pod / 100).unwrap(), u8::try_from(pod % 100 + 1).unwrap()];
            (flow / 4_000, SocketAddr::from((last, port)))
        })
        .collect();
    loop {
        let begun = Instant::now();
        // Two packets of each flow in a tick, evenly spread.
        for chunk in targets.chunks(flows.div_ceil(100).max(1)) {
            for (socket, target) in chunk {
                let size = 50 + usize::from(target.port() % 1_000);
                let _ = sockets[*socket].send_to(&vec![7; size], *target);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep((TICK / 2).saturating_sub(begun.elapsed()));
    }
}

/// Ends what [`play`] does in a namespace.
fn end(mut child: Child) {
    drop(child.stdin.take());
    let _ = child.wait();
}

fn received() -> u64 {
    std::fs::read_to_string("/sys/class/net/wb-va/statistics/rx_packets").unwrap().trim().parse().unwrap()
}

/// The broker, and the cluster's topics and settings on it.
struct Kafka {
    log: Log,
    address: String,
    folder: tempfile::TempDir,
    _broker: Broker,
}

impl Kafka {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let broker = Broker::start(BrokerSettings::new(folder.path(), "127.0.0.1:0".parse().unwrap())).await.unwrap();
        let address = broker.address().to_string();
        let log = Log::kafka(&KafkaSettings::at(&address)).unwrap();
        log.check(Duration::from_secs(60)).await.unwrap();
        let all = topics::of("local", 1, 1, 1).into_iter();
        let specs: Vec<TopicSpec> =
            all.map(|t| TopicSpec { name: t.name, partitions: t.partitions, configs: t.configs }).collect();
        log.ensure_topics(&specs).await.unwrap();
        let record = RecordSettings { raw_partitions: 1, ..RecordSettings::standard("local") };
        let producer = log.producer(&ProducerSettings::new("settings")).unwrap();
        let settings = encode(&Settings::from(&record)).unwrap();
        producer.send(NewRecord::new(topics::SETTINGS, "local", settings)).unwrap().await.unwrap();
        Self { log, address, folder, _broker: broker }
    }

    /// Bytes that topics take on the broker's disk, and all raw batches.
    async fn raw(&self) -> (u64, Vec<RawBatch>) {
        let records = self.records(&topics::raw("local")).await;
        let batches = records.iter().map(|r| weir_schemas::decode(r.value.as_ref().unwrap()).unwrap()).collect();
        (size(self.folder.path()), batches)
    }

    /// All records of a topic.
    async fn records(&self, topic: &str) -> Vec<Record> {
        let mut reader = self.log.reader(topic, Partitions::All, Start::Beginning).await.unwrap();
        reader.read_to_end(Duration::from_secs(30)).await.unwrap()
    }
}

/// Sizes of the log files below a folder: nothing but raw batches is written after the start.
fn size(folder: &Path) -> u64 {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sum += size(&path);
        } else if path.extension().is_some_and(|extension| extension == "log") {
            sum += entry.metadata().unwrap().len();
        }
    }
    sum
}

struct Agent(Child);

impl Agent {
    fn start(kafka: &str, flows: usize) -> Self {
        let limit = (flows * 4).max(65_536).to_string();
        let child = Command::new(env!("CARGO_BIN_EXE_weir-agent"))
            .args(["--kafka", kafka, "--cluster", "local", "--node", "node-1", "--interfaces", "wb-va"])
            .args(["--flows-limit", &limit, "--connections-limit", &limit])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_secs(3));
        Self(child)
    }

    /// Another agent.
    fn start_peer(kafka: &str, command: &str) -> Self {
        let mut shell = Command::new("bash");
        shell.args(["-c", &format!("exec {command}")]).env("KAFKA", kafka);
        let child = shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_secs(3));
        Self(child)
    }

    /// Resident memory of its own, MB.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1_024 / 1_000_000
    }

    /// Resident memory of files, MB: of the program itself, but not of the maps that it shares with the kernel.
    fn files(&self) -> u64 {
        let all = std::fs::read_to_string(format!("/proc/{}/smaps", self.0.id())).unwrap();
        let (mut sum, mut is_file) = (0, false);
        for line in all.lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields[0].contains('-') {
                is_file = fields.get(5).is_some_and(|name| name.starts_with('/'));
            } else if fields[0] == "Rss:" && is_file {
                sum += fields[1].parse::<u64>().unwrap();
            }
        }
        sum * 1_024 / 1_000_000
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// Packets over the veth pair for each second of the sender's processor time, in which the receiving end is, too: as many as
/// in a second where nothing else wants the processor.
fn rate(sender: &Child) -> f64 {
    let (time, packets) = (running_time(sender), received());
    std::thread::sleep(FLOOD);
    f64::from(u32::try_from(received() - packets).unwrap()) / (running_time(sender) - time)
}

/// Time that the only busy thread of a process, its first, had a processor, s: to the nanosecond.
fn running_time(process: &Child) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{}/schedstat", process.id())).unwrap();
    text.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// User and system time of a process, s.
fn processor_time(process: &Child) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |place: usize| fields[place].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

/// Packets that came to the receiver's socket and found no room there.
fn overflowed() -> u64 {
    let output = Command::new("nsenter").args(["--net=/run/netns/wb-b", "cat", "/proc/net/snmp"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut udp = text.lines().filter_map(|line| line.strip_prefix("Udp: ")).map(str::split_whitespace);
    let names = udp.next().unwrap();
    let (_, value) = names.zip(udp.next().unwrap()).find(|(name, _)| *name == "RcvbufErrors").unwrap();
    value.parse().unwrap()
}

/// Programs that do nothing at both hooks of the interface that the agent watches, for as long as this lives.
struct Empty(#[allow(dead_code, reason = "held")] Ebpf);

impl Empty {
    fn attach() -> Self {
        let mut ebpf = Ebpf::load(aya::include_bytes_aligned!("../bpf/flow.bpf.o")).unwrap();
        let program: &mut SchedClassifier = ebpf.program_mut("weir_nothing").unwrap().try_into().unwrap();
        program.load().unwrap();
        for direction in [TcAttachType::Ingress, TcAttachType::Egress] {
            program.attach("wb-va", direction).unwrap();
        }
        Self(ebpf)
    }
}

fn flood(kafka: &str, peer: Option<&str>) {
    // On one processor the receiver would find no time to read what the sender sends, and drops would be measured.
    let receiver = World::within("wb-b", "1", "receiver");
    let (passed, lost) = (received(), overflowed());
    let sender = World::within("wb-a", "0", "flood");
    std::thread::sleep(Duration::from_secs(1));
    let (mut empty, mut agent) = (Vec::new(), Vec::new());
    let mut alone = rate(&sender);
    for round in 0..ROUNDS {
        let less = |before: f64, with: f64, after: f64| (1.0 - with * 2.0 / (before + after)) * 100.0;
        let with_empty = {
            let _empty = Empty::attach();
            rate(&sender)
        };
        let between = rate(&sender);
        let with_agent = {
            let _agent = peer.map_or_else(|| Agent::start(kafka, 0), |command| Agent::start_peer(kafka, command));
            rate(&sender)
        };
        let after = rate(&sender);
        empty.push(less(alone, with_empty, between));
        agent.push(less(between, with_agent, after));
        println!(
            "flood: {between:.0} packets/s alone, {:.1} % less with programs that do nothing, {:.1} % less with the agent",
            empty[round], agent[round]
        );
        alone = after;
    }
    for (name, mut all) in [("programs that do nothing", empty), ("the agent", agent)] {
        all.sort_by(f64::total_cmp);
        let quartiles: Vec<String> = (1..4).map(|n| format!("{:.1}", all[all.len() * n / 4])).collect();
        println!("flood: with {name} {} % less (quartiles)", quartiles.join(", "));
    }
    println!("flood: {} of {} packets found the receiver's buffer full", overflowed() - lost, received() - passed);
    end(sender);
    end(receiver);
}

async fn flows(number: usize) {
    let kafka = Kafka::start().await;
    let agent = Agent::start(&kafka.address, number);
    let sender = World::within("wb-a", "0-1023", &format!("flows {number}"));
    tokio::time::sleep(TICK * 2).await;
    let before = processor_time(&agent.0);
    let (bytes_before, batches_before) = kafka.raw().await;
    // A tick takes the most of it for some tens of milliseconds only.
    let (begun, mut memory) = (Instant::now(), Vec::new());
    while begun.elapsed() < TICK * TICKS {
        tokio::time::sleep(Duration::from_millis(10)).await;
        memory.push(agent.memory());
    }
    memory.sort_unstable();
    let (most, files) = (memory[memory.len() - 1], agent.files());
    let usual = memory[memory.len() / 2];
    let time = processor_time(&agent.0) - before;
    let (bytes, batches) = kafka.raw().await;
    let new = &batches[batches_before.len()..];
    let samples: usize = new.iter().map(|batch| batch.samples.len()).sum();
    let lost: u64 = batches.last().unwrap().lost.iter().map(|loss| loss.lost.packets).sum();
    #[allow(clippy::cast_precision_loss, reason = "counts of a benchmark")]
    let (each, size) = (time * 1e6 / samples as f64, (bytes - bytes_before) as f64 / samples as f64);
    println!(
        "{number} flows a tick: {samples} samples in {} batches, {each:.2} µs of processor time and {size:.1} B a flow, {usual} MB of its own resident, at most {most}, and {files} of files, {lost} packets lost",
        new.len()
    );
    end(sender);
}

/// What another agent takes for as many flows, and for each record that it publishes.
async fn peer_flows(number: usize, command: &str) {
    let kafka = Kafka::start().await;
    kafka.log.ensure_topics(&[TopicSpec::new(PEER, 1)]).await.unwrap();
    let agent = Agent::start_peer(&kafka.address, command);
    let sender = World::within("wb-a", "0-1023", &format!("flows {number}"));
    tokio::time::sleep(TICK * 2).await;
    let (time, bytes, records) = (processor_time(&agent.0), size(kafka.folder.path()), kafka.records(PEER).await.len());
    tokio::time::sleep(TICK * TICKS).await;
    let memory = agent.memory();
    let time = processor_time(&agent.0) - time;
    let (bytes, records) = (size(kafka.folder.path()) - bytes, kafka.records(PEER).await.len() - records);
    #[allow(clippy::cast_precision_loss, reason = "counts of a benchmark")]
    let (each, size) = (time * 1e6 / records as f64, bytes as f64 / records as f64);
    println!(
        "{number} flows a tick, the peer: {records} records, {each:.2} µs of processor time and {size:.1} B a record, {time:.2} s in all, {memory} MB of its own resident"
    );
    end(sender);
}

fn main() {
    if let Ok(role) = std::env::var(ROLE) {
        return play(&role);
    }
    let arguments: Vec<String> = std::env::args().collect();
    let only = |name: &str| arguments.iter().any(|a| a == name);
    let peer = arguments.iter().position(|a| a == "--peer").and_then(|place| arguments.get(place + 1));
    let everything = !only("flood") && !only("flows");
    let _world = World::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if everything || only("flows") {
        let only: Vec<usize> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
        for number in if only.is_empty() { vec![300, 30_000, 100_000] } else { only } {
            runtime.block_on(flows(number));
            if let Some(command) = peer {
                runtime.block_on(peer_flows(number, command));
            }
        }
    }
    if everything || only("flood") {
        let kafka = runtime.block_on(Kafka::start());
        flood(&kafka.address, peer.map(String::as_str));
    }
}
