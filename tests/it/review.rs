//! `docs/review.md`: somebody looked at every finding in recorded traffic and wrote down what they saw.
//!
//! Where the recordings are there, its rows are the findings that `debunk scan` reports, no more and no less.
//! `make snap` adds a row for a new one, without a verdict, and takes out those that are gone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::recorded::elsewhere;

const FILE: &str = "docs/review.md";
const HEAD: &str = "| corpus | rule | headline | finding | verdict | why |\n|---|---|---|---|---|---|\n";

/// Corpus, rule and fingerprint.
type Key = (String, String, String);

/// What a row says besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Review {
    headline: String,
    verdict: String,
    why: String,
}

/// What stands before the table, and its rows.
fn written() -> (String, BTreeMap<Key, Review>) {
    let text = std::fs::read_to_string(FILE).unwrap();
    let (intro, table) = text.split_once(HEAD).unwrap_or_else(|| panic!("{FILE} has no table"));
    let mut rows = BTreeMap::new();
    for line in table.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [corpus, rule, headline, finding, verdict, why] = cells[..] else { panic!("{FILE}: {line}") };
        let key = (corpus.to_owned(), rule.to_owned(), finding.to_owned());
        let [headline, verdict, why] = [headline, verdict, why].map(ToOwned::to_owned);
        assert_eq!(rows.insert(key, Review { headline, verdict, why }), None, "{FILE}: twice {line}");
    }
    (intro.to_owned(), rows)
}

/// Headlines of what is reported of each file.
fn reported(folder: &Path) -> BTreeMap<Key, String> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|one| one.unwrap().path()).collect();
    files.retain(|file| file.to_str().is_some_and(|name| name.contains(".jsonl")));
    let mut found = BTreeMap::new();
    for file in files {
        let corpus = file.file_name().unwrap().to_str().unwrap().split('.').next().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_debunk"));
        let output = command.args(["scan", "--format", "json"]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        for finding in report["findings"].as_array().unwrap() {
            let [id, rule, headline] = ["id", "rule", "headline"].map(|key| finding[key].as_str().unwrap());
            // A bar would end the cell.
            let headline = headline.replace('|', "\\|").replace('\n', " ");
            found.insert((corpus.to_owned(), rule.to_owned(), id.to_owned()), headline);
        }
    }
    found
}

fn rewrite(intro: &str, rows: &BTreeMap<Key, Review>, found: &BTreeMap<Key, String>) {
    let mut text = format!("{intro}{HEAD}");
    for (key, headline) in found {
        let (corpus, rule, finding) = key;
        let Review { verdict, why, .. } = rows.get(key).cloned().unwrap_or_default();
        writeln!(text, "| {corpus} | {rule} | {headline} | {finding} | {verdict} | {why} |").unwrap();
    }
    std::fs::write(FILE, text).unwrap();
}

#[test]
fn every_finding_in_recorded_traffic_was_looked_at_and_none_is_false() {
    let (intro, mut rows) = written();
    if let Some(folder) = elsewhere() {
        let found = reported(&folder);
        #[expect(clippy::disallowed_methods, reason = "tests are told by the environment, as insta is")]
        let is_snap = std::env::var("INSTA_UPDATE").is_ok_and(|mode| mode == "always");
        if is_snap {
            rewrite(&intro, &rows, &found);
            rows = written().1;
        }
        let told: BTreeMap<Key, String> =
            rows.iter().map(|(key, review)| (key.clone(), review.headline.clone())).collect();
        let missing: Vec<_> = found.iter().filter(|row| told.get(row.0) != Some(row.1)).collect();
        let gone: Vec<_> = told.keys().filter(|key| !found.contains_key(*key)).collect();
        assert!(missing.is_empty() && gone.is_empty(), "not reviewed: {missing:#?}\ngone: {gone:#?}");
    }
    for (key, review) in &rows {
        let known = matches!(review.verdict.as_str(), "true" | "debatable");
        assert!(known && !review.why.is_empty(), "{FILE}: {key:?} has no verdict, or no reason");
    }
}
