//! What receivers are to be told, kept until they have it.

use time::OffsetDateTime;

use crate::findings::life::{Event, Status};
use crate::findings::shape::Finding;
use crate::model::TraceId;
use crate::rules::Severity;

/// A finding that changed so that people should hear of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What happened.
    pub event: Event,
    /// When; the time of the transaction that writes it.
    pub at: OffsetDateTime,
    /// The finding as it is now. Its `url` is filled in by whoever tells.
    pub finding: Finding,
    /// What it was before; `None` for one that was never seen.
    pub previous: Option<(Status, Severity)>,
    /// The latest trace that shows it; `None` when none is left.
    pub example: Option<Example>,
}

/// A trace that shows a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Which.
    pub trace_id: TraceId,
    /// One sentence with its numbers.
    pub why: String,
}

/// What one receiver is to be told of one change. The payload is fixed here: every try sends the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    /// The receiver's name.
    pub receiver: String,
    /// The body of the request.
    pub payload: String,
}
