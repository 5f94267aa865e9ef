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
