//! What is not of the base capture, as far as this kernel and these privileges allow.

use super::{DROPS, Missing, PROCESSES, RETRANSMITS, ROUND_TRIPS, SHOWN, chain, programs};
use crate::ebpf::reasons::Reasons;
use aya::Ebpf;

/// Those that read how packets are translated, by those in whose place they are.
pub(super) const TRANSLATING: [(&str, &str); 4] = [
    ("weir_pod_out", "weir_pod_out_nat"),
    ("weir_host_out", "weir_host_out_nat"),
    ("weir_lo_out", "weir_lo_out_nat"),
    ("weir_raw_out", "weir_raw_out_nat"),
];

/// Loads the programs that read how packets are translated: all of them, or none.
pub(super) fn load_translating(ebpf: &mut Ebpf, missing: &mut Vec<Missing>) -> bool {
    let loaded = TRANSLATING.iter().try_for_each(|(_, program)| programs::load_classifier(ebpf, program));
    match loaded {
        Ok(()) => true,
        Err(error) => {
            missing.push(Missing { what: SHOWN.to_owned(), why: chain(&error) });
            false
        }
    }
}

/// Attaches what is not of the base capture, as far as this kernel and these privileges allow.
pub(super) fn attach(ebpf: &mut Ebpf, reasons: &Result<Reasons, std::io::Error>, missing: &mut Vec<Missing>) {
    let mut trace = |program, hook, what: &str| {
        if let Err(source) = programs::attach_tracepoint(ebpf, program, hook) {
            missing.push(Missing { what: what.to_owned(), why: chain(&source) });
        }
    };
    trace("weir_round_trip", "tcp_probe", ROUND_TRIPS);
    trace("weir_retransmit", "tcp_retransmit_skb", RETRANSMITS);
    match reasons {
        Ok(_) => trace("weir_drop", "kfree_skb", DROPS),
        Err(source) => missing.push(Missing { what: DROPS.to_owned(), why: source.to_string() }),
    }
    if let Err(why) = programs::attach_sockets(ebpf) {
        missing.push(Missing { what: PROCESSES.to_owned(), why });
    }
}
