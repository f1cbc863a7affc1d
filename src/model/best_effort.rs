//! Requests that a unit makes in passing: records, measurements, messages to people. That one of them failed decides
//! nothing about what the unit was asked.

use super::{Attempt, Facts, Role, words};

/// What is written down about a request, beside what it is about.
const RECORDS: &[&str] = &["log", "audit", "metric", "track", "tracking"];
/// What is told to somebody who does not answer.
const TOLD: &[&str] = &[
    "logging",
    "auditing",
    "logger",
    "logstash",
    "analytic",
    "telemetry",
    "beacon",
    "statistic",
    "stat",
    "notify",
    "notification",
    "notifier",
    "mail",
    "mailer",
    "email",
    "sms",
    "cache",
];
/// What caches keep on the side.
const KEYS: &[&str] = &["rate", "ratelimit", "limiter", "throttle", "quota", "session", "sess", "cache"];

impl Facts {
    /// Logs, audits and metrics are not what a request is about; nor are sessions and rate limits that a cache keeps.
    pub(super) fn is_record(&self) -> bool {
        any_word(&self.template, RECORDS) || (self.role == Role::Cache && any_word(&self.template, KEYS))
    }
}

impl Attempt<'_> {
    /// Its unit would answer the same without it: a record, or a message to people, by its name or its callee's.
    pub fn is_best_effort(self) -> bool {
        let is_aside = |text: &str| any_word(text, RECORDS) || any_word(text, TOLD);
        self.facts().is_record()
            || is_aside(self.operation())
            || self.callee().is_some_and(is_aside)
            || self.facts().messaging.destination.as_deref().is_some_and(is_aside)
    }
}

fn any_word(text: &str, known: &[&str]) -> bool {
    words(text).any(|word| {
        let single = word.strip_suffix(['s', 'S']).unwrap_or(word);
        known.iter().any(|known| known.eq_ignore_ascii_case(word) || known.eq_ignore_ascii_case(single))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::super::build::Build;

    #[test]
    fn records_and_messages_to_people_are_made_in_passing() {
        for (name, expected) in [
            ("POST /audit/log", true),
            ("POST /metrics", true),
            ("shop.Email/SendOrderConfirmation", true),
            ("POST /notifications", true),
            ("POST /catalog", false),
            ("POST /charges", false),
            ("POST /login", false),
        ] {
            let mut build = Build::default();
            let owner = build.span(0, "web", Kind::Server, "POST /order", 0, 1000);
            build.span(owner, "web", Kind::Client, name, 10, 10);
            let trace = build.trace();
            assert_eq!(trace.calls().next().unwrap().first().is_best_effort(), expected, "{name}");
        }
    }
}
