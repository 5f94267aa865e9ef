//! Supervision without a process; the whole life is in `tests/process.rs`.

use std::ffi::OsString;

use super::*;

#[derive(Debug, Clone, Parser)]
struct Settings {
    #[command(flatten)]
    process: ProcessSettings,
}

fn loaded(line: &str) -> Loaded<Settings> {
    settings::load::<Settings>(line.split(' ').map(OsString::from)).unwrap()
}

async fn supervised<F>(line: &str, shutdown: &Shutdown, service: F) -> anyhow::Result<()>
where
    F: AsyncFnOnce(Context<Settings>) -> anyhow::Result<()>,
{
    let loaded = loaded(line);
    let process = loaded.settings.process.clone();
    supervise("weir-x", "1.0", loaded, &process, Metrics::new(), shutdown, service).await
}

#[tokio::test]
async fn service_ends_by_itself() {
    let shutdown = Shutdown::without_signals();
    supervised("x", &shutdown, async |_| Ok(())).await.unwrap();
    let error = supervised("x", &shutdown, async |_| anyhow::bail!("broken")).await;
    assert_eq!(error.unwrap_err().to_string(), "broken");
}

#[tokio::test]
async fn shutdown_makes_it_not_ready_and_lets_it_finish() {
    let shutdown = Shutdown::without_signals();
    let trigger = shutdown.clone();
    supervised("x --admin-listen 127.0.0.1:0", &shutdown, async move |context| {
        assert!(context.admin.is_some());
        assert!(context.health.is_ready());
        trigger.trigger();
        context.shutdown.cancelled().await;
        while context.health.is_ready() {
            tokio::task::yield_now().await;
        }
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn service_that_does_not_stop_is_an_error_with_a_hint() {
    let shutdown = Shutdown::without_signals();
    shutdown.trigger();
    let error =
        supervised("x --shutdown-grace 20ms", &shutdown, async |_| std::future::pending().await).await.unwrap_err();
    assert_eq!(report(&error), "error: weir-x: not stopped after 20ms\nhint: give it more time with --shutdown-grace");
}

#[tokio::test]
async fn taken_admin_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let shutdown = Shutdown::without_signals();
    let error = supervised(&format!("x --admin-listen {address}"), &shutdown, async |_| Ok(())).await.unwrap_err();
    let text = report(&error);
    assert!(text.starts_with(&format!("error: admin port {address}: ")), "{text}");
    assert!(text.contains("hint: choose another address"), "{text}");
}
