//! Tests of the whole service on real components.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

mod alert;
mod dashboards;
mod demo;
mod store;
