//! Ten thousand pods and five hundred policies: what a verdict costs, what a change costs, and how often the cache knows.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    reason = "criterion's macros write functions without docs; a bench asks the clock"
)]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use std::hint::black_box;
use std::time::Instant;
use weir_flow::Address;
use weir_policy::{Ask, Cache, End, EndNumber, Engine, Parsed, PodEnd, Policy, PolicyObject, Profile, parse};

const NAMESPACES: usize = 50;
const PODS: usize = 10_000;
const POLICIES: usize = 500;

/// A small generator with a fixed seed (splitmix64): the same cluster and the same mix on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let sides = u64::try_from(sides).expect("a small number");
        usize::try_from((mixed ^ (mixed >> 31)) % sides).expect("less than the sides")
    }

    /// Few numbers often, many seldom, as workloads' shares of traffic are.
    fn skewed(&mut self, sides: usize) -> usize {
        let (a, b) = (self.roll(sides), self.roll(sides));
        let c = self.roll(sides);
        a.min(b).min(c)
    }
}

/// Every fifth policy isolates a namespace, the others open one workload to another, some to blocks.
fn spec(at: usize, dice: &mut Dice) -> Value {
    let app = |number: usize| json!({"matchLabels": {"app": format!("app-{number}")}});
    match at % 5 {
        0 => json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
            "egress": [{"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ns-0"}}}],
                "ports": [{"port": 53, "protocol": "UDP"}]}]}),
        1 => json!({"podSelector": app(dice.roll(20)), "policyTypes": ["Egress"],
            "egress": [{"to": [{"ipBlock": {"cidr": format!("{}.0.0.0/8", 11 + at % 100),
                "except": [format!("{}.1.0.0/16", 11 + at % 100)]}}], "ports": [{"port": 443}]}]}),
        _ => json!({"podSelector": app(dice.roll(20)), "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [{"podSelector": app(dice.roll(20))},
                {"namespaceSelector": {"matchLabels": {"team": format!("team-{}", dice.roll(10))}}}],
                "ports": [{"port": 8080}, {"port": 9000, "endPort": 9100}]}],
            "egress": [{"to": [{"namespaceSelector": {}, "podSelector": app(dice.roll(20))}]}]}),
    }
}

fn policy(at: usize, dice: &mut Dice) -> Policy {
    let namespace = format!("ns-{}", at / 5 % NAMESPACES);
    let name = format!("policy-{at}");
    let object = PolicyObject {
        api_version: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        namespace: &namespace,
        name: &name,
        staged: false,
    };
    match parse(object, &spec(at, dice)) {
        Parsed::Policy(policy, _) => *policy,
        other => panic!("{other:?}"),
    }
}

/// Twenty workloads of ten pods in each namespace; pods of stateful workloads differ by a label each.
fn pod(engine: &mut Engine, at: usize) -> (EndNumber, Address) {
    let (namespace, workload) = (at % NAMESPACES, at / NAMESPACES % 20);
    let mut labels = vec![format!("app=app-{workload}"), format!("pod-template-hash={workload}{namespace}")];
    if workload < 2 {
        labels.push(format!("statefulset.kubernetes.io/pod-name=app-{workload}-{at}"));
    }
    let end = engine.end(&End::Pod(PodEnd {
        namespace: &format!("ns-{namespace}"),
        namespace_labels: &[format!("team=team-{}", namespace % 10)],
        labels: &labels,
        labels_complete: true,
        ports: &[],
        host_network: false,
        node_labels: None,
    }));
    (end, format!("10.{}.{}.{}", at / 62_500, at / 250 % 250, at % 250 + 1).parse().expect("an address"))
}

struct Cluster {
    engine: Engine,
    pods: Vec<(EndNumber, Address)>,
    outside: EndNumber,
}

fn cluster() -> Cluster {
    let mut engine = Engine::new(Profile::CALICO);
    let mut dice = Dice(1);
    for at in 0..POLICIES {
        engine.insert(policy(at, &mut dice));
    }
    let pods = (0..PODS).map(|at| pod(&mut engine, at)).collect();
    let outside = engine.end::<&str>(&End::External);
    Cluster { engine, pods, outside }
}

fn ask(source: (EndNumber, Address), destination: (EndNumber, Address), port: u16) -> Ask {
    Ask {
        source: source.0,
        source_address: Some(source.1),
        translated_source: None,
        destination: destination.0,
        destination_address: Some(destination.1),
        protocol: 6,
        port,
        same_node: None,
        same_pod: false,
    }
}

/// Connections as workloads make them: a pod talks to the pods of five workloads, each on its own port, busy ones more often; one
/// connection in ten goes to the outside.
fn mix(cluster: &Cluster, count: usize) -> Vec<Ask> {
    let mut dice = Dice(2);
    let ports = [8080_u16, 53, 443, 9000, 9090, 5432];
    let workloads = NAMESPACES * 20;
    let mut asks = Vec::with_capacity(count);
    for _ in 0..count {
        let at = dice.skewed(PODS);
        let source = cluster.pods[at];
        if dice.roll(10) == 0 {
            let bytes = [u8::try_from(11 + dice.roll(200)).expect("an octet"), 1, 2, 3];
            asks.push(ask(source, (cluster.outside, Address::from_bytes(&bytes).expect("an address")), 443));
        } else {
            // Pods with the same remainder are of one workload.
            let to = (at % workloads * 31 + dice.skewed(5) * 977) % workloads;
            let destination = cluster.pods[to + dice.roll(PODS / workloads) * workloads];
            asks.push(ask(source, destination, ports[to % ports.len()]));
        }
    }
    asks
}

fn percentile(sorted: &[u128], of_hundred: usize) -> u128 {
    sorted[(sorted.len() - 1) * of_hundred / 100]
}

/// What single misses cost, as quantiles: criterion gives means.
fn misses(cluster: &Cluster) {
    let asks = mix(cluster, 200_000);
    let mut cache = Cache::new(1_000_000);
    let mut took = Vec::with_capacity(asks.len());
    for ask in &asks {
        let before = cache.misses();
        let begun = Instant::now();
        black_box(cluster.engine.judge(&mut cache, ask));
        let time = begun.elapsed().as_nanos();
        if cache.misses() > before {
            took.push(time);
        }
    }
    took.sort_unstable();
    let (half, most) = (percentile(&took, 50), percentile(&took, 99));
    println!("miss: {} asked, p50 {half} ns, p99 {most} ns (with the clock's own cost)", took.len());
}

/// How often the cache knows, over three million connections.
fn hit_rate(cluster: &Cluster) {
    let asks = mix(cluster, 3_000_000);
    let mut cache = Cache::new(1_000_000);
    let begun = Instant::now();
    for ask in &asks {
        black_box(cluster.engine.judge(&mut cache, ask));
    }
    let took = begun.elapsed();
    let all = cache.hits() + cache.misses();
    println!(
        "mix: {all} connections, {} misses ({:.2} % hits), {} ends that differ, {} ns each",
        cache.misses(),
        100.0
            - 100.0 * f64::from(u32::try_from(cache.misses()).expect("few"))
                / f64::from(u32::try_from(all).expect("few")),
        cluster.engine.ends(),
        took.as_nanos() / u128::from(all),
    );
}

fn verdicts(criterion: &mut Criterion) {
    let cluster = cluster();
    misses(&cluster);
    hit_rate(&cluster);
    let asks = mix(&cluster, 4096);
    let mut cache = Cache::new(100_000);
    for ask in &asks {
        cluster.engine.judge(&mut cache, ask);
    }
    let mut next = asks.iter().cycle();
    criterion.bench_function("verdict, known", |bench| {
        bench.iter(|| cluster.engine.judge(&mut cache, next.next().expect("a cycle")));
    });
    criterion.bench_function("verdict, not known", |bench| {
        let mut none = Cache::new(1);
        bench.iter(|| cluster.engine.judge(&mut none, next.next().expect("a cycle")));
    });
}

fn changes(criterion: &mut Criterion) {
    let Cluster { engine, .. } = cluster();
    let mut changed = engine.clone();
    let mut turn = 0;
    criterion.bench_function("one policy changed, 10 000 pods known", |bench| {
        bench.iter_batched(
            || {
                turn += 1;
                policy(turn % POLICIES, &mut Dice(u64::try_from(turn).expect("a small number")))
            },
            |policy| changed.insert(policy),
            BatchSize::SmallInput,
        );
    });
    criterion.bench_function("all compiled anew", |bench| bench.iter(cluster));
}

/// Two engines side by side, the second with an edit: what a preview does with each record.
fn preview(criterion: &mut Criterion) {
    let cluster = cluster();
    let mut edited = cluster.engine.clone();
    edited.insert(policy(7, &mut Dice(99)));
    let asks = mix(&cluster, 100_000);
    let (mut now, mut then) = (Cache::new(1_000_000), Cache::new(1_000_000));
    let mut group = criterion.benchmark_group("preview");
    group.throughput(criterion::Throughput::Elements(u64::try_from(asks.len()).expect("a small number")));
    group.bench_function("records judged twice", |bench| {
        bench.iter(|| {
            let differs = asks.iter().filter(|ask| {
                let before = cluster.engine.judge(&mut now, ask).enforced.outcome;
                before != edited.judge(&mut then, ask).enforced.outcome
            });
            differs.count()
        });
    });
}

criterion_group!(benches, verdicts, changes, preview);
criterion_main!(benches);
