//! What is asked about one end of a flow.

use weir_flow::{Address, Millis};

/// What is known of one end of a flow, as of a time.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// As of when, ms since the epoch.
    pub at: Millis,
    /// The end's address.
    pub address: Address,
    /// The end's port; absent for protocols without.
    pub port: Option<u16>,
    /// IANA protocol number.
    pub protocol: u8,
    /// UID of the end's pod, where its node knew it. It beats the address.
    pub pod_uid: Option<&'a str>,
    /// Container (its name, or the first digits of its id), where the node knew it; passed through.
    pub container: Option<&'a str>,
    /// Process name, where the node knew it; passed through.
    pub process: Option<&'a str>,
    /// Whether this is the responder: services are looked up for responders only.
    pub responder: bool,
    /// Name of the reporter's node when the end is in that host's own network namespace and in no pod; it beats the
    /// address, because loopback and link-local addresses exist on every host.
    pub local_host: Option<&'a str>,
}

impl Ask<'_> {
    /// Asks for an address alone.
    #[must_use]
    pub fn address(at: Millis, address: Address) -> Self {
        Self {
            at,
            address,
            port: None,
            protocol: 0,
            pod_uid: None,
            container: None,
            process: None,
            responder: false,
            local_host: None,
        }
    }
}
