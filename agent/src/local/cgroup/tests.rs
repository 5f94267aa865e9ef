use super::{Place, of_path, of_process};
use proptest::prelude::*;

const UID: &str = "0f1a4b6c-12ab-4cde-8f00-123456789abc";
const UNDERSCORED: &str = "0f1a4b6c_12ab_4cde_8f00_123456789abc";

fn id(digit: char) -> String {
    digit.to_string().repeat(64)
}

fn place(pod: bool, container: Option<char>) -> Place {
    Place { pod_uid: pod.then(|| UID.to_owned()), container: container.map(id) }
}

#[test]
fn paths_of_runtimes_and_drivers() {
    let a = id('a');
    let cases = [
        // The systemd driver: containerd, CRI-O, Docker; each class of service; the kubelet in a container.
        (format!("/kubepods.slice/kubepods-pod{UNDERSCORED}.slice/cri-containerd-{a}.scope"), place(true, Some('a'))),
        (
            format!(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UNDERSCORED}.slice/crio-{a}.scope"
            ),
            place(true, Some('a')),
        ),
        (
            format!(
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UNDERSCORED}.slice/docker-{a}.scope"
            ),
            place(true, Some('a')),
        ),
        (
            format!(
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{UNDERSCORED}.slice/cri-containerd-{a}.scope"
            ),
            place(true, Some('a')),
        ),
        // An unescaped UID stands as it is.
        (format!("/kubepods.slice/kubepods-pod{UID}.slice/cri-containerd-{a}.scope"), place(true, Some('a'))),
        // Only the pod's cgroup; the monitor beside a container; a service within a container.
        (format!("/kubepods.slice/kubepods-pod{UNDERSCORED}.slice"), place(true, None)),
        (format!("/kubepods.slice/kubepods-pod{UNDERSCORED}.slice/crio-conmon-{a}.scope"), place(true, None)),
        (
            format!("/kubepods.slice/kubepods-pod{UNDERSCORED}.slice/crio-{a}.scope/system.slice/x.service"),
            place(true, Some('a')),
        ),
        // The cgroupfs driver.
        (format!("/kubepods/pod{UID}/{a}"), place(true, Some('a'))),
        (format!("/kubepods/burstable/pod{UID}/{a}"), place(true, Some('a'))),
        (format!("/kubepods/besteffort/pod{UID}/crio-{a}"), place(true, Some('a'))),
        (
            format!("/system.slice/containerd.service/kubepods-burstable-pod{UNDERSCORED}.slice:cri-containerd:{a}"),
            place(true, Some('a')),
        ),
        // A node that is a container itself, and a container started within a container.
        (format!("/docker/{}/kubelet/kubepods/burstable/pod{UID}/{a}", id('b')), place(true, Some('a'))),
        (format!("/docker/{}/kubelet/kubepods/burstable/pod{UID}", id('b')), place(true, None)),
        (format!("/docker/{}/docker/{a}", id('b')), place(false, Some('a'))),
        // Seen from within another container's cgroup namespace.
        (format!("/../../kubepods-burstable-pod{UNDERSCORED}.slice/cri-containerd-{a}.scope"), place(true, Some('a'))),
        // Without Kubernetes.
        (format!("/docker/{a}"), place(false, Some('a'))),
        (format!("/system.slice/docker-{a}.scope"), place(false, Some('a'))),
        (format!("/machine.slice/libpod-{a}.scope/container"), place(false, Some('a'))),
        (format!("/machine.slice/libpod-conmon-{a}.scope"), place(false, None)),
        (format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{a}.scope"), place(false, Some('a'))),
        (format!("/system.slice/nerdctl-{a}.scope"), place(false, Some('a'))),
        (format!("/default/{a}"), place(false, Some('a'))),
        // A static pod's hash is not the API's UID.
        (format!("/kubepods/burstable/pod{}/{a}", "d".repeat(32)), place(false, Some('a'))),
        // Of neither.
        ("/".to_owned(), place(false, None)),
        ("/user.slice/user-0.slice/session-1.scope".to_owned(), place(false, None)),
        ("/system.slice/podman.service".to_owned(), place(false, None)),
        (format!("/app/pod{UID}"), place(false, None)),
        (format!("/system.slice/x{}.scope", id('A')), place(false, None)),
        (format!("/system.slice/x{}", id('a')), place(false, None)),
    ];
    for (path, expected) in cases {
        assert_eq!(of_path(&path), expected, "{path}");
    }
}

#[test]
fn a_process_is_where_any_hierarchy_says_most() {
    let a = id('a');
    let v1 = format!("12:pids:/kubepods/pod{UID}/{a}\n4:memory:/kubepods/pod{UID}/{a}\n1:name=systemd:/\n0::/\n");
    assert_eq!(of_process(&v1), place(true, Some('a')));
    let v2 = format!("0::/system.slice/docker-{a}.scope\n");
    assert_eq!(of_process(&v2), place(false, Some('a')));
    let both = format!("3:cpu:/docker/{}\n0::/docker/{a}\n", id('b'));
    assert_eq!(of_process(&both), place(false, Some('a')), "the unified hierarchy among equals");
    assert!(of_process("").is_empty() && of_process("no colons\n::\n").is_empty());
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic_and_gives_well_formed_answers(text in "[a-f0-9/:._\\-podé\n]{0,300}") {
        for place in [of_process(&text), of_path(&text)] {
            prop_assert!(place.container.is_none_or(|id| id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit())));
            prop_assert!(place.pod_uid.is_none_or(|uid| uid.len() == 36));
        }
    }

    #[test]
    fn whatever_is_above_or_below_the_answer_stays(
        above in "(/[a-z.]{1,12}){0,4}",
        below in "(/[a-z]{1,9}\\.service){0,3}",
        uid in "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        container in "[0-9a-f]{64}",
        systemd: bool,
    ) {
        let middle = if systemd {
            format!("/kubepods-pod{}.slice/cri-containerd-{container}.scope", uid.replace('-', "_"))
        } else {
            format!("/kubepods/pod{uid}/{container}")
        };
        let place = of_path(&format!("{above}{middle}{below}"));
        prop_assert_eq!(place, Place { pod_uid: Some(uid), container: Some(container) });
    }
}
