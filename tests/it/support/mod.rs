//! What tests share.

pub(crate) mod database;
pub(crate) mod load;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod recorded;
pub(crate) mod server;
pub(crate) mod traffic;

use std::time::Duration;

/// A client that does not wait for ever.
pub(crate) fn client() -> reqwest::Client {
    // The second call in one process finds it installed.
    let _already = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap()
}
