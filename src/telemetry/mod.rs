//! Our own logs and metrics.

pub mod metrics;

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

pub use metrics::{BOUNDS, LoopSteps, Metrics};

/// Sends log lines to standard error: `level` as in `info` or `info,sqlx=warn`. What is wrong with it otherwise.
pub fn log(level: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(level).map_err(|error| format!("--log {level}: {error}"))?;
    let stderr = std::io::stderr;
    // A second call, as tests make it, changes nothing.
    let _already = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .try_init();
    Ok(())
}
