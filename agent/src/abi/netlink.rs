//! Netlink sockets: dumps, and events as they come.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

fn netlink_socket(protocol: libc::c_int, flags: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: plain socket creation; the descriptor is owned from here on.
    unsafe {
        let fd = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC | flags, protocol);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Messages of netlink groups, without waiting for them.
#[derive(Debug)]
pub struct NetlinkEvents {
    socket: OwnedFd,
}

/// Room for events that wait, in bytes.
const EVENTS: libc::c_int = 4 << 20;

impl NetlinkEvents {
    /// Subscribes to the groups (a bit each) of a netlink protocol.
    ///
    /// # Errors
    /// The kernel's: no such protocol, or no right.
    pub fn subscribe(protocol: i32, groups: u32) -> io::Result<Self> {
        let socket = netlink_socket(protocol, libc::SOCK_NONBLOCK)?;
        // SAFETY: all zeros is a valid sockaddr_nl: the kernel chooses the port.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::sa_family_t::try_from(libc::AF_NETLINK).map_err(io::Error::other)?;
        address.nl_groups = groups;
        let length = libc::socklen_t::try_from(std::mem::size_of_val(&address)).map_err(io::Error::other)?;
        let room = EVENTS;
        let size = libc::socklen_t::try_from(std::mem::size_of_val(&room)).map_err(io::Error::other)?;
        // SAFETY: both pointers are to values that live through the calls and have the lengths given.
        let bound = unsafe {
            // Without the right to a larger buffer there is a smaller one, and what does not fit is noticed.
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVBUFFORCE,
                (&raw const room).cast(),
                size,
            );
            libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length)
        };
        if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(Self { socket }) }
    }

    /// The next message; nothing when none waits.
    ///
    /// # Errors
    /// The socket's; `ENOBUFS` when messages were lost.
    pub fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = vec![0_u8; 16_384];
        // SAFETY: `buffer` is writable for its length.
        let got = unsafe { libc::recv(self.socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        match usize::try_from(got) {
            Ok(length) => {
                buffer.truncate(length);
                Ok(Some(buffer))
            }
            Err(_) => match io::Error::last_os_error() {
                error if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
                error => Err(error),
            },
        }
    }
}

/// Sends one request to the kernel's routing netlink family and returns the bytes of each answer, up to 16 MB.
///
/// # Errors
/// The socket's error.
pub fn netlink_dump(request: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    netlink_dump_of(libc::NETLINK_ROUTE, request)
}

/// What is dumped changed meanwhile (`include/uapi/linux/netlink.h`).
const NLM_F_DUMP_INTR: u16 = 0x10;

/// As [`netlink_dump`], of any netlink protocol.
///
/// # Errors
/// The socket's error, the kernel's answer where that is one, and [`io::ErrorKind::Interrupted`] where what is dumped changed
/// meanwhile, so that something may be missing (`NLM_F_DUMP_INTR`).
pub fn netlink_dump_of(protocol: i32, request: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let socket = netlink_socket(protocol, 0)?;
    // SAFETY: `request` is readable for its length.
    let sent = unsafe { libc::send(socket.as_fd().as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut answers = Vec::new();
    let (mut total, mut interrupted) = (0, false);
    loop {
        let mut buffer = vec![0_u8; 65_536];
        // SAFETY: `buffer` is writable for its length.
        let got = unsafe { libc::recv(socket.as_fd().as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        let Ok(length) = usize::try_from(got) else {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        };
        buffer.truncate(length);
        // The last message of a dump is NLMSG_DONE (3); NLMSG_ERROR (2) stands alone.
        let number =
            |at: usize| buffer.get(at..at + 2).and_then(|b| <[u8; 2]>::try_from(b).ok()).map(u16::from_ne_bytes);
        let error = buffer.get(16..20).and_then(|b| <[u8; 4]>::try_from(b).ok()).map(i32::from_ne_bytes);
        if let (Some(2), Some(error @ ..0)) = (number(4), error) {
            return Err(io::Error::from_raw_os_error(error.saturating_neg()));
        }
        let done = length == 0 || matches!(number(4), Some(2 | 3));
        interrupted |= number(6).is_some_and(|flags| flags & NLM_F_DUMP_INTR != 0);
        total += length;
        answers.push(buffer);
        if done && interrupted {
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
        if done || total > 16 << 20 {
            return Ok(answers);
        }
    }
}
