//! Network interfaces: which there are, and what each of them stands for.

use crate::abi;
use std::io;

#[cfg(test)]
mod tests;

/// A network interface of the agent's network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// ARP hardware type: 1 Ethernet, 772 loopback, 65534 none …
    pub hardware: u16,
    /// Driver kind, e.g. `veth`, `bridge`; none for physical ones.
    pub kind: Option<String>,
    /// Whether the link's other end is in another network namespace.
    pub crosses: bool,
    /// This namespace's number for that other namespace, where the kernel gave it one.
    pub namespace: Option<i32>,
    /// Index of the bridge or bond that it is a part of.
    pub master: Option<u32>,
    /// UDP port to which a VXLAN or Geneve device sends.
    pub tunnel_port: Option<u16>,
}

/// What an interface stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Host side of a pod's veth pair. On a bridge, the bridge itself sees what goes between pod and host.
    Pod {
        /// Whether it is a port of a bridge.
        bridged: bool,
    },
    /// A host interface with Ethernet frames.
    Host,
    /// A host interface without a link layer.
    Raw,
    /// The loopback interface.
    Loopback,
    /// Not watched, and why.
    Ignored(&'static str),
}

const ETHERNET: u16 = 1;
const LOOPBACK: u16 = 772;
/// No header, IP in IP, IPv6 in IP, GRE over IP …: the packet begins with the network header.
const WITHOUT_HEADER: [u16; 6] = [65534, 768, 769, 776, 778, 823];

/// What `link` stands for.
#[must_use]
pub fn role(link: &Link) -> Role {
    if link.kind.as_deref() == Some("veth") && link.crosses {
        return Role::Pod { bridged: link.master.is_some() };
    }
    if link.hardware == LOOPBACK {
        return Role::Loopback;
    }
    if link.master.is_some() {
        return Role::Ignored("the bridge or bond above it sees the same packets");
    }
    if link.hardware == ETHERNET {
        return Role::Host;
    }
    if WITHOUT_HEADER.contains(&link.hardware) {
        return Role::Raw;
    }
    Role::Ignored("its link type is not known")
}

/// Which interfaces are wanted: all that match `include` (all when empty) and none of `exclude`; `*` stands for any text.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Patterns of which one must match.
    pub include: Vec<String>,
    /// Patterns of which none may match.
    pub exclude: Vec<String>,
}

impl Selection {
    /// Whether an interface of this name is wanted.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern.as_bytes(), name.as_bytes()));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|skip| name.get(skip..).is_some_and(|tail| matches(rest, tail))),
        Some((byte, rest)) => name.split_first().is_some_and(|(head, tail)| head == byte && matches(rest, tail)),
    }
}

/// How often interfaces are listed anew when they change meanwhile.
const TRIES: usize = 10;

/// All interfaces of this network namespace; nothing where they changed whenever they were listed, so that one may be missing
/// that is there.
///
/// # Errors
/// The netlink socket's error.
pub fn list() -> io::Result<Option<Vec<Link>>> {
    for _ in 0..TRIES {
        match abi::netlink_dump(&REQUEST) {
            Ok(answers) => return Ok(Some(answers.iter().flat_map(|answer| parse(answer)).collect())),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// `struct nlmsghdr` for RTM_GETLINK with NLM_F_REQUEST | NLM_F_DUMP, and an empty `struct ifinfomsg`.
const REQUEST: [u8; 32] = {
    let mut bytes = [0_u8; 32];
    let (length, kind, flags) = (32_u32.to_ne_bytes(), 18_u16.to_ne_bytes(), 0x301_u16.to_ne_bytes());
    let mut i = 0;
    while i < 4 {
        bytes[i] = length[i];
        i += 1;
    }
    bytes[4] = kind[0];
    bytes[5] = kind[1];
    bytes[6] = flags[0];
    bytes[7] = flags[1];
    bytes
};

const RTM_NEWLINK: u16 = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VXLAN_PORT: u16 = 15;
const IFLA_GENEVE_PORT: u16 = 5;

/// The interfaces in one answer; what is cut or not understood is skipped.
#[must_use]
pub fn parse(mut answer: &[u8]) -> Vec<Link> {
    let mut links = Vec::new();
    while let (Some(length), Some(kind)) = (u32_at(answer, 0), u16_at(answer, 4)) {
        let length = usize::try_from(length).unwrap_or(0);
        let Some(message) = answer.get(..length).filter(|_| length >= 16) else { break };
        if kind == RTM_NEWLINK {
            links.extend(parse_link(message));
        }
        answer = answer.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    links
}

fn parse_link(message: &[u8]) -> Option<Link> {
    let mut link = Link { hardware: u16_at(message, 18)?, index: u32_at(message, 20)?, ..Link::default() };
    for (kind, value) in attributes(message.get(32..)?) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_MASTER => link.master = u32_at(value, 0),
            IFLA_LINK_NETNSID => {
                link.crosses = true;
                link.namespace = i32_at(value).filter(|number| *number >= 0);
            }
            IFLA_LINKINFO => {
                let about = |wanted| attributes(value).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
                link.kind = about(IFLA_INFO_KIND).map(text);
                let port = match link.kind.as_deref() {
                    Some("vxlan") => Some(IFLA_VXLAN_PORT),
                    Some("geneve") => Some(IFLA_GENEVE_PORT),
                    _ => None,
                };
                link.tunnel_port = port.and_then(|port| {
                    let (_, value) = attributes(about(IFLA_INFO_DATA)?).find(|(kind, _)| *kind == port)?;
                    value.get(..2)?.try_into().ok().map(u16::from_be_bytes)
                });
            }
            _ => {}
        }
    }
    Some(link)
}

pub(super) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        // The two upper bits say "nested" and "network order".
        let kind = u16_at(rest, 2)? & 0x3fff;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// Each namespace's number (see [`Link::namespace`]), by a process that is in it; absent where it has none, as this
/// namespace itself.
#[must_use]
pub fn namespace_of(process: u32) -> Option<i32> {
    // `struct nlmsghdr` for RTM_GETNSID with NLM_F_REQUEST | NLM_F_ACK, `struct rtgenmsg`, NETNSA_PID.
    let mut request = Vec::with_capacity(28);
    request.extend(28_u32.to_ne_bytes());
    request.extend(RTM_GETNSID.to_ne_bytes());
    request.extend(5_u16.to_ne_bytes());
    request.extend([0; 12]);
    request.extend(8_u16.to_ne_bytes());
    request.extend(NETNSA_PID.to_ne_bytes());
    request.extend(process.to_ne_bytes());
    abi::netlink_dump(&request).ok()?.iter().find_map(|answer| parse_namespace(answer))
}

const RTM_NEWNSID: u16 = 88;
const RTM_GETNSID: u16 = 90;
const NETNSA_NSID: u16 = 1;
const NETNSA_PID: u16 = 2;

fn parse_namespace(answer: &[u8]) -> Option<i32> {
    if u16_at(answer, 4)? != RTM_NEWNSID {
        return None;
    }
    let length = usize::try_from(u32_at(answer, 0)?).ok()?;
    let number = attributes(answer.get(20..length)?).find(|(kind, _)| *kind == NETNSA_NSID)?.1;
    i32_at(number).filter(|number| *number >= 0)
}

fn i32_at(bytes: &[u8]) -> Option<i32> {
    bytes.get(..4)?.try_into().ok().map(i32::from_ne_bytes)
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..offset + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..offset + 2)?.try_into().ok().map(u16::from_ne_bytes)
}
