//! Networks as a trie: an address leads to a number, its class, that stands for the same networks for all addresses in it.

use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, Ipv4Addr};
use weir_flow::Address;

#[cfg(test)]
mod tests;

/// The number of a class: the place in the trie of the smallest network that holds an address.
pub(crate) type Class = u32;

/// The class of addresses in no network.
pub(crate) const NO_NETWORK: Class = 0;
/// The class of an address that is not known.
pub(crate) const UNKNOWN: Class = u32::MAX;

/// Reads a network as the API server does (`ParseCIDRSloppy`): bits beyond the mask are dropped, and octets may begin with zeros.
pub(crate) fn parse_network(text: &str) -> Option<IpNet> {
    let network = text.parse::<IpNet>().ok().or_else(|| {
        let (address, length) = text.split_once('/')?;
        let octets: Vec<u8> = address.split('.').map(octet).collect::<Option<_>>()?;
        let octets: [u8; 4] = octets.try_into().ok()?;
        Some(IpNet::V4(Ipv4Net::new(Ipv4Addr::from(octets), length.parse().ok()?).ok()?))
    })?;
    Some(canonical(network.trunc()))
}

/// What is sloppy about a network that can be read, in the words of API servers that do not take it any more.
pub(crate) fn sloppiness(text: &str) -> Option<&'static str> {
    let (address, length) = text.split_once('/')?;
    let padded = |number: &str| number.len() > 1 && number.starts_with('0');
    if padded(length) || (!address.contains(':') && address.split('.').any(padded)) {
        return Some("must not have leading 0s in IP or prefix length");
    }
    let network: IpNet = text.parse().ok()?;
    if matches!(network, IpNet::V6(six) if six.addr().to_ipv4_mapped().is_some()) {
        return Some("must not have an IPv4-mapped IPv6 address");
    }
    (network.addr() != network.network()).then_some("must not have bits set beyond the prefix length")
}

fn octet(text: &str) -> Option<u8> {
    let digits = !text.is_empty() && text.len() <= 16 && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse::<u64>().ok().and_then(|number| u8::try_from(number).ok()) } else { None }
}

/// A network of IPv4 addresses mapped into IPv6 is one of IPv4 addresses, as [`Address`] has it.
fn canonical(network: IpNet) -> IpNet {
    if let IpNet::V6(six) = network
        && let (Some(four), Some(length)) = (six.network().to_ipv4_mapped(), six.prefix_len().checked_sub(96))
        && let Ok(net) = Ipv4Net::new(four, length)
    {
        return IpNet::V4(net);
    }
    network
}

/// An address or network as the bits of a 129-bit string: a bit for the family, then the address from the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Prefix {
    six: bool,
    bits: u128,
    length: u8,
}

impl Prefix {
    fn of(network: IpNet) -> Self {
        match network {
            IpNet::V4(net) => {
                Self { six: false, bits: u128::from(u32::from(net.network())) << 96, length: net.prefix_len() }
            }
            IpNet::V6(net) => Self { six: true, bits: u128::from(net.network()), length: net.prefix_len() },
        }
    }

    fn of_address(address: Address) -> Self {
        match address.ip() {
            IpAddr::V4(four) => Self { six: false, bits: u128::from(u32::from(four)) << 96, length: 32 },
            IpAddr::V6(six) => Self { six: true, bits: u128::from(six), length: 128 },
        }
    }

    /// Whether all that is in the other is in this.
    fn holds(self, other: Self) -> bool {
        self.six == other.six
            && self.length <= other.length
            && (self.length == 0 || (self.bits ^ other.bits) >> (128 - self.length) == 0)
    }

    fn bit(self, at: u8) -> usize {
        usize::from((self.bits >> (127 - at.min(127))) & 1 == 1)
    }
}

#[derive(Clone, Debug)]
struct Node {
    prefix: Prefix,
    /// Below, by the bit after the prefix; 0 is none, because no node is above the roots.
    below: [u32; 2],
    /// Whether it is a network; if not, it only branches.
    is_network: bool,
    /// The nearest node above that is a network; [`NO_NETWORK`] without.
    above: Class,
}

/// All networks of a set of policies. A path-compressed binary trie (PATRICIA) for each family.
#[derive(Clone, Debug)]
pub(crate) struct Networks {
    /// The first is no node, so that its number can stand for none.
    nodes: Vec<Node>,
    /// The root of each family; 0 is none.
    roots: [u32; 2],
    count: usize,
}

impl Default for Networks {
    fn default() -> Self {
        let nobody =
            Node { prefix: Prefix { six: false, bits: 0, length: 0 }, below: [0; 2], is_network: false, above: 0 };
        Self { nodes: vec![nobody], roots: [0; 2], count: 0 }
    }
}

impl Networks {
    /// How many networks it holds.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Adds a network; the numbers of the others stay as they are.
    pub(crate) fn add(&mut self, network: IpNet) -> Class {
        let prefix = Prefix::of(network);
        let (new, above) = self.insert(prefix);
        if let Some(node) = self.nodes.get_mut(place(new)).filter(|node| !node.is_network) {
            node.is_network = true;
            node.above = above;
            self.count += 1;
        }
        self.put_under(new);
        new
    }

    /// Tells what is below a network, and below no other in between, that it is.
    fn put_under(&mut self, network: Class) {
        let mut open: Vec<u32> = self.node(network).map(|node| node.below.to_vec()).unwrap_or_default();
        while let Some(number) = open.pop() {
            let Some(node) = self.nodes.get_mut(place(number)).filter(|_| number != 0) else { continue };
            node.above = network;
            if !node.is_network {
                open.extend(node.below);
            }
        }
    }

    fn node(&self, number: u32) -> Option<&Node> {
        if number == 0 { None } else { self.nodes.get(place(number)) }
    }

    fn push(&mut self, prefix: Prefix) -> u32 {
        let number = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        self.nodes.push(Node { prefix, below: [0; 2], is_network: false, above: NO_NETWORK });
        number
    }

    fn set(&mut self, parent: Option<(u32, usize)>, six: bool, child: u32) {
        match parent {
            None => {
                if let Some(root) = self.roots.get_mut(usize::from(six)) {
                    *root = child;
                }
            }
            Some((parent, side)) => {
                if let Some(slot) = self.nodes.get_mut(place(parent)).and_then(|node| node.below.get_mut(side)) {
                    *slot = child;
                }
            }
        }
    }

    /// The node of a prefix, which is made if there is none, and the network above it.
    fn insert(&mut self, prefix: Prefix) -> (u32, Class) {
        let (mut parent, mut above) = (None, NO_NETWORK);
        let mut at = self.roots.get(usize::from(prefix.six)).copied().unwrap_or(0);
        while let Some(node) = self.node(at) {
            let known = node.prefix;
            if known == prefix {
                return (at, above);
            }
            if known.holds(prefix) {
                if node.is_network {
                    above = at;
                }
                let side = prefix.bit(known.length);
                parent = Some((at, side));
                at = node.below.get(side).copied().unwrap_or(0);
                continue;
            }
            let new = self.push(prefix);
            let top = if prefix.holds(known) {
                self.set(Some((new, known.bit(prefix.length))), prefix.six, at);
                new
            } else {
                let shared = u8::try_from((known.bits ^ prefix.bits).leading_zeros()).unwrap_or(128);
                let mask = if shared == 0 { 0 } else { u128::MAX << (128 - shared.min(128)) };
                let fork = self.push(Prefix { six: prefix.six, bits: prefix.bits & mask, length: shared });
                if let Some(node) = self.nodes.get_mut(place(fork)) {
                    node.above = above;
                }
                self.set(Some((fork, known.bit(shared))), prefix.six, at);
                self.set(Some((fork, prefix.bit(shared))), prefix.six, new);
                fork
            };
            self.set(parent, prefix.six, top);
            return (new, above);
        }
        let new = self.push(prefix);
        self.set(parent, prefix.six, new);
        (new, above)
    }

    /// The class of an address.
    pub(crate) fn class(&self, address: Address) -> Class {
        let wanted = Prefix::of_address(address);
        let mut best = NO_NETWORK;
        let mut at = self.roots.get(usize::from(wanted.six)).copied().unwrap_or(0);
        while let Some(node) = self.node(at).filter(|node| node.prefix.holds(wanted)) {
            if node.is_network {
                best = at;
            }
            if node.prefix.length >= wanted.length {
                break;
            }
            at = node.below.get(wanted.bit(node.prefix.length)).copied().unwrap_or(0);
        }
        best
    }

    /// The class of a network itself.
    pub(crate) fn number(&self, network: IpNet) -> Option<Class> {
        let wanted = Prefix::of(network);
        let mut at = self.roots.get(usize::from(wanted.six)).copied().unwrap_or(0);
        while let Some(node) = self.node(at).filter(|node| node.prefix.holds(wanted)) {
            if node.prefix == wanted {
                return node.is_network.then_some(at);
            }
            at = node.below.get(wanted.bit(node.prefix.length)).copied().unwrap_or(0);
        }
        None
    }

    /// Whether all addresses of a class are in the network of another.
    pub(crate) fn is_within(&self, class: Class, network: Class) -> bool {
        let mut at = class;
        while let Some(node) = self.node(at) {
            if at == network {
                return true;
            }
            at = node.above;
        }
        false
    }
}

fn place(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
