//! The fields of metadata messages, in their schema's order: a table is filled from millions of them.

use super::direct::{Element, Input, Malformed, Output, Put, Take, record, symbols};
use crate::metadata::{
    Agent, Bound, BoundSource, Container, ContainerPort, EndpointSlice, Heartbeat, Metadata, Namespace, NetworkSet,
    Node, Object, Pod, Policy, Proof, Revision, Service, ServicePort, Skipped,
};

impl<'de> Take<'de> for Skipped {
    fn take(input: &mut Input<'de>) -> Result<Self, Malformed> {
        input.block().map(|_| Self)
    }
}

impl Element for Skipped {}

symbols!(BoundSource: Creation, Status, Deletion, ManagedFields, Arrival, Clipped, Always);
symbols!(Proof: Probed, Assumed, Manifests, Closed, Gap);

record!(Bound: earliest, latest, source);
record!(Container<T>: id, name);
record!(ContainerPort<T>: name, port, protocol);
record!(
    Pod<T, R>: addresses, host_network, node, service_account, workload_kind, workload, phase, containers, ports, owners
);
record!(Node<T>: addresses, pod_networks, zone);
record!(Namespace<T>: phase);
record!(ServicePort<T>: name, port, protocol, target, target_name);
record!(Service<R>: addresses, ports, selector);
record!(Agent<T>: node, networks, one_observer);
record!(EndpointSlice<T>: service, addresses, ports);
record!(Policy<T>: api_version, kind, spec, staged);
record!(NetworkSet<T, R>: networks, domains);
record!(
    Revision<T, R>: cluster, uid, revision, namespace, name, labels, labels_dropped, annotations, changed_by, changed_at,
    valid_from, valid_to, object
);
record!(Heartbeat<T>: cluster, complete_to, proof, cluster_known);

/// A union: its records in the schema's order.
macro_rules! union {
    ($type:ident<$($part:ident),+>: $($number:literal $member:ident),+) => {
        impl<$($part: Put + Element),+> Put for $type<$($part),+> {
            fn put(&self, output: &mut Output) {
                match self {
                    $(Self::$member(record) => {
                        output.long($number);
                        record.put(output);
                    })+
                }
            }
        }

        impl<'de, $($part: Take<'de> + Element),+> Take<'de> for $type<$($part),+> {
            fn take(input: &mut Input<'de>) -> Result<Self, Malformed> {
                match input.long()? {
                    $($number => Take::take(input).map(Self::$member),)+
                    _ => Err(Malformed::Member),
                }
            }
        }
    };
}

union!(
    Object<T, R>: 0 Pod, 1 Node, 2 Namespace, 3 Service, 4 Agent, 5 EndpointSlice, 6 Policy, 7 NetworkSet
);
union!(Metadata<T, R>: 0 Revision, 1 Heartbeat);
