//! The rules, one folder per fallacy and one file per rule, and what a rule may say.
//!
//! A rule is a pure function from a [`Trace`] to [`Occurrence`]s. It reads no attribute, keeps no memory and
//! cannot fail. Identity, severity and gates are added by `findings`.

mod millis;
mod occurrence;

pub use millis::Millis;
pub use occurrence::{Confidence, Cost, Diverged, Duplicated, Evidence, Fallacy, Harm, Occurrence, Severity};

/// Thresholds of every rule, one section each. (Replaced by the registry.)
#[derive(Clone, Debug, Default, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {}
