//! The house rules as tests: layers, where names may stand, sizes of files and functions.
//!
//! It reads sources as text, so it sees `crate::` paths only. Test code (`mod tests`, `tests/`) is exempt from the
//! layer rules.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

/// Modules by layer, lowest first. A module may use itself and modules of lower layers.
const LAYERS: &[&[&str]] = &[
    &["clock", "model"],
    &["rules", "semconv"],
    &["config", "decode", "sketch", "telemetry"],
    &["findings"],
    &["store"],
    &["alert"],
    &["loops", "otlp", "view"],
    &["api", "web"],
    &["commands"],
];

const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 70;
const MAX_RULE_LINES: usize = 200;

struct Source {
    path: PathBuf,
    module: String,
    /// The file without its unit tests.
    code: String,
    lines: usize,
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    collect(Path::new("src"), "rs", &mut files);
    files.sort();
    files.into_iter().map(source).collect()
}

fn source(path: PathBuf) -> Source {
    let text = fs::read_to_string(&path).unwrap();
    let code = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
    let first = path.components().nth(1).unwrap().as_os_str().to_string_lossy().into_owned();
    let module = first.trim_end_matches(".rs").to_owned();
    Source { lines: text.lines().count(), path, module, code }
}

fn collect(folder: &Path, extension: &str, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, extension, into);
        } else if path.extension().is_some_and(|found| found == extension) {
            into.push(path);
        }
    }
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

fn fail_with(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn modules_use_lower_layers_only() {
    let mut problems = Vec::new();
    for source in sources() {
        let Some(own) = layer(&source.module) else { continue };
        for (number, line) in source.code.lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for used in line.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let allowed = used == source.module || layer(&used).is_none_or(|theirs| theirs < own);
                if !allowed {
                    problems.push(format!(
                        "{}:{}: `{}` (layer {own}) uses `{used}`",
                        source.path.display(),
                        number + 1,
                        source.module
                    ));
                }
            }
        }
    }
    fail_with(&problems);
}

#[test]
fn every_module_has_a_layer() {
    let lib = fs::read_to_string("src/lib.rs").unwrap();
    let modules = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let missing: Vec<_> = modules.filter(|module| layer(module).is_none()).map(ToOwned::to_owned).collect();
    fail_with(&missing);
}

/// (what stands there, the only places it may stand in, why)
const HOMES: &[(&str, &[&str], &str)] = &[
    ("std::env::var", &["src/config.rs"], "settings are read once, in config"),
    ("OffsetDateTime::now", &["src/clock.rs"], "one reader of the wall clock"),
    ("sqlx::query", &["src/store/"], "SQL stands in store"),
    ("registry.register(", &["src/telemetry/metrics.rs"], "metric names stand together"),
    ("process::exit", &["src/main.rs"], "only main ends the process"),
];

#[test]
fn names_stand_where_they_belong() {
    let mut problems = Vec::new();
    for source in sources() {
        let path = source.path.display().to_string();
        for (name, homes, why) in HOMES {
            let at_home = homes.iter().any(|home| path.starts_with(home));
            if !at_home && source.code.contains(name) {
                problems.push(format!("{path}: `{name}` ({why})"));
            }
        }
    }
    fail_with(&problems);
}

/// Attribute names that appear in dotted quotes. Where else than in `semconv` they are data on the way out
/// (the demo shop and our own telemetry emit them, drawings on rule pages quote them in comments); settings have
/// dotted names of their own.
#[test]
fn attribute_names_stand_in_semconv() {
    let namespaces =
        ["http", "url", "rpc", "db", "messaging", "net", "server", "network", "peer", "exception"];
    let mut problems = Vec::new();
    for source in sources() {
        if matches!(source.module.as_str(), "semconv" | "commands" | "config" | "telemetry") {
            continue;
        }
        for (number, line) in source.code.lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for namespace in namespaces {
                if line.contains(&format!("\"{namespace}.")) {
                    problems.push(format!("{}:{}: {}", source.path.display(), number + 1, line.trim()));
                }
            }
        }
    }
    fail_with(&problems);
}

#[test]
fn files_are_short() {
    let mut problems: Vec<String> = sources()
        .into_iter()
        .filter(|source| source.lines > MAX_FILE_LINES)
        .map(|source| format!("{}: {} lines, at most {MAX_FILE_LINES}", source.path.display(), source.lines))
        .collect();
    let rule = |source: &&Source| source.module == "rules" && source.path.components().count() > 3;
    for source in sources().iter().filter(rule) {
        // The page counts for nothing: it is the manual.
        let code = source.code.lines().filter(|line| !line.starts_with("//!")).count();
        if code > MAX_RULE_LINES {
            problems
                .push(format!("{}: {code} lines of rule, at most {MAX_RULE_LINES}", source.path.display()));
        }
    }
    fail_with(&problems);
}

#[test]
fn functions_fit_on_a_screen() {
    let mut problems = Vec::new();
    for source in sources() {
        let lines: Vec<&str> = source.code.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let trimmed = line.trim_start();
            let indent = line.len() - trimmed.len();
            let is_function =
                ["fn ", "pub fn ", "async fn ", "pub async fn ", "pub(super) fn ", "pub(crate) fn "]
                    .iter()
                    .any(|head| trimmed.starts_with(head));
            if !is_function || trimmed.ends_with(';') || trimmed.ends_with('}') {
                continue;
            }
            let end = format!("{}}}", " ".repeat(indent));
            let length = lines[start..].iter().position(|candidate| *candidate == end).map_or(0, |at| at + 1);
            // A table of many arms is one idea; what is long and not a `match` is two functions.
            let body =
                lines[start..start + length].iter().filter(|line| !line.trim().is_empty() && !is_arm(line));
            let count = body.count();
            if count > MAX_FUNCTION_LINES {
                problems.push(format!("{}:{}: {count} lines", source.path.display(), start + 1));
            }
        }
    }
    fail_with(&problems);
}

/// A one-line arm of a table.
fn is_arm(line: &str) -> bool {
    let line = line.trim();
    (line.contains(" => ") && line.ends_with(',')) || (line.starts_with("| \"") || line.starts_with('"'))
}

#[test]
fn every_module_says_what_it_is_for() {
    let missing: Vec<_> = sources()
        .into_iter()
        .filter(|source| !source.code.starts_with("//!"))
        .map(|source| source.path.display().to_string())
        .collect();
    fail_with(&missing);
}

#[test]
fn nothing_is_left_to_do_without_saying_so() {
    let mut problems = Vec::new();
    let words =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("unimpl", "emented!"), concat!("XX", "X")];
    for source in sources() {
        for word in words {
            if source.code.contains(word) {
                problems.push(format!("{}: {word}", source.path.display()));
            }
        }
    }
    fail_with(&problems);
}

#[test]
fn migrations_say_why_first() {
    let mut files = Vec::new();
    collect(Path::new("migrations"), "sql", &mut files);
    let silent: Vec<_> = files
        .into_iter()
        .filter(|path| !fs::read_to_string(path).unwrap().starts_with("-- "))
        .map(|path| path.display().to_string())
        .collect();
    fail_with(&silent);
}
