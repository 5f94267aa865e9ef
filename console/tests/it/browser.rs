//! The page in a real browser, where there is one: under its own policy, with flows, without, and with hostile names.
//!
//! `WEIR_CHROMIUM` names the browser (else `/usr/bin/chromium`), `WEIR_SCREENSHOTS` a folder for pictures to look at.

mod chromium;

use std::path::PathBuf;
use std::time::Duration;

use weir_schemas::enriched::{Enriched, Side};
use weir_schemas::raw::Origin;

use crate::Stage;
use crate::preview::{EDIT, with_metadata};
use crate::samples::{flow, flows, hit, outside};
use chromium::Chromium;

/// A browser on the console's page, or nothing where there is no browser.
///
/// The calls block: the tests run on a runtime with more threads, on which the console goes on.
fn visit(stage: &Stage, path: &str) -> Option<Chromium> {
    let mut browser = Chromium::start()?;
    browser.go(&format!("http://{}{path}", stage.address));
    Some(browser)
}

fn demo() -> impl Iterator<Item = Enriched> {
    flows().into_iter().map(|record| Enriched { origin: Origin::Demo, cluster: "demo".into(), ..record })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_shows_stored_and_live_flows_and_their_details() {
    let stage = Stage::new().await;
    stage.engine.hold(demo().filter(|record| record.totals.reverse_bytes > 0).map(|record| hit(&record)).collect());
    let Some(mut browser) = visit(&stage, "/?namespace=shop") else { return };
    browser.wait("document.querySelectorAll('#rows tr').length === 9");
    browser.wait("document.getElementById('label').textContent.includes('Demo data.')");
    browser.wait("document.getElementById('live').dataset.state === 'live'");
    assert!(browser.text("#rows").contains("ambiguous"));
    // Live: the denied flow comes in by the topic, is marked in words, and opens by keyboard.
    stage.publish(&demo().nth(2).unwrap()).await;
    browser.wait("document.querySelectorAll('#rows tr').length === 10");
    browser.evaluate("document.querySelector('#rows tr.deny button').click()");
    let fields = browser.text("#fields");
    for word in
        ["NETFILTER_DROP", "never arrived", "Deployment/report", "exact, by the pod's UID", "Seen at the source"]
    {
        assert!(fields.contains(word), "{word} not in {fields}");
    }
    browser.evaluate("document.getElementById('tab-json').click()");
    assert!(browser.text("#json-text").contains("\"class\": \"policy\""));
    browser.evaluate("dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape'}))");
    browser.wait("document.getElementById('panel').hidden && document.activeElement.closest('tr.deny') !== null");
    // Paused: what comes waits, and is counted.
    browser.evaluate("document.getElementById('pause').click()");
    stage.publish(&flow(90, demo().next().unwrap().initiator, outside("192.0.2.1"), 80, (1, 1))).await;
    browser.wait("document.getElementById('live-text').textContent === 'Paused · 1 new'");
    browser.evaluate("document.getElementById('pause').click()");
    browser.wait("document.querySelectorAll('#rows tr').length === 11");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_are_kept_in_the_address_and_refusals_shown_at_their_field() {
    let stage = Stage::new().await;
    stage.engine.hold(flows().iter().map(hit).collect());
    let Some(mut browser) = visit(&stage, "/") else { return };
    browser.wait("document.querySelectorAll('#rows tr').length === 11");
    let set = |name: &str, value: &str| {
        format!(
            "(() => {{ const input = document.querySelector('[name={name}]'); input.value = '{value}'; \
             input.dispatchEvent(new Event('input', {{bubbles: true}})); }})()"
        )
    };
    browser.evaluate(&set("action", "deny"));
    browser.wait("location.search === '?action=deny' && document.querySelectorAll('#rows tr').length === 1");
    browser.evaluate(&set("port", "70000"));
    browser.wait("document.querySelector('[name=port]').getAttribute('aria-invalid') === 'true'");
    assert!(browser.text("#filter-problem").contains("65535"));
    browser.wait("document.getElementById('empty').hidden && document.getElementById('live').dataset.state === 'wait'");
    browser.evaluate("document.getElementById('clear').click()");
    browser.wait("location.search === '' && document.querySelectorAll('#rows tr').length === 11");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_from_outside_stay_text() {
    let stage = Stage::new().await;
    let hostile = "<img src=x onerror=\"document.title='owned'\"><b id=injected>";
    let source = Side { process: Some(hostile.into()), host: Some(hostile.into()), ..outside("10.0.0.1") };
    stage.engine.hold(vec![hit(&flow(0, source, outside("10.0.0.2"), 80, (1, 1)))]);
    let Some(mut browser) = visit(&stage, "/") else { return };
    browser.wait("document.querySelectorAll('#rows tr').length === 1");
    browser.evaluate("document.querySelector('#rows button').click()");
    assert!(browser.text("#rows").contains(hostile) && browser.text("#fields").contains(hostile));
    browser.wait("document.getElementById('injected') === null && document.title === 'Weir · Flows'");
    // The policy holds even if the page did make a script.
    browser.evaluate(
        "(() => { const script = document.createElement('script'); script.textContent = 'document.title = \"owned\"'; \
         document.body.append(script); })()",
    );
    browser.wait("document.title === 'Weir · Flows'");
    assert!(browser.complaints().iter().any(|complaint| complaint.contains("Content Security Policy")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_map_shows_who_talks_to_whom_and_leads_to_the_flows() {
    let stage = Stage::new().await;
    stage.engine.hold(demo().filter(|record| record.level == 1).map(|record| hit(&record)).collect());
    let Some(mut browser) = visit(&stage, "/?view=map") else { return };
    browser.wait("document.querySelectorAll('#map-drawing .node').length === 12");
    browser.wait("document.querySelectorAll('#map-drawing .edge.deny').length === 1");
    browser.wait("document.querySelectorAll('#times-bars .slot rect.deny').length === 1");
    assert!(browser.text("#map-count").contains("11 flows of detail level 1"));
    // By keyboard: the denied connection, its port, and its flows in the table.
    browser.evaluate(
        "(() => { const edge = document.querySelector('#map-drawing .edge.deny'); edge.focus(); \
         edge.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true})); })()",
    );
    let panel = browser.text("#panel");
    for word in ["report → db", "tcp 5432", "0 passed, 1 dropped"] {
        assert!(panel.contains(word), "{word} not in {panel}");
    }
    browser.evaluate("document.querySelector('#fields .show-flows a').click()");
    browser.wait("document.querySelectorAll('#rows tr.deny').length === 1");
    browser.wait("document.querySelectorAll('#rows tr').length === 1 && document.title === 'Weir · Flows'");
    browser.wait("location.search.includes('filter=') && !location.search.includes('view=')");
    // And back to the map, with the same filter.
    browser.evaluate("document.getElementById('view-map').click()");
    browser.wait("document.querySelectorAll('#map-drawing .node').length === 2");
    browser.evaluate(
        "document.querySelector('#map-drawing .node').dispatchEvent(new MouseEvent('click', {bubbles: true}))",
    );
    assert!(browser.text("#fields").contains("→ db"));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_is_previewed_and_leads_to_the_flows() {
    let stage = Stage::new().await;
    with_metadata(&stage).await;
    stage.engine.hold(flows().iter().map(hit).collect());
    let Some(mut browser) = visit(&stage, "/?view=preview") else { return };
    browser.wait("!document.getElementById('preview-empty').hidden && document.title === 'Weir · Preview'");
    browser.wait("document.querySelector('[name=cluster]') !== null && document.getElementById('filters').hidden");
    let write = |text: &str| {
        format!(
            "(() => {{ const form = document.getElementById('question'); form.elements.policies.value = {}; \
             form.elements.cluster.value = 'prod-eu'; form.elements.cni.value = 'calico'; \
             form.elements.since.append(new Option('all', '2026-11-22T11:00:00Z')); \
             form.elements.since.value = '2026-11-22T11:00:00Z'; document.getElementById('ask-preview').click(); }})()",
            serde_json::to_string(text).unwrap()
        )
    };
    // What is wrong is told with its line, and a press leads there.
    browser.evaluate(&write(&EDIT.replace("cart", "'c a'")));
    browser.wait("document.querySelectorAll('#faults li').length === 1");
    assert!(browser.text("#faults").contains("Line 5"), "{}", browser.text("#faults"));
    browser.evaluate("document.querySelector('#faults button').click()");
    browser.wait("document.activeElement.id === 'policies' && document.activeElement.selectionStart > 60");
    browser.evaluate(&write(EDIT));
    browser.wait("document.querySelectorAll('#preview-rows tr').length >= 3");
    let totals = browser.text("#totals");
    assert!(
        totals.contains("newly denied") && browser.text("#preview-count").contains("11 records judged"),
        "{totals}"
    );
    assert!(browser.evaluate("document.getElementById('download').href").as_str().unwrap().starts_with("blob:"));
    browser.evaluate(
        "(() => { const becomes = document.getElementById('becomes'); becomes.value = 'newly_denied'; \
         becomes.dispatchEvent(new Event('change')); })()",
    );
    browser.wait("document.querySelectorAll('#preview-rows tr').length === 2");
    // A policy in force comes as YAML that means the same.
    browser.evaluate("document.getElementById('pick').click()");
    browser.wait("document.querySelectorAll('#in-force option').length === 2");
    browser.evaluate(
        "(() => { document.getElementById('policies').value = ''; const list = document.getElementById('in-force'); \
         list.value = '0'; list.dispatchEvent(new Event('change')); })()",
    );
    let policy = browser.evaluate("document.getElementById('policies').value");
    assert!(policy.as_str().unwrap().contains("  - from:\n    - podSelector:\n        matchLabels:\n"), "{policy}");
    browser.evaluate("document.getElementById('becomes').value = ''");
    browser.evaluate("document.getElementById('ask-preview').click()");
    browser.wait("document.querySelectorAll('#preview-rows .deny').length === 0");
    // The example leads to its flows, then and there.
    browser.evaluate(&write(EDIT));
    browser.wait("document.querySelectorAll('#preview-rows .deny').length === 2");
    browser.evaluate("[...document.querySelectorAll('#preview-rows tr')].find((row) => row.textContent.includes('8080')).querySelector('a').click()");
    browser.wait("document.title === 'Weir · Flows' && document.querySelectorAll('#rows tr').length === 1");
    assert!(browser.text("#rows").contains("8080"));
    browser.wait("!document.getElementById('until').hidden");
    assert_eq!(browser.complaints().len(), 1, "the refusal of the first question: {:?}", browser.complaints());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_without_flows_says_how_to_make_some() {
    let stage = Stage::new().await;
    let Some(mut browser) = visit(&stage, "/") else { return };
    browser.wait("!document.getElementById('empty').hidden");
    let text = browser.text("#empty");
    assert!(text.contains("No flows yet") && text.contains("weir up --demo"), "{text}");
    browser.go(&format!("http://{}/?port=9", stage.address));
    browser.wait("document.getElementById('empty').textContent.includes('No flow matches these filters')");
    browser.go(&format!("http://{}/?view=map", stage.address));
    browser.wait("document.getElementById('map-empty').textContent.includes('No flows yet')");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "pictures for people: set WEIR_SCREENSHOTS"]
async fn pictures() {
    let folder = PathBuf::from(std::env::var_os("WEIR_SCREENSHOTS").unwrap());
    let stage = Stage::new().await;
    let mut browser = visit(&stage, "/").unwrap();
    browser.look(1440, 900, "light");
    browser.wait("!document.getElementById('empty').hidden");
    browser.wait("document.getElementById('live').dataset.state === 'live'");
    browser.picture(&folder.join("empty.png"));
    let many = (0..40).flat_map(|round: i64| {
        demo().map(move |record| Enriched {
            id: format!("{round:02x}{}", &record.id[2..]),
            window: record.window - round * 20_000,
            ..record
        })
    });
    stage.engine.hold(many.map(|record| hit(&record)).collect());
    browser.go(&format!("http://{}/", stage.address));
    browser.wait("document.querySelectorAll('#rows tr').length === 100");
    browser.wait("document.getElementById('live').dataset.state === 'live'");
    browser.picture(&folder.join("light.png"));
    browser.evaluate("document.querySelector('#rows tr.deny button').click()");
    browser.picture(&folder.join("panel.png"));
    browser.go(&format!("http://{}/?view=map&level=1", stage.address));
    browser.wait("document.querySelectorAll('#map-drawing .node').length === 12");
    browser.wait("document.getElementById('live').dataset.state === 'live'");
    browser.picture(&folder.join("map.png"));
    browser.go(&format!("http://{}/", stage.address));
    browser.wait("document.querySelectorAll('#rows tr').length === 100");
    browser.evaluate("document.querySelector('#rows tr.deny button').click()");
    browser.look(1440, 900, "dark");
    browser.picture(&folder.join("dark.png"));
    browser.evaluate("document.getElementById('panel-close').click()");
    browser.look(820, 900, "light");
    browser.picture(&folder.join("narrow.png"));
    with_metadata(&stage).await;
    browser.look(1440, 900, "light");
    browser.go(&format!("http://{}/?view=preview", stage.address));
    browser.wait("document.title === 'Weir · Preview' && !document.getElementById('preview-empty').hidden");
    browser.picture(&folder.join("preview-empty.png"));
    for (name, edit, wait) in [
        ("preview.png", EDIT.to_owned(), "document.querySelectorAll('#preview-rows tr').length >= 3"),
        ("preview-wrong.png", EDIT.replace("cart", "'c a'"), "document.querySelectorAll('#faults li').length === 1"),
    ] {
        browser.evaluate(&format!(
            "(() => {{ const form = document.getElementById('question'); form.elements.policies.value = {}; \
             form.elements.cluster.value = 'prod-eu'; form.elements.cni.value = 'calico'; \
             form.elements.since.value = '720h'; document.getElementById('ask-preview').click(); }})()",
            serde_json::to_string(&edit).unwrap()
        ));
        browser.wait(wait);
        browser.picture(&folder.join(name));
    }
    browser.look(1440, 900, "dark");
    browser.picture(&folder.join("preview-dark.png"));
    browser.look(820, 900, "light");
    browser.picture(&folder.join("preview-narrow.png"));
    browser.go(&format!("http://{}/?namespace=shop&port=x", stage.address));
    std::thread::sleep(Duration::from_millis(500));
    browser.look(1440, 500, "dark");
    browser.picture(&folder.join("refused.png"));
}
