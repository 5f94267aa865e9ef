//! Agents that are killed with -9 at any moment, or stopped in order, on a real broker. Needs root; says so where it is
//! not.
//!
//! `WEIR_TEST_AGENT_KILLS=50` and `WEIR_TEST_AGENT_RESTARTS=20` for a long run, `WEIR_TEST_SEED=N` for other moments.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout, reason = "tests")]

#[path = "support/world.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod world;

#[path = "support/kafka.rs"]
mod kafka;

use kafka::Kafka;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use weir_schemas::raw::{End, Point, RawBatch};
use world::{World, counter, is_root, sh};

const LOCAL: &str = "127.0.0.1:0";

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// What the processes in the namespaces do. Not a test of its own.
#[test]
#[ignore = "started by the tests below"]
fn traffic() {
    let Ok(role) = std::env::var("WEIR_TEST_ROLE") else { return };
    // Until the test ends, or says so.
    std::thread::spawn(|| {
        let _ = std::io::read_to_string(std::io::stdin());
        std::process::exit(0);
    });
    if role == "caller" {
        let nobody = "10.240.2.2:7001".parse().unwrap();
        assert!(TcpStream::connect_timeout(&nobody, Duration::from_millis(1_500)).is_err());
        return;
    }
    match role.as_str() {
        "names" => return answer(),
        "asker" => return ask(),
        _ => {}
    }
    let mut random = StdRng::seed_from_u64(7);
    let sockets: Vec<UdpSocket> = (0..40).map(|_| UdpSocket::bind("0.0.0.0:0").unwrap()).collect();
    loop {
        for socket in &sockets {
            let size = random.random_range(1..1_200);
            let network = if role == "flood" { random.random_range(0..400_u32) } else { 0 };
            let to = match network {
                0 => "10.240.2.2:7000".to_owned(),
                // Nobody is there: the host drops it, or sends it on to nowhere.
                n => format!("10.{}.{}.9:7000", 100 + n / 256, n % 256),
            };
            // Refused by the other pod, or not to be sent at all just now: what is sent shows at the interface.
            let _ = socket.send_to(&vec![7; size], to);
        }
        std::thread::sleep(Duration::from_millis(if role == "flood" { 2 } else { 20 }));
    }
}

/// Questions that [`ask`] asks, and how long it waits between two.
const QUESTIONS: u16 = 900;
const BETWEEN: Duration = Duration::from_millis(10);

/// Answers each question with nothing but its code.
fn answer() {
    let socket = UdpSocket::bind("0.0.0.0:53").unwrap();
    let mut buffer = [0; 512];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        std::thread::sleep(Duration::from_millis(2));
        buffer[2] |= 0x80;
        socket.send_to(&buffer[..length], from).unwrap();
    }
}

/// Asks for names that say when, in ms since the epoch.
fn ask() {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    for id in 0..QUESTIONS {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis().to_string();
        let mut question = id.to_be_bytes().to_vec();
        question.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0, u8::try_from(now.len()).unwrap()]);
        question.extend(now.as_bytes());
        question.extend([0, 0, 1, 0, 1]);
        socket.send_to(&question, "10.240.2.2:53").unwrap();
        socket.recv_from(&mut [0; 512]).unwrap();
        std::thread::sleep(BETWEEN);
    }
}

/// A BPF file system of the test's own.
struct Bpffs(PathBuf);

impl Bpffs {
    fn mount(name: &str) -> Self {
        let path = PathBuf::from(format!("/tmp/{name}-bpffs"));
        let _ = Command::new("umount").arg(&path).output();
        std::fs::create_dir_all(&path).unwrap();
        sh(&format!("mount -t bpf {name} {}", path.display()));
        Self(path)
    }

    fn pins(&self) -> PathBuf {
        self.0.join("weir")
    }

    fn links(&self) -> usize {
        let folders = std::fs::read_dir(self.pins()).into_iter().flatten().flatten();
        let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten());
        files.filter(|file| file.file_name().to_string_lossy().starts_with("link-")).count()
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn agent(kafka: &str, pins: &Path, more: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_weir-agent"))
        .args(["--kafka", kafka, "--cluster", "local", "--node", "node-1", "--interfaces", "wk-v*"])
        .arg("--pin-folder")
        .arg(pins)
        .args(more)
        .stdout(Stdio::null())
        .stderr(if std::env::var_os("WEIR_TEST_OUTPUT").is_some() { Stdio::inherit() } else { Stdio::null() })
        .spawn()
        .unwrap()
}

fn wait_for(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !happened() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Packets and L3 bytes that passed both pods' interfaces in either direction, by the interfaces' own statistics.
fn passed() -> (u64, u64) {
    let (mut packets, mut bytes) = (0, 0);
    for interface in ["wk-va", "wk-vb"] {
        for direction in ["rx", "tx"] {
            let some = counter(interface, &format!("{direction}_packets"));
            packets += some;
            bytes += counter(interface, &format!("{direction}_bytes")) - 14 * some;
        }
    }
    (packets, bytes)
}

/// What all agents together published of the pods' interfaces, and lost by reason.
fn accounts(batches: &[RawBatch]) -> ((u64, u64), BTreeMap<String, (u64, u64)>) {
    let mut boots: BTreeMap<&str, Vec<&RawBatch>> = BTreeMap::new();
    for batch in batches {
        boots.entry(&batch.boot).or_default().push(batch);
    }
    let (mut published, mut lost) = ((0, 0), BTreeMap::new());
    for batches in boots.values() {
        let sequences: Vec<u64> = batches.iter().map(|batch| batch.sequence).collect();
        assert_eq!(sequences, (0..).take(batches.len()).collect::<Vec<u64>>(), "each once, in order");
        for sample in batches.iter().flat_map(|batch| &batch.samples).filter(|sample| sample.point == Point::Pod) {
            published.0 += sample.packets;
            published.1 += sample.bytes;
        }
        let last = batches.last().unwrap();
        let (mut packets, mut bytes) = (last.published.packets, last.published.bytes);
        for loss in &last.lost {
            packets += loss.lost.packets;
            bytes += loss.lost.bytes;
            let sum: &mut (u64, u64) = lost.entry(loss.reason.clone()).or_default();
            *sum = (sum.0 + loss.lost.packets, sum.1 + loss.lost.bytes);
        }
        assert_eq!((last.seen.packets, last.seen.bytes), (packets, bytes), "the ledger adds up");
    }
    (published, lost)
}

/// Ends an agent in order, as the end of a pod does.
fn stop(mut agent: Child) {
    sh(&format!("kill {}", agent.id()));
    assert!(agent.wait().unwrap().success());
}

/// What the command that detaches says.
fn detach(pins: &Path) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir-agent"));
    let output = command.args(["--detach", "--pin-folder"]).arg(pins).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

async fn kill_again_and_again(role: &str, more: &[&str], kills: u64) -> BTreeMap<String, (u64, u64)> {
    let bpffs = Bpffs::mount(&format!("weir-test-{role}"));
    let kafka = Kafka::start(LOCAL).await;
    let pins = bpffs.pins();
    let mut random = StdRng::seed_from_u64(number("WEIR_TEST_SEED", 1));
    let mut running = agent(&kafka.address, &pins, more);
    wait_for("the agent watches nothing", || bpffs.links() == 4);
    let world_before = passed();
    let mut traffic = world::within_of("wk", "a", role);
    for kill in 1..=kills {
        let after = Duration::from_millis(random.random_range(0..3_000));
        tokio::time::sleep(after).await;
        running.kill().unwrap();
        running.wait().unwrap();
        // Longer than a window now and then.
        let away = Duration::from_millis(if kill % 5 == 0 { 6_000 } else { random.random_range(0..500) });
        tokio::time::sleep(away).await;
        println!("kill {kill} of an agent, {role}: after {after:?}, away for {away:?}");
        running = agent(&kafka.address, &pins, more);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    drop(traffic.stdin.take());
    traffic.wait().unwrap();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let gained = passed();
    stop(running);
    detach(&pins);

    let batches = kafka.batches().await;
    let ((packets, bytes), lost) = accounts(&batches);
    let seen = (gained.0 - world_before.0, gained.1 - world_before.1);
    let all = lost.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let unknown = lost.get("restart_unknown").copied().unwrap_or_default();
    println!("kill {kills} times, {role}: passed {seen:?}, published {:?}, lost {lost:?}", (packets, bytes));
    assert!(packets <= seen.0 && bytes <= seen.1, "counted twice");
    // The loss is what passed and was not published, and what the ledger says: but for what was on its way at the kill,
    // which may be on the topic and is named apart.
    assert!((seen.0..=seen.0 + unknown.0).contains(&(packets + all.0)), "{seen:?} {packets} {lost:?}");
    assert!((seen.1..=seen.1 + unknown.1).contains(&(bytes + all.1)), "{seen:?} {bytes} {lost:?}");
    lost
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_counted_twice_and_what_is_lost_is_what_the_ledger_says() {
    if !is_root() {
        return;
    }
    let _world = World::new("wk", 240, "");
    let lost = kill_again_and_again("steady", &[], number("WEIR_TEST_AGENT_KILLS", 5)).await;
    assert!(lost.keys().all(|reason| reason.starts_with("restart")), "{lost:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_over_a_full_map_and_kills_lose_only_what_the_ledger_says() {
    if !is_root() {
        return;
    }
    let _world = World::new("wk", 240, "");
    let kills = number("WEIR_TEST_AGENT_KILLS", 5).div_ceil(5);
    let lost = kill_again_and_again("flood", &["--flows-limit", "150"], kills).await;
    assert!(lost.contains_key("map_full"), "the map was never full: {lost:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_are_stopped_in_order_hand_over_without_a_gap_until_one_is_told_to_detach() {
    if !is_root() {
        return;
    }
    let _world = World::new("wk", 240, "");
    let bpffs = Bpffs::mount("weir-test-orderly");
    let kafka = Kafka::start(LOCAL).await;
    let pins = bpffs.pins();
    let mut random = StdRng::seed_from_u64(number("WEIR_TEST_SEED", 1));
    let restarts = number("WEIR_TEST_AGENT_RESTARTS", 4);
    let mut running = agent(&kafka.address, &pins, &[]);
    wait_for("the agent watches nothing", || bpffs.links() == 4);
    let before = passed();
    let mut traffic = world::within_of("wk", "a", "steady");
    for restart in 1..=restarts {
        let after = Duration::from_millis(random.random_range(500..2_500));
        tokio::time::sleep(after).await;
        // The next one may come while this one still publishes.
        sh(&format!("kill {}", running.id()));
        let mut ending = running;
        let at_once = restart % 2 == 0;
        if !at_once {
            assert!(ending.wait().unwrap().success());
            let away = Duration::from_millis(if restart % 5 == 0 { 6_000 } else { random.random_range(0..500) });
            tokio::time::sleep(away).await;
            assert_eq!(bpffs.links(), 4, "an agent that is stopped leaves its programs where they are");
        }
        println!(
            "restart {restart} of an agent in order: after {after:?}, {}",
            if at_once { "at once" } else { "later" }
        );
        running = agent(&kafka.address, &pins, &[]);
        if at_once {
            assert!(ending.wait().unwrap().success());
        }
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    drop(traffic.stdin.take());
    traffic.wait().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let gained = passed();
    stop(running);

    let said = detach(&pins);
    println!("{}", said.join("\n"));
    assert_eq!(said.iter().filter(|line| line.starts_with("detached weir_pod_")).count(), 4, "{said:?}");
    assert!(said.contains(&"given up: 0 packets, 0 bytes that no agent published".to_owned()), "{said:?}");
    assert_eq!((bpffs.links(), pins.exists()), (0, false));
    assert_eq!(sh("bpftool link list 2>/dev/null | grep -c 'ifindex wk-v' || true").trim(), "0");

    let (published, lost) = accounts(&kafka.batches().await);
    let seen = (gained.0 - before.0, gained.1 - before.1);
    println!("restart {restarts} times in order: passed {seen:?}, published {published:?}, lost {lost:?}");
    assert_eq!(published, seen);
    assert!(lost.is_empty(), "{lost:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_while_no_agent_runs_is_told_by_the_next_once_and_when_it_was() {
    if !is_root() {
        return;
    }
    let world = World::new("wk", 240, "");
    let bpffs = Bpffs::mount("weir-test-names");
    let kafka = Kafka::start(LOCAL).await;
    let pins = bpffs.pins();
    let mut running = agent(&kafka.address, &pins, &[]);
    wait_for("the agent watches nothing", || bpffs.links() == 4);
    let mut names = world.within("b", "names");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut asker = world.within("a", "asker");
    let _asks_on = asker.stdin.take();
    let mut random = StdRng::seed_from_u64(number("WEIR_TEST_SEED", 1));
    for in_order in [true, false, false, true].into_iter().cycle() {
        tokio::time::sleep(Duration::from_millis(random.random_range(300..1_800))).await;
        if asker.try_wait().unwrap().is_some() {
            break;
        }
        if in_order {
            stop(running);
        } else {
            running.kill().unwrap();
            running.wait().unwrap();
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(100..900))).await;
        running = agent(&kafka.address, &pins, &[]);
    }
    assert!(asker.wait().unwrap().success());
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    stop(running);
    detach(&pins);
    names.kill().unwrap();
    names.wait().unwrap();

    let batches = kafka.batches().await;
    for end in [End::Source, End::Destination] {
        let mut told = BTreeMap::new();
        for batch in &batches {
            for asked in batch.dns.iter().filter(|asked| asked.point == Point::Pod && asked.end == end) {
                assert_eq!((asked.count, asked.response_code, told.insert(&asked.question, 1)), (1, Some(0), None));
                assert!((2_000..400_000).contains(&asked.latency.unwrap().sum), "{asked:?}");
                let (at, span) = (asked.question.parse::<i64>().unwrap(), i64::from(batch.ticks) * batch.tick_length);
                // Its tick is its answer's.
                assert!((batch.tick - 400..batch.tick + span).contains(&at), "{at} in {} + {span}", batch.tick);
            }
        }
        assert_eq!(told.len(), usize::from(QUESTIONS), "{end:?}");
    }
}

/// How often a namespace's TCP sent segments again.
fn sent_again() -> u64 {
    let text = sh("nsenter --net=/run/netns/wk-a cat /proc/net/snmp");
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:")).map(|line| line.split(' '));
    let names = lines.next().unwrap();
    let place = names.clone().position(|name| name == "RetransSegs").unwrap();
    lines.next().unwrap().nth(place).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_and_sent_again_while_no_agent_runs_is_told_by_the_next_to_the_packet() {
    if !is_root() {
        return;
    }
    let world = World::new("wk", 240, "nft delete table ip wk-drop");
    sh("nft 'table ip wk-drop { counter dropped {}
         chain forward { type filter hook forward priority 0; ip daddr 10.240.2.2 counter name dropped drop; }; }'");
    let bpffs = Bpffs::mount("weir-test-between");
    let kafka = Kafka::start(LOCAL).await;
    let pins = bpffs.pins();
    let running = agent(&kafka.address, &pins, &[]);
    wait_for("the agent watches nothing", || bpffs.links() == 4);
    let mut traffic = world.within("a", "steady");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    stop(running);
    let before = sent_again();
    // Its SYN is dropped, and sent again after a second.
    let mut caller = world.within("a", "caller");
    let _stays = caller.stdin.take();
    assert!(tokio::task::spawn_blocking(move || caller.wait()).await.unwrap().unwrap().success());
    let again = sent_again() - before;
    let running = agent(&kafka.address, &pins, &[]);
    // The moment in which one takes over from the other is among the traffic.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    drop(traffic.stdin.take());
    traffic.wait().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let counter = sh("nft list counter ip wk-drop dropped");
    let dropped: u64 =
        counter.split_whitespace().skip_while(|word| *word != "packets").nth(1).unwrap().parse().unwrap();
    stop(running);
    let said = detach(&pins);
    assert_eq!(said.iter().filter(|line| line.ends_with("from its tracepoint")).count(), 3, "{said:?}");

    let batches = kafka.batches().await;
    let samples = || batches.iter().flat_map(|batch| &batch.samples);
    let told: u64 = samples()
        .flat_map(|sample| &sample.drops)
        .filter(|drop| drop.reason == "NETFILTER_DROP")
        .map(|drop| drop.packets)
        .sum();
    assert_eq!(told, dropped);
    assert!(again > 0, "nothing was sent again");
    assert_eq!(samples().map(|sample| sample.retransmits).sum::<u64>(), again);
}

/// What each thread of a process says of itself in `/proc`.
fn threads(id: u32, field: &str) -> Vec<String> {
    std::fs::read_dir(format!("/proc/{id}/task"))
        .unwrap()
        .map(|task| {
            let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
            line.trim_start_matches(':').trim().to_owned()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn once_it_has_loaded_no_thread_may_trace_or_call_what_is_none_of_its_own() {
    if !is_root() {
        return;
    }
    let world = World::new("wk", 240, "nft delete table ip wk-drop");
    sh("nft 'table ip wk-drop { chain forward { type filter hook forward priority 0; udp dport 7000 drop; }; }'");
    let bpffs = Bpffs::mount("weir-test-rights");
    let kafka = Kafka::start(LOCAL).await;
    let running = agent(&kafka.address, &bpffs.pins(), &[]);
    wait_for("the agent watches nothing", || bpffs.links() == 4);
    wait_for("not confined", || threads(running.id(), "Seccomp").iter().all(|mode| mode == "2"));
    let kept = (1_u64 << 39) | (1 << 12) | (1 << 19) | (1 << 2);
    for set in ["CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"] {
        for held in threads(running.id(), set) {
            let held = u64::from_str_radix(&held, 16).unwrap();
            assert_eq!(held & !kept, 0, "{set} {held:x}");
        }
    }
    assert!(threads(running.id(), "NoNewPrivs").iter().all(|flag| flag == "1"));
    // An interface that comes now is attached to all the same, and drops still have their reason.
    sh("ip link add wk-vc type veth peer name wk-pc netns wk-b; ip link set wk-vc up");
    wait_for("the new interface is not watched", || bpffs.links() == 6);
    sh("ip link del wk-vc");
    let mut traffic = world.within("a", "steady");
    tokio::time::sleep(Duration::from_secs(4)).await;
    traffic.kill().unwrap();
    traffic.wait().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop(running);
    detach(&bpffs.pins());
    let batches = kafka.batches().await;
    let dropped = batches.iter().flat_map(|batch| &batch.samples).flat_map(|sample| &sample.drops);
    assert!(dropped.into_iter().any(|drop| drop.reason == "NETFILTER_DROP" && drop.packets > 0));
    std::io::stderr().flush().unwrap();
}
