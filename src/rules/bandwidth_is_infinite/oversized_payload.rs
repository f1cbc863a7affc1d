//! A body so large that moving it is what the request waits for.
//!
//! ## What it detects
//! A synchronous call whose declared request or response body is a mebibyte or more, takes long, and makes up a good part
//! of the time that somebody waits.
//! ## Why it matters
//! Bandwidth is shared and finite: large bodies are slow for whoever asked, and for everybody else on the same link. They
//! are also held in memory, parsed, and mostly thrown away.
//! ## Example
//! ```trace
//! |==================================================| bff  server  GET /home
//! | ==============================                   |   bff  client  GET catalog/products  {http.response.body.size=7759462}  << call
//! |  ====                                            |     catalog  server  GET /products  << server
//! ```
//! ## Not flagged
//! Files and media, whose size is their nature.
//! ```trace
//! |==================================================| bff  server  GET /invoice
//! | ==============================                   |   bff  client  GET files/export.zip  {http.response.body.size=83886080}
//! |                                 ================ |   bff  client  GET pictures/7  {http.response.body.size=7759462, http.response.header.content-type=[image/png]}
//! ```
//! Batches that nobody waits for, and small parts of a long request.
//! ```trace
//! |==================================================| loader  consumer  ingest
//! | ==============================                   |   loader  client  POST store/batch  {http.request.body.size=2097152}
//! ```
//! ## Remedy
//! Page, select fields, compress; send a reference to a store of objects instead of the object; answer "not modified".
//! ## Blind spots
//! Most instrumentations do not record the size of bodies. Switch on the capture of `content-length`, or of
//! `http.response.body.size`. What is sent in chunks declares no size.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Call, Role, Trace, Unit, words};
use crate::rules::{Confidence, Cost, Evidence, Harm, Millis, Occurrence, whole_ms as ms};

const MEBIBYTE: u64 = 1 << 20;
/// Words of operations that move files.
const FILES: &[&str] = &[
    "download",
    "upload",
    "export",
    "import",
    "file",
    "files",
    "blob",
    "blobs",
    "asset",
    "assets",
    "image",
    "images",
    "media",
    "backup",
    "archive",
    "attachment",
    "attachments",
    "picture",
    "pictures",
    "video",
    "videos",
];
/// Content that is large by nature.
const MEDIA: &[&str] =
    &["image/", "video/", "audio/", "application/octet-stream", "application/zip", "application/pdf"];

/// When a body is too large.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Whether the rule runs.
    pub enabled: bool,
    /// Least bytes of the larger body.
    pub min_bytes: u64,
    /// Least time that the call takes.
    pub min_time: Millis,
    /// Least share of the whole request's time that is spent on it.
    pub min_share: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { enabled: true, min_bytes: MEBIBYTE, min_time: Millis(100), min_share: 0.2 }
    }
}

/// Finds calls that move very much while somebody waits.
pub(crate) fn inspect(trace: &Trace, limits: &Thresholds) -> Vec<Occurrence> {
    let units = trace.units().filter(|unit| unit.is_interactive() && !unit.is_self_defence());
    units.flat_map(Unit::calls).filter_map(|call| of_call(call, limits)).collect()
}

fn of_call(call: Call<'_>, limits: &Thresholds) -> Option<Occurrence> {
    let facts = call.facts();
    let (sent, received) = (facts.request_bytes.unwrap_or(0), facts.response_bytes.unwrap_or(0));
    let bytes = sent.max(received);
    let moves = matches!(facts.role, Role::Http | Role::Rpc) || call.is_publish();
    let is_media =
        facts.content_type.as_deref().is_some_and(|kind| MEDIA.iter().any(|media| kind.starts_with(media)));
    let is_file = words(call.operation()).any(|word| FILES.contains(&word.to_ascii_lowercase().as_str()));
    // Of the root's own time: across hosts only durations can be compared.
    let trace = call.trace();
    let whole = trace.root().map_or_else(|| call.unit().duration_ns(), |root| trace.span(root).duration_ns);
    let share = call.on_path_ns() as f64 / whole.max(1) as f64;
    let wanted = limits.min_bytes <= bytes
        && limits.min_time.ns() <= call.duration_ns()
        && limits.min_share <= share
        && moves
        && call.is_sync()
        && !facts.streaming
        && !facts.self_defence
        && !is_media
        && !is_file;
    wanted.then(|| occurrence(call, bytes, received <= sent))
}

fn occurrence(call: Call<'_>, bytes: u64, is_request: bool) -> Occurrence {
    const VERY_LARGE: u64 = 10 * MEBIBYTE;
    let trace = call.trace();
    let (variant, which) = if is_request { ("request", "request") } else { ("response", "response") };
    let server = call.server().map(|server| trace.span(server).duration_ns);
    let moved = server.map_or(0, |server| call.duration_ns().saturating_sub(server).max(0));
    let mebibytes = bytes as f64 / MEBIBYTE as f64;
    let mut evidence = vec![Evidence::new(call.at(), "call", format!("{which} body of {bytes} bytes"))];
    if let (Some(at), Some(worked)) = (call.server(), server) {
        evidence.push(Evidence::new(at, "server", format!("worked {} ms", ms(worked))));
    }
    Occurrence {
        at: call.at(),
        variant,
        family: variant,
        group: variant.to_owned(),
        headline: format!("moves a very large {which} with `{}`", call.operation()),
        why: format!(
            "the {which} body of `{}` had {mebibytes:.1} MiB; the call took {} ms",
            call.operation(),
            ms(call.duration_ns())
        ),
        evidence,
        cost: Cost { bytes, time: Duration::from_nanos(moved as u64), ..Cost::default() },
        harm: Harm::Volume { large: VERY_LARGE <= bytes },
        confidence: Confidence::High,
        not_visible: if server.is_none() {
            vec!["how long its server worked: the difference would be the time to move it".to_owned()]
        } else {
            Vec::new()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch;

    fn found(call: &str) -> Option<(&'static str, u64, Harm)> {
        let drawing = format!(
            "|==================================================| bff  server  GET /home\n| ==============================                   |   bff  client  {call}\n"
        );
        let trace = sketch::parse(&drawing).unwrap().trace();
        let found = inspect(&trace, &Thresholds::default()).pop()?;
        Some((found.variant, found.cost.bytes, found.harm))
    }

    #[test]
    fn the_larger_body_decides() {
        let small = Harm::Volume { large: false };
        for (call, expected) in [
            ("GET catalog/products  {http.response.body.size=1048576}", Some(("response", 1_048_576, small))),
            (
                "POST catalog/products  {http.request.body.size=2000000, http.response.body.size=10}",
                Some(("request", 2_000_000, small)),
            ),
            ("GET catalog/products  {http.response.body.size=1048575}", None),
            (
                "GET catalog/products  {http.response.body.size=20000000}",
                Some(("response", 20_000_000, Harm::Volume { large: true })),
            ),
            ("GET catalog/download/7  {http.response.body.size=20000000}", None),
            (
                "GET catalog/7  {http.response.body.size=20000000, http.response.header.content-type=[video/mp4]}",
                None,
            ),
        ] {
            assert_eq!(found(call), expected, "{call}");
        }
    }
}
