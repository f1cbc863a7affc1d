//! Numbers and times in words, and the small marks that stand for severity, confidence and status.

use maud::{Markup, html};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use crate::findings::life::Status;
use crate::findings::shape::Cost;
use crate::rules::{self, Confidence, Severity};

/// A length of time, to three digits or so.
pub(super) fn duration(ms: f64) -> String {
    match ms {
        _ if ms >= 3_600_000.0 => format!("{:.1} h", ms / 3_600_000.0),
        _ if ms >= 60_000.0 => format!("{:.1} min", ms / 60_000.0),
        _ if ms >= 9_995.0 => format!("{:.1} s", ms / 1000.0),
        _ if ms >= 999.5 => format!("{:.2} s", ms / 1000.0),
        _ if ms >= 99.5 => format!("{ms:.0} ms"),
        _ if ms >= 9.95 => format!("{ms:.1} ms"),
        _ if ms >= 1.0 => format!("{ms:.2} ms"),
        _ if ms > 0.0 => format!("{:.0} µs", ms * 1000.0),
        _ => "0 ms".to_owned(),
    }
}

/// A count with its thousands apart.
pub(super) fn number(count: i64) -> String {
    let digits = count.unsigned_abs().to_string();
    let mut out = String::new();
    if count < 0 {
        out.push('-');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count and what is counted: `1 trace`, `3 traces`.
pub(super) fn counted(count: i64, one: &str, many: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { many })
}

/// Bytes in the unit that fits.
pub(super) fn bytes(count: u64) -> String {
    let size = count as f64;
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.1} KiB", size / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", size / 1_048_576.0),
        _ => format!("{:.1} GiB", size / 1_073_741_824.0),
    }
}

/// An instant as its age, with the instant itself for those who point at it.
pub(super) fn age(instant: OffsetDateTime, now: OffsetDateTime) -> Markup {
    let seconds = (now - instant).whole_seconds();
    let words = match seconds {
        ..0 => "just now".to_owned(),
        0..90 => format!("{seconds} s ago"),
        90..5_400 => format!("{} min ago", (seconds + 30) / 60),
        5_400..129_600 => format!("{} h ago", (seconds + 1_800) / 3_600),
        _ => format!("{} days ago", (seconds + 43_200) / 86_400),
    };
    html! { time datetime=(rfc3339(instant)) title=(clock(instant)) { (words) } }
}

/// An instant to the second, in UTC.
pub(super) fn clock(instant: OffsetDateTime) -> String {
    let utc = instant.to_offset(time::UtcOffset::UTC);
    utc.format(format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC"))
        .unwrap_or_else(|_| rfc3339(instant))
}

fn rfc3339(instant: OffsetDateTime) -> String {
    instant.format(&Rfc3339).unwrap_or_default()
}

/// A sentence about spans: starts with a capital, and what stands between backticks is code. Nothing else in it is
/// markup, since much of it was said by spans.
pub(super) fn prose(text: &str) -> Markup {
    coded(&capital(text))
}

/// The same within a sentence.
pub(super) fn coded(text: &str) -> Markup {
    let parts: Vec<&str> = text.split('`').collect();
    // A backtick without a partner is a backtick.
    let whole = if parts.len() % 2 == 1 { parts.len() } else { parts.len() - 1 };
    html! {
        @for (index, part) in parts[..whole].iter().enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
        @for part in &parts[whole..] { "`" (part) }
    }
}

/// The text without its marks, for where no markup can stand.
pub(super) fn plain(text: &str) -> String {
    capital(&text.replace('`', ""))
}

/// The text with its first letter as a capital.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Severity by colour and by word.
pub(super) fn severity(severity: Severity) -> Markup {
    html! { span class={ "severity " (severity.id()) } { (severity.id()) } }
}

/// How sure, with what that means.
pub(super) fn confidence(confidence: Confidence) -> Markup {
    let meaning = match confidence {
        Confidence::Confirmed => "the spans prove it",
        Confidence::High => "the spans leave little doubt",
        Confidence::Medium => "the spans suggest it",
        Confidence::Low => "a guess",
    };
    html! { span.confidence title=(meaning) { (confidence.id()) } }
}

/// A rule by its id, with a way to its page where this version still has it.
pub(super) fn rule(id: &str) -> Markup {
    html! { @if rules::find(id).is_some() { a href={ "/rules/" (id) } { code { (id) } } } @else { code { (id) } } }
}

/// What the evidence makes of it.
pub(super) fn status(status: Status) -> Markup {
    html! { span class={ "status " (status.id()) } { (status.id()) } }
}

/// A cost in sentences, each naming what it means for those who pay it; empty where nothing is known.
pub(super) fn cost(cost: &Cost) -> Vec<String> {
    let mut words = Vec::new();
    if cost.time_ms > 0.0 {
        // Beside an unknown outcome, time is work that went on without anybody who waited for it.
        let kind = if cost.unknown_outcomes > 0 {
            "work after its caller had given up"
        } else {
            "waiting that need not be"
        };
        words.push(format!("{} of {kind}", duration(cost.time_ms)));
    }
    if cost.duplicate_effects > 0 {
        let effects = counted(cost.duplicate_effects.into(), "effect", "effects");
        words.push(format!("{effects} more than was asked for"));
    }
    if cost.unknown_outcomes > 0 {
        let operations = counted(cost.unknown_outcomes.into(), "operation", "operations");
        words.push(format!("{operations} of which the caller cannot know whether it happened"));
    }
    if cost.exposed_calls > 0 {
        let calls = counted(cost.exposed_calls.into(), "call", "calls");
        words.push(format!("{calls} whose content others could read"));
    }
    if cost.calls > 0 {
        words.push(format!("{} involved", counted(cost.calls.into(), "remote call", "remote calls")));
    }
    if cost.bytes > 0 {
        words.push(format!("{} moved", bytes(cost.bytes)));
    }
    words
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn durations_keep_three_digits() {
        for (ms, words) in [
            (0.0, "0 ms"),
            (0.0421, "42 µs"),
            (4.204, "4.20 ms"),
            (41.27, "41.3 ms"),
            (412.4, "412 ms"),
            (1_000.2, "1.00 s"),
            (12_340.0, "12.3 s"),
            (90_000.0, "1.5 min"),
            (7_200_000.0, "2.0 h"),
        ] {
            assert_eq!(duration(ms), words);
        }
    }

    #[test]
    fn only_backticks_are_markup_in_a_sentence() {
        for (text, html) in [
            ("calls `GET /a` and `b`", "Calls <code>GET /a</code> and <code>b</code>"),
            ("`<b>` *x* [y](http://z)", "<code>&lt;b&gt;</code> *x* [y](http://z)"),
            ("one ` alone", "One ` alone"),
            ("", ""),
        ] {
            assert_eq!(prose(text).into_string(), html);
        }
        assert_eq!(plain("calls `GET`"), "Calls GET");
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(number(0), "0");
        assert_eq!(number(999), "999");
        assert_eq!(number(1_234_567), "1,234,567");
        assert_eq!(number(-1000), "-1,000");
        assert_eq!(counted(1, "trace", "traces"), "1 trace");
    }

    #[test]
    fn an_age_keeps_its_instant() {
        let text = age(datetime!(2026-03-04 11:57 UTC), datetime!(2026-03-04 12:00 UTC)).into_string();
        assert_eq!(
            text,
            "<time datetime=\"2026-03-04T11:57:00Z\" title=\"2026-03-04 11:57:00 UTC\">3 min ago</time>"
        );
    }

    #[test]
    fn a_cost_is_told_in_words_and_nothing_costs_no_words() {
        assert!(cost(&Cost::default()).is_empty());
        let twice = Cost { duplicate_effects: 1, calls: 2, ..Cost::default() };
        assert_eq!(cost(&twice), ["1 effect more than was asked for", "2 remote calls involved"]);
        let unknown = Cost { unknown_outcomes: 1, time_ms: 357.0, ..Cost::default() };
        assert_eq!(cost(&unknown)[0], "357 ms of work after its caller had given up");
    }
}
