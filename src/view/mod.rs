//! What programs (`api`) and people (`web`) are both shown, before it takes its form: parameters and filters, a
//! finding with all that belongs to it, a trace as its spans mean it today, a page of a list, a failure.
//!
//! Nothing here knows JSON's shapes of the API or HTML.

mod address;
mod alerts;
mod clocks;
mod cursor;
pub mod decide;
mod failure;
mod filter;
mod finding;
mod foreign;
pub mod json;
mod parameters;
mod sent;
mod services;
mod status;
mod tagged;
mod trace;
mod traces;

use std::sync::Arc;

pub use address::refuse_nameless;
pub use alerts::{DeliveryFilter, Health, STATES, State, Tested};
pub use cursor::Cursor;
pub use failure::Failure;
pub use filter::{Filter, SORTS};
pub use finding::Detail;
pub use parameters::{MAX_LENGTH, MAX_LIMIT, MAX_VALUES, Parameters};
pub use sent::SentTrace;
pub use services::{Place, ServiceView};
pub use status::Status;
pub use tagged::tagged;
pub use trace::{Clocks, Part, SpanView, TraceView};
pub use traces::TraceFilter;

use crate::alert::Receivers;
use crate::config::Config;
use crate::store::Store;
use crate::telemetry::Metrics;

/// What answering takes. Cheap to clone.
#[derive(Clone)]
pub struct Shown {
    /// Where everything is.
    pub store: Store,
    /// For `/metrics`.
    pub metrics: Metrics,
    /// For links and thresholds.
    pub config: Arc<Config>,
    /// Who is told, and whether they can be.
    pub receivers: Arc<Receivers>,
}

/// A page of a list: some items, and where the next page starts.
#[derive(Clone, Debug)]
pub struct Slice<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Where to go on; `None` at the end.
    pub next: Option<String>,
}

impl<T> Slice<T> {
    /// Of `limit + 1` items that were asked for, keeps `limit`; the last one kept says where the next page starts.
    pub fn of(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> Cursor) -> Self {
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = items.last().filter(|_| more).map(|last| cursor(last).to_string());
        Self { items, next }
    }
}
