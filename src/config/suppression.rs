//! `[[suppress]]`: findings that are known to whoever runs the service, decided where its settings are kept.

use serde::{Deserialize, Serialize};
use time::{Date, OffsetDateTime};

time::serde::format_description!(day, Date, "[year]-[month]-[day]");

/// One `[[suppress]]`. Texts are compared whole; `*` stands for any run of letters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Suppression {
    /// Id of the rule; absent: any.
    pub rule: String,
    /// Service that the finding is about; absent: any.
    pub service: String,
    /// Its operation; absent: any. One of the three must be given.
    pub operation: String,
    /// Why; it stands in the log of each finding.
    pub reason: String,
    /// The last day (UTC) that it holds; without it, as long as it stands here.
    #[serde(with = "day::option", skip_serializing_if = "Option::is_none")]
    pub until: Option<Date>,
}

impl Suppression {
    /// Whether it names such a finding at `now`.
    pub fn covers(&self, rule: &str, service: &str, operation: &str, now: OffsetDateTime) -> bool {
        self.holds(now)
            && matches(&self.rule, rule)
            && matches(&self.service, service)
            && matches(&self.operation, operation)
    }

    /// When it ends; `None`: never.
    pub fn ends(&self) -> Option<OffsetDateTime> {
        self.until.and_then(Date::next_day).map(|day| day.midnight().assume_utc())
    }

    fn holds(&self, now: OffsetDateTime) -> bool {
        self.ends().is_none_or(|end| now < end)
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        if self.reason.trim().is_empty() {
            return Err("reason: say why, for whoever reads it next".to_owned());
        }
        let patterns = [&self.rule, &self.service, &self.operation];
        if patterns.iter().all(|pattern| matches(pattern, "")) {
            return Err("give at least one of rule, service and operation".to_owned());
        }
        let rules = crate::rules::RULES;
        if !rules.iter().any(|rule| matches(&self.rule, rule.id)) {
            return Err(format!("rule: no rule is called {:?}", self.rule));
        }
        Ok(())
    }
}

/// Whether `pattern` stands for all of `text`. None at all stands for any.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(last) = parts.next_back() else { return pattern.is_empty() || pattern == text };
    let Some(mut rest) = text.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else {
        return false;
    };
    // The earliest place of each part leaves the most to those behind it.
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use time::macros::{date, datetime};

    use super::*;

    #[test]
    fn a_star_stands_for_any_run_of_letters() {
        for (pattern, text) in [
            ("", "shop"),
            ("*", "shop"),
            ("*", ""),
            ("shop", "shop"),
            ("legacy-*", "legacy-"),
            ("legacy-*", "legacy-billing"),
            ("*-v1", "pay-v1"),
            ("GET /*/items/*", "GET /a/b/items/7"),
            ("a*b*a", "aba"),
            ("*é*", "café au lait"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("shop", "shop2"), ("legacy-*", "new-legacy-x"), ("a*a", "a"), ("a*b*c", "acb"), ("**x", "y")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn the_last_day_is_whole() {
        let one = Suppression {
            service: "legacy-*".to_owned(),
            until: Some(date!(2026 - 12 - 31)),
            ..Suppression::default()
        };
        let covers = |now| one.covers("n_plus_one", "legacy-x", "GET /", now);
        assert!(covers(datetime!(2026-12-31 23:59:59 UTC)));
        assert!(!covers(datetime!(2027-01-01 0:00 UTC)));
    }

    #[test]
    fn everything_at_once_nothing_real_and_no_reason_are_refused() {
        let with = |rule: &str, service: &str, reason: &str| Suppression {
            rule: rule.to_owned(),
            service: service.to_owned(),
            reason: reason.to_owned(),
            ..Suppression::default()
        };
        assert_eq!(with("*", "legacy-*", "decommissioned in May").validate(), Ok(()));
        assert!(with("*", "*", "quiet").validate().unwrap_err().starts_with("give at least one"));
        assert!(with("n_plus_on", "", "quiet").validate().unwrap_err().starts_with("rule:"));
        assert!(with("", "shop", " ").validate().unwrap_err().starts_with("reason:"));
    }
}
