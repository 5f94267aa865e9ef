//! The engines that scenarios run on.

use tempfile::TempDir;
use weir_embedded_search::{SearchServer, SearchSettings};

static REAL: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Runs a scenario, which is given an engine's address, on an embedded engine of its own, and on the one that
/// `WEIR_TEST_ELASTICSEARCH` names: there one after the other, since scenarios delete each other's indices.
pub(crate) async fn on_addresses(scenario: impl AsyncFn(String)) {
    let data = TempDir::new().unwrap();
    let server = SearchServer::start(SearchSettings::new(data.path(), "127.0.0.1:0".parse().unwrap())).await.unwrap();
    scenario(format!("http://{}", server.address())).await;
    server.shutdown().await;
    match std::env::var("WEIR_TEST_ELASTICSEARCH") {
        Ok(url) => {
            let _alone = REAL.lock().await;
            scenario(url).await;
        }
        Err(_) => eprintln!("skipped on a real engine: WEIR_TEST_ELASTICSEARCH is not set"),
    }
}
