//! What tests share.

pub(crate) mod browser;
pub(crate) mod database;
pub(crate) mod load;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod raw;
pub(crate) mod recorded;
pub(crate) mod server;
pub(crate) mod stored;
pub(crate) mod tools;
pub(crate) mod traffic;
pub(crate) mod transport;

use std::time::{Duration, Instant};

/// Waits until it is so, and fails when it does not come to be.
pub(crate) async fn eventually(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is().await {
        assert!(begun.elapsed() < load::PATIENCE, "not within {:?}: {what}", load::PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until there is a finding like this, and answers the first one.
pub(crate) async fn found(process: &process::Process, query: &str) -> serde_json::Value {
    let mut first = None;
    eventually(&format!("a finding with {query:?}"), async || {
        first = process.findings(query).await.into_iter().next();
        first.is_some()
    })
    .await;
    first.unwrap()
}

/// A client that does not wait for ever.
pub(crate) fn client() -> reqwest::Client {
    client_for(Duration::from_secs(10))
}

/// A client that waits so long at most.
pub(crate) fn client_for(patience: Duration) -> reqwest::Client {
    // The second call in one process finds it installed.
    let _already = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(patience).build().unwrap()
}
