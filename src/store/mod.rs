//! All SQL.

mod outbox;

pub use outbox::{Change, Example, NewDelivery};
