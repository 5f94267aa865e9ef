//! Why the kernel drops packets: numbers, names and classes, from the running kernel's own type information (BTF).

use std::collections::HashMap;
use weir_schemas::raw::DropClass;

#[cfg(test)]
mod tests;

/// Where the kernel shows its type information.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

const PREFIX: &str = "SKB_DROP_REASON_";
const SUBSYSTEM_SHIFT: u32 = 16;

/// What a policy does, and not a fault of the network: who dropped it was told to.
const POLICY: [&str; 9] = [
    "NETFILTER_DROP",    // nftables and iptables: kube-proxy, Calico, Antrea, host firewalls
    "TC_INGRESS",        // tc and tcx programs: Cilium
    "TC_EGRESS",         // the same on the way out
    "BPF_CGROUP_EGRESS", // cgroup/skb programs: systemd's and Cilium's
    "SOCKET_FILTER",     // socket filters, and cgroup/skb on the way in
    "XDP",               // XDP programs: Cilium, Calico's denial of service protection
    "SECURITY_HOOK",     // SELinux, AppArmor, Smack
    "XFRM_POLICY",       // IPsec policies
    "IP_RPFILTER",       // reverse path filter: a rule of the host's, against spoofing
];

/// The names of one kernel's drop reasons.
#[derive(Clone, Debug, Default)]
pub struct Reasons {
    names: HashMap<u32, String>,
    numbers: HashMap<String, u32>,
}

impl Reasons {
    /// Reads the running kernel's.
    ///
    /// # Errors
    /// When the file cannot be read or does not hold the enumeration.
    pub fn of_kernel() -> std::io::Result<Self> {
        let btf = std::fs::read(KERNEL_BTF)?;
        let values = enumeration(&btf, "skb_drop_reason").ok_or_else(|| {
            std::io::Error::other("no enum skb_drop_reason: kernel 5.17 or newer is needed for drop reasons")
        })?;
        Ok(Self::new(&values))
    }

    /// Of these names, as the kernel has them, and numbers.
    pub(crate) fn new(values: &[(String, u32)]) -> Self {
        let short = |name: &str| name.strip_prefix(PREFIX).or(name.strip_prefix("SKB_")).unwrap_or(name).to_owned();
        Self {
            names: values
                .iter()
                .filter(|(name, _)| !name.ends_with("_MAX") && !name.ends_with("_MASK"))
                .map(|(name, number)| (*number, short(name)))
                .collect(),
            numbers: values.iter().map(|(name, number)| (short(name), *number)).collect(),
        }
    }

    /// The number of a reason, where this kernel has it.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// The reason's name; one of another subsystem's keeps its bits: `SUBSYS_n_REASON_m`.
    #[must_use]
    pub fn name(&self, reason: u32) -> String {
        if let Some(name) = self.names.get(&reason) {
            return name.clone();
        }
        let (subsystem, number) = (reason >> SUBSYSTEM_SHIFT, reason & 0xffff);
        if subsystem == 0 { format!("REASON_{number}") } else { format!("SUBSYS_{subsystem}_REASON_{number}") }
    }
}

/// Whether a reason is what a policy does.
#[must_use]
pub fn class(name: &str) -> DropClass {
    if POLICY.contains(&name) { DropClass::Policy } else { DropClass::Other }
}

const BTF_MAGIC: u16 = 0xeb9f;

/// The members of the named enumeration in BTF data, if it is there.
#[must_use]
pub fn enumeration(btf: &[u8], wanted: &str) -> Option<Vec<(String, u32)>> {
    let word = |offset: usize| -> Option<u32> { btf.get(offset..offset + 4)?.try_into().ok().map(u32::from_ne_bytes) };
    let place = |offset: usize| -> Option<usize> { usize::try_from(word(offset)?).ok() };
    if u16::from_ne_bytes(btf.get(..2)?.try_into().ok()?) != BTF_MAGIC {
        return None;
    }
    let header = place(4)?;
    let (types, types_length) = (header + place(8)?, place(12)?);
    let strings = header + place(16)?;
    let string = |offset: u32| -> Option<&str> {
        let from = btf.get(strings + usize::try_from(offset).ok()?..)?;
        std::str::from_utf8(from.split(|byte| *byte == 0).next()?).ok()
    };
    let mut at = types;
    while at < types + types_length {
        let (name, info) = (word(at)?, word(at + 4)?);
        let (kind, members) = ((info >> 24) & 0x1f, usize::try_from(info & 0xffff).ok()?);
        let body = at + 12;
        if kind == 6 && string(name) == Some(wanted) {
            return (0..members)
                .map(|i| Some((string(word(body + i * 8)?)?.to_owned(), word(body + i * 8 + 4)?)))
                .collect();
        }
        at = body
            + match kind {
                1 | 14 | 17 => 4,                // integer, variable, declaration tag
                3 => 12,                         // array
                4 | 5 | 15 | 19 => members * 12, // structure, union, data section, 64-bit enumeration
                6 | 13 => members * 8,           // enumeration, function prototype
                _ => 0,
            };
    }
    None
}
