//! Triggering and draining; signals are tested on a process of their own in `tests/process.rs`.

use super::*;

#[tokio::test]
async fn trigger_cancels_every_token() {
    let shutdown = Shutdown::without_signals();
    let token = shutdown.token();
    assert!(!token.is_cancelled());
    shutdown.trigger();
    token.cancelled().await;
    assert!(shutdown.token().is_cancelled());
}

#[tokio::test]
async fn drain_gives_what_the_work_gives() {
    assert_eq!(drain(Duration::from_secs(5), async { 7 }).await, Ok(7));
}

#[tokio::test]
async fn drain_gives_up_after_its_grace() {
    let error = drain(Duration::from_millis(10), std::future::pending::<()>()).await.unwrap_err();
    assert_eq!(error.to_string(), "not stopped after 10ms");
}
