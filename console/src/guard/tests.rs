//! Which hosts are answered.

use super::*;

#[test]
fn only_names_that_nobody_else_can_own_are_answered() {
    let hosts = Hosts::new(&["Flows.Example.com".to_owned()]);
    for good in [
        "localhost",
        "localhost:8080",
        "LOCALHOST:1",
        "127.0.0.1:8080",
        "10.1.2.3",
        "[::1]:8080",
        "[::1]",
        "flows.example.com",
        "flows.example.com:443",
    ] {
        assert!(hosts.allow(good), "{good}");
    }
    for bad in [
        "",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example:8080",
        "localhost:x",
        "localhost:",
        "[::1",
        "[::1]x",
        "[evil]",
        "x.flows.example.com",
        "::1",
        "localhost@evil",
    ] {
        assert!(!hosts.allow(bad), "{bad}");
    }
}

#[test]
fn only_the_consoles_own_page_makes_it_work() {
    let hosts = Hosts::new(&["flows.example".to_owned()]);
    let own = |host, origin| own_page(&hosts, Some(host), origin);
    assert!(own("localhost:8080", None), "no browser");
    assert!(own("localhost:8080", Some("http://localhost:8080")));
    assert!(own("10.0.0.1", Some("https://10.0.0.1")));
    assert!(own("console.internal:8080", Some("https://flows.example")), "a proxy's name");
    for bad in ["http://localhost:3000", "http://evil.example", "http://flows.example.evil", "null", ""] {
        assert!(!own("localhost:8080", Some(bad)), "{bad}");
    }
}
