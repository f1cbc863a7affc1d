//! The clocks of two hosts disagree.
//!
//! ## What it detects
//! Between two hosts of one trace, at least two answered calls whose server spans cannot lie inside their client spans
//! unless one clock is off, all by the same amount.
//! ## Why it matters
//! Whatever orders events of both hosts by their times orders them wrongly: logs, "last write wins", expiry of tokens and
//! leases, and traces themselves.
//! ## Example
//! ```trace
//! |                              ====================| shop  server  GET /tax
//! |                               ======             |   shop  client  GET tax/rates  << call
//! |===                                               |     tax  server  GET /rates  << server
//! |                                       ======     |   shop  client  GET tax/addresses  << call
//! |         ===                                      |     tax  server  GET /addresses  << server
//! ```
//! ## Not flagged
//! Clocks that differ by less than a tenth of a second.
//! ```trace
//! |  ====================| shop  server  GET /tax
//! |   ======             |   shop  client  GET tax/rates
//! |===                   |     tax  server  GET /rates
//! |           ======     |   shop  client  GET tax/addresses
//! |        ===           |     tax  server  GET /addresses
//! ```
//! One call that stands alone, or calls that disagree: a span may have been given a wrong time by its SDK.
//! ```trace
//! |              ====================| shop  server  GET /tax
//! |               ======             |   shop  client  GET tax/rates
//! |===                               |     tax  server  GET /rates
//! |                       ======     |   shop  client  GET tax/addresses
//! |                        ===       |     tax  server  GET /addresses
//! ```
//! Messages, which wait in queues, and servers that work on after their answer.
//! ## Remedy
//! Run NTP or PTP on every host, containers' hosts included, and alarm on its offset. Order events by ids, versions or
//! causes rather than by wall clocks.
//! ## Blind spots
//! Offsets that are smaller than a call takes are seen in one direction only: a server that begins before it was asked.
//! Hosts are told apart by their resource (`host.id`, node, address, name); without it, services are.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Attempt, Trace, Unit};
use crate::rules::{Confidence, Cost, Evidence, Harm, Millis, Occurrence, whole_ms as ms};

/// Most pairs that are shown.
const MOST_SHOWN: usize = 3;

/// How far clocks may differ.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Whether the rule runs.
    pub enabled: bool,
    /// Least offset.
    pub min_offset: Millis,
    /// Fewest calls that show it.
    pub min_calls: usize,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { enabled: true, min_offset: Millis(100), min_calls: 2 }
    }
}

/// What has to be added to the second clock to get the first: between these, inclusive, nanoseconds.
#[derive(Clone, Copy)]
struct Offset {
    least: i64,
    most: i64,
    /// The server began when the caller already had its answer, or before it was asked: no work after an answer
    /// explains it.
    certain: bool,
}

impl Offset {
    /// A server lies within its call, on the same clock.
    fn of(attempt: Attempt<'_>, server: Unit<'_>) -> Self {
        let (call, server) = (attempt.span(), server.span());
        let least = call.start_ns.saturating_sub(server.start_ns);
        let most = call.end_ns().saturating_sub(server.end_ns());
        Self { least, most, certain: 0 < least || call.end_ns() < server.start_ns }
    }

    /// The same, told from the other clock.
    fn reversed(self) -> Self {
        Self { least: self.most.saturating_neg(), most: self.least.saturating_neg(), certain: self.certain }
    }

    fn and(self, other: Self) -> Self {
        Self {
            least: self.least.max(other.least),
            most: self.most.min(other.most),
            certain: self.certain || other.certain,
        }
    }

    /// Nanoseconds by which the clocks differ at least; negative where the second is ahead.
    fn by(self) -> i64 {
        if 0 < self.least { self.least } else { self.most.min(0) }
    }
}

/// Calls between two clocks.
struct Pair<'t> {
    offset: Offset,
    calls: usize,
    shown: Vec<(Attempt<'t>, Unit<'t>, Offset)>,
}

/// Finds pairs of hosts whose clocks disagree.
pub(crate) fn inspect(trace: &Trace, limits: &Thresholds) -> Vec<Occurrence> {
    let mut pairs: BTreeMap<(&str, &str), Pair<'_>> = BTreeMap::new();
    for attempt in trace.units().filter(|unit| !unit.is_self_defence()).flat_map(Unit::attempts) {
        let Some(server) = answered_by(attempt) else { continue };
        let own = attempt.span().resource.clock_domain.as_str();
        let other = server.resource().clock_domain.as_str();
        if own == other {
            continue;
        }
        let offset = Offset::of(attempt, server);
        let (key, told) =
            if own < other { ((own, other), offset) } else { ((other, own), offset.reversed()) };
        let pair = pairs.entry(key).or_insert_with(|| Pair { offset: told, calls: 0, shown: Vec::new() });
        pair.offset = pair.offset.and(told);
        pair.calls += 1;
        if pair.shown.len() < MOST_SHOWN {
            pair.shown.push((attempt, server, told));
        }
    }
    let off = pairs.into_iter().filter(|(_, pair)| is_off(pair, limits));
    off.map(|(clocks, pair)| occurrence(clocks, &pair)).collect()
}

/// The server of a call that got its answer, which did not work on for longer than the call took.
fn answered_by(attempt: Attempt<'_>) -> Option<Unit<'_>> {
    let answered = attempt.is_sync()
        && !attempt.is_streaming()
        && !attempt.gave_up()
        && !attempt.is_reset()
        && attempt.verdict().row != 8;
    let server = attempt.server_unit().filter(|_| answered)?;
    let fits = !server.is_streaming() && server.duration_ns() <= attempt.duration_ns();
    let timed = |ns: i64| 0 < ns;
    (fits && timed(attempt.start_ns()) && timed(server.span().start_ns)).then_some(server)
}

fn is_off(pair: &Pair<'_>, limits: &Thresholds) -> bool {
    let Offset { least, most, certain } = pair.offset;
    limits.min_calls <= pair.calls
        && least <= most
        && limits.min_offset.ns() <= pair.offset.by().abs()
        && certain
}

fn occurrence((first, second): (&str, &str), pair: &Pair<'_>) -> Occurrence {
    let by = pair.offset.by();
    let (ahead, behind) = if by < 0 { (second, first) } else { (first, second) };
    let evidence = pair.shown.iter().flat_map(|(attempt, server, offset)| {
        let between = format!("{} to {} ms apart", ms(offset.least), ms(offset.most));
        let begun = server.span().start_ns.saturating_sub(attempt.start_ns());
        [
            Evidence::new(attempt.at(), "call", between),
            Evidence::new(server.owner(), "server", format!("begins {} ms after its call", ms(begun))),
        ]
    });
    let (attempt, server, _) = pair.shown[0];
    Occurrence {
        at: attempt.at(),
        variant: "skew",
        family: "skew",
        group: format!("{first} {second}"),
        headline: format!("disagrees with `{}` about the time", server.service()),
        why: format!(
            "the clock of {ahead} is at least {} ms ahead of that of {behind}, by {} calls",
            ms(by.saturating_abs()),
            pair.calls
        ),
        evidence: evidence.collect(),
        cost: Cost::default(),
        harm: Harm::Skewed { by: Duration::from_nanos(by.unsigned_abs()) },
        confidence: Confidence::High,
        not_visible: vec!["which of the two clocks is right".to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch;

    /// Two calls of a host to another, whose servers begin in these columns.
    fn found(first: usize, second: usize) -> Option<(String, Harm)> {
        let server = |at: usize, path: &str| {
            format!("|{:<70}|     tax  server  GET {path}\n", format!("{}==", " ".repeat(at)))
        };
        let call = |at: usize, path: &str| {
            format!("|{:<70}|   shop  client  GET tax{path}\n", format!("{}======", " ".repeat(at)))
        };
        let drawing = format!(
            "|{:<70}| shop  server  GET /tax\n{}{}{}{}",
            format!("{}{}", " ".repeat(30), "=".repeat(20)),
            call(31, "/a"),
            server(first, "/a"),
            call(41, "/b"),
            server(second, "/b"),
        );
        let found = inspect(&sketch::parse(&drawing).unwrap().trace(), &Thresholds::default());
        found.into_iter().map(|found| (found.why, found.harm)).next()
    }

    #[test]
    fn clocks_are_off_when_all_calls_say_so() {
        let by = |millis| Harm::Skewed { by: Duration::from_millis(millis) };
        for (first, second, expected) in [
            (32, 42, None),
            (2, 12, Some(by(290))),
            (60, 65, None),
            (60, 68, Some(by(250))),
            // A tenth of a second at least.
            (23, 33, None),
            (21, 31, Some(by(100))),
            // Each by another amount.
            (2, 32, None),
        ] {
            assert_eq!(found(first, second).map(|found| found.1), expected, "{first} {second}");
        }
    }

    #[test]
    fn the_clock_that_is_ahead_is_named() {
        assert!(
            found(2, 12).unwrap().0.starts_with("the clock of shop is at least 290 ms ahead of that of tax")
        );
        assert!(found(60, 68).unwrap().0.starts_with("the clock of tax"));
    }

    #[test]
    fn a_server_that_works_on_proves_no_offset() {
        let drawing = "\
|========================================================| shop  server  GET /tax
| ===================                                    |   shop  client  GET tax/rates
|                  ===============                       |     tax  server  GET /rates
|                      ===================               |   shop  client  GET tax/addresses
|                                       ===============  |     tax  server  GET /addresses
";
        assert!(inspect(&sketch::parse(drawing).unwrap().trace(), &Thresholds::default()).is_empty());
    }

    #[test]
    fn who_got_no_answer_tells_nothing() {
        let drawing = "\
|                              ====================| shop  server  GET /tax
|                               =====x             |   shop  client  GET tax/rates  {exception.type=ReadTimeout}
|===                                               |     tax  server  GET /rates
|                                       =====x     |   shop  client  GET tax/addresses  {exception.type=ReadTimeout}
|         ===                                      |     tax  server  GET /addresses
";
        let count = |text: &str| inspect(&sketch::parse(text).unwrap().trace(), &Thresholds::default()).len();
        assert_eq!(count(drawing), 0);
        let answered = drawing.replace("=x", "==").replace("  {exception.type=ReadTimeout}", "");
        assert_eq!(count(&answered), 1);
    }
}
