//! What occurrences mean together: identity, severity, life. Pure; times come in as data.

mod judged;
pub mod life;

pub use judged::{Call, Evidence, Fingerprint, Judged, Judgement, Summary, Unit};
