//! From payloads that the kernel programs handed on to what the DNS tracker takes. Pure.

use super::assemble::{address, end, opposite};
use crate::abi::{self, Message};
use crate::dns::Seen;
use weir_schemas::raw::Point;

#[cfg(test)]
mod tests;

/// What a payload is to the tracker: one observation, or two where it passed between a pod and the host itself, which no
/// other interface sees. `bridged` says whether the pod is on a bridge, whose own interface reports for the host.
#[must_use]
pub fn seen(message: &Message, bridged: bool) -> (Seen<'_>, Option<Seen<'_>>) {
    let key = &message.key;
    let is_pod = matches!(key.hook, abi::HOOK_POD_IN | abi::HOOK_POD_OUT);
    let one = Seen {
        time: message.time,
        point: if is_pod { Point::Pod } else { Point::Host },
        end: end(key.hook),
        interface: if is_pod { message.ifindex } else { 0 },
        source: (address(key.source), key.source_port),
        destination: (address(key.destination), key.destination_port),
        protocol: key.protocol,
        sampling: message.sampling.max(1),
        payload: &message.payload,
        position: message.position,
    };
    let both = is_pod && !bridged && message.flags & abi::FLOW_HOST != 0;
    (one, both.then(|| Seen { point: Point::Host, end: opposite(one.end), ..one }))
}
