//! Translated connections, as the kernel's connection tracking says by netlink (linux/netfilter/nfnetlink_conntrack.h), and as
//! packets show.

use super::links::attributes;
use crate::abi::{self, NetlinkEvents};
use std::collections::HashMap;
use std::io;
use weir_flow::protocol::{SCTP, TCP, UDP};

#[cfg(test)]
mod tests;

/// One direction of a connection: addresses as the kernel's maps have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Direction {
    /// Source address, IPv4 mapped into IPv6.
    pub source: [u8; 16],
    /// Destination address.
    pub destination: [u8; 16],
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// IANA protocol number.
    pub protocol: u8,
}

impl Direction {
    fn back(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
        }
    }
}

impl From<abi::Tuple> for Direction {
    fn from(tuple: abi::Tuple) -> Self {
        Self {
            source: tuple.source,
            destination: tuple.destination,
            source_port: tuple.source_port,
            destination_port: tuple.destination_port,
            protocol: tuple.protocol,
        }
    }
}

/// What happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is there: what its opener sends, and what the answers look like where they arrive.
    Is(Direction, Direction),
    /// It is no more.
    Was(Direction, Direction),
}

/// Translated connections of this network namespace. Pure.
#[derive(Debug)]
pub struct Translations {
    limit: usize,
    /// The other form of each of the four forms of a translated connection.
    other: HashMap<Direction, Direction>,
    /// Ended in this tick, and in the one before.
    ended: [Vec<(Direction, Direction)>; 2],
    full: u64,
}

/// Forms under which a translated connection is known.
const FORMS: usize = 4;

impl Translations {
    /// At most about `limit` connections are remembered.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, other: HashMap::new(), ended: [Vec::new(), Vec::new()], full: 0 }
    }

    /// How many connections are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.other.len() / FORMS
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.other.is_empty()
    }

    /// Connections that were left out because there were too many, so far.
    #[must_use]
    pub fn full(&self) -> u64 {
        self.full
    }

    /// Takes a change; connections that are not translated are nothing here.
    pub fn take(&mut self, change: Change) {
        match change {
            Change::Is(original, reply) if reply != original.back() => {
                if self.other.len() / FORMS >= self.limit && !self.other.contains_key(&original) {
                    self.full += 1;
                    return;
                }
                self.other.extend(forms(original, reply));
            }
            Change::Was(original, reply) if reply != original.back() => self.ended[0].push((original, reply)),
            Change::Is(..) | Change::Was(..) => {}
        }
    }

    /// The other form of packets that look like `seen`, in their direction.
    #[must_use]
    pub fn other(&self, seen: &Direction) -> Option<Direction> {
        self.other.get(seen).copied()
    }

    /// A tick has ended: what had ended before it is forgotten, since no sample will ask for it any more.
    pub fn end_tick(&mut self) {
        let old = std::mem::take(&mut self.ended[1]);
        for (original, reply) in old {
            for (seen, other) in forms(original, reply) {
                // The tuple may have been used again in another way.
                if self.other.get(&seen) == Some(&other) {
                    self.other.remove(&seen);
                }
            }
        }
        self.ended.swap(0, 1);
    }

    fn clear(&mut self) {
        self.other.clear();
    }
}

/// Each form in which a connection's packets are seen, with the other one of the same direction: the original one before
/// and after its translation, the answers before and after theirs.
fn forms(original: Direction, reply: Direction) -> [(Direction, Direction); FORMS] {
    [(original, reply.back()), (reply.back(), original), (reply, original.back()), (original.back(), reply)]
}

/// Translations that packets showed, in this tick and the one before: a connection of which packets pass shows itself in each
/// tick anew. Pure.
#[derive(Debug)]
pub struct Shown {
    limit: usize,
    /// As in [`Translations`]: of this tick, and of the one before.
    other: [HashMap<Direction, Direction>; 2],
    full: u64,
}

impl Shown {
    /// At most about `limit` connections of a tick are remembered.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, other: [HashMap::new(), HashMap::new()], full: 0 }
    }

    /// How many connections packets showed so far in this tick.
    #[must_use]
    pub fn len(&self) -> usize {
        self.other[0].len() / FORMS
    }

    /// Whether packets showed none in this tick.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.other[0].is_empty()
    }

    /// Connections that were left out because there were too many in a tick, so far.
    #[must_use]
    pub fn full(&self) -> u64 {
        self.full
    }

    /// Takes what a connection's opener sends, and what the answers look like where they arrive.
    pub fn take(&mut self, original: Direction, reply: Direction) {
        if reply == original.back() {
            return;
        }
        if self.len() >= self.limit && !self.other[0].contains_key(&original) {
            self.full += 1;
            return;
        }
        self.other[0].extend(forms(original, reply));
    }

    /// The other form of packets that look like `seen`, in their direction.
    #[must_use]
    pub fn other(&self, seen: &Direction) -> Option<Direction> {
        self.other.iter().find_map(|tick| tick.get(seen)).copied()
    }

    /// A tick has ended.
    pub fn end_tick(&mut self) {
        self.other.swap(0, 1);
        self.other[0] = HashMap::new();
    }
}

const NETFILTER: i32 = 12;
/// Groups of the kinds NEW and DESTROY.
const GROUPS: u32 = 1 | 4;
const SUBSYSTEM: u16 = 1;
const NEW: u16 = 0;
const DELETE: u16 = 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;

/// `struct nlmsghdr` for IPCTNL_MSG_CT_GET with NLM_F_REQUEST | NLM_F_DUMP, and an empty `struct nfgenmsg`.
fn dump_request() -> Vec<u8> {
    let mut request = Vec::with_capacity(20);
    request.extend(20_u32.to_ne_bytes());
    request.extend((SUBSYSTEM << 8 | 1).to_ne_bytes());
    request.extend(0x301_u16.to_ne_bytes());
    request.extend([0; 12]);
    request
}

/// Follows the connection tracking of this network namespace.
#[derive(Debug)]
pub struct Conntrack {
    events: NetlinkEvents,
    known: Translations,
    overruns: u64,
}

impl Conntrack {
    /// Subscribes, and asks for the connections there are: the first 16 MB of them.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN, or in a kernel without connection tracking by netlink.
    pub fn follow(limit: usize) -> io::Result<Self> {
        // First the subscription, so that nothing falls between the two.
        let events = NetlinkEvents::subscribe(NETFILTER, GROUPS)?;
        let mut conntrack = Self { events, known: Translations::new(limit), overruns: 0 };
        conntrack.dump()?;
        Ok(conntrack)
    }

    /// What is known.
    #[must_use]
    pub fn known(&self) -> &Translations {
        &self.known
    }

    /// How often events came faster than they were read.
    #[must_use]
    pub fn overruns(&self) -> u64 {
        self.overruns
    }

    fn dump(&mut self) -> io::Result<()> {
        for answer in abi::netlink_dump_of(NETFILTER, &dump_request())? {
            parse(&answer, |change| self.known.take(change));
        }
        Ok(())
    }

    /// Reads the events that wait.
    ///
    /// # Errors
    /// The socket's error.
    pub fn read(&mut self) -> io::Result<()> {
        loop {
            match self.events.read() {
                Ok(Some(message)) => parse(&message, |change| self.known.take(change)),
                Ok(None) => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.overruns += 1;
                    self.known.clear();
                    self.dump()?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A tick has ended.
    pub fn end_tick(&mut self) {
        self.known.end_tick();
    }
}

/// The changes in a message; what is cut, or of no protocol with ports, is skipped.
fn parse(mut message: &[u8], mut each: impl FnMut(Change)) {
    while let (Some(length), Some(kind)) = (number::<4>(message, 0), number::<2>(message, 4)) {
        let length = usize::try_from(u32::from_ne_bytes(length)).unwrap_or(0);
        let Some(one) = message.get(..length).filter(|_| length >= 20) else { return };
        if let Some(change) = parse_one(u16::from_ne_bytes(kind), one) {
            each(change);
        }
        message = message.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}

fn parse_one(kind: u16, message: &[u8]) -> Option<Change> {
    if kind >> 8 != SUBSYSTEM {
        return None;
    }
    let (mut original, mut reply) = (None, None);
    for (kind, value) in attributes(message.get(20..)?) {
        match kind {
            CTA_TUPLE_ORIG => original = direction(value),
            CTA_TUPLE_REPLY => reply = direction(value),
            _ => {}
        }
    }
    match kind & 0xff {
        NEW => Some(Change::Is(original?, reply?)),
        DELETE => Some(Change::Was(original?, reply?)),
        _ => None,
    }
}

fn direction(tuple: &[u8]) -> Option<Direction> {
    let find = |within, wanted| attributes(within).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let addresses = find(tuple, CTA_TUPLE_IP)?;
    // IPv4 has 1 and 2, IPv6 3 and 4.
    let address = |four, six| match find(addresses, four) {
        Some(value) => Some(std::net::Ipv4Addr::from(number::<4>(value, 0)?).to_ipv6_mapped().octets()),
        None => number::<16>(find(addresses, six)?, 0),
    };
    let transport = find(tuple, CTA_TUPLE_PROTO)?;
    let protocol = *find(transport, 1)?.first()?;
    if !matches!(protocol, TCP | UDP | SCTP) {
        return None;
    }
    let port = |kind| Some(u16::from_be_bytes(number::<2>(find(transport, kind)?, 0)?));
    Some(Direction {
        source: address(1, 3)?,
        destination: address(2, 4)?,
        source_port: port(2)?,
        destination_port: port(3)?,
        protocol,
    })
}

fn number<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset + N)?.try_into().ok()
}
