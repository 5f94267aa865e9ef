//! A control plane without watch-lists, as older ones are: nothing proves how current the API server's answers are.

use super::*;

/// `WEIR_TEST_KUBECONFIG_WITHOUT_WATCH_LISTS` names a control plane whose API server was started with
/// `--feature-gates=WatchList=false`.
#[tokio::test(flavor = "multi_thread")]
async fn without_watch_lists_the_heartbeat_is_assumed_and_moves_in_small_steps() {
    let Some(path) = std::env::var_os("WEIR_TEST_KUBECONFIG_WITHOUT_WATCH_LISTS") else {
        eprintln!("skipped: WEIR_TEST_KUBECONFIG_WITHOUT_WATCH_LISTS is not set");
        return;
    };
    let log = Log::memory();
    let settings = MetadataSettings {
        cluster: "test".to_owned(),
        kubeconfig: Some(path.into()),
        assumed_delay: Duration::from_secs(2),
        ..MetadataSettings::default()
    };
    let service = Service::start(&settings, &log);
    let begun = now();
    table_at(&log, begun).await;
    let (mut last, mut longest) = (table(&log).await.complete_to(), 0);
    let first = last;
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let complete_to = table(&log).await.complete_to();
        longest = longest.max(complete_to - last);
        last = complete_to;
    }
    eprintln!("without watch-lists: {} ms in 20 s, at most {longest} ms at once", last - first);
    assert!(last - first > 14_000 && longest <= 6_000, "{} ms in 20 s, {longest} ms at once", last - first);
    service.stop().await;
}
