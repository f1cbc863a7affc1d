//! Runs: calls of one unit that ask the same of the same callee, whatever their arguments.

use std::collections::{BTreeMap, BTreeSet};

use super::{Call, Role, Unit, is_next_page, rounds};

/// Calls before a run among which its source is sought; further back is none that a reader would recognise.
const LOOK_BACK: usize = 1000;

/// What the visible arguments of a run tell of its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Items {
    /// Visible, and different for nearly all calls.
    Different,
    /// Not visible for every call.
    Hidden,
    /// Visible, and the same for many calls.
    Repeated,
}

/// Calls of one unit with one callee, kind and template, in order of start; never empty.
#[derive(Clone, Debug)]
pub struct Run<'t> {
    calls: Vec<Call<'t>>,
    rounds: usize,
}

impl<'t> Unit<'t> {
    /// The chosen calls by callee, kind and template, in order of their first calls.
    pub fn runs(self, chosen: impl Fn(&Call<'t>) -> bool) -> Vec<Run<'t>> {
        let mut buckets: BTreeMap<(Option<&'t str>, Role, &'t str), Vec<Call<'t>>> = BTreeMap::new();
        for call in self.calls().filter(chosen) {
            buckets.entry((call.callee(), call.role(), call.template())).or_default().push(call);
        }
        let mut runs: Vec<Run<'t>> = buckets
            .into_values()
            .map(|calls| Run { rounds: rounds(self, calls.iter().copied()).len(), calls })
            .collect();
        runs.sort_by_key(|run| run.first().index());
        runs
    }
}

impl<'t> Run<'t> {
    /// In order of start.
    pub fn calls(&self) -> &[Call<'t>] {
        &self.calls
    }

    /// Its first call.
    pub fn first(&self) -> Call<'t> {
        self.calls[0]
    }

    /// Its last call.
    pub fn last(&self) -> Call<'t> {
        self.calls[self.calls.len() - 1]
    }

    /// The first of its longest calls.
    pub fn slowest(&self) -> Call<'t> {
        self.calls.iter().copied().rev().max_by_key(|call| call.duration_ns()).unwrap_or_else(|| self.first())
    }

    /// The unit that made it.
    pub fn unit(&self) -> Unit<'t> {
        self.first().unit()
    }

    /// Serial rounds that it makes when only it is sorted.
    pub fn rounds(&self) -> usize {
        self.rounds
    }

    /// Nanoseconds of all its calls.
    pub fn total_ns(&self) -> i64 {
        self.calls.iter().fold(0, |sum: i64, call| sum.saturating_add(call.duration_ns()))
    }

    /// Nanoseconds that whoever waits for the trace spent waiting for it.
    pub fn on_path_ns(&self) -> i64 {
        self.calls.iter().map(|call| call.on_path_ns()).sum()
    }

    /// Nanoseconds that one call for all items would save, if it took as long as the longest and each further item
    /// only the server's usual part. Where no server is seen, the upper bound.
    pub fn saved_ns(&self) -> i64 {
        let trace = self.unit().trace();
        let mut at_server: Vec<i64> =
            self.calls.iter().filter_map(|call| call.server()).map(|at| trace.span(at).duration_ns).collect();
        let usual = median(&mut at_server).unwrap_or(0).saturating_mul(self.calls.len() as i64 - 1);
        let longest = self.slowest().duration_ns();
        self.on_path_ns().saturating_sub(longest).saturating_sub(usual).max(0)
    }

    /// What its arguments tell. A body is never visible, so that equal paths of requests with one tell nothing.
    pub fn items(&self) -> Items {
        if !self.calls.iter().all(|call| call.first().arguments_visible()) {
            return Items::Hidden;
        }
        let distinct: BTreeSet<_> = self.calls.iter().map(|call| call.first().arguments()).collect();
        if 4 * self.calls.len() <= 5 * distinct.len() {
            Items::Different
        } else if self.calls.iter().any(|call| call.first().may_have_body()) {
            Items::Hidden
        } else {
            Items::Repeated
        }
    }

    /// Most of its calls only go on to the next page, or every one takes the next of something.
    pub fn is_pagination(&self) -> bool {
        if self.calls.iter().all(|call| call.facts().takes_the_next()) {
            return true;
        }
        let pages = self.calls.windows(2).filter(|pair| is_next_page(pair[0], pair[1])).count();
        self.calls.len() <= 2 * pages + 1 && 0 < pages
    }

    /// The same, as far as can be seen, in the rhythm of polling.
    pub fn is_polling(&self) -> bool {
        let arguments: BTreeSet<_> = self.calls.iter().map(|call| call.first().arguments()).collect();
        (arguments.len() <= 1 || self.items() == Items::Hidden) && is_polling(&self.calls)
    }

    /// Chunks of a bulk job: long calls that each move a large body. (Proxies record the size of every small one.)
    pub fn is_bulk(&self) -> bool {
        const LONG_NS: i64 = 200_000_000;
        const LARGE_BYTES: u64 = 16 * 1024;
        self.calls.iter().all(|call| {
            let facts = call.facts();
            LONG_NS <= call.duration_ns()
                && Some(LARGE_BYTES) <= facts.request_bytes.max(facts.response_bytes)
        })
    }

    /// The last different call that had ended before it began: where its items may have come from.
    pub fn source(&self) -> Option<Call<'t>> {
        let first = self.first();
        let different = |call: &Call<'t>| {
            (call.callee(), call.template()) != (first.callee(), first.template())
                && !call.facts().is_housekeeping()
        };
        let own = self.unit().calls();
        let before = first.index() - own.clone().next().map_or(0, Call::index);
        own.take(before)
            .rev()
            .take(LOOK_BACK)
            .find(|call| call.end_ns() <= first.start_ns() && different(call))
    }
}

/// Some calls of one clock come in the rhythm of polling; the calls may be of several units.
pub fn are_polling(calls: &[Call<'_>]) -> bool {
    let mut by_clock: BTreeMap<&str, Vec<Call<'_>>> = BTreeMap::new();
    for call in calls {
        by_clock.entry(&call.span().resource.clock_domain).or_default().push(*call);
    }
    by_clock.into_values().any(|mut calls| {
        calls.sort_by_key(|call| call.start_ns());
        2 < calls.len() && is_polling(&calls)
    })
}

/// Calls of one clock, in order of start, come in steps that are long against the calls themselves: even ones, or all
/// of them with nothing between, as where a client waits longer each time.
fn is_polling(calls: &[Call<'_>]) -> bool {
    const SHORTEST_STEP_NS: i64 = 100_000_000;
    let mut steps: Vec<i64> =
        calls.windows(2).map(|pair| pair[1].start_ns().saturating_sub(pair[0].start_ns())).collect();
    let mut durations: Vec<i64> = calls.iter().map(|call| call.duration_ns()).collect();
    let even = variation(&steps).is_some_and(|variation| variation <= 0.25);
    let (Some(step), Some(duration)) = (median(&mut steps), median(&mut durations)) else { return false };
    let long = SHORTEST_STEP_NS.max(duration.saturating_mul(3));
    let waits = calls.windows(2).all(|pair| pair[0].index() + 1 == pair[1].index());
    (even && long <= step) || (waits && steps.iter().all(|step| long <= *step))
}

fn median(values: &mut [i64]) -> Option<i64> {
    if values.is_empty() {
        return None;
    }
    let middle = values.len() / 2;
    Some(*values.select_nth_unstable(middle).1)
}

/// Standard deviation over mean.
fn variation(values: &[i64]) -> Option<f64> {
    let count = values.len() as f64;
    let mean = values.iter().map(|value| *value as f64).sum::<f64>() / count;
    if values.len() < 2 || mean <= 0.0 {
        return None;
    }
    let spread = values.iter().map(|value| (*value as f64 - mean).powi(2)).sum::<f64>() / count;
    Some(spread.sqrt() / mean)
}

#[cfg(test)]
mod tests {
    use super::super::build::Build;
    use super::super::{Kind, Trace};
    use super::*;

    fn polled(gaps_ms: &[i64]) -> Trace {
        let mut build = Build::default();
        let owner = build.span(0, "web", Kind::Server, "POST /build", 0, 60_000_000);
        let mut at = 0;
        for gap in gaps_ms {
            build.request(owner, "web", "ci", "GET /jobs/{}", at * 1000, 20_000);
            at += gap;
        }
        build.trace()
    }

    fn run(trace: &Trace) -> Run<'_> {
        trace.units().next().unwrap().runs(|_| true).remove(0)
    }

    #[test]
    fn even_steps_are_polling_and_uneven_ones_are_not() {
        assert!(run(&polled(&[1000, 1020, 980, 1000, 1000, 0])).is_polling());
        assert!(run(&polled(&[100, 200, 400, 800, 1600, 0])).is_polling());
        assert!(!run(&polled(&[1000, 50, 3000, 40, 700, 0])).is_polling());
        assert!(!run(&polled(&[21, 21, 21, 21, 21, 0])).is_polling());
    }

    #[test]
    fn the_saving_leaves_the_servers_part_of_every_item() {
        let trace = polled(&[21, 21, 21, 21, 21, 0]);
        // Six calls of 20 ms, 16 of them at the server: 120 - 20 - 5 * 16.
        assert_eq!(run(&trace).saved_ns(), 20_000_000);
    }

    #[test]
    fn the_source_is_the_last_different_call_before() {
        let mut build = Build::default();
        let owner = build.span(0, "shop", Kind::Server, "GET /orders", 0, 1_000_000);
        build.statement(owner, "shop", "SELECT account", 0, 5_000);
        let source = build.statement(owner, "shop", "SELECT orders", 10_000, 5_000);
        for step in 0..5 {
            build.statement(owner, "shop", "SELECT item", 20_000 + step * 6_000, 5_000);
        }
        let trace = build.trace();
        let runs = trace.units().next().unwrap().runs(|_| true);
        assert_eq!(runs[2].source().map(|call| call.span().id.0), Some(source));
        assert_eq!((runs[2].calls().len(), runs[2].rounds()), (5, 5));
    }
}
