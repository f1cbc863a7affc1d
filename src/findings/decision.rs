//! What people may decide about a finding, and what becomes of it then. Pure: who and when stay outside.
//!
//! | action | applies where | what follows | event |
//! |---|---|---|---|
//! | acknowledge | open, not yet acknowledged or muted | reminders stop until it comes back | `finding.acknowledged` |
//! | mute | anywhere | nothing more is told until it ends, lists leave it out | `finding.muted` if it was open |
//! | unmute | muted | as if it had never been muted | `finding.opened` if it is open |
//! | resolve | open | closed, until a trace received later shows it | `finding.resolved` |
//! | reopen | resolved | open, as if it had been seen | `finding.reopened` |
//!
//! What is muted is muted: whatever else is decided about it, nobody is told.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::life::{Event, Status};
use super::shape::Handling;

/// Who decides where `[[suppress]]` does: no token has this name.
pub const SETTINGS: &str = "settings";

/// What somebody wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the table above says what each does")]
pub enum Action {
    Acknowledge,
    Mute,
    Unmute,
    Resolve,
    Reopen,
}

/// Why something is muted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It is known, and stays as it is.
    Accepted,
    /// It is not so.
    FalsePositive,
    /// It was made to be seen.
    Test,
}

/// A decision as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What is wanted.
    pub action: Action,
    /// Of a mute, where given.
    pub reason: Option<Reason>,
    /// When a mute ends by itself; `None`: never.
    pub until: Option<OffsetDateTime>,
    /// In the decider's words.
    pub note: Option<String>,
}

/// A finding as a decision leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// By evidence, or by the person.
    pub status: Status,
    /// By the person.
    pub handling: Handling,
    /// What receivers are told; `None`: nothing.
    pub event: Option<Event>,
}

/// Why a decision does not apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoesNotApply(&'static str);

impl fmt::Display for DoesNotApply {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0)
    }
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Acknowledge, Self::Mute, Self::Unmute, Self::Resolve, Self::Reopen];

    /// The one spelling used everywhere.
    pub fn id(self) -> &'static str {
        match self {
            Self::Acknowledge => "acknowledge",
            Self::Mute => "mute",
            Self::Unmute => "unmute",
            Self::Resolve => "resolve",
            Self::Reopen => "reopen",
        }
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|action| action.id() == text);
        known.ok_or_else(|| format!("{text:?} is no action"))
    }
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Accepted, Self::FalsePositive, Self::Test];

    /// The one spelling used everywhere.
    pub fn id(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::FalsePositive => "false_positive",
            Self::Test => "test",
        }
    }
}

impl FromStr for Reason {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|reason| reason.id() == text);
        known.ok_or_else(|| format!("{text:?} is no reason"))
    }
}

/// What an action makes of a finding.
pub fn decide(status: Status, handling: Handling, action: Action) -> Result<Outcome, DoesNotApply> {
    let is_open = status == Status::Open;
    let muted = handling == Handling::Muted;
    // What is told unless it is muted.
    let told = |event: Event| (!muted).then_some(event);
    let outcome = |status, handling, event| Ok(Outcome { status, handling, event });
    match action {
        Action::Acknowledge if !is_open => Err(DoesNotApply("only an open finding can be acknowledged")),
        Action::Acknowledge if muted => Err(DoesNotApply("it is muted; unmute it first")),
        Action::Acknowledge if handling == Handling::Acknowledged => {
            Err(DoesNotApply("it is acknowledged already"))
        }
        Action::Acknowledge => outcome(status, Handling::Acknowledged, Some(Event::Acknowledged)),
        Action::Mute => outcome(status, Handling::Muted, told(Event::Muted).filter(|_| is_open)),
        Action::Unmute if !muted => Err(DoesNotApply("it is not muted")),
        Action::Unmute => outcome(status, Handling::None, is_open.then_some(Event::Unmuted)),
        Action::Resolve if !is_open => Err(DoesNotApply("only an open finding can be resolved")),
        Action::Resolve => outcome(Status::Resolved, handling, told(Event::Closed)),
        Action::Reopen if status != Status::Resolved => {
            Err(DoesNotApply("only a resolved finding can be reopened"))
        }
        Action::Reopen => outcome(Status::Open, handling.after_return(), told(Event::ReopenedByPerson)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUSES: [Status; 3] = [Status::Candidate, Status::Open, Status::Resolved];

    #[test]
    fn what_is_muted_is_told_of_only_when_it_is_no_longer() {
        for status in STATUSES {
            for action in Action::ALL {
                let outcome = decide(status, Handling::Muted, action);
                let event = outcome.ok().and_then(|outcome| outcome.event);
                let expected = (action == Action::Unmute && status == Status::Open).then_some(Event::Unmuted);
                assert_eq!(event, expected, "{status} {action:?}");
            }
        }
    }

    #[test]
    fn people_are_told_only_of_what_they_may_know() {
        for action in Action::ALL {
            for handling in Handling::ALL {
                let event = decide(Status::Candidate, handling, action).ok().and_then(|it| it.event);
                assert_eq!(event, None, "{action:?}: nobody was told of a candidate");
            }
        }
    }

    #[test]
    fn a_decision_that_changes_nothing_does_not_apply() {
        for status in STATUSES {
            for handling in Handling::ALL {
                for action in Action::ALL {
                    let Ok(outcome) = decide(status, handling, action) else { continue };
                    // A second mute may end at another time.
                    let same = (outcome.status, outcome.handling) == (status, handling);
                    assert!(!same || action == Action::Mute, "{status} {handling:?} {action:?}");
                }
            }
        }
    }

    #[test]
    fn who_reopens_forgets_that_it_was_acknowledged() {
        let outcome = decide(Status::Resolved, Handling::Acknowledged, Action::Reopen).unwrap();
        let expected =
            Outcome { status: Status::Open, handling: Handling::None, event: Some(Event::ReopenedByPerson) };
        assert_eq!(outcome, expected);
        let muted = decide(Status::Resolved, Handling::Muted, Action::Reopen).unwrap();
        assert_eq!((muted.handling, muted.event), (Handling::Muted, None));
    }

    #[test]
    fn words_and_meanings_agree() {
        for action in Action::ALL {
            assert_eq!(action.id().parse(), Ok(action));
        }
        for reason in Reason::ALL {
            assert_eq!(reason.id().parse(), Ok(reason));
        }
        assert!("close".parse::<Action>().is_err() && "because".parse::<Reason>().is_err());
    }
}
