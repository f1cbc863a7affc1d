//! Traces recorded from real systems: ours in `tests/data`, others' in a folder beside the checkout that is not
//! part of the project. Tests of the latter say `skipped` where it is absent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use debunk::decode::{check, file};
use debunk::model::{Received, TraceId};
use debunk::semconv::secrets;
use serde::Deserialize;

/// Traces of one file by id.
pub(crate) type Traces = BTreeMap<TraceId, Vec<Received>>;

/// One judged case: what must be found in its traces and what must not.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) corpus: String,
    #[serde(default)]
    pub(crate) rule: Option<String>,
    #[serde(default)]
    pub(crate) variant: Option<String>,
    #[serde(default)]
    pub(crate) service: Option<String>,
    #[serde(default)]
    pub(crate) operation: Option<String>,
    pub(crate) expect: BTreeSet<String>,
    pub(crate) forbid: BTreeSet<String>,
    #[serde(default)]
    pub(crate) allowed: BTreeSet<String>,
    #[serde(default)]
    pub(crate) trace_id: Option<String>,
    #[serde(default)]
    pub(crate) trace_ids: Vec<String>,
    #[serde(default)]
    pub(crate) faulty_trace_ids: Vec<String>,
    #[serde(default)]
    pub(crate) parent_span_id: Option<String>,
}

/// The folder of recordings that are not ours.
pub(crate) fn elsewhere() -> Option<PathBuf> {
    let folder = PathBuf::from("../shared/corpus");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no recordings in {}", folder.display());
    None
}

/// Reads `NAME.jsonl` or `NAME.jsonl.gz`.
pub(crate) fn read(folder: &Path, name: &str) -> Traces {
    let plain = folder.join(format!("{name}.jsonl"));
    let path = if plain.exists() { plain } else { folder.join(format!("{name}.jsonl.gz")) };
    let mut traces = Traces::new();
    for request in file::Requests::open(&path).unwrap() {
        let mut exports = request.unwrap().resource_spans;
        assert_eq!(check::check(&mut exports).total(), 0, "{}", path.display());
        // As at the door: what is judged holds marks instead of secrets.
        secrets::redact(&mut exports);
        for received in Received::flatten(exports) {
            traces.entry(TraceId::from_bytes(&received.span.trace_id).unwrap()).or_default().push(received);
        }
    }
    traces
}

/// Reads judged cases.
pub(crate) fn cases(path: &Path) -> Vec<Case> {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}
