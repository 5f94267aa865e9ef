//! Pods as network namespaces on one bridge, and what hears their datagrams.

use crate::now;
use std::net::{IpAddr, UdpSocket};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use weir_flow::Millis;

const BRIDGE: &str = "weir-addr0";
/// The collector outside of all pods; pods have the addresses from [`FIRST_POD`] on.
pub(crate) const COLLECTOR: [&str; 2] = ["10.231.0.1", "fd00:231::1"];
const PORT: u16 = 9_231;
pub(crate) const SENDER: &str = "WEIR_TEST_ADDRESS_SENDER";
/// Time between two datagrams of a pod.
const EVERY: Duration = Duration::from_millis(40);

pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Not a test of its own, but what runs in a pod's namespace, and sends who it is from each of its addresses until it is killed.
#[test]
fn sender() {
    let Ok(text) = std::env::var(SENDER) else { return };
    let (uid, addresses) = text.split_once(' ').unwrap();
    let addresses = addresses.split(',').map(|text| text.parse::<IpAddr>().unwrap());
    let sockets: Vec<(UdpSocket, &str)> = addresses
        .map(|address| (UdpSocket::bind((address, 0)).unwrap(), COLLECTOR[usize::from(address.is_ipv6())]))
        .collect();
    loop {
        for (socket, collector) in &sockets {
            let _ = socket.send_to(format!("{} {uid}", now()).as_bytes(), (*collector, PORT));
        }
        std::thread::sleep(EVERY);
    }
}

/// An address with the length of its network; one of IPv6 is used at once, since nobody else has it.
pub(crate) fn on_link(address: &str) -> String {
    if address.contains(':') { format!("{address}/64 nodad") } else { format!("{address}/16") }
}

/// A namespace for each pod that may run at a time, all on one bridge; gone when it is dropped.
pub(crate) struct Network {
    namespaces: usize,
    pub(crate) free: Mutex<Vec<usize>>,
}

impl Network {
    pub(crate) fn new(namespaces: usize) -> Self {
        let network = Self { namespaces, free: Mutex::new((0..namespaces).collect()) };
        network.remove();
        ip(&format!("link add {BRIDGE} type bridge"));
        for collector in COLLECTOR {
            ip(&format!("addr add {} dev {BRIDGE}", on_link(collector)));
        }
        ip(&format!("link set {BRIDGE} up"));
        for number in 0..namespaces {
            let name = Self::name(number);
            ip(&format!("netns add {name}"));
            ip(&format!("link add {name} type veth peer name eth0 netns {name}"));
            ip(&format!("link set {name} master {BRIDGE} up"));
            ip(&format!("-n {name} link set eth0 up"));
        }
        network
    }

    pub(crate) fn name(number: usize) -> String {
        format!("weir-addr-{number}")
    }

    fn remove(&self) {
        for number in 0..self.namespaces {
            let _ = Command::new("ip").args(["netns", "del", &Self::name(number)]).output();
            let _ = Command::new("ip").args(["link", "del", &Self::name(number)]).output();
        }
        let _ = Command::new("ip").args(["link", "del", BRIDGE]).output();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.remove();
    }
}

/// A datagram: when it was sent, from which address, by which pod.
pub(crate) type Heard = (Millis, IpAddr, String);

pub(crate) fn collect(stop: &CancellationToken, address: &str) -> std::thread::JoinHandle<Vec<Heard>> {
    let socket = UdpSocket::bind((address, PORT)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let stop = stop.clone();
    std::thread::spawn(move || {
        let (mut heard, mut buffer) = (Vec::new(), [0; 512]);
        while !stop.is_cancelled() {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            let (time, uid) = text.split_once(' ').unwrap();
            heard.push((time.parse().unwrap(), from.ip(), uid.to_owned()));
        }
        heard
    })
}
