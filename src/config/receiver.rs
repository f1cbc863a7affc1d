//! `[[receivers]]`: who is told of changes, in which form, and how often at most.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Period;
use crate::rules::{Fallacy, Severity};

/// How a receiver wants to be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiverFormat {
    /// Standard Webhooks 1.0.0, signed.
    #[default]
    Standard,
    /// The body that Alertmanager posts to webhooks, version 4.
    Alertmanager,
    /// Alerts for Alertmanager itself, sent again as long as they fire.
    AlertmanagerPush,
    /// A message for an incoming webhook of Slack.
    Slack,
    /// An event of `PagerDuty`'s Events API v2.
    Pagerduty,
}

/// One `[[receivers]]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Receiver {
    /// Its name in deliveries and metrics.
    pub name: String,
    /// Where to post: a webhook, or the address of an Alertmanager. Format pagerduty knows its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// File that holds the URL, where the URL is itself a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_file: Option<PathBuf>,
    /// File that holds the signing secret, `whsec_…` (format standard), the key of an integration (pagerduty), or a bearer
    /// token, where one is asked for (the formats of Alertmanager).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// Body format: `standard` (Standard Webhooks, signed), `alertmanager` (the body of its webhooks), `alertmanager_push`
    /// (alerts for Alertmanager itself), `slack`, `pagerduty`.
    #[serde(default)]
    pub format: ReceiverFormat,
    /// Only findings at least so severe.
    #[serde(default = "lowest")]
    pub min_severity: Severity,
    /// Only these environments; empty: all.
    #[serde(default)]
    pub environments: Vec<String>,
    /// Only these services; empty: all, but for `debunk.selftest`, which has to be named.
    #[serde(default)]
    pub services: Vec<String>,
    /// Only these fallacies; empty: all.
    #[serde(default)]
    pub fallacies: Vec<Fallacy>,
    /// Also tell when a finding is resolved.
    #[serde(default = "yes")]
    pub send_resolved: bool,
    /// Tell again of a finding that is still open and that nobody acknowledged, so long after it was told last; "0ms": never.
    #[serde(default = "never")]
    pub remind_every: Period,
    /// Most requests in a minute of the clock, by all replicas; the others wait.
    #[serde(default = "one_a_second")]
    pub max_per_minute: u32,
    /// Most requests at once.
    #[serde(default = "two")]
    pub concurrency: u32,
    /// Longest time for one try.
    #[serde(default = "fifteen_seconds")]
    pub timeout: Period,
    /// May resolve to a loopback, private or link-local address.
    #[serde(default)]
    pub allow_private: bool,
}

fn lowest() -> Severity {
    Severity::Low
}

fn yes() -> bool {
    true
}

fn fifteen_seconds() -> Period {
    Period::secs(15)
}

fn never() -> Period {
    Period::secs(0)
}

fn one_a_second() -> u32 {
    60
}

fn two() -> u32 {
    2
}

impl Receiver {
    pub(super) fn validate(&self) -> Result<(), String> {
        if self.name.trim().is_empty() || 64 < self.name.len() {
            return Err("give a name of at most 64 bytes".to_owned());
        }
        if self.timeout.0.is_zero() {
            return Err("timeout: at least 1ms".to_owned());
        }
        let urls = usize::from(self.url.is_some()) + usize::from(self.url_file.is_some());
        if urls != 1 && !(urls == 0 && self.format == ReceiverFormat::Pagerduty) {
            return Err("give one of url and url_file".to_owned());
        }
        match (self.format, &self.secret_file) {
            (ReceiverFormat::Standard, None) => {
                return Err("format standard signs its messages: give secret_file".to_owned());
            }
            (ReceiverFormat::Pagerduty, None) => {
                return Err("format pagerduty needs the key of an integration: give secret_file".to_owned());
            }
            (ReceiverFormat::Slack, Some(_)) => {
                return Err("format slack has no secret but its URL: give url_file alone".to_owned());
            }
            _ => {}
        }
        if !self.remind_every.0.is_zero() && self.remind_every < Period::secs(60) {
            return Err("remind_every: 0s or at least 1m".to_owned());
        }
        if self.max_per_minute == 0 || !(1..=64).contains(&self.concurrency) {
            return Err("max_per_minute: at least 1; concurrency: between 1 and 64".to_owned());
        }
        Ok(())
    }
}
