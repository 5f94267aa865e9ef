//! Two "pods" behind a "node", as network namespaces, and real traffic between them.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub(crate) const POD_A: &str = "10.77.1.2";
pub(crate) const POD_B: &str = "10.77.1.3";
/// The port whose attempts the node's firewall drops.
pub(crate) const DENIED_PORT: u16 = 9_999;
/// The port at which pod B says what it is told.
pub(crate) const ECHO_PORT: u16 = 8_001;
const CONNECTIONS: usize = 20;
const ASKED: usize = 50_000;
const ANSWERED: usize = 200_000;
const DATAGRAMS: usize = 50;
const DATAGRAM: usize = 500;
/// Bytes that a client sends and gets, without headers.
pub(crate) const PAYLOAD_SENT: u64 = (CONNECTIONS * ASKED + DATAGRAMS * DATAGRAM) as u64;
pub(crate) const PAYLOAD_RECEIVED: u64 = (CONNECTIONS * ANSWERED + DATAGRAMS * DATAGRAM) as u64;

/// The namespaces; gone when this value is dropped.
pub(crate) struct Network {
    name: String,
    server: Option<Child>,
}

/// An interface's counters as L3 bytes and packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) sent_packets: u64,
    pub(crate) received: u64,
    pub(crate) received_packets: u64,
}

fn run(command: &str) {
    let output = Command::new("bash").args(["-euc", command]).output().unwrap();
    assert!(output.status.success(), "{command}\n{}", String::from_utf8_lossy(&output.stderr));
}

impl Network {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("we{name}");
        remove(&name);
        run(&format!(
            "for n in {name}n {name}a {name}b; do
               ip netns add $n
               ip netns exec $n sh -c 'echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6'
               ip -n $n link set lo up
               # Every segment but SYN has a header of 20 + 12 bytes, SYN and SYN-ACK have 20 + 20.
               ip netns exec $n sh -c 'echo 1 > /proc/sys/net/ipv4/tcp_timestamps; echo 0 > /proc/sys/net/ipv4/tcp_sack'
             done
             ip netns exec {name}n sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
             for p in a b; do
               case $p in a) addr={POD_A};; b) addr={POD_B};; esac
               ip link add wn$p netns {name}n type veth peer name eth0 netns {name}$p
               ip -n {name}$p addr add $addr/32 dev eth0
               # What leaves is counted as it stands on the wire: no segmentation by the interfaces.
               ip netns exec {name}n ethtool -K wn$p tso off gso off gro off tx off > /dev/null
               ip netns exec {name}$p ethtool -K eth0 tso off gso off gro off tx off > /dev/null
               ip -n {name}n link set wn$p up
               ip -n {name}$p link set eth0 up
               node=$(ip -n {name}n -j link show wn$p | sed 's/.*\"address\":\"\\([^\"]*\\)\".*/\\1/')
               pod=$(ip -n {name}$p -j link show eth0 | sed 's/.*\"address\":\"\\([^\"]*\\)\".*/\\1/')
               ip -n {name}$p route add 169.254.1.1 dev eth0 scope link
               ip -n {name}$p route add default via 169.254.1.1 dev eth0
               ip -n {name}$p neigh add 169.254.1.1 lladdr $node dev eth0 nud permanent
               ip -n {name}n neigh add $addr lladdr $pod dev wn$p nud permanent
             done
             ip -n {name}n addr add 10.77.1.1/24 dev wna
             ip -n {name}n route add {POD_A}/32 dev wna
             ip -n {name}n route add {POD_B}/32 dev wnb
             ip netns exec {name}n nft 'table inet weirtest {{ chain forward {{ type filter hook forward priority 0; tcp dport {DENIED_PORT} drop; }}; }}'"
        ));
        let mut network = Self { name, server: None };
        network.server = Some(network.role("b", "server"));
        std::thread::sleep(Duration::from_millis(300));
        network
    }

    pub(crate) fn node(&self) -> String {
        format!("{}n", self.name)
    }

    pub(crate) fn pod(&self, pod: &str) -> String {
        format!("{}{pod}", self.name)
    }

    fn role(&self, pod: &str, role: &str) -> Child {
        self.role_in(&self.pod(pod), role)
    }

    /// Runs a role of this test program in a namespace.
    pub(crate) fn role_in(&self, namespace: &str, role: &str) -> Child {
        Command::new("nsenter")
            .arg(format!("--net=/run/netns/{namespace}"))
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "network::role", "--ignored", "--nocapture"])
            .env("WEIR_TEST_ROLE", role)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Runs a role of this test program in a pod's namespace to its end.
    pub(crate) fn act(&self, pod: &str, role: &str) {
        let status = self.role(pod, role).wait().unwrap();
        assert!(status.success(), "{role} failed");
    }

    /// Starts a role in a pod's namespace; it ends with the value.
    pub(crate) fn begin(&self, pod: &str, role: &str) -> Acting {
        Acting(self.role(pod, role))
    }

    /// Makes the node drop connections to a port, too.
    pub(crate) fn drop_port(&self, port: u16) {
        let node = self.node();
        run(&format!("ip netns exec {node} nft add rule inet weirtest forward tcp dport {port} drop"));
    }

    /// TCP and UDP from pod A to pod B, and one attempt that the node drops.
    pub(crate) fn traffic(&self) {
        let status = self.role("a", "client").wait().unwrap();
        assert!(status.success(), "the client failed");
        // Late FINs and ACKs of the last connection.
        std::thread::sleep(Duration::from_millis(500));
    }

    pub(crate) fn counts(&self, pod: &str) -> Counts {
        let read = |counter: &str| -> u64 {
            let output = Command::new("ip")
                .args(["netns", "exec", &self.pod(pod), "cat", &format!("/sys/class/net/eth0/statistics/{counter}")])
                .output()
                .unwrap();
            String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
        };
        const ETHERNET: u64 = 14;
        let (sent_packets, received_packets) = (read("tx_packets"), read("rx_packets"));
        Counts {
            sent: read("tx_bytes") - ETHERNET * sent_packets,
            sent_packets,
            received: read("rx_bytes") - ETHERNET * received_packets,
            received_packets,
        }
    }
}

/// A role that acts until the value is dropped.
pub(crate) struct Acting(Child);

impl Drop for Acting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the sockets of a pod said of themselves (TCP_INFO) when they were destroyed.
pub(crate) struct Sockets {
    listing: Child,
    output: tempfile::NamedTempFile,
}

/// TCP_INFO summed over the connections of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SocketCounts {
    /// Sockets.
    pub(crate) connections: u64,
    /// `tcpi_segs_out`, and a SYN-ACK for each that was accepted.
    pub(crate) segments: u64,
    /// `tcpi_bytes_sent`: payload, sent again or not.
    pub(crate) payload: u64,
}

impl SocketCounts {
    /// L3 bytes of what was sent: IPv4 and TCP headers of every segment, eight more of each SYN, the payload.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments * (20 + 20 + 12) + self.connections * 8 + self.payload
    }
}

impl Sockets {
    /// Begins to listen in a pod's namespace; the kernel tells of each socket as it goes.
    pub(crate) fn listen(network: &Network, pod: &str) -> Self {
        let output = tempfile::NamedTempFile::new().unwrap();
        let listing = Command::new("ip")
            .args(["netns", "exec", &network.pod(pod), "stdbuf", "-oL", "ss", "--tcp", "-E", "-i", "-n", "-H", "-O"])
            .stdout(File::options().append(true).open(output.path()).unwrap())
            .spawn()
            .unwrap();
        Self { listing, output }
    }

    /// The sums over all sockets that had a peer.
    pub(crate) fn counts(&self) -> SocketCounts {
        let text = std::fs::read_to_string(self.output.path()).unwrap();
        let mut counts = SocketCounts::default();
        for line in text.lines().filter(|line| !line.contains("0.0.0.0:*")) {
            let field = |name: &str| -> u64 {
                let value = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix(':'));
                value.map_or(0, |value| value.parse().unwrap())
            };
            counts.connections += 1;
            counts.segments += field("segs_out");
            // The SYN-ACK is sent before there is a socket: the listener's request counts for nobody.
            let accepted = line.split_whitespace().nth(3).is_some_and(|local| local.ends_with(":8000"));
            counts.segments += u64::from(accepted);
            counts.payload += field("bytes_sent");
        }
        counts
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        let _ = self.listing.kill();
        let _ = self.listing.wait();
    }
}

/// What the programs themselves sent by UDP, each way: L3 bytes and packets.
pub(crate) const DATAGRAMS_SENT: (u64, u64) = (DATAGRAMS as u64 * (DATAGRAM as u64 + 28), DATAGRAMS as u64);

fn remove(name: &str) {
    let _ = Command::new("bash")
        .args(["-c", &format!("for n in {name}n {name}a {name}b; do ip netns del $n; done")])
        .stderr(Stdio::null())
        .status();
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
        remove(&self.name);
    }
}

#[test]
#[ignore = "is started inside a namespace by other tests"]
fn role() {
    match std::env::var("WEIR_TEST_ROLE").as_deref() {
        Ok("server") => server(),
        Ok("client") => client(),
        Ok(other) => match other.split(' ').collect::<Vec<_>>().as_slice() {
            ["talk", address] => talk(address),
            ["attempt", count, address] => attempt(count.parse().unwrap(), address),
            ["relay", address, path] => crate::relay::inside(address, Path::new(path)),
            _ => panic!("there is no role {other:?}"),
        },
        Err(_) => {}
    }
}

/// Keeps one connection open and says something on it five times a second.
fn talk(address: &str) {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut answer = [0; 100];
    loop {
        stream.write_all(&[3; 100]).unwrap();
        stream.read_exact(&mut answer).unwrap();
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Opens connections one after the other, and says something on those that there are.
fn attempt(count: usize, address: &str) {
    for _ in 0..count {
        if let Ok(mut stream) = TcpStream::connect_timeout(&address.parse().unwrap(), Duration::from_millis(300)) {
            let mut answer = [0; 100];
            stream.write_all(&[3; 100]).unwrap();
            stream.read_exact(&mut answer).unwrap();
        }
    }
}

/// Says what it is told, on any number of connections.
fn echo() {
    for stream in TcpListener::bind(("0.0.0.0", ECHO_PORT)).unwrap().incoming() {
        let mut stream = stream.unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 100];
            while stream.read_exact(&mut buffer).is_ok() && stream.write_all(&buffer).is_ok() {}
        });
    }
}

fn server() {
    std::thread::spawn(echo);
    let udp = UdpSocket::bind("0.0.0.0:5000").unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2_000];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            udp.send_to(&buffer[..length], from).unwrap();
        }
    });
    let tcp = TcpListener::bind("0.0.0.0:8000").unwrap();
    for stream in tcp.incoming() {
        let mut stream = stream.unwrap();
        let mut asked = vec![0; ASKED];
        if stream.read_exact(&mut asked).is_ok() {
            stream.write_all(&vec![7; ANSWERED]).unwrap();
        }
    }
}

fn client() {
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect((POD_B, 8_000)).unwrap();
        stream.write_all(&vec![1; ASKED]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer.len(), ANSWERED);
    }
    let udp = UdpSocket::bind((POD_A, 0)).unwrap();
    udp.connect((POD_B, 5_000)).unwrap();
    udp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut buffer = [0; DATAGRAM];
    for _ in 0..DATAGRAMS {
        udp.send(&[2; DATAGRAM]).unwrap();
        assert_eq!(udp.recv(&mut buffer).unwrap(), DATAGRAM);
    }
    let address = format!("{POD_B}:{DENIED_PORT}").parse().unwrap();
    assert!(TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_err());
}
