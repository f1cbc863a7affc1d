//! How often something was seen, as bars over time. Readable without colour and without sight: every bar has its words,
//! and the whole has a sentence.

use maud::{Markup, html};
use time::{Duration, OffsetDateTime};

use super::words;
use crate::store::HourRow;

/// Hours on the chart of a finding: a week.
pub(super) const HOURS: i64 = 7 * 24;
/// Days on the small chart of a fallacy.
pub(super) const DAYS: i64 = 7;

/// Occurrences by hour during the week before `now`.
pub(super) fn week(hours: &[HourRow], now: OffsetDateTime) -> Markup {
    let first = hour(now) - Duration::hours(HOURS - 1);
    let bars: Vec<(OffsetDateTime, i64)> = hours.iter().map(|row| (row.hour, row.occurrences)).collect();
    let all: i64 = bars.iter().map(|(_, count)| count).sum();
    let most = bars.iter().map(|(_, count)| *count).max().unwrap_or_default();
    let sentence = format!(
        "{} in the last seven days, at most {} in an hour",
        words::counted(all, "occurrence", "occurrences"),
        words::number(most)
    );
    html! {
        figure.chart {
            svg role="img" aria-label=(sentence) width="100%" height="72" {
                line.base x1="0" x2="100%" y1="71.5" y2="71.5" {}
                (columns(&bars, first, Duration::hours(1), HOURS, 70.0))
            }
            figcaption {
                span { (words::clock(first)) } span { (sentence) } span { "now" }
            }
        }
    }
}

/// Occurrences by day during the week before `now`, as small as a word.
pub(super) fn spark(days: &[(OffsetDateTime, i64)], now: OffsetDateTime) -> Markup {
    let first = now.replace_time(time::Time::MIDNIGHT) - Duration::days(DAYS - 1);
    let all: i64 = days.iter().map(|(_, count)| count).sum();
    let sentence = format!("{} in the last seven days", words::counted(all, "occurrence", "occurrences"));
    html! {
        svg.spark role="img" aria-label=(sentence) width="84" height="22" {
            line.base x1="0" x2="100%" y1="21.5" y2="21.5" {}
            (columns(days, first, Duration::days(1), DAYS, 20.0))
        }
    }
}

/// Bars of `step` each from `first` on, the highest `height` pixels above the base line.
fn columns(
    bars: &[(OffsetDateTime, i64)],
    first: OffsetDateTime,
    step: Duration,
    count: i64,
    height: f64,
) -> Markup {
    let most = bars.iter().map(|(_, count)| *count).max().unwrap_or_default().max(1) as f64;
    let width = 100.0 / count as f64;
    let placed = bars.iter().filter_map(|(at, seen)| {
        let place = ((*at - first).whole_seconds()).div_euclid(step.whole_seconds());
        ((0..count).contains(&place) && *seen > 0).then_some((place as f64, *at, *seen))
    });
    html! {
        @for (place, at, seen) in placed {
            // What was seen once among thousands can still be seen.
            @let tall = (seen as f64 / most * height).max(2.0);
            rect x={ (format!("{:.3}", place * width)) "%" } y=(format!("{:.1}", height + 1.0 - tall))
                width={ (format!("{:.3}", width * 0.82)) "%" } height=(format!("{tall:.1}")) {
                title { (words::clock(at)) ": " (words::counted(seen, "occurrence", "occurrences")) }
            }
        }
    }
}

fn hour(instant: OffsetDateTime) -> OffsetDateTime {
    let start = instant.unix_timestamp().div_euclid(3_600) * 3_600;
    OffsetDateTime::from_unix_timestamp(start).unwrap_or(instant)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-05-10 13:37 UTC);

    fn row(hour: OffsetDateTime, occurrences: i64) -> HourRow {
        HourRow { hour, occurrences, traces: occurrences, time_ms: 0.0 }
    }

    #[test]
    fn the_last_hour_stands_at_the_right_and_the_highest_bar_reaches_the_top() {
        let hours = [row(datetime!(2026-05-03 14:00 UTC), 1), row(datetime!(2026-05-10 13:00 UTC), 35)];
        let drawn = week(&hours, NOW).into_string();
        assert!(drawn.contains("36 occurrences in the last seven days, at most 35 in an hour"), "{drawn}");
        assert!(drawn.contains("x=\"0.000%\""), "the first hour: {drawn}");
        assert!(drawn.contains("x=\"99.405%\" y=\"1.0\""), "the last hour: {drawn}");
        assert!(drawn.contains("2026-05-10 13:00:00 UTC: 35 occurrences"), "{drawn}");
    }

    #[test]
    fn what_is_older_is_not_drawn_and_what_is_rare_is() {
        let hours = [row(datetime!(2026-05-03 13:00 UTC), 7), row(datetime!(2026-05-09 00:00 UTC), 1)];
        let drawn = week(&hours, NOW).into_string();
        assert_eq!(drawn.matches("<rect").count(), 1, "{drawn}");
        let days = [(datetime!(2026-05-04 00:00 UTC), 1), (datetime!(2026-05-10 00:00 UTC), 100_000)];
        let drawn = spark(&days, NOW).into_string();
        assert!(drawn.contains("height=\"2.0\"") && drawn.contains("height=\"20.0\""), "{drawn}");
    }
}
