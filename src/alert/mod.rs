//! A change of a finding → a request to each receiver that wants to hear of it, in the form it understands.
//!
//! Messages are made here and kept by `store` together with the change; `loops` takes them from there and sends
//! them through [`Receiver::post`], any number of times, until the receiver has them. Nothing here waits or
//! retries, and nothing is remembered but that a receiver said it is gone.

mod address;
mod alertmanager;
#[cfg(test)]
mod fixture;
mod format;
mod pagerduty;
mod post;
mod receivers;
mod sign;
mod slack;
mod standard;
mod text;

pub use post::Answer;
pub use receivers::{Receiver, ReceiverError, Receivers};
