//! What was known before: ids of findings, from an earlier report or from a list, so that only what is new counts.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::findings::Fingerprint;

/// Findings that are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline(BTreeSet<Fingerprint>);

/// A finding, against what was known before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Novelty {
    /// It was not.
    New,
    /// It was.
    Known,
}

/// The part of a report that is read; its other fields may be anything.
#[derive(Deserialize)]
struct Earlier {
    findings: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

impl Baseline {
    /// Reads a report as `json` writes it, or one id a line: what follows the id on its line and after `#` is for people.
    pub fn read(text: &str) -> Result<Self, String> {
        if text.trim_start().starts_with('{') {
            let earlier: Earlier =
                serde_json::from_str(text).map_err(|error| format!("no report in JSON: {error}"))?;
            return earlier
                .findings
                .iter()
                .map(|finding| id(&finding.id))
                .collect::<Result<_, _>>()
                .map(Self);
        }
        let lines = text.lines().enumerate();
        let named = lines.filter_map(|(number, line)| {
            let word = line.split('#').next().unwrap_or_default().split_whitespace().next()?;
            Some(id(word).map_err(|why| format!("line {}: {why}", number + 1)))
        });
        named.collect::<Result<_, _>>().map(Self)
    }

    /// Whether the finding of this id was known.
    pub(super) fn novelty(&self, id: &str) -> Novelty {
        let known = id.parse().is_ok_and(|id: Fingerprint| self.0.contains(&id));
        if known { Novelty::Known } else { Novelty::New }
    }

    /// What is known but for these.
    pub(super) fn without<'a>(&self, ids: impl Iterator<Item = &'a str>) -> Vec<Fingerprint> {
        let seen: BTreeSet<Fingerprint> = ids.filter_map(|id| id.parse().ok()).collect();
        self.0.difference(&seen).copied().collect()
    }
}

impl Novelty {
    /// The one spelling used everywhere.
    pub fn id(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Known => "known",
        }
    }
}

fn id(text: &str) -> Result<Fingerprint, String> {
    text.parse().map_err(|_| format!("{text:?} is no id of a finding: 16 hex digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_and_a_report_say_the_same() {
        let list = "# accepted in May\n00000000000000aa  shop GET /cart\n\n00000000000000bb # later\n";
        let report = r#"{"read":{"files":1},"findings":[{"id":"00000000000000AA","rule":"x"},{"id":"00000000000000bb"}]}"#;
        let known = Baseline::read(list).unwrap();
        assert_eq!(known, Baseline::read(report).unwrap());
        assert_eq!(known.novelty("00000000000000aa"), Novelty::Known);
        assert_eq!(known.novelty("00000000000000cc"), Novelty::New);
        assert_eq!(known.without(["00000000000000aa"].into_iter()), [Fingerprint(0xbb)]);
    }

    #[test]
    fn nothing_known_is_a_baseline_too() {
        for nothing in ["", "# none\n", "{\"findings\":[]}"] {
            assert_eq!(Baseline::read(nothing), Ok(Baseline::default()), "{nothing:?}");
        }
    }

    #[test]
    fn what_is_no_baseline_is_named_with_its_place() {
        for (text, says) in [
            ("00000000000000aa\nnonsense\n", "line 2: \"nonsense\""),
            ("{\"findings\":[{\"id\":\"aa\"}]}", "16 hex digits"),
            ("{\"resourceSpans\":[]}", "findings"),
            ("{", "no report in JSON"),
        ] {
            let error = Baseline::read(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
