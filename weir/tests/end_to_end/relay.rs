//! Brings a port of the main network namespace's loopback into another namespace, at the same address.
//!
//! A Unix socket's path is seen from every network namespace: a process inside listens on TCP and passes bytes to it, a
//! thread outside passes them on to the engine.

use crate::network::Network;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Child;
use std::time::Duration;

/// A running relay; gone when this value is dropped.
pub(crate) struct Relay {
    inside: Child,
    _folder: tempfile::TempDir,
}

impl Relay {
    /// `address` inside the namespace of the network's node becomes `address` outside.
    pub(crate) fn start(network: &Network, address: &str) -> Self {
        let target: SocketAddr = address.parse().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay");
        let outside = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            for stream in outside.incoming().map_while(Result::ok) {
                // An engine that is not there is a closed connection to whoever asks.
                if let Ok(engine) = TcpStream::connect(target) {
                    join(stream, engine);
                }
            }
        });
        let role = format!("relay {address} {}", path.display());
        let inside = network.role_in(&network.node(), &role);
        Self { inside, _folder: folder }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.inside.kill();
        let _ = self.inside.wait();
    }
}

/// The part inside the namespace.
pub(crate) fn inside(address: &str, path: &Path) {
    let listener = TcpListener::bind(address).unwrap();
    for stream in listener.incoming().map_while(Result::ok) {
        match UnixStream::connect(path) {
            Ok(outside) => join(outside, stream),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Passes bytes both ways until either end is through.
fn join(unix: UnixStream, tcp: TcpStream) {
    let (unix_in, tcp_in) = (unix.try_clone().unwrap(), tcp.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = copy(unix_in, &tcp);
        let _ = tcp.shutdown(Shutdown::Write);
    });
    std::thread::spawn(move || {
        let _ = copy(tcp_in, &unix);
        let _ = unix.shutdown(Shutdown::Write);
    });
}

fn copy(mut from: impl io::Read, mut to: impl io::Write) -> io::Result<u64> {
    io::copy(&mut from, &mut to)
}
