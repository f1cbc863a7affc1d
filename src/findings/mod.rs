//! What occurrences mean together: identity, severity, life, and how they are shown. Pure; times come in as data.

mod judged;
pub mod life;
pub mod shape;

pub use judged::{Call, Evidence, Fingerprint, Judged, Judgement, Summary, Unit};
