//! Tests of the whole service on real components.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::print_stdout, reason = "a test says what it skipped and shows its tables")]

mod support;

mod accept;
mod alert;
mod backup;
mod browser;
mod corpus;
mod dashboards;
mod demo;
mod dogfood;
mod facts;
mod faults;
mod generated;
mod pages;
mod replay;
mod review;
mod same;
mod scale;
mod scan;
mod selftest;
mod show;
mod store;
mod suppress;
