//! Which calls of a unit waited for each other, and which had to (RULES A10, A11).
//!
//! A round is a set of calls that overlap; serial rounds are what latency is paid for. Between rounds only visible
//! data counts: an id that was unknown when the earlier call was sent came from its answer.

use std::collections::{BTreeMap, BTreeSet};

use super::asked::{is_cursor, is_page_size};
use super::critical_path::slack_ns;
use super::{Call, EffectClass, Role, SpanIdx, Unit, words};

/// Calls that wait together.
#[derive(Clone, Debug)]
pub struct Round<'t> {
    calls: Vec<Call<'t>>,
    start_ns: i64,
    end_ns: i64,
}

impl<'t> Round<'t> {
    /// In order of start; never empty.
    pub fn calls(&self) -> &[Call<'t>] {
        &self.calls
    }

    /// Earliest start.
    pub fn start_ns(&self) -> i64 {
        self.start_ns
    }

    /// Latest end.
    pub fn end_ns(&self) -> i64 {
        self.end_ns
    }

    /// From the earliest start to the latest end.
    pub fn duration_ns(&self) -> i64 {
        self.end_ns.saturating_sub(self.start_ns)
    }

    /// Nanoseconds that whoever waits for the trace spent on it.
    pub fn on_path_ns(&self) -> i64 {
        self.calls.iter().map(|call| call.on_path_ns()).sum::<i64>().min(self.duration_ns())
    }

    /// Nanoseconds between this round and a later one.
    pub fn gap_ns(&self, later: &Round<'_>) -> i64 {
        later.start_ns.saturating_sub(self.end_ns)
    }
}

/// Lays calls of one unit, sorted by start, into rounds: a call that starts when all before it have ended opens
/// the next one.
pub fn rounds<'t>(unit: Unit<'t>, calls: impl IntoIterator<Item = Call<'t>>) -> Vec<Round<'t>> {
    let slack = slack_ns(unit.duration_ns());
    let mut rounds: Vec<Round<'t>> = Vec::new();
    for call in calls {
        let (start_ns, end_ns) = (call.start_ns(), call.end_ns());
        match rounds.last_mut() {
            Some(open) if start_ns < open.end_ns.saturating_sub(slack) => {
                open.end_ns = open.end_ns.max(end_ns);
                open.calls.push(call);
            }
            _ => rounds.push(Round { calls: vec![call], start_ns, end_ns }),
        }
    }
    rounds
}

/// Consecutive rounds of which none shows that it needed another one's answer.
#[derive(Clone, Debug)]
pub struct Segment<'t> {
    rounds: Vec<Round<'t>>,
    /// For each round but the first: it visibly needed nothing of the round before it.
    independent: Vec<bool>,
}

impl<'t> Segment<'t> {
    /// In order; never empty.
    pub fn rounds(&self) -> &[Round<'t>] {
        &self.rounds
    }

    /// For each round but the first: it visibly needed nothing of the round before it.
    pub fn independent(&self) -> &[bool] {
        &self.independent
    }
}

impl<'t> Unit<'t> {
    /// The chosen calls in rounds.
    pub fn rounds(self, chosen: impl Fn(&Call<'t>) -> bool) -> Vec<Round<'t>> {
        rounds(self, self.calls().filter(chosen))
    }

    /// The chosen calls in rounds, split wherever a round depends on an earlier one.
    pub fn segments(self, chosen: impl Fn(&Call<'t>) -> bool) -> Vec<Segment<'t>> {
        let knowledge = Knowledge::of(self);
        let mut segments: Vec<Segment<'t>> = Vec::new();
        for round in self.rounds(chosen) {
            match segments.last_mut() {
                Some(open) if !knowledge.depends(open, &round) => {
                    let before = open.rounds.last();
                    open.independent.push(before.is_some_and(|before| knowledge.independent(before, &round)));
                    open.rounds.push(round);
                }
                _ => segments.push(Segment { rounds: vec![round], independent: Vec::new() }),
            }
        }
        segments
    }

    /// (callee, operation) of the chosen calls that make at least five rounds on their own: loops, which are one
    /// step to whoever runs steps side by side.
    pub fn repeats(self, chosen: impl Fn(&Call<'t>) -> bool) -> BTreeSet<(Option<&'t str>, &'t str)> {
        const FEWEST: usize = 5;
        let mut by_operation: BTreeMap<(Option<&'t str>, &'t str), Vec<Call<'t>>> = BTreeMap::new();
        for call in self.calls().filter(chosen) {
            by_operation.entry((call.callee(), call.operation())).or_default().push(call);
        }
        by_operation
            .retain(|_, calls| FEWEST <= calls.len() && FEWEST <= rounds(self, calls.iter().copied()).len());
        by_operation.into_keys().collect()
    }
}

/// When a unit could have known which piece of data: from its own request, or from what it had already sent.
struct Knowledge<'t> {
    from_request: BTreeSet<&'t str>,
    /// Earliest start of a call that carried it.
    first_sent: BTreeMap<&'t str, i64>,
}

impl<'t> Knowledge<'t> {
    fn of(unit: Unit<'t>) -> Self {
        let from_request = unit.span().facts.tokens.iter().map(String::as_str).collect();
        let mut first_sent = BTreeMap::new();
        for call in unit.calls() {
            for token in call.first().tokens() {
                first_sent.entry(token).or_insert(call.start_ns());
            }
        }
        Self { from_request, first_sent }
    }

    fn knew(&self, token: &str, at_ns: i64) -> bool {
        self.from_request.contains(token) || self.first_sent.get(token).is_some_and(|sent| *sent <= at_ns)
    }

    /// Some round of the open segment had to end before this one could be sent.
    ///
    /// A write is a barrier to both sides: what comes after may need it done, and whoever reads first and then
    /// writes may write because of what was read.
    fn depends(&self, open: &Segment<'t>, round: &Round<'t>) -> bool {
        let barrier = |call: &Call<'t>| {
            call.class() != EffectClass::Safe
                || call.failed()
                || grants_access(call)
                || call.role() == Role::GenAi
        };
        let writes =
            |call: &Call<'t>| matches!(call.class(), EffectClass::Idempotent | EffectClass::NonIdempotent);
        // Each round was tested when it came; only the last one is new as a barrier.
        let last = open.rounds.last().map_or(&[][..], Round::calls);
        // What is known only grows: what was not known when the first round was sent came from some answer.
        let first_sent =
            open.rounds.first().and_then(|first| first.calls.last()).map_or(i64::MIN, |call| call.start_ns());
        let recent = || open.rounds.iter().rev().flat_map(|round| round.calls.iter().rev()).take(PAGES_BACK);
        last.iter().any(barrier)
            || round.calls.iter().any(|call| {
                writes(call)
                    || is_below_agent(*call)
                    || call.first().tokens().any(|token| !self.knew(token, first_sent))
                    || recent().any(|page| is_next_page(*page, *call))
            })
    }

    /// The later round visibly needed nothing of the earlier one's answers.
    fn independent(&self, earlier: &Round<'t>, later: &Round<'t>) -> bool {
        let Some(first) = earlier.calls.first() else { return false };
        later.calls.iter().all(|call| {
            let both_safe = first.class() == EffectClass::Safe && call.class() == EffectClass::Safe;
            let mut tokens = call.first().tokens().peekable();
            let has_token = tokens.peek().is_some();
            let knew = tokens.all(|token| self.knew(token, first.start_ns()));
            let (a, b) = (first.first(), call.first());
            let same = first.callee() == call.callee() && first.operation() == call.operation();
            let different_arguments =
                a.arguments_visible() && b.arguments_visible() && a.arguments() != b.arguments();
            let different_callees = first.callee() != call.callee();
            both_safe && knew && ((same && different_arguments) || (different_callees && has_token))
        })
    }
}

/// How many calls back the page before this one is sought.
const PAGES_BACK: usize = 8;

/// Whoever asks for a token, a lock or a directory needs the answer for what follows.
fn grants_access(call: &Call<'_>) -> bool {
    const BEGINNINGS: [&str; 9] =
        ["token", "oauth", "login", "session", "lease", "discover", "authenticat", "authoriz", "authoris"];
    words(call.operation()).any(|word| {
        let word = word.to_ascii_lowercase();
        ["auth", "lock", "locks", "known"].contains(&word.as_str())
            || BEGINNINGS.iter().any(|beginning| word.starts_with(beginning))
    })
}

fn is_below_agent(call: Call<'_>) -> bool {
    let trace = call.trace();
    let owner = call.unit().owner();
    std::iter::successors(trace.parent(call.at()), |at| if *at == owner { None } else { trace.parent(*at) })
        .take(MOST_ANCESTORS)
        .any(|at: SpanIdx| trace.span(at).facts.role == Role::GenAi)
}

/// Ancestors within the unit that are looked at.
const MOST_ANCESTORS: usize = 32;

/// The same question with nothing but its place in a list moved on.
pub fn is_next_page(page: Call<'_>, next: Call<'_>) -> bool {
    if page.operation() != next.operation() || page.callee() != next.callee() {
        return false;
    }
    let (before, after) = (&page.facts().http, &next.facts().http);
    let mut differing = differences(&before.query, &after.query).peekable();
    if differing.peek().is_none() {
        return is_next_in_path(before.path.as_deref(), after.path.as_deref());
    }
    let mut moves = false;
    let only_moves = differing.all(|name| {
        moves |= is_cursor(name);
        is_cursor(name) || is_page_size(name)
    });
    moves && only_moves
}

/// `/items/page/2` after `/items/page/1`.
fn is_next_in_path(before: Option<&str>, after: Option<&str>) -> bool {
    let (Some(before), Some(after)) = (before, after) else { return false };
    let (mut previous, mut pages, mut others) = ("", 0, 0);
    for (a, b) in before.split('/').zip(after.split('/')) {
        match a == b {
            true => {}
            false if matches!(previous, "page" | "pages") => pages += 1,
            false => others += 1,
        }
        previous = a;
    }
    pages == 1 && others == 0
}

/// Names of parameters whose values differ, or that only one side has.
fn differences<'t>(a: &'t [(String, String)], b: &'t [(String, String)]) -> impl Iterator<Item = &'t str> {
    let only = |these: &'t [(String, String)], those: &'t [(String, String)]| {
        these.iter().filter(move |pair| !those.contains(pair)).map(|(name, _)| name.as_str())
    };
    only(a, b).chain(only(b, a))
}

#[cfg(test)]
mod tests {
    use super::super::build::Build;
    use super::super::{Kind, Trace};
    use super::*;

    /// Requests to different services, (name, start ms, duration ms, tokens).
    fn unit(steps: &[(&str, i64, i64, &[&str])]) -> Build {
        let mut build = Build::default();
        let owner = build.span(0, "web", Kind::Server, "GET /home/{}", 0, 500_000);
        build.last().facts.tokens = vec!["4242".into()];
        for (name, from, long, tokens) in steps {
            let id = build.request(owner, "web", name, name, from * 1000, long * 1000);
            build.at(id).facts.arguments_visible = true;
            build.at(id).facts.tokens = tokens.iter().map(|token| (*token).to_string()).collect();
        }
        build
    }

    fn lengths(build: &Build) -> Vec<usize> {
        let trace: Trace = build.trace();
        let web = trace.units().next().unwrap();
        web.segments(|call| call.is_sync()).iter().map(|segment| segment.rounds().len()).collect()
    }

    #[test]
    fn overlapping_calls_are_one_round() {
        let build = unit(&[("a", 0, 50, &[]), ("b", 10, 50, &[]), ("c", 59, 20, &[]), ("d", 90, 20, &[])]);
        let trace = build.trace();
        let rounds = trace.units().next().unwrap().rounds(|_| true);
        assert_eq!(rounds.iter().map(|round| round.calls().len()).collect::<Vec<_>>(), [2, 1, 1]);
        assert_eq!(rounds[0].duration_ns(), 60_000_000);
        assert_eq!(rounds[1].gap_ns(&rounds[2]), 11_000_000);
    }

    #[test]
    fn data_known_from_the_request_does_not_split() {
        let build = unit(&[("a", 0, 50, &["4242"]), ("b", 60, 50, &["4242"]), ("c", 120, 50, &["4242"])]);
        assert_eq!(lengths(&build), [3]);
        let trace = build.trace();
        let segments = trace.units().next().unwrap().segments(|_| true);
        assert_eq!(segments[0].independent(), [true, true]);
    }

    #[test]
    fn data_that_was_unknown_when_the_first_was_sent_splits() {
        assert_eq!(
            lengths(&unit(&[("a", 0, 50, &[]), ("b", 60, 50, &["777"]), ("c", 120, 50, &["777"])])),
            [1, 2]
        );
    }

    #[test]
    fn writes_failures_and_grants_are_barriers() {
        let steps: [(&str, i64, i64, &[&str]); 3] =
            [("a", 0, 50, &[]), ("b", 60, 50, &[]), ("c", 120, 50, &[])];
        let mut build = unit(&steps);
        build.at(4).facts.class = EffectClass::NonIdempotent;
        assert_eq!(lengths(&build), [1, 1, 1]);
        let mut build = unit(&steps);
        build.at(4).facts.class = EffectClass::Unknown;
        assert_eq!(lengths(&build), [2, 1]);
        let mut build = unit(&steps);
        build.failed(2, super::super::Outcome::Error, super::super::Effect::None, 6, true);
        assert_eq!(lengths(&build), [1, 2]);
        let mut build = unit(&steps);
        build.at(2).facts.operation = "POST /oauth/token".into();
        assert_eq!(lengths(&build), [1, 2]);
    }

    #[test]
    fn pages_follow_each_other() {
        let mut build = unit(&[("a", 0, 50, &[]), ("a", 60, 50, &[]), ("a", 120, 50, &[])]);
        for (id, page) in [(2, "1"), (4, "2"), (6, "3")] {
            build.at(id).facts.http.query = vec![("limit".into(), "9".into()), ("page".into(), page.into())];
        }
        assert_eq!(lengths(&build), [1, 1, 1]);
    }

    #[test]
    fn a_loop_is_known_by_its_rounds() {
        let serial: Vec<(&str, i64, i64, &[&str])> =
            (0..6).map(|step| ("a", step * 60, 50, &[][..])).chain([("b", 400, 5, &[][..])]).collect();
        let trace = unit(&serial).trace();
        let web = trace.units().next().unwrap();
        assert_eq!(web.repeats(|_| true).into_iter().collect::<Vec<_>>(), [(Some("a"), "a")]);
        let pool: Vec<(&str, i64, i64, &[&str])> = (0..6).map(|step| ("a", step * 10, 50, &[][..])).collect();
        assert!(unit(&pool).trace().units().next().unwrap().repeats(|_| true).is_empty());
    }
}
