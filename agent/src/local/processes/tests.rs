use super::{Process, namespace, owners, scan};
use crate::local::cgroup::Place;
use std::net::{TcpListener, TcpStream};
use std::path::Path;

#[test]
fn this_process_and_its_sockets_are_found() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    let all = scan(Path::new("/proc"));
    let own = all.processes.iter().find(|process| process.id == std::process::id()).unwrap();
    assert_eq!(own.namespace, namespace(Path::new("/proc/self")));
    assert!(own.namespace.is_some() && !own.name.is_empty() && !own.name.contains('\n'));
    let (found, overflow) = owners(Path::new("/proc"), Path::new("/proc/self/net"), &[own]);
    assert_eq!(overflow, 0);
    let (near, far) = (client.local_addr().unwrap(), server.local_addr().unwrap());
    assert_eq!(found.find(6, near, far), Some(&own.id));
    assert_eq!(found.find(6, far, near), Some(&own.id));
    assert_eq!(found.find(17, far, near), None);
}

#[test]
fn what_is_no_process_and_what_cannot_be_read_is_passed_over() {
    let proc = tempfile::tempdir().unwrap();
    let file = |path: &str, text: &str| {
        let path = proc.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    file("sys/comm", "no");
    file("12/comm", "nginx\n");
    file("12/cgroup", &format!("0::/docker/{}\n", "a".repeat(64)));
    std::fs::create_dir_all(proc.path().join("13")).unwrap();
    let place = Place { pod_uid: None, container: Some("a".repeat(64)) };
    let only = Process { id: 12, name: "nginx".to_owned(), namespace: None, place };
    assert_eq!(scan(proc.path()).processes, [only]);
    assert!(scan(Path::new("/nowhere")).processes.is_empty());
}
