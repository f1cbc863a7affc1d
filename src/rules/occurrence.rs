//! What a rule says of one trace.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::SpanIdx;

/// The assumption that a rule shows to be false here. The ninth is not among Deutsch's eight: a caller
/// cannot always know what happened (partial failure, the Two Generals).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the fallacies themselves")]
pub enum Fallacy {
    NetworkIsReliable,
    LatencyIsZero,
    BandwidthIsInfinite,
    NetworkIsSecure,
    TopologyDoesNotChange,
    OneAdministrator,
    TransportCostIsZero,
    NetworkIsHomogeneous,
    OutcomeIsKnown,
}

impl Fallacy {
    /// All nine, in the usual order.
    pub const ALL: [Self; 9] = [
        Self::NetworkIsReliable,
        Self::LatencyIsZero,
        Self::BandwidthIsInfinite,
        Self::NetworkIsSecure,
        Self::TopologyDoesNotChange,
        Self::OneAdministrator,
        Self::TransportCostIsZero,
        Self::NetworkIsHomogeneous,
        Self::OutcomeIsKnown,
    ];

    /// The one spelling used in code, SQL, API and metrics.
    pub fn id(self) -> &'static str {
        match self {
            Self::NetworkIsReliable => "network_is_reliable",
            Self::LatencyIsZero => "latency_is_zero",
            Self::BandwidthIsInfinite => "bandwidth_is_infinite",
            Self::NetworkIsSecure => "network_is_secure",
            Self::TopologyDoesNotChange => "topology_does_not_change",
            Self::OneAdministrator => "one_administrator",
            Self::TransportCostIsZero => "transport_cost_is_zero",
            Self::NetworkIsHomogeneous => "network_is_homogeneous",
            Self::OutcomeIsKnown => "outcome_is_known",
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::NetworkIsReliable => "The network is reliable",
            Self::LatencyIsZero => "Latency is zero",
            Self::BandwidthIsInfinite => "Bandwidth is infinite",
            Self::NetworkIsSecure => "The network is secure",
            Self::TopologyDoesNotChange => "Topology does not change",
            Self::OneAdministrator => "There is one administrator",
            Self::TransportCostIsZero => "Transport cost is zero",
            Self::NetworkIsHomogeneous => "The network is homogeneous",
            Self::OutcomeIsKnown => "The outcome is known",
        }
    }
}

/// How sure the spans make us. `Low` is counted but never shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "an ordered scale")]
pub enum Confidence {
    Low,
    Medium,
    High,
    Confirmed,
}

impl Confidence {
    /// One step less sure, `Low` at the least.
    #[must_use]
    pub fn step_down(self) -> Self {
        match self {
            Self::Confirmed => Self::High,
            Self::High => Self::Medium,
            Self::Medium | Self::Low => Self::Low,
        }
    }

    /// The one spelling used everywhere.
    pub fn id(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Confirmed => "confirmed",
        }
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.id())
    }
}

/// How bad an occurrence is, the same scale for every rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "an ordered scale")]
pub enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// The one spelling used everywhere.
    pub fn id(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// One step less bad, `Low` at the least.
    #[must_use]
    pub fn step_down(self) -> Self {
        match self {
            Self::Critical => Self::High,
            Self::High => Self::Medium,
            Self::Medium | Self::Low => Self::Low,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.id())
    }
}

impl FromStr for Severity {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Low, Self::Medium, Self::High, Self::Critical]
            .into_iter()
            .find(|severity| severity.id() == text)
            .ok_or_else(|| format!("{text:?} is none of low, medium, high, critical"))
    }
}

impl FromStr for Confidence {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Low, Self::Medium, Self::High, Self::Confirmed]
            .into_iter()
            .find(|confidence| confidence.id() == text)
            .ok_or_else(|| format!("{text:?} is none of low, medium, high, confirmed"))
    }
}

/// What one occurrence costs. Fields that a rule does not name are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Time that would be saved, on the path that somebody waits for.
    pub time: Duration,
    /// Calls that need not be, or that are wasted.
    pub calls: u32,
    /// Bytes moved.
    pub bytes: u64,
    /// Operations of which nobody knows whether they happened.
    pub unknown_outcomes: u32,
    /// Effects that happened more often than asked for.
    pub duplicate_effects: u32,
    /// Calls whose content others could read.
    pub exposed_calls: u32,
}

/// A span that shows the occurrence, with the part it plays. Roles: `unit`, `call`, `attempt:1`…, `server`,
/// `write`, `gap`, `barrier`, `source`.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// The span.
    pub span: SpanIdx,
    /// The part it plays.
    pub role: String,
    /// The values that were compared, in words; may be empty.
    pub note: String,
}

impl Evidence {
    /// A span, the part it plays, and the compared values in words.
    pub fn new(span: SpanIdx, role: &str, note: impl Into<String>) -> Self {
        Self { span, role: role.to_owned(), note: note.into() }
    }
}

/// How a write was duplicated; decides severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicated {
    /// Both effects are seen, or each attempt carried a new key.
    Confirmed,
    /// Hedged, republished, or sent again after an attempt whose server span was seen.
    Likely,
    /// Sent again; no server span shows what became of the first attempt.
    Blind,
    /// Nothing happened twice this time, but the policy would let it.
    Harmless,
}

/// How far two sides of a call disagree; decides severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Diverged {
    /// A non-idempotent write happened and the caller reported failure.
    Reported,
    /// A non-idempotent write happened and the caller answered well all the same.
    Hidden,
    /// Only idempotent writes happened.
    Repeatable,
    /// The caller's own caller had left before.
    CallerLeft,
}

/// What others could read; decides severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposed {
    /// A request and its answer.
    Plain,
    /// A request whose peer only asked to come back encrypted.
    Redirected,
    /// Credentials, or a key to a whole account.
    Account,
    /// What anybody can read who breaks an obsolete protocol.
    Obsolete,
    /// Something of an environment in which nothing is worth hiding, or something that is still to come.
    Lesser,
}

/// Which environments were mixed; decides severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crossed {
    /// Another environment writes to production.
    WritesProduction,
    /// Production is read, or depends on another.
    Production,
    /// Two others.
    Others,
}

/// What is held while nobody can use the result; decides severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// And something may be changed meanwhile.
    Hard,
    /// Threads and connections.
    Softly,
    /// A connection that only reads.
    Lightly,
    /// Work that nobody will ask for.
    ForNobody,
}

/// What nobody knows to have happened; decides severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// Doing it again would do it twice.
    Adds,
    /// A message.
    Published,
    /// Doing it again does no harm, or it was made in passing.
    Repeatable,
}

/// What was left behind of a request that failed half-way; decides severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfDone {
    /// Something that adds up, at another service or company.
    Elsewhere,
    /// Something that overwrites there, or a row of the own database while another service failed.
    Partly,
    /// Rows and messages of the service itself.
    Own,
}

/// How much is sent that need not be; decides severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// Nine times as much as was asked for, or more.
    Ninefold,
    /// Several times as much, or too fast for whoever has trouble already.
    Heavily,
    /// What cannot succeed.
    Uselessly,
}

/// What kind of harm an occurrence does; `findings::severity` turns it and the cost into a severity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Harm {
    /// Somebody waits. Share of the unit's duration, 0 to 1.
    Time {
        /// Saved time over the unit's duration.
        share: f64,
    },
    /// A write may have happened twice.
    Duplicated(Duplicated),
    /// Two sides disagree about a write.
    Diverged(Diverged),
    /// Others can read it.
    Exposed(Exposed),
    /// Environments are mixed.
    Crossed(Crossed),
    /// Resources are held for nothing.
    Held(Held),
    /// A write that nobody can tell whether it happened.
    Unresolved(Unresolved),
    /// A request changed something and then failed.
    HalfDone(HalfDone),
    /// A failed write was answered as success.
    Masked {
        /// All that was to be written, or something that adds up.
        wholly: bool,
    },
    /// Requests fail with somebody else's system.
    Failing,
    /// Times of two hosts cannot be compared.
    Skewed {
        /// By how much at least.
        by: Duration,
    },
    /// Whoever has trouble gets more to do.
    Loaded(Loaded),
    /// Connections are made that are there already.
    Churned {
        /// Most of the time that was waited for went into them.
        mostly: bool,
    },
    /// Very much is moved.
    Volume {
        /// Ten mebibytes, or ten thousand rows.
        large: bool,
    },
}

/// One hit of one rule in one trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Occurrence {
    /// A call, or a unit's owner: service, operation, callee and environment are read off it.
    pub at: SpanIdx,
    /// Which form of the rule's claim.
    pub variant: &'static str,
    /// What stands for the variant in the finding's identity: the variant itself, or one word for forms that are
    /// one problem seen more or less clearly.
    pub family: &'static str,
    /// What makes it the same problem elsewhere, beyond rule, variant, service, operation and callee. Never ids, times or instances.
    pub group: String,
    /// One line that names the problem; the same for every occurrence of one finding (no numbers that change from trace to trace).
    pub headline: String,
    /// One sentence with this trace's numbers.
    pub why: String,
    /// What shows it, in order; never empty.
    pub evidence: Vec<Evidence>,
    /// What it costs.
    pub cost: Cost,
    /// What kind of harm.
    pub harm: Harm,
    /// How sure.
    pub confidence: Confidence,
    /// What the spans could not show, and how to make it visible. A claim of absence never stands without it.
    pub not_visible: Vec<String>,
}
