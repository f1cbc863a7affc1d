//! What whoever ran a segment's rounds side by side would run: steps, with each loop as one of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Call, Segment};

/// Whom and what: what makes two calls the same step of a loop.
pub type Operation<'t> = (Option<&'t str>, &'t str);

/// A round, or all rounds of one loop.
#[derive(Clone, Debug)]
pub struct Step<'t> {
    /// Its slowest call.
    pub call: Call<'t>,
    /// Whom and what that call asked.
    pub operation: Operation<'t>,
    /// How many rounds it is made of.
    pub rounds: usize,
    /// Nanoseconds that somebody waited for the longest of them.
    pub waited_ns: i64,
    /// It visibly needed nothing of the round before it.
    pub independent: bool,
}

/// Nanoseconds that running the steps side by side would save: all but the longest.
pub fn saved_ns<'a, 't: 'a>(steps: impl IntoIterator<Item = &'a Step<'t>>) -> i64 {
    let (sum, most) = steps
        .into_iter()
        .fold((0_i64, 0), |(sum, most), step| (sum.saturating_add(step.waited_ns), most.max(step.waited_ns)));
    sum - most
}

/// How many different operations the steps ask for, and how many steps the commonest of them has.
pub fn operations(steps: &[Step<'_>]) -> (usize, usize) {
    let mut counts: BTreeMap<Operation<'_>, usize> = BTreeMap::new();
    for step in steps {
        *counts.entry(step.operation).or_default() += 1;
    }
    (counts.len(), counts.values().copied().max().unwrap_or_default())
}

impl<'t> Segment<'t> {
    /// Its rounds, with those of each of the given loops as one step, as long as its longest.
    pub fn steps(&self, loops: &BTreeSet<Operation<'t>>) -> Vec<Step<'t>> {
        let mut steps: Vec<Step<'t>> = Vec::new();
        let mut of_loop: BTreeMap<Operation<'t>, usize> = BTreeMap::new();
        for (number, round) in self.rounds().iter().enumerate() {
            let Some(call) = round.calls().iter().copied().max_by_key(|call| call.duration_ns()) else {
                continue;
            };
            let operation = (call.callee(), call.operation());
            let waited_ns = round.on_path_ns();
            let independent = number > 0 && self.independent()[number - 1];
            let repeated = loops.contains(&operation)
                && round.calls().iter().all(|other| (other.callee(), other.operation()) == operation);
            if let Some(known) = of_loop.get(&operation).filter(|_| repeated) {
                let step = &mut steps[*known];
                step.rounds += 1;
                step.independent |= independent;
                if step.waited_ns < waited_ns {
                    step.waited_ns = waited_ns;
                    step.call = call;
                }
                continue;
            }
            if repeated {
                of_loop.insert(operation, steps.len());
            }
            steps.push(Step { call, operation, rounds: 1, waited_ns, independent });
        }
        steps
    }
}
