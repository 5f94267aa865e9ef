//! What is not of the base capture, as far as this kernel and these privileges allow.

use super::pins::Pins;
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
pub(super) fn attach(
    ebpf: &mut Ebpf,
    reasons: &Result<Reasons, std::io::Error>,
    pins: Option<&Pins>,
    missing: &mut Vec<Missing>,
) {
    let mut trace = |traced: programs::Traced, what: &str| {
        let pin = pins.map(|pins| pins.trace(traced.program));
        if let Err(source) = programs::attach_tracepoint(ebpf, traced, pin.as_deref()) {
            missing.push(Missing { what: what.to_owned(), why: chain(&source) });
        }
    };
    trace(programs::ROUND_TRIP, ROUND_TRIPS);
    trace(programs::RETRANSMIT, RETRANSMITS);
    match reasons {
        Ok(_) => trace(programs::DROP, DROPS),
        Err(source) => missing.push(Missing { what: DROPS.to_owned(), why: source.to_string() }),
    }
    if let Err(why) = programs::attach_sockets(ebpf) {
        missing.push(Missing { what: PROCESSES.to_owned(), why });
    }
}
