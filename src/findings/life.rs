//! Life of a finding: which status the evidence gives it. A pure function of counts; people's decisions
//! (handling) and the clock stay outside.
//!
//! | from → to | when | event |
//! |---|---|---|
//! | – → candidate | seen, gate not met | – |
//! | – or candidate → open | gate met | `finding.opened` |
//! | open → open | two traces show it worse than people were told | `finding.escalated` |
//! | open → candidate | late spans took back so much that the gate is no longer met | `finding.resolved` (`retracted`) |
//! | open → resolved | not seen for a while in which its operation was at work ([`EXERCISED`]) | `finding.resolved` (`quiet`) |
//! | resolved → open | seen in a trace first received after it was resolved | `finding.reopened` |
//! | candidate → gone | not seen for [`CANDIDATE_DAYS`] | – |
//! | canary → gone | not seen for [`CANARY_HOURS`] | – |
//! | resolved → gone | so long after it was resolved as findings are kept | – |
//!
//! What people decide about it stands at `decision`. What is muted goes the same way, but nobody is told, and it is not
//! forgotten before its mute ends.
//!
//! What quiet and gone mean takes the clock and the units on record, which `store` has: it asks for them as said here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::rules::Confidence;

/// Units that the operation of a finding must have served without it before silence means that it is gone. No traffic
/// proves nothing.
pub const EXERCISED: u32 = 20;

/// Service of the traces that `debunk selftest` sends. Its findings stand in no list, and only receivers that name the
/// service are told of them.
pub const CANARY: &str = "debunk.selftest";

/// Hours without an occurrence after which a finding of [`CANARY`] is forgotten, whatever its status.
pub const CANARY_HOURS: u32 = 24;

/// Days without an occurrence after which a candidate is forgotten.
pub const CANDIDATE_DAYS: u32 = 7;

/// What the evidence makes of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = FindingStatus)]
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
    /// It is worse than people were told.
    Escalated,
    /// What had opened it was taken back.
    Retracted,
    /// It was not seen any more although there was occasion.
    Quiet,
    /// It was resolved, and came back.
    Reopened,
    /// Somebody knows of it.
    Acknowledged,
    /// Nobody wants to hear of it any more.
    Muted,
    /// It is open, and the time in which nobody wanted to hear of it is over.
    Unmuted,
    /// A person says that it is gone.
    Closed,
    /// A person says that it is not gone.
    ReopenedByPerson,
    /// It is still open, and nobody said that they know.
    Reminded,
}

/// What a look at the evidence may move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Traces that show it.
    pub counts: Counts,
    /// The look took an occurrence back, or made it less sure.
    pub took_back: bool,
    /// A trace received after it was resolved shows it.
    pub recurred: bool,
    /// Two traces show it worse than people were told. One may be an outlier, and the same trace judged twice is one.
    pub is_worse: bool,
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
            Self::Opened | Self::Unmuted => "finding.opened",
            Self::Escalated => "finding.escalated",
            Self::Retracted | Self::Quiet | Self::Closed => "finding.resolved",
            Self::Reopened | Self::ReopenedByPerson => "finding.reopened",
            Self::Acknowledged => "finding.acknowledged",
            Self::Muted => "finding.muted",
            Self::Reminded => "finding.reminder",
        }
    }

    /// Why it happened, in one word.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Opened => "gate",
            Self::Escalated => "severity",
            Self::Retracted => "retracted",
            Self::Quiet => "quiet",
            Self::Reopened => "recurred",
            Self::Unmuted => "unmuted",
            Self::Acknowledged | Self::Muted | Self::Closed | Self::ReopenedByPerson => "person",
            Self::Reminded => "reminder",
        }
    }

    /// It ends what an earlier one began.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Retracted | Self::Quiet | Self::Closed | Self::Muted)
    }
}

impl Counts {
    /// Counts one more trace under its best confidence; where low counts, it does so on the lowest step.
    pub fn add(&mut self, best: Confidence) {
        match best {
            Confidence::Confirmed => self.confirmed += 1,
            Confidence::High => self.high += 1,
            Confidence::Medium | Confidence::Low => self.medium += 1,
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
/// What opened once closes here only if something was taken back: neither age nor forgetting the hours of long ago
/// does.
pub fn next(current: Option<Status>, observed: &Observed, gate: &Gate) -> (Status, Option<Event>) {
    let met = gate.is_met(&observed.counts);
    match current {
        None | Some(Status::Candidate) if met => (Status::Open, Some(Event::Opened)),
        None | Some(Status::Candidate) => (Status::Candidate, None),
        Some(Status::Open) if !met && observed.took_back => (Status::Candidate, Some(Event::Retracted)),
        Some(Status::Open) => (Status::Open, observed.is_worse.then_some(Event::Escalated)),
        Some(Status::Resolved) if observed.recurred => (Status::Open, Some(Event::Reopened)),
        Some(Status::Resolved) => (Status::Resolved, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATE: Gate = Gate { high: 2, medium: 5 };

    fn counts(confirmed: u32, high: u32, medium: u32) -> Counts {
        Counts { confirmed, high, medium }
    }

    fn showing(counts: Counts) -> Observed {
        Observed { counts, ..Observed::default() }
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
            assert_eq!(next(None, &showing(counts), &GATE).0 == Status::Open, opens, "{counts:?}");
        }
    }

    #[test]
    fn opening_is_told_once() {
        let seen = showing(counts(1, 0, 0));
        assert_eq!(next(Some(Status::Candidate), &seen, &GATE), (Status::Open, Some(Event::Opened)));
        assert_eq!(next(Some(Status::Open), &seen, &GATE), (Status::Open, None));
    }

    #[test]
    fn a_retracted_finding_waits_again() {
        let left = Observed { took_back: true, ..showing(counts(0, 1, 0)) };
        assert_eq!(next(Some(Status::Open), &left, &GATE), (Status::Candidate, Some(Event::Retracted)));
    }

    #[test]
    fn what_is_only_forgotten_closes_nothing() {
        let left = showing(counts(0, 0, 1));
        assert_eq!(next(Some(Status::Open), &left, &GATE), (Status::Open, None));
    }

    #[test]
    fn only_an_open_finding_escalates() {
        let worse = Observed { is_worse: true, ..showing(counts(0, 2, 0)) };
        assert_eq!(next(Some(Status::Open), &worse, &GATE), (Status::Open, Some(Event::Escalated)));
        assert_eq!(next(None, &worse, &GATE), (Status::Open, Some(Event::Opened)));
        assert_eq!(next(Some(Status::Resolved), &worse, &GATE), (Status::Resolved, None));
    }

    #[test]
    fn a_resolved_finding_comes_back_with_the_first_new_trace_that_shows_it() {
        let old = showing(counts(3, 0, 0));
        assert_eq!(next(Some(Status::Resolved), &old, &GATE), (Status::Resolved, None));
        let new = Observed { recurred: true, ..showing(counts(0, 0, 1)) };
        assert_eq!(next(Some(Status::Resolved), &new, &GATE), (Status::Open, Some(Event::Reopened)));
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
