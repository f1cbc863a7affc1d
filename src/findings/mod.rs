//! What occurrences mean together: identity, severity, life, and how they are shown. Pure; times come in as data.

mod absorb;
pub mod decision;
mod judge;
mod judged;
pub mod life;
pub mod report;
mod rows;
mod severity;
pub mod shape;

pub use judge::{Settings, inspect, judge, judge_all};
pub use judged::{Call, Evidence, Fingerprint, Inspection, Judged, Judgement, Summary, Unit};
