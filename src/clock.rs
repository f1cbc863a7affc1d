//! The only reader of the wall clock. Rules, gates and the model never read it: times reach them as data.

use time::OffsetDateTime;

/// The present, in UTC.
#[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
pub fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}
