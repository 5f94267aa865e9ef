//! A small simulated cluster: deterministic under a seed, labelled as demo wherever it is shown.
//!
//! It has namespaces, workloads, services, a rollout that reuses addresses, a denied scan, DNS, an external API and an
//! exfiltration. It writes what agents and the metadata service would write, and nothing downstream knows the difference
//! but for `origin: demo`.

use weir_flow::{Millis, time};
use weir_schemas::metadata::{Heartbeat, Metadata, Proof};
use weir_schemas::raw::{DnsSample, Origin, RawBatch, Sample, Totals};

mod cluster;
mod dns;
mod publish;
mod traffic;

#[cfg(test)]
mod tests;

pub(crate) use publish::run;

/// The demo's cluster id.
pub(crate) const CLUSTER: &str = "demo";

/// The simulated cluster at a moment.
pub(crate) struct Demo {
    seed: u64,
    tick_length: Millis,
    started: Millis,
    cluster: cluster::Cluster,
    nodes: Vec<NodeState>,
}

struct NodeState {
    boot: String,
    sequence: u64,
    seen: Totals,
}

/// What one tick brings.
pub(crate) struct Tick {
    /// Revisions that changed, then a heartbeat.
    pub(crate) metadata: Vec<Metadata>,
    /// One batch per node.
    pub(crate) batches: Vec<RawBatch>,
}

impl Demo {
    /// A cluster whose history begins with the tick at `started`.
    pub(crate) fn new(seed: u64, started: Millis, tick_length: Millis) -> Self {
        let started = time::floor_to(started, tick_length);
        let nodes = (0..cluster::NODES)
            .map(|n| NodeState { boot: format!("demo-{seed}-{started}-{n}"), sequence: 0, seen: Totals::default() })
            .collect();
        Self { seed, tick_length, started, cluster: cluster::Cluster::new(seed, started), nodes }
    }

    /// What exists from the start, valid from one window before the first tick.
    pub(crate) fn initial_metadata(&self) -> Vec<Metadata> {
        self.cluster.initial().into_iter().map(Metadata::Revision).collect()
    }

    /// The tick at `at`; ticks must be asked for in order.
    pub(crate) fn tick(&mut self, at: Millis) -> Tick {
        let number = u64::try_from((at - self.started) / self.tick_length).unwrap_or(0);
        let seconds = u64::try_from((at - self.started) / 1_000).unwrap_or(0);
        let changed = self.cluster.advance(seconds, at);
        let moment = traffic::Moment { seed: self.seed, tick: number, at, length: self.tick_length, seconds };
        let mut samples = traffic::samples(&self.cluster, &moment);
        let mut questions = dns::questions(&self.cluster, &moment);
        let mut metadata: Vec<Metadata> = changed.into_iter().map(Metadata::Revision).collect();
        metadata.push(Metadata::Heartbeat(Heartbeat {
            cluster: CLUSTER.to_owned(),
            complete_to: at + self.tick_length,
            proof: Proof::Manifests,
            cluster_known: true,
        }));
        let of = |node| (samples.remove(&node).unwrap_or_default(), questions.remove(&node).unwrap_or_default());
        let by_node: Vec<_> = (0..cluster::NODES).map(of).collect();
        let batches = by_node.into_iter().enumerate().map(|(node, (samples, dns))| self.batch(node, at, samples, dns));
        let batches = batches.collect();
        Tick { metadata, batches }
    }
}

impl Demo {
    fn batch(&mut self, node: usize, at: Millis, samples: Vec<Sample>, dns: Vec<DnsSample>) -> RawBatch {
        let state = &mut self.nodes[node];
        for sample in &samples {
            state.seen.packets += sample.packets;
            state.seen.bytes += sample.bytes;
            state.seen.samples += 1;
        }
        let sequence = state.sequence;
        state.sequence += 1;
        RawBatch {
            dns,
            cluster: CLUSTER.to_owned(),
            node: cluster::node_name(node),
            boot: state.boot.clone(),
            sequence,
            tick: at,
            tick_length: self.tick_length,
            ticks: 1,
            part: 0,
            parts: 1,
            origin: Origin::Demo,
            seen: state.seen,
            published: state.seen,
            lost: Vec::new(),
            samples,
        }
    }
}
