use crate::harness::{Engines, Up, is_root};
use serde_json::Value;
use std::net::TcpListener;
use std::path::Path;

/// `WEIR_BLESS=1` writes the page instead of comparing it.
#[test]
fn the_reference_of_metrics_is_what_the_program_serves() {
    if !is_root("the agent's metrics") {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let up = Up::start(data.path(), &Engines::Embedded, None, &["--admin-listen", &admin]);
    up.wait_for("a flow", 60, |up| up.documents(1, &[]).pop());
    let inventory = up.curl(&[&format!("http://{admin}/inventory")]).unwrap();
    let metrics = up.curl(&[&format!("http://{admin}/metrics")]).unwrap();
    assert!(metrics.contains("weir_build_info") && metrics.trim_end().ends_with("# EOF"), "{metrics}");
    let ready = up.wait_for("readiness", 30, |up| up.curl(&["-f", &format!("http://{admin}/ready")]).ok());
    assert!(ready.contains("\"ready\":true"), "{ready}");

    let mut page = String::from(
        "# Metrics\n\nServed by `--admin-listen` on `/metrics` (OpenMetrics). Made from a running `weir up`; a service of its own serves \
         its part of them.\n\n| name | type | meaning |\n|---|---|---|\n",
    );
    for metric in serde_json::from_str::<Vec<Value>>(&inventory).unwrap() {
        let text = |key: &str| metric[key].as_str().unwrap().to_owned();
        assert!(!text("help").is_empty(), "{metric} says nothing");
        page += &format!("| `{}` | {} | {} |\n", text("name"), text("type"), text("help"));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference-metrics.md");
    if std::env::var_os("WEIR_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), page, "stale: run it with WEIR_BLESS=1");
    assert_eq!(up.interrupt(), Some(0));
}
