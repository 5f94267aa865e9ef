//! What the API shows of a pod: its node's reports in whole seconds, rounded down, each late by its own time.

use crate::pods::{Ending, Hold, Pod};
use crate::random::Random;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use weir_flow::Millis;

/// One state of the pod at the API server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pub(crate) scheduled: Option<Millis>,
    /// When its end was asked for, and the time given to it, in seconds.
    pub(crate) deletion: Option<(Millis, i64)>,
    pub(crate) failed: bool,
    pub(crate) report: Option<Report>,
}

/// What a node last told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) hold: Hold,
    /// The container of the sandbox before this one.
    pub(crate) before: Option<Hold>,
    /// Since when its sandbox is ready or, with `false`, is no longer.
    pub(crate) ready: Option<(bool, Millis)>,
    pub(crate) running: bool,
    pub(crate) terminated: bool,
    pub(crate) phase: &'static str,
}

/// A change at the API server.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) at: Millis,
    /// What is shown from then on; as it last was, when it is gone.
    pub(crate) shown: Shown,
    pub(crate) gone: bool,
}

enum Step {
    Scheduled,
    Asked(i64),
    Failed,
    Report(usize, Report),
    Gone,
}

/// Everything that the API server is told of a pod, in order.
pub(crate) fn writes(random: &mut Random, pod: &Pod, late: Millis) -> Vec<Write> {
    let mut steps: Vec<(Millis, Step)> = vec![(pod.scheduled, Step::Scheduled)];
    let (reports, last) = reports(random, pod, late);
    steps.extend(reports.into_iter().enumerate().map(|(number, (at, report))| (at, Step::Report(number, report))));
    match pod.ending {
        Ending::Deleted => {
            steps.push((pod.asked, Step::Asked(30)));
            let gone = last.max(pod.end()) + random.between(0, late);
            steps.push((gone, Step::Asked(0)));
            steps.push((gone, Step::Gone));
        }
        Ending::Completed | Ending::Evicted | Ending::Moved => {
            let gone = last.max(pod.end()) + random.between(5_000, 60_000);
            steps.push((gone, Step::Asked(0)));
            steps.push((gone, Step::Gone));
        }
        Ending::Forced => {
            steps.push((pod.asked, Step::Asked(0)));
            steps.push((pod.asked, Step::Gone));
        }
        Ending::DeletedThenForced => {
            let forced = random.between(pod.asked, pod.end());
            steps.push((pod.asked, Step::Asked(30)));
            steps.push((forced, Step::Asked(0)));
            steps.push((forced, Step::Gone));
        }
        Ending::Orphaned => {
            steps.push((pod.asked, Step::Failed));
            steps.push((pod.asked + 500, Step::Asked(0)));
            steps.push((pod.asked + 500, Step::Gone));
        }
    }
    steps.sort_by_key(|(at, _)| *at);
    told(pod, steps)
}

/// The states that follow from the steps: a report that a later one has overtaken is no longer told.
fn told(pod: &Pod, steps: Vec<(Millis, Step)>) -> Vec<Write> {
    let mut shown = Shown::default();
    let mut newest = None;
    let mut writes = vec![Write { at: pod.created, shown: shown.clone(), gone: false }];
    for (at, step) in steps {
        let mut gone = false;
        match step {
            Step::Scheduled => shown.scheduled = Some(at),
            Step::Asked(grace) => {
                shown.deletion = Some((shown.deletion.map_or(at, |(first, _)| first), grace));
            }
            Step::Failed => shown.failed = true,
            Step::Report(number, _) if newest.is_some_and(|newest| newest > number) => continue,
            Step::Report(number, report) => {
                newest = Some(number);
                shown.report = Some(report);
            }
            Step::Gone => gone = true,
        }
        writes.push(Write { at, shown: shown.clone(), gone });
        if gone {
            break;
        }
    }
    writes
}

/// The reports of a pod's node with the times at which they reach the API server, in the order in which they were made;
/// and when the last of them does.
fn reports(random: &mut Random, pod: &Pod, late: Millis) -> (Vec<(Millis, Report)>, Millis) {
    let mut all = Vec::new();
    let mut before = None;
    for (number, hold) in pod.holds.iter().enumerate() {
        let lost = before.map(|before: Hold| (false, before.end));
        let ready = if hold.noticed < hold.end { Some((true, hold.noticed)) } else { lost };
        let first = Report { hold: *hold, before, ready, running: false, terminated: false, phase: "Pending" };
        if hold.noticed < hold.finished {
            all.push((tell(random, hold.begin, hold.noticed, late), first));
            let running = Report { running: true, phase: "Running", ..first };
            all.push((tell(random, hold.started.max(hold.noticed), hold.started.max(hold.noticed), late), running));
        }
        let last = number + 1 == pod.holds.len();
        let phase = match pod.ending {
            _ if !last => "Running",
            Ending::Completed => "Succeeded",
            Ending::Evicted => "Failed",
            Ending::Deleted if hold.begin % 2 == 0 => "Failed",
            _ => "Running",
        };
        if last {
            let ended = Report { terminated: true, phase, ..first };
            all.push((tell(random, hold.finished, hold.finished, late), ended));
            if random.percent(70) {
                let gone = Report { ready: Some((false, hold.end)), ..ended };
                all.push((random.between(hold.end, hold.end + late), gone));
            }
        } else {
            // The sandbox is gone and will be made anew: the kubelet goes on showing the old address.
            let lost = Report { ready: Some((false, hold.end)), terminated: true, phase, ..first };
            all.push((tell(random, hold.end, hold.end, late), lost));
        }
        before = Some(*hold);
    }
    let last = all.last().map_or(pod.end(), |(at, _)| *at);
    (all, last)
}

/// When a report made at a time tells of a fact: late by at most so much, counted from the fact.
fn tell(random: &mut Random, fact: Millis, made: Millis, late: Millis) -> Millis {
    random.between(made, (fact + late).max(made))
}

fn time(millis: Millis) -> Time {
    Time(Timestamp::from_second(millis.div_euclid(1_000)).unwrap())
}

fn condition(kind: &str, status: bool, at: Millis) -> core::PodCondition {
    core::PodCondition {
        type_: kind.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        last_transition_time: Some(time(at)),
        ..core::PodCondition::default()
    }
}

/// The pod as the API server shows it.
pub(crate) fn object(pod: &Pod, shown: &Shown) -> core::Pod {
    core::Pod {
        metadata: ObjectMeta {
            name: Some(pod.name.clone()),
            namespace: Some("shop".to_owned()),
            uid: Some(pod.uid.clone()),
            creation_timestamp: Some(time(pod.created)),
            deletion_timestamp: shown.deletion.map(|(asked, grace)| time(asked + grace * 1_000)),
            deletion_grace_period_seconds: shown.deletion.map(|(_, grace)| grace),
            ..ObjectMeta::default()
        },
        spec: Some(core::PodSpec {
            node_name: shown.scheduled.map(|_| format!("node-{}", pod.node)),
            ..core::PodSpec::default()
        }),
        status: Some(status(pod, shown)),
    }
}

pub(crate) fn status(pod: &Pod, shown: &Shown) -> core::PodStatus {
    let mut conditions: Vec<core::PodCondition> =
        shown.scheduled.iter().map(|at| condition("PodScheduled", true, *at)).collect();
    let mut status = core::PodStatus { phase: Some("Pending".to_owned()), ..core::PodStatus::default() };
    if let Some(report) = &shown.report {
        conditions.extend(report.ready.map(|(ready, at)| condition("PodReadyToStartContainers", ready, at)));
        let addresses = pod.addresses(report.hold.slot);
        status.pod_ip = addresses.first().map(ToString::to_string);
        status.pod_ips = Some(addresses.iter().map(|ip| core::PodIP { ip: ip.to_string() }).collect());
        status.phase = Some(report.phase.to_owned());
        status.container_statuses = Some(vec![container(pod, report)]);
    }
    if shown.failed {
        status.phase = Some("Failed".to_owned());
    }
    status.conditions = Some(conditions);
    status
}

fn container(pod: &Pod, report: &Report) -> core::ContainerStatus {
    let ended = |hold: &Hold| core::ContainerStateTerminated {
        started_at: Some(time(hold.started)),
        finished_at: Some(time(hold.finished)),
        ..core::ContainerStateTerminated::default()
    };
    let mut state = core::ContainerState::default();
    if report.terminated {
        state.terminated = Some(ended(&report.hold));
    } else if report.running {
        state.running = Some(core::ContainerStateRunning { started_at: Some(time(report.hold.started)) });
    } else {
        state.waiting = Some(core::ContainerStateWaiting::default());
    }
    let last = report
        .before
        .as_ref()
        .map(|hold| core::ContainerState { terminated: Some(ended(hold)), ..core::ContainerState::default() });
    core::ContainerStatus {
        name: "c".to_owned(),
        container_id: Some(format!("containerd://{}", pod.uid)),
        state: Some(state),
        last_state: last,
        ..core::ContainerStatus::default()
    }
}
