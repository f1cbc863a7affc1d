//! Which attempts serve one wish (RULES A9), and the calls that they make together.
//!
//! A loop over items that all fail looks like retries: the number of failures is no evidence. Only a count, a
//! shared span, a shared id, equal visible arguments, or a pause that loops do not make shows a retry.

use std::collections::BTreeMap;

use super::attempt::Piece;
use super::attempts::is_redirect_or_challenge;
use super::call::{CallData, Repetition};
use super::critical_path::slack_ns;
use super::trace::Trace;
use super::{Arguments, Attempt, Effect, Outcome, Role, SpanIdx, Unit};

const NONE: u32 = u32::MAX;
const LONGEST_GAP_NS: i64 = 60_000_000_000;
const SHORTEST_PAUSE_NS: i64 = 50_000_000;

/// Joins attempts to calls.
pub(super) fn join(trace: &mut Trace) {
    let mut next = vec![NONE; trace.attempts.len()];
    let mut sources: Vec<Option<Repetition>> = vec![None; trace.attempts.len()];
    for unit in trace.units() {
        let mut joined = Joined { next: &mut next, sources: &mut sources, trace };
        joined.of_one_span(unit);
        joined.shadows(unit);
        joined.counted(unit);
        if unit.attempts().any(Attempt::failed) {
            joined.structural(unit);
        }
    }
    number(trace, &next, &sources);
}

/// Chains of attempts under construction: for each attempt the next of its call, and what showed it.
struct Joined<'t, 'a> {
    trace: &'t Trace,
    next: &'a mut [u32],
    sources: &'a mut [Option<Repetition>],
}

impl<'t> Joined<'t, '_> {
    fn join(&mut self, earlier: Attempt<'t>, later: Attempt<'t>, source: Repetition) {
        self.next[earlier.index()] = later.index() as u32;
        for attempt in [earlier, later] {
            let known = &mut self.sources[attempt.index()];
            *known = Some(known.map_or(source, |known| known.min(source)));
        }
    }

    /// Parts of one interaction: legs that were counted, servers that one client span reached.
    fn of_one_span(&mut self, unit: Unit<'t>) {
        let mut last_of: BTreeMap<SpanIdx, Attempt<'t>> = BTreeMap::new();
        for attempt in unit.attempts() {
            let of_leg = attempt.data().piece == Piece::Leg;
            let source = if of_leg { Repetition::Explicit } else { Repetition::SharedClient };
            if let Some(earlier) = last_of.insert(attempt.data().span, attempt) {
                self.join(earlier, attempt, source);
            }
        }
    }

    /// Several client spans under one id (N17).
    fn shadows(&mut self, unit: Unit<'t>) {
        let mut last_of: BTreeMap<SpanIdx, Attempt<'t>> = BTreeMap::new();
        for attempt in unit.attempts() {
            let first = self.trace.tree.shadowed(attempt.at());
            let key = first.unwrap_or(attempt.at());
            if self.trace.tree.shadows.is_empty() {
                return;
            }
            if let Some(earlier) = last_of.insert(key, attempt)
                && first.is_some()
            {
                self.join(earlier, attempt, Repetition::Shadow);
            }
        }
    }

    /// The SDK counted: each joins one of the same operation whose number is one less.
    fn counted(&mut self, unit: Unit<'t>) {
        let mut waiting: BTreeMap<(&str, u32), Vec<Attempt<'t>>> = BTreeMap::new();
        let mut redirected: BTreeMap<u32, Attempt<'t>> = BTreeMap::new();
        if !unit.attempts().any(|attempt| attempt.ordinal() > 0 || attempt.hidden_retries() > 0) {
            return;
        }
        for attempt in unit.attempts() {
            let ordinal = attempt.ordinal();
            if attempt.hidden_retries() > 0 {
                self.mark(attempt);
            }
            if attempt.facts().http.status.is_some_and(is_redirect_or_challenge) {
                redirected.insert(ordinal, attempt);
            } else if !is_excluded(attempt) && self.next[attempt.index()] == NONE {
                waiting.entry((attempt.operation(), ordinal)).or_default().push(attempt);
            }
            if ordinal == 0 || attempt.data().piece == Piece::Leg || is_excluded(attempt) {
                continue;
            }
            let earlier = waiting
                .get_mut(&(attempt.operation(), ordinal - 1))
                .and_then(|of_one_less| repeated_by(attempt, of_one_less));
            match earlier {
                Some(earlier) => self.join(earlier, attempt, Repetition::Explicit),
                None if redirected.remove(&(ordinal - 1)).is_some() => {}
                None => self.mark(attempt),
            }
        }
    }

    /// A retry whose other attempts are not in this trace, or have no span.
    fn mark(&mut self, attempt: Attempt<'t>) {
        self.sources[attempt.index()] = Some(Repetition::Explicit);
    }

    /// The same again after a failure.
    fn structural(&mut self, unit: Unit<'t>) {
        let mut buckets: BTreeMap<Key<'t>, Vec<Attempt<'t>>> = BTreeMap::new();
        let continued: Vec<u32> = unit.attempts().map(|attempt| self.next[attempt.index()]).collect();
        let mut is_later = vec![false; continued.len()];
        let base = unit.data().attempts.start;
        for later in continued.iter().filter(|later| **later != NONE) {
            is_later[(later - base) as usize] = true;
        }
        for (position, attempt) in unit.attempts().enumerate() {
            if !is_later[position] && !is_excluded(attempt) && !attempt.facts().is_housekeeping() {
                buckets.entry(Key::of(attempt)).or_default().push(attempt);
            }
        }
        for (key, bucket) in buckets.into_iter().filter(|(_, bucket)| bucket.len() > 1) {
            self.structural_in(unit, &key, &bucket);
        }
    }

    fn structural_in(&mut self, unit: Unit<'t>, key: &Key<'t>, bucket: &[Attempt<'t>]) {
        let last_of = |first: Attempt<'t>| {
            let mut last = first;
            while self.next[last.index()] != NONE {
                last = Attempt::new(self.trace, self.next[last.index()]);
            }
            last
        };
        let ends: Vec<Attempt<'t>> = bucket.iter().copied().map(last_of).collect();
        if differing_bodies(bucket) {
            return;
        }
        let identified = key.arguments.identify(bucket[0].facts());
        // An id in the path may be the parent's of all items, which stand in bodies: `POST /carts/7/items`.
        let hides_item = bucket[0].may_have_body() && bucket[0].discovered().next().is_none();
        let goes_on_after_success =
            ends[..ends.len() - 1].iter().any(|attempt| attempt.outcome() == Outcome::Ok);
        if goes_on_after_success && (!identified || hides_item) {
            return;
        }
        let source = if identified || key.arguments.has_values() {
            Repetition::Structural
        } else if paused(unit, bucket, &ends) {
            Repetition::Pause
        } else {
            return;
        };
        let slack = slack_ns(unit.duration_ns());
        for step in 1..bucket.len() {
            let (earlier, later) = (ends[step - 1], bucket[step]);
            let gap = later.start_ns().saturating_sub(earlier.end_ns());
            if is_retryable(earlier) && -slack <= gap && gap <= LONGEST_GAP_NS {
                self.join(earlier, later, source);
            }
        }
    }
}

/// Takes the attempt that this one repeats: the latest that failed with the same arguments, else the latest with the
/// same, else the latest. (Calls side by side all begin with zero.)
fn repeated_by<'t>(attempt: Attempt<'t>, candidates: &mut Vec<Attempt<'t>>) -> Option<Attempt<'t>> {
    const LOOK_BACK: usize = 64;
    let from = candidates.len().saturating_sub(LOOK_BACK);
    let arguments = attempt.arguments();
    let likeness = |earlier: Attempt<'t>| {
        let same = earlier.arguments() == arguments;
        (same && earlier.failed(), same)
    };
    let likeliest = (from..candidates.len()).max_by_key(|at| (likeness(candidates[*at]), *at))?;
    Some(candidates.remove(likeliest))
}

/// What two attempts must share to be one wish.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key<'t> {
    role: Role,
    callee: u32,
    method: Option<&'t str>,
    operation: &'t str,
    template: &'t str,
    arguments: Arguments<'t>,
}

impl<'t> Key<'t> {
    fn of(attempt: Attempt<'t>) -> Self {
        Self {
            role: attempt.role(),
            callee: attempt.data().callee,
            method: attempt.facts().http.method.as_deref(),
            operation: attempt.operation(),
            template: attempt.template(),
            arguments: attempt.arguments(),
        }
    }
}

/// Attempts that never reached the application are no retries of it.
fn is_excluded(attempt: Attempt<'_>) -> bool {
    attempt.sides().any(|span| {
        span.facts.rpc.transparent_retry || span.facts.errors.iter().any(|error| error == "refused_stream")
    })
}

/// Failures after which clients send again.
fn is_retryable(attempt: Attempt<'_>) -> bool {
    let may_pass = attempt.facts().http.status.is_some_and(|status| status == 429 || status == 503);
    attempt.failed()
        && (attempt.gave_up()
            || attempt.effect_at_caller() == Effect::Unknown
            || attempt.verdict().never_sent
            || attempt.facts().rpc.code.as_deref() == Some("RESOURCE_EXHAUSTED")
            || may_pass)
}

fn differing_bodies(bucket: &[Attempt<'_>]) -> bool {
    let mut sizes = bucket.iter().filter_map(|attempt| attempt.facts().request_bytes);
    sizes.next().is_some_and(|first| sizes.any(|size| size != first))
}

/// Failures that were given up, each followed by a pause in which the unit did nothing, and a success at last.
fn paused(unit: Unit<'_>, firsts: &[Attempt<'_>], ends: &[Attempt<'_>]) -> bool {
    let last = ends.len() - 1;
    ends[last].outcome() == Outcome::Ok
        && ends[..last].iter().all(|attempt| attempt.failed() && attempt.gave_up_explicitly())
        && (0..last).all(|step| {
            let (from, to) = (ends[step].end_ns(), firsts[step + 1].start_ns());
            let gap = to.saturating_sub(from);
            (SHORTEST_PAUSE_NS..=LONGEST_GAP_NS).contains(&gap) && is_idle(unit, from, firsts[step + 1].at())
        })
}

/// No span of the unit began between then and the next attempt, but those around that attempt.
fn is_idle(unit: Unit<'_>, from_ns: i64, next: SpanIdx) -> bool {
    let trace = unit.trace();
    let spans = unit.spans();
    let begun = spans.partition_point(|at| trace.span(*at).start_ns < from_ns);
    let until = trace.span(next).start_ns;
    spans[begun..]
        .iter()
        .take_while(|at| trace.span(**at).start_ns < until)
        .all(|at| trace.is_within(next, *at) || trace.span(*at).facts.role == Role::ConnectionPhase)
}

fn number(trace: &mut Trace, next: &[u32], sources: &[Option<Repetition>]) {
    let mut is_later = vec![false; next.len()];
    for later in next.iter().filter(|later| **later != NONE) {
        is_later[*later as usize] = true;
    }
    for first in (0..next.len() as u32).filter(|index| !is_later[*index as usize]) {
        let from = trace.call_attempts.len() as u32;
        let call = trace.calls.len() as u32;
        let (mut end_ns, mut hidden_retries) = (i64::MIN, 0);
        let mut repetition: Option<Repetition> = None;
        let mut index = first;
        while index != NONE {
            let attempt = Attempt::new(trace, index);
            end_ns = end_ns.max(attempt.end_ns());
            hidden_retries += attempt.hidden_retries();
            let source = sources[index as usize];
            repetition = match (repetition, source) {
                (Some(known), Some(source)) => Some(known.min(source)),
                (known, source) => known.or(source),
            };
            trace.call_attempts.push(index);
            trace.attempts[index as usize].call = call;
            index = next[index as usize];
        }
        let unit = Attempt::new(trace, first).unit().index();
        let attempts = from..trace.call_attempts.len() as u32;
        trace.calls.push(CallData { attempts, repetition, hidden_retries, end_ns });
        let range = &mut trace.units[unit].calls;
        *range = if range.start == range.end { call..call + 1 } else { range.start..call + 1 };
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::Build;
    use super::super::{Call, Kind, SpanId, Trace};
    use super::*;

    /// Requests of one unit, (start ms, duration ms, outcome): `.` ok, `t` timeout, `e` server error, `d` definitive.
    fn unit(steps: &[(i64, i64, char)]) -> (Build, Vec<u64>) {
        let mut build = Build::default();
        let owner = build.span(0, "web", Kind::Server, "POST /order", 0, 60_000_000);
        let mut add = |(from, long, how): &(i64, i64, char)| {
            let id = build.span(owner, "web", Kind::Client, "POST /pay", from * 1000, long * 1000);
            match how {
                't' => build.failed(id, Outcome::Timeout, Effect::Unknown, 1, false),
                'e' => build.failed(id, Outcome::Error, Effect::Unknown, 7, true),
                'd' => build.failed(id, Outcome::Error, Effect::None, 6, true),
                _ => {}
            }
            id
        };
        let ids = steps.iter().map(&mut add).collect();
        (build, ids)
    }

    fn counts(trace: &Trace) -> Vec<u32> {
        trace.calls().map(Call::attempt_count).collect()
    }

    #[test]
    fn a_count_joins_attempts() {
        let (mut build, ids) = unit(&[(0, 10, 'e'), (20, 10, 'e'), (40, 10, '.')]);
        build.at(ids[1]).facts.ordinal = Some(1);
        build.at(ids[2]).facts.ordinal = Some(2);
        let trace = build.trace();
        assert_eq!(counts(&trace), [3]);
        assert_eq!(trace.calls().next().unwrap().repetition(), Some(Repetition::Explicit));
        assert_eq!(trace.calls().next().unwrap().outcome(), Outcome::Ok);
    }

    #[test]
    fn a_count_joins_the_attempt_that_failed() {
        let (mut build, ids) = unit(&[(0, 10, 'e'), (0, 10, '.'), (20, 10, '.')]);
        build.at(ids[2]).facts.ordinal = Some(1);
        let trace = build.trace();
        let first = trace.calls().next().unwrap();
        assert_eq!((first.span().id.0, first.attempt_count()), (ids[0], 2));
        assert_eq!(counts(&trace), [2, 1]);
    }

    #[test]
    fn a_counted_redirect_is_no_retry() {
        let (mut build, ids) = unit(&[(0, 10, '.'), (20, 10, '.')]);
        build.at(ids[0]).facts.http.status = Some(302);
        build.at(ids[1]).facts.ordinal = Some(1);
        assert_eq!(build.trace().units().next().unwrap().attempt_groups().count(), 0);
    }

    #[test]
    fn a_count_without_its_first_attempt_still_tells_of_a_retry() {
        let (mut build, ids) = unit(&[(0, 10, '.')]);
        build.at(ids[0]).facts.ordinal = Some(2);
        assert_eq!(build.trace().calls().next().unwrap().repetition(), Some(Repetition::Explicit));
    }

    #[test]
    fn one_client_span_above_two_equal_server_spans_hides_a_retry() {
        let (mut build, ids) = unit(&[(0, 100, '.')]);
        let first = build.span(ids[0], "pay", Kind::Server, "POST /pay", 5_000, 10_000);
        build.failed(first, Outcome::Error, Effect::Unknown, 7, true);
        build.span(ids[0], "pay", Kind::Server, "POST /pay", 50_000, 10_000);
        let trace = build.trace();
        let call = trace.calls().next().unwrap();
        assert_eq!((call.attempt_count(), call.repetition()), (2, Some(Repetition::SharedClient)));
        assert_eq!(call.attempts().map(Attempt::outcome).collect::<Vec<_>>(), [Outcome::Error, Outcome::Ok]);
        build.at(first).facts.http.status = Some(308);
        assert_eq!(counts(&build.trace()), [1]);
    }

    #[test]
    fn one_client_span_above_servers_that_all_answered_well_hides_a_retry_only_if_its_caller_had_left() {
        for (starts, lasts, attempts) in [
            // In time, and at once after each other: a loop; side by side; seen by two libraries.
            (30, 20, 1),
            (6, 20, 1),
            // While the first was still at work, and after a pause.
            (20, 40, 2),
            (85, 20, 2),
        ] {
            let (mut build, ids) = unit(&[(0, 200, '.')]);
            build.span(ids[0], "pay", Kind::Server, "POST /pay", 5_000, lasts * 1000);
            build.span(ids[0], "pay", Kind::Server, "POST /pay", starts * 1000, 20_000);
            assert_eq!(counts(&build.trace()), [attempts], "from {starts} ms");
        }
    }

    #[test]
    fn a_leg_that_failed_and_was_sent_again_is_not_how_the_call_ended() {
        let (mut build, ids) = unit(&[(0, 200, '.')]);
        let first = build.span(ids[0], "web", Kind::Client, "POST /pay", 1_000, 20_000);
        let second = build.span(ids[0], "web", Kind::Client, "POST /pay", 50_000, 20_000);
        build.failed(first, Outcome::Error, Effect::Unknown, 7, false);
        for id in [ids[0], second] {
            build.at(id).facts.verdict = super::super::Verdict::default();
        }
        assert_eq!(build.trace().calls().next().unwrap().outcome(), Outcome::Unknown);
        build.failed(second, Outcome::Error, Effect::Unknown, 7, false);
        assert_eq!(build.trace().calls().next().unwrap().outcome(), Outcome::Error);
    }

    #[test]
    fn header_forwarding_to_two_services_is_no_retry() {
        let (mut build, ids) = unit(&[(0, 100, '.')]);
        build.span(ids[0], "pay", Kind::Server, "POST /pay", 5_000, 10_000);
        build.span(ids[0], "ledger", Kind::Server, "POST /pay", 50_000, 10_000);
        assert_eq!(counts(&build.trace()), [1]);
    }

    #[test]
    fn spans_under_one_id_are_attempts_of_one_call() {
        let (mut build, ids) = unit(&[(0, 10, 'e'), (20, 10, '.')]);
        build.at(ids[1]).id = SpanId(ids[0]);
        let trace = build.trace();
        assert_eq!(trace.calls().next().unwrap().repetition(), Some(Repetition::Shadow));
        assert_eq!(counts(&trace), [2]);
    }

    #[test]
    fn the_same_visible_arguments_after_a_failure_are_a_retry() {
        let (mut build, ids) = unit(&[(0, 10, 'e'), (12, 10, '.'), (30, 10, '.')]);
        for id in &ids {
            build.at(*id).facts.tokens = vec!["88417".into()];
        }
        assert_eq!(counts(&build.trace()), [2, 1]);
        build.at(ids[1]).facts.request_bytes = Some(10);
        build.at(ids[0]).facts.request_bytes = Some(12);
        assert_eq!(counts(&build.trace()), [1, 1, 1]);
    }

    #[test]
    fn a_loop_over_items_of_which_one_fails_is_no_retry() {
        let (mut build, ids) = unit(&[(0, 10, 'e'), (100, 10, '.'), (200, 10, '.')]);
        assert_eq!(counts(&build.trace()), [1, 1, 1]);
        for id in ids {
            build.at(id).facts.http.method = Some("POST".into());
            build.at(id).facts.tokens = vec!["88417".into()];
        }
        assert_eq!(counts(&build.trace()), [1, 1, 1]);
    }

    #[test]
    fn a_loop_over_items_that_all_fail_is_no_retry() {
        let (build, _) = unit(&[(0, 10, 't'), (100, 10, 't'), (200, 10, 't')]);
        assert_eq!(counts(&build.trace()), [1, 1, 1]);
    }

    #[test]
    fn a_pause_in_which_nothing_else_happened_is_a_retry() {
        let (mut build, ids) = unit(&[(0, 1000, 't'), (1100, 1000, 't'), (2300, 10, '.')]);
        let trace = build.trace();
        assert_eq!(trace.calls().next().unwrap().repetition(), Some(Repetition::Pause));
        assert_eq!(counts(&trace), [3]);
        let mut wrapped = build.clone();
        let wrapper = wrapped.span(1, "web", Kind::Internal, "attempt", 1_099_900, 1_000_200);
        wrapped.at(ids[1]).parent = Some(SpanId(wrapper));
        assert_eq!(counts(&wrapped.trace()), [3]);
        build.span(1, "web", Kind::Internal, "next item", 1_050_000, 100);
        assert_eq!(counts(&build.trace()), [1, 1, 1]);
    }

    #[test]
    fn definitive_answers_are_not_retried() {
        let (mut build, ids) = unit(&[(0, 10, 'd'), (100, 10, '.')]);
        for id in &ids {
            build.at(*id).facts.tokens = vec!["88417".into()];
        }
        assert_eq!(counts(&build.trace()), [1, 1]);
    }

    #[test]
    fn discovered_arguments_tell_retries_from_the_next_item() {
        let (mut build, ids) =
            unit(&[(0, 10, 't'), (12, 10, '.'), (24, 10, '.'), (36, 10, 't'), (48, 10, '.')]);
        for (id, driver) in ids.iter().zip(["T701", "T701", "T702", "T703", "T703"]) {
            build.at(*id).facts.custom = vec![("param.driverID".into(), driver.into())];
        }
        assert_eq!(counts(&build.trace()), [2, 1, 2]);
    }
    #[test]
    fn a_thousand_retries_are_one_call() {
        let steps: Vec<(i64, i64, char)> = (0..1000).map(|step| (step * 20, 10, 'e')).collect();
        let (mut build, ids) = unit(&steps);
        for (ordinal, id) in ids.iter().enumerate() {
            build.at(*id).facts.ordinal = Some(ordinal as u32);
        }
        assert_eq!(counts(&build.trace()), [1000]);
        for id in &ids {
            build.at(*id).facts.ordinal = None;
            build.at(*id).facts.tokens = vec!["88417".into()];
        }
        assert_eq!(counts(&build.trace()), [1000]);
    }
}
