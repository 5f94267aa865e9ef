use super::seen;
use crate::abi::{self, Key, Message};
use weir_schemas::raw::{End, Point};

fn message(hook: u8, flags: u32) -> Message {
    let key = Key { source_port: 5_000, destination_port: 53, protocol: 17, hook, ..Key::default() };
    Message { time: 1, key, flags, ifindex: 7, sampling: 0, length: 2, payload: vec![1, 2], position: 0 }
}

#[test]
fn a_message_between_pod_and_host_is_seen_at_both_ends() {
    let asked = message(abi::HOOK_POD_IN, abi::FLOW_HOST);
    let (pod, host) = seen(&asked, false);
    assert_eq!((pod.point, pod.end, pod.interface, pod.sampling), (Point::Pod, End::Source, 7, 1));
    assert_eq!(host.map(|host| (host.point, host.end)), Some((Point::Host, End::Destination)));
    assert!(seen(&asked, true).1.is_none(), "the bridge's own interface reports for the host");
    assert!(seen(&message(abi::HOOK_POD_IN, 0), false).1.is_none());
}

#[test]
fn the_hosts_own_questions_may_leave_and_return_by_different_interfaces() {
    let asked = message(abi::HOOK_HOST_OUT, abi::FLOW_HOST);
    let (seen, none) = seen(&asked, false);
    assert_eq!((seen.point, seen.end, seen.interface), (Point::Host, End::Source, 0));
    assert!(none.is_none());
}
