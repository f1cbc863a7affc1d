//! Plain data and the questions rules ask of it. No I/O, no clock, no failure: oddities are data.
//!
//! A [`Span`] is what one span says once its attributes have been read (`semconv`). A [`Trace`] is the arena of
//! one trace's spans with its tree and its defects. Above it stand units (what a service did for someone) and
//! calls (what it asked of someone), which are what rules reason about.

mod aftermath;
mod arguments;
mod asked;
mod attempt;
mod attempts;
mod best_effort;
#[cfg(test)]
mod build;
mod call;
mod callee;
mod connection;
mod critical_path;
mod effect;
mod facts;
mod groups;
mod id;
mod idempotency;
mod kept;
mod legs;
mod question;
mod received;
mod rounds;
mod runs;
mod span;
mod steps;
mod trace;
mod transactions;
mod tree;
mod unit;
mod words;
mod writes;

pub use arguments::Arguments;
pub use attempt::Attempt;
pub use call::{Call, Repetition};
pub use connection::{Connected, Target};
pub use facts::{
    Basis, DbFacts, Effect, EffectClass, Facts, HostClass, HostSource, HttpFacts, IdempotencyFacts, Leak,
    MessagingFacts, MessagingOperation, Outcome, Role, RpcFacts, TlsFacts, Verdict,
};
pub use id::{InvalidId, SpanId, TraceId};
pub use idempotency::Protection;
pub use kept::Kept;
pub use question::{FinalCode, Question};
pub use received::{EVENT_KIND, Received};
pub use rounds::{Round, Segment, is_next_page, rounds};
pub use runs::{Items, Run, are_polling};
pub use span::{Kind, Link, Resource, Scope, Span, Status};
pub use steps::{Operation, Step, operations, saved_ns};
pub use trace::{Assembly, Defect, SpanIdx, Trace};
pub use transactions::{Transaction, TransactionStep};
pub use unit::Unit;
pub use words::words;
pub use writes::Writes;
