//! Interfaces, addresses and tunnels as they come and go.

use super::{Attached, Capture, CaptureError, REMEMBERED, programs};
use crate::abi;
use crate::ebpf::links::{self, Link, Role};
use aya::programs::TcAttachType;
use std::collections::{BTreeMap, HashSet};

impl Capture {
    /// Tells the programs the ports of tunnels: those of the settings and of this node's devices.
    pub(super) fn refresh_tunnels(&mut self, links: &[Link]) {
        let of_devices = links.iter().filter_map(|link| link.tunnel_port);
        let to =
            self.options.tunnel_ports.iter().copied().chain(of_devices).map(|port| (u32::from(port), abi::TUNNEL_TO));
        let wireguard = self.options.wireguard_ports.iter().map(|port| (u32::from(*port), abi::TUNNEL_WIREGUARD));
        let now: BTreeMap<u32, u32> = wireguard.chain(to).collect();
        for (port, kind) in now.iter().filter(|(port, kind)| self.known_tunnels.get(port) != Some(kind)) {
            if let Err(error) = self.tunnels.insert(port, kind, 0) {
                tracing::warn!(%error, port, "port of a tunnel not noted: there are more than {}", abi::TUNNELS);
            }
        }
        for port in self.known_tunnels.keys().filter(|port| !now.contains_key(port)) {
            // It may be gone already: that is what is wanted.
            let _ = self.tunnels.remove(port);
        }
        self.known_tunnels = now;
    }

    /// The interfaces that are watched, and as what.
    pub fn attached(&self) -> impl Iterator<Item = (&Link, Role)> {
        self.attached.values().map(|a| (&a.link, a.role))
    }

    /// Name of the interface, and whether it is a pod's on a bridge; also of one that has just gone.
    #[must_use]
    pub fn interface(&self, index: u32) -> (&str, bool) {
        if let Some(attached) = self.attached.get(&index) {
            return (&attached.link.name, attached.role == Role::Pod { bridged: true });
        }
        self.gone.iter().find(|gone| gone.0 == index).map_or(("", false), |gone| (gone.1.as_str(), gone.2))
    }

    /// Looks for interfaces and addresses: attaches to new ones, forgets those that are gone. Interfaces that cannot be
    /// attached to are logged once and counted by the caller through the returned list.
    ///
    /// # Errors
    /// When the interfaces cannot be listed.
    pub fn rescan(&mut self) -> Result<Vec<CaptureError>, CaptureError> {
        // One that is missing in a list that was disturbed would be detached from: the next one tells.
        let Some(links) = links::list().map_err(CaptureError::Links)? else { return Ok(Vec::new()) };
        let present: HashSet<u32> = links.iter().map(|link| link.index).collect();
        let gone: Vec<u32> = self.attached.keys().filter(|index| !present.contains(index)).copied().collect();
        for index in gone {
            if let Some(attached) = self.attached.remove(&index) {
                tracing::info!(interface = attached.link.name, "interface is gone");
                self.remember(attached);
            }
        }
        self.failed.retain(|index| present.contains(index));
        let mut errors = Vec::new();
        self.refresh_tunnels(&links);
        for link in links {
            let role = links::role(&link);
            if let Some(attached) = self.attached.get_mut(&link.index) {
                if attached.role == role {
                    attached.link = link;
                    continue;
                }
                // It joined or left a bridge, or its other end moved: it stands for something else now.
                if let Some(changed) = self.attached.remove(&link.index) {
                    changed.detach();
                }
            }
            if !self.options.selection.wants(&link.name) || self.failed.contains(&link.index) {
                continue;
            }
            if let Err(error) = self.attach(&link, role) {
                self.failed.insert(link.index);
                errors.push(error);
            }
        }
        self.refresh_addresses();
        self.forget_strays();
        Ok(errors)
    }

    /// Forgets an interface, but not its name, and detaches from it.
    fn remember(&mut self, attached: Attached) {
        if self.gone.len() == REMEMBERED {
            self.gone.pop_front();
        }
        let bridged = attached.role == Role::Pod { bridged: true };
        self.gone.push_back((attached.link.index, attached.link.name.clone(), bridged));
        attached.detach();
    }

    fn attach(&mut self, link: &Link, role: Role) -> Result<(), CaptureError> {
        let (ingress, egress) = match role {
            Role::Pod { .. } => ("weir_pod_in", "weir_pod_out"),
            Role::Host => ("weir_host_in", "weir_host_out"),
            Role::Raw => ("weir_raw_in", "weir_raw_out"),
            Role::Loopback => ("weir_lo_in", "weir_lo_out"),
            Role::Ignored(why) => {
                tracing::debug!(interface = link.name, why, "interface is not watched");
                return Ok(());
            }
        };
        let mut links = Vec::with_capacity(2);
        for (program, direction, word) in
            [(ingress, TcAttachType::Ingress, "ingress"), (egress, TcAttachType::Egress, "egress")]
        {
            // Under the same name with and without: a successor may have other rights.
            let pin = self.pins.as_ref().map(|pins| pins.link(link.index, program));
            let program = self.loaded(program);
            match programs::attach_classifier(&mut self.ebpf, program, &link.name, direction, pin) {
                Ok(attachment) => links.push(attachment),
                Err(source) => {
                    links.into_iter().for_each(programs::Attachment::detach);
                    return Err(CaptureError::Program {
                        program: program.to_owned(),
                        hook: format!("{word} of {}", link.name),
                        source: Box::new(source),
                    });
                }
            }
        }
        tracing::info!(interface = link.name, ?role, "watching");
        self.attached.insert(link.index, Attached { link: link.clone(), role, links });
        Ok(())
    }

    /// Removes, once, what a predecessor left attached and nobody here watches.
    fn forget_strays(&mut self) {
        if let Some(pins) = &mut self.pins {
            let known = &self.attached;
            pins.sweep(|index| known.contains_key(&index));
        }
    }

    /// Detaches from all interfaces.
    pub fn detach(&mut self) {
        while let Some((_, attached)) = self.attached.pop_first() {
            self.remember(attached);
        }
    }

    /// Whether the address (IPv4 mapped into IPv6) is the host's own.
    #[must_use]
    pub fn is_own(&self, address: &[u8; 16]) -> bool {
        self.known_addresses.contains(address)
    }

    fn refresh_addresses(&mut self) {
        let now = crate::ebpf::addresses::own();
        for address in now.difference(&self.known_addresses) {
            if let Err(error) = self.addresses.insert(address, 1, 0) {
                tracing::warn!(%error, "own address not noted: the host has more than 4096");
            }
        }
        for address in self.known_addresses.difference(&now) {
            // It may be gone already: that is what is wanted.
            let _ = self.addresses.remove(address);
        }
        self.known_addresses = now;
    }
}
