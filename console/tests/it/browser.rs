//! The page in a real browser, where there is one: under its own policy, with flows, without, and with hostile names.
//!
//! `WEIR_CHROMIUM` names the browser (else `/usr/bin/chromium`), `WEIR_SCREENSHOTS` a folder for pictures to look at.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use weir_schemas::enriched::{Enriched, Side};
use weir_schemas::raw::Origin;

use crate::Stage;
use crate::samples::{flow, flows, hit, outside};

fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("WEIR_CHROMIUM").map_or_else(|| PathBuf::from("/usr/bin/chromium"), PathBuf::from);
    let found = path.exists();
    if !found {
        println!("skipped: no browser at {}", path.display());
    }
    found.then_some(path)
}

/// Runs the browser on a path of the console; `extra` says what it gives back on its standard output.
async fn visit(stage: &Stage, path: &str, extra: &[String]) -> Option<String> {
    let browser = browser()?;
    let profile = std::env::temp_dir().join(format!("weir-console-browser-{}", stage.address.port()));
    let mut command = Command::new(browser);
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--timeout=8000", "--virtual-time-budget=3000", "--lang=en-GB"])
        .args(["--disable-background-networking", "--no-first-run", "--force-device-scale-factor=1"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(extra)
        .arg(format!("http://{}{path}", stage.address))
        .stderr(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let _ = std::fs::remove_dir_all(profile);
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

async fn dom(stage: &Stage, path: &str) -> Option<String> {
    visit(stage, path, &["--dump-dom".to_owned()]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn page_shows_flows_and_the_label_of_demo_data() {
    let stage = Stage::new().await;
    let demo = flows().into_iter().map(|record| Enriched { origin: Origin::Demo, ..record });
    stage.engine.hold(demo.map(|record| hit(&record)).collect());
    let Some(page) = dom(&stage, "/?namespace=shop").await else { return };
    assert!(page.contains("db-7d9f8b6c5-x9k2p"), "{page}");
    assert!(page.contains("never arrived") && page.contains("ambiguous"));
    assert!(page.contains("Demo data."));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_from_outside_stay_text() {
    let stage = Stage::new().await;
    let hostile = "<img src=x onerror=\"document.title='owned'\"><b id=injected>";
    let source = Side { process: Some(hostile.into()), host: Some(hostile.into()), ..outside("10.0.0.1") };
    stage.engine.hold(vec![hit(&flow(0, source, outside("10.0.0.2"), 80, (1, 1)))]);
    let Some(page) = dom(&stage, "/").await else { return };
    assert!(page.contains("&lt;img src=x"), "{page}");
    assert!(!page.contains("<b id=") && !page.contains("<title>owned"));
}

#[tokio::test(flavor = "multi_thread")]
async fn page_without_flows_says_how_to_make_some() {
    let stage = Stage::new().await;
    let Some(page) = dom(&stage, "/").await else { return };
    assert!(page.contains("No flows yet") && page.contains("weir up --demo"), "{page}");
    let filtered = dom(&stage, "/?port=9").await.unwrap();
    assert!(filtered.contains("No flow matches these filters"), "{filtered}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "pictures for people: set WEIR_SCREENSHOTS"]
async fn pictures() {
    let folder = PathBuf::from(std::env::var_os("WEIR_SCREENSHOTS").unwrap());
    let stage = Stage::new().await;
    let many = (0..40).flat_map(|round| {
        flows().into_iter().map(move |record| {
            let window = record.window - i64::from(round) * 20_000;
            let origin = Origin::Demo;
            Enriched { id: format!("{round:02x}{}", &record.id[2..]), window, origin, cluster: "demo".into(), ..record }
        })
    });
    let picture = |name: &str, size: &str, more: &[&str]| {
        let mut arguments =
            vec![format!("--screenshot={}", folder.join(name).display()), format!("--window-size={size}")];
        arguments.extend(more.iter().map(ToString::to_string));
        arguments
    };
    visit(&stage, "/", &picture("empty.png", "1440,900", &[])).await;
    stage.engine.hold(many.map(|record| hit(&record)).collect());
    let dark = ["--blink-settings=preferredColorScheme=0"];
    visit(&stage, "/", &picture("light.png", "1440,900", &[])).await;
    visit(&stage, "/", &picture("dark.png", "1440,900", &dark)).await;
    visit(&stage, "/?namespace=shop&port=x", &picture("narrow.png", "820,900", &[])).await;
}
