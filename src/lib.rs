//! Debunk reads OpenTelemetry traces and proves from them where a system relies on the fallacies of
//! distributed computing.
//!
//! Modules in reading order, lowest layer first; `tests/tidy.rs` holds the layers.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test"))]

pub mod clock;
pub mod model;

pub mod rules;
pub mod semconv;

pub mod config;
pub mod decode;
pub mod sketch;
pub mod telemetry;

pub mod findings;

pub mod store;

pub mod alert;

pub mod loops;
pub mod otlp;
pub mod view;

pub mod api;
pub mod web;

pub mod commands;
