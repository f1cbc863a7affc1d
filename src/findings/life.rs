//! Life of a finding: which status the evidence gives it. A pure function of counts; people's decisions
//! (handling) and the clock stay outside.
//!
//! | from → to | when | event |
//! |---|---|---|
//! | – → candidate | seen, gate not met | – |
//! | – or candidate → open | gate met | `finding.opened` |
//! | open → candidate | late spans took back so much that the gate is no longer met | `finding.resolved` |

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::rules::Confidence;

/// What the evidence makes of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Seen, but too seldom to speak of it.
    Candidate,
    /// Seen often enough for its confidence.
    Open,
    /// Gone.
    Resolved,
}

/// Distinct traces that show a finding, each counted once, under the best confidence it gives.
///
/// Before the gate is met, only traces received within `gate_within` of each other count. Afterwards all that are
/// on record count: growing old closes nothing, only traces that were judged otherwise since do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Traces that prove it.
    pub confirmed: u32,
    /// Traces that leave little doubt.
    pub high: u32,
    /// Traces that suggest it.
    pub medium: u32,
}

/// How many traces open a finding. One confirmed trace always does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Traces with confidence high or better.
    pub high: u32,
    /// Traces with confidence medium or better.
    pub medium: u32,
}

/// What people are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// The gate was met.
    Opened,
    /// What had opened it was taken back.
    Retracted,
}

impl Status {
    /// The one spelling used everywhere.
    pub fn id(self) -> &'static str {
        match self {
            Self::Candidate => "candidate",
            Self::Open => "open",
            Self::Resolved => "resolved",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.id())
    }
}

impl FromStr for Status {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Candidate, Self::Open, Self::Resolved]
            .into_iter()
            .find(|status| status.id() == text)
            .ok_or_else(|| format!("{text:?} is none of candidate, open, resolved"))
    }
}

impl Event {
    /// The type that a receiver sees.
    pub fn id(self) -> &'static str {
        match self {
            Self::Opened => "finding.opened",
            Self::Retracted => "finding.resolved",
        }
    }

    /// Why it happened, in one word.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Opened => "gate",
            Self::Retracted => "retracted",
        }
    }
}

impl Counts {
    /// Counts one more trace under its best confidence; low is not counted.
    pub fn add(&mut self, best: Confidence) {
        match best {
            Confidence::Confirmed => self.confirmed += 1,
            Confidence::High => self.high += 1,
            Confidence::Medium => self.medium += 1,
            Confidence::Low => {}
        }
    }

    /// Traces of confidence medium or better.
    pub fn traces(&self) -> u32 {
        self.confirmed.saturating_add(self.high).saturating_add(self.medium)
    }
}

impl Gate {
    /// So many traces are enough. More confident traces also count for the less demanding steps.
    pub fn is_met(&self, counts: &Counts) -> bool {
        let high = counts.confirmed.saturating_add(counts.high);
        1 <= counts.confirmed || self.high.max(1) <= high || self.medium.max(1) <= counts.traces()
    }

    /// Traces that the gate asks for, at the best confidence seen so far.
    pub fn needed(&self, counts: &Counts) -> u32 {
        match counts {
            Counts { confirmed: 1.., .. } => 1,
            Counts { high: 1.., .. } => self.high.max(1),
            _ => self.medium.max(1),
        }
    }
}

/// The status that follows, and what people are told. `current` is `None` for a finding that was never seen.
///
/// A resolved finding stays resolved here: what reopens it is a trace received after it was resolved, which
/// counts alone do not tell.
pub fn next(current: Option<Status>, counts: &Counts, gate: &Gate) -> (Status, Option<Event>) {
    let met = gate.is_met(counts);
    match (current, met) {
        (None | Some(Status::Candidate), true) => (Status::Open, Some(Event::Opened)),
        (None | Some(Status::Candidate), false) => (Status::Candidate, None),
        (Some(Status::Open), true) => (Status::Open, None),
        (Some(Status::Open), false) => (Status::Candidate, Some(Event::Retracted)),
        (Some(Status::Resolved), _) => (Status::Resolved, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATE: Gate = Gate { high: 2, medium: 5 };

    fn counts(confirmed: u32, high: u32, medium: u32) -> Counts {
        Counts { confirmed, high, medium }
    }

    #[test]
    fn one_confirmed_two_high_or_five_medium_traces_open_a_finding() {
        for (counts, opens) in [
            (counts(1, 0, 0), true),
            (counts(0, 1, 0), false),
            (counts(0, 2, 0), true),
            (counts(0, 0, 4), false),
            (counts(0, 0, 5), true),
            (counts(0, 1, 3), false),
            (counts(0, 1, 4), true),
            (counts(0, 0, 0), false),
        ] {
            assert_eq!(next(None, &counts, &GATE).0 == Status::Open, opens, "{counts:?}");
        }
    }

    #[test]
    fn opening_is_told_once() {
        let seen = counts(1, 0, 0);
        assert_eq!(next(Some(Status::Candidate), &seen, &GATE), (Status::Open, Some(Event::Opened)));
        assert_eq!(next(Some(Status::Open), &seen, &GATE), (Status::Open, None));
    }

    #[test]
    fn a_retracted_finding_waits_again() {
        let left = counts(0, 1, 0);
        assert_eq!(next(Some(Status::Open), &left, &GATE), (Status::Candidate, Some(Event::Retracted)));
    }

    #[test]
    fn a_gate_of_zero_still_needs_a_trace() {
        let gate = Gate { high: 0, medium: 0 };
        assert!(!gate.is_met(&counts(0, 0, 0)));
        assert!(gate.is_met(&counts(0, 0, 1)));
    }

    #[test]
    fn words_and_statuses_agree() {
        for status in [Status::Candidate, Status::Open, Status::Resolved] {
            assert_eq!(status.id().parse(), Ok(status));
        }
        assert!("closed".parse::<Status>().is_err());
    }
}
