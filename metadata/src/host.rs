//! This host: its name, its addresses, and the networks behind it.
//!
//! An agent on a host without a cluster covers the host's own addresses, and the networks of the interfaces that lead to
//! what runs on the host (bridges, veth pairs), but not those of an uplink: a neighbour there has no agent, and to count
//! on its report would lose the flow. An uplink is an interface of a device, or one that a default route uses.

use crate::bounds::always;
use crate::observe::made_uid;
use crate::revisions::{About, Observed};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use weir_flow::{Address, AddressScope};
use weir_schemas::metadata::{self, Object};

#[cfg(test)]
mod tests;

/// What is known of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its addresses, sorted, without loopback and link-local ones.
    pub addresses: Vec<Address>,
    /// Networks in CIDR notation whose ends are on this host or behind it, sorted.
    pub networks: Vec<String>,
}

/// The kernel's files as texts.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// `/proc/net/fib_trie`.
    pub fib_trie: String,
    /// `/proc/net/route`.
    pub route: String,
    /// `/proc/net/if_inet6`.
    pub if_inet6: String,
    /// `/proc/net/ipv6_route`.
    pub ipv6_route: String,
    /// Interfaces of a device.
    pub devices: BTreeSet<String>,
}

impl Host {
    /// Reads this host from `/proc` and `/sys`; what is not there is left out.
    #[must_use]
    pub fn read(name: Option<&str>) -> Self {
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let own = file("/proc/sys/kernel/hostname");
        let devices = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
        let tables = Tables {
            fib_trie: file("/proc/net/fib_trie"),
            route: file("/proc/net/route"),
            if_inet6: file("/proc/net/if_inet6"),
            ipv6_route: file("/proc/net/ipv6_route"),
            devices: devices
                .filter(|entry| entry.path().join("device").exists())
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect(),
        };
        Self::of(name.unwrap_or(own.trim()), &tables)
    }

    /// A host from the kernel's tables.
    #[must_use]
    pub fn of(name: &str, tables: &Tables) -> Self {
        let mut networks: BTreeSet<IpNet> = BTreeSet::new();
        let mut addresses: BTreeSet<Address> = BTreeSet::new();
        let mut uplinks = tables.devices.clone();
        let routes = ipv4_routes(&tables.route);
        uplinks.extend(routes.iter().filter(|route| route.mask == 0).map(|route| route.interface.clone()));
        uplinks.extend(ipv6_default_interfaces(&tables.ipv6_route));
        addresses.extend(ipv4_local(&tables.fib_trie).into_iter().map(|address| Address::new(IpAddr::V4(address))));
        for route in routes.iter().filter(|route| route.connected && !uplinks.contains(&route.interface)) {
            networks.extend(IpNet::with_netmask(IpAddr::V4(route.destination), IpAddr::V4(route.mask.into())).ok());
        }
        for (address, length, interface) in ipv6_interfaces(&tables.if_inet6) {
            addresses.insert(Address::new(IpAddr::V6(address)));
            if !uplinks.contains(&interface) && Address::new(IpAddr::V6(address)).scope() != AddressScope::LinkLocal {
                networks.extend(IpNet::new(IpAddr::V6(address), length).ok().map(|network| network.trunc()));
            }
        }
        addresses.retain(|address| !matches!(address.scope(), AddressScope::Loopback | AddressScope::LinkLocal));
        networks.extend(addresses.iter().map(|address| IpNet::from(address.ip())));
        networks.extend(["127.0.0.0/8", "::1/128"].iter().filter_map(|text| text.parse::<IpNet>().ok()));
        Self {
            name: name.to_owned(),
            addresses: addresses.into_iter().collect(),
            networks: IpNet::aggregate(&networks.into_iter().collect()).iter().map(ToString::to_string).collect(),
        }
    }

    /// The host as a node.
    #[must_use]
    pub fn node(&self) -> Observed {
        let node = metadata::Node { addresses: self.addresses.clone(), pod_networks: Vec::new(), zone: String::new() };
        unchanging("node", &self.name, Object::Node(node))
    }
}

/// An agent that covers a node and networks always.
#[must_use]
pub fn agent(node: &str, networks: &[String]) -> Observed {
    let agent = metadata::Agent { node: node.to_owned(), networks: networks.to_vec(), one_observer: false };
    unchanging("agent", if node.is_empty() { "networks" } else { node }, Object::Agent(agent))
}

/// The observer of a capture: it saw every packet once, wherever the ends are.
#[must_use]
pub fn capture_observer() -> Observed {
    let networks = vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()];
    let agent = metadata::Agent { node: String::new(), networks, one_observer: true };
    unchanging("agent", "capture", Object::Agent(agent))
}

fn unchanging(kind: &str, name: &str, object: Object) -> Observed {
    Observed {
        uid: made_uid(kind, "", name),
        namespace: String::new(),
        name: name.to_owned(),
        labels: Vec::new(),
        annotations: Vec::new(),
        object,
        since: Some(always()),
        changed: None,
        owner_known: true,
        about: About::default(),
    }
}

struct Ipv4Route {
    interface: String,
    destination: Ipv4Addr,
    mask: u32,
    connected: bool,
}

/// `/proc/net/route`: words are hexadecimal in the host's byte order, which is little-endian wherever agents run.
fn ipv4_routes(text: &str) -> Vec<Ipv4Route> {
    let word = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
    let route = |line: &str| -> Option<Ipv4Route> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [interface, destination, gateway, _flags, _, _, _, mask, ..] = fields[..] else { return None };
        Some(Ipv4Route {
            interface: interface.to_owned(),
            destination: word(destination)?.into(),
            mask: word(mask)?,
            connected: word(gateway)? == 0 && word(mask)? != 0,
        })
    };
    text.lines().filter_map(route).collect()
}

/// `/proc/net/fib_trie`: a leaf `|-- ADDRESS` followed by `/32 host LOCAL` is an address of the host.
fn ipv4_local(text: &str) -> BTreeSet<Ipv4Addr> {
    let mut local = BTreeSet::new();
    let mut leaf: Option<Ipv4Addr> = None;
    for line in text.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line.starts_with("/32 host LOCAL") {
            local.extend(leaf);
        }
    }
    local
}

/// `/proc/net/if_inet6`: address, index, length of the prefix, scope, flags, interface.
fn ipv6_interfaces(text: &str) -> Vec<(Ipv6Addr, u8, String)> {
    let interface = |line: &str| -> Option<(Ipv6Addr, u8, String)> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [address, _index, length, _scope, _flags, name] = fields[..] else { return None };
        let bits = u128::from_str_radix(address, 16).ok()?;
        Some((bits.into(), u8::from_str_radix(length, 16).ok()?, name.to_owned()))
    };
    text.lines().filter_map(interface).collect()
}

/// `/proc/net/ipv6_route`: interfaces of routes to everything; `lo` has one that rejects.
fn ipv6_default_interfaces(text: &str) -> Vec<String> {
    let default = |line: &str| -> Option<String> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (destination, length, interface) = (fields.first()?, fields.get(1)?, fields.get(9)?);
        let everything = destination.bytes().all(|byte| byte == b'0') && *length == "00";
        (everything && *interface != "lo").then(|| (*interface).to_owned())
    };
    text.lines().filter_map(default).collect()
}
