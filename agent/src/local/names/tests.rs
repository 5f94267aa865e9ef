use super::{Container, Names};
use std::collections::HashSet;
use std::path::Path;

fn write(root: &Path, path: &str, content: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn id(digit: char) -> String {
    digit.to_string().repeat(64)
}

#[test]
fn names_come_from_each_runtimes_files() {
    let root = tempfile::tempdir().unwrap();
    let (a, b, c, d, e, f) = (id('a'), id('b'), id('c'), id('d'), id('e'), id('f'));
    let at = |path: &str, content: &str| write(root.path(), path, content);
    at(&format!("var/lib/docker/containers/{a}/config.v2.json"), r#"{"Name":"/web","Config":{"Labels":{}}}"#);
    at(
        &format!("run/containerd/io.containerd.runtime.v2.task/k8s.io/{b}/config.json"),
        r#"{"annotations":{"io.kubernetes.cri.container-type":"container","io.kubernetes.cri.container-name":"api","io.kubernetes.cri.sandbox-uid":"u"}}"#,
    );
    at(
        &format!("run/containerd/io.containerd.runtime.v2.task/k8s.io/{c}/config.json"),
        r#"{"annotations":{"io.kubernetes.cri.container-type":"sandbox","io.kubernetes.cri.sandbox-uid":"u"}}"#,
    );
    at(
        &format!("run/containers/storage/overlay-containers/{d}/userdata/config.json"),
        r#"{"annotations":{"io.kubernetes.cri-o.ContainerType":"container","io.kubernetes.container.name":"db"}}"#,
    );
    at(
        "var/lib/containers/storage/overlay-containers/containers.json",
        &format!(r#"[{{"id":"{}","names":["other"]}},{{"id":"{e}","names":["cache"]}}]"#, id('0')),
    );
    at(&format!("var/lib/docker/containers/{f}/config.v2.json"), "{ cut");
    let mut names = Names::new(root.path());
    let named = |name: &str| Container { name: Some(name.to_owned()), ..Container::default() };
    assert_eq!(names.container(&a), named("web"));
    assert_eq!(names.container(&b), Container { pod_uid: Some("u".to_owned()), ..named("api") });
    assert_eq!(names.container(&c), Container { pod_uid: Some("u".to_owned()), sandbox: true, name: None });
    assert_eq!(names.container(&d), named("db"));
    assert_eq!(names.container(&e), named("cache"));
    assert_eq!(names.container(&f).label(&f), "f".repeat(12), "a file that cannot be read names nobody");
    assert_eq!(names.container(&id('1')).label(&id('1')), "1".repeat(12));
}

#[test]
fn a_name_is_read_once_and_kept_while_the_container_is_there() {
    let (root, a) = (tempfile::tempdir().unwrap(), id('a'));
    let mut names = Names::new(root.path());
    assert_eq!(names.container(&a).name, None);
    let path = format!("var/lib/docker/containers/{a}/config.v2.json");
    write(root.path(), &path, r#"{"Name":"/web"}"#);
    assert_eq!(names.container(&a).name.as_deref(), Some("web"), "its runtime was slower than the agent");
    std::fs::remove_file(root.path().join(&path)).unwrap();
    assert_eq!(names.container(&a).name.as_deref(), Some("web"));
    names.keep(&HashSet::from([a.as_str()]));
    assert_eq!(names.container(&a).name.as_deref(), Some("web"));
    names.keep(&HashSet::new());
    assert_eq!(names.container(&a).name, None);
}
