//! How fast Debunk is, as ratios to limits measured in the same run: `make bench`, or one part of it by name
//! (`cargo bench --bench speed ingest`). Every part is bounded in time. `--grown` goes on
//! to ten million stored spans.
//!
//! Sender, server and database share the machine's cores, so absolute numbers belong to the machine; ratios do not.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed bench")]
#![allow(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::sync::LazyLock;
use std::time::Duration;

mod cpu;
#[path = "../../tests/it/support/database.rs"]
#[expect(dead_code, reason = "tests ask more of it")]
mod database;
mod finding;
mod ingest;
mod judge;
mod pages;
#[path = "../../tests/it/support/process.rs"]
#[expect(dead_code, reason = "tests ask more of it")]
mod process;
#[path = "../../tests/it/support/raw.rs"]
mod raw;
mod reference;
mod scan;
mod traffic;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|one| !one.starts_with('-')).collect();
    let asked = |part: &str| wanted.is_empty() || wanted.iter().any(|one| one == part);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if asked("ingest") {
        let most = if std::env::args().any(|one| one == "--grown") { 10_000_000 } else { 1_000_000 };
        runtime.block_on(ingest::run(most));
    }
    if asked("judge") {
        runtime.block_on(judge::run());
    }
    if asked("finding") {
        runtime.block_on(finding::run());
    }
    if asked("pages") {
        runtime.block_on(pages::run());
    }
    if asked("scan") {
        scan::run();
    }
}

/// A client that does not wait for ever. Clones share its connections.
fn client() -> reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        // The second call in one process finds it installed.
        let _already = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy().build().unwrap()
    });
    CLIENT.clone()
}
