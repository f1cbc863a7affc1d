//! Independent remote calls wait for each other.
//!
//! ## What it detects
//! One request, for whose answer somebody waits, makes several remote calls of different kinds one after another,
//! and no call shows that it needed an earlier one's answer: five or more rounds that cost 50 ms and 30 % of the
//! request, or three or more that cost a second and half of it.
//! ## Why it matters
//! Each round pays a full trip through the network, and the next waits for it: the request takes the sum of its
//! calls where it could take the longest of them. One slow callee then delays everything behind it.
//! ## Example
//! ```trace
//! |==================================| web  server  GET /home/{id}  {url.path=/home/4242}
//! |=====                             |   web  client  GET user/4242     << call
//! |     =====                        |   web  client  GET cart/4242     << call
//! |          =====                   |   web  client  GET recs/4242     << call
//! |               =====              |   web  client  GET ads/4242      << call
//! |                    =====         |   web  client  GET notices/4242  << call
//! |                         =======  |   web  client  GET prefs/4242    << call
//! ```
//! ## Not flagged
//! Calls that overlap wait together; a small pool makes few rounds of many calls.
//! ```trace
//! |==================================| web  server  GET /home/{id}  {url.path=/home/4242}
//! |==========                        |   web  client  GET user/4242
//! |==============                    |   web  client  GET cart/4242
//! |============                      |   web  client  GET recs/4242
//! |               ========           |   web  client  GET ads/4242
//! |                ==========        |   web  client  GET notices/4242
//! |                          =====   |   web  client  GET prefs/4242
//! ```
//! A call that carries an id which nobody knew before has to wait; a write waits for what was read, and is waited
//! for, like an answer that failed and whatever grants access.
//! ```trace
//! |=========================================| web  server  POST /pay
//! |======                                   |   web  client  POST auth/token
//! |      ========                           |   web  client  GET risk/check?acct=94711
//! |              ====================       |   web  client  POST bank/charge
//! |                                  ====   |   web  client  POST mail/send
//! ```
//! One operation in a loop is `n_plus_one`; pages of a list and steps of an agent follow each other. Databases,
//! caches and brokers are left out: one connection serves one statement at a time.
//! ## Remedy
//! Start calls that need nothing of each other together (`join!`, `Promise.all`, `errgroup`, `Task.WhenAll`,
//! `CompletableFuture.allOf`, `asyncio.gather`), with a bound on how many run at once; or ask one endpoint that
//! gathers the answers near their sources; or keep answers that rarely change.
//! ## Blind spots
//! Answers and RPC bodies are invisible: calls without visible arguments may depend on each other, which confidence
//! tells. Go clients end a call's span when its body is closed, often late: such calls look as if they overlapped.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Attempt, Call, Operation, Role, Segment, Step, Trace, Unit, operations, saved_ns};
use crate::rules::{Confidence, Cost, Evidence, Harm, Millis, Occurrence, whole_ms as ms};

/// Operations that a headline names, and calls that are shown.
const NAMED: usize = 4;
const MOST_EVIDENCE: usize = 50;

/// When serial calls are worth telling.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Whether the rule runs.
    pub enabled: bool,
    /// Shortest request that is looked at.
    pub min_duration: Millis,
    /// Longest pause between two rounds: what comes later belongs to something else.
    pub max_gap: Millis,
    /// Largest share of rounds that one operation may have: above it, it is a loop.
    pub max_operation_share: f64,
    /// Fewest rounds of the common form.
    pub min_rounds: usize,
    /// Least saving of the common form.
    pub min_saving: Millis,
    /// Least saving of the common form, as a share of the request.
    pub min_saving_share: f64,
    /// Fewest rounds of the form with few, slow calls.
    pub min_slow_rounds: usize,
    /// Least saving of the form with few, slow calls.
    pub min_slow_saving: Millis,
    /// Least saving of the form with few, slow calls, as a share of the request.
    pub min_slow_saving_share: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            enabled: true,
            min_duration: Millis(20),
            max_gap: Millis(500),
            max_operation_share: 0.7,
            min_rounds: 5,
            min_saving: Millis(50),
            min_saving_share: 0.3,
            min_slow_rounds: 3,
            min_slow_saving: Millis(1000),
            min_slow_saving_share: 0.5,
        }
    }
}

/// Finds independent calls that one request made one after another.
pub(crate) fn inspect(trace: &Trace, limits: &Thresholds) -> Vec<Occurrence> {
    trace
        .units()
        .filter(|unit| unit.is_interactive() && limits.min_duration.ns() <= unit.duration_ns())
        .flat_map(|unit| {
            let loops = unit.repeats(waits);
            let judged = |segment: &Segment<'_>| judge(unit, segment, &loops, limits);
            unit.segments(waits).iter().filter_map(judged).collect::<Vec<_>>()
        })
        .collect()
}

/// Calls that a caller could as well have started together.
fn waits(call: &Call<'_>) -> bool {
    call.is_sync() && matches!(call.role(), Role::Http | Role::Rpc | Role::Cloud | Role::Remote)
}

fn judge<'t>(
    unit: Unit<'t>,
    segment: &Segment<'t>,
    loops: &BTreeSet<Operation<'t>>,
    limits: &Thresholds,
) -> Option<Occurrence> {
    let steps = segment.steps(loops);
    let saved = saved_ns(&steps);
    let share = saved as f64 / unit.duration_ns().max(1) as f64;
    let many = limits.min_rounds <= steps.len()
        && limits.min_saving.ns() <= saved
        && limits.min_saving_share <= share;
    let slow = limits.min_slow_rounds <= steps.len()
        && limits.min_slow_saving.ns() <= saved
        && limits.min_slow_saving_share <= share;
    let close = segment.rounds().windows(2).all(|pair| pair[0].gap_ns(&pair[1]) <= limits.max_gap.ns());
    let (operations, most) = operations(&steps);
    let is_varied = 2 <= operations && (most as f64) < limits.max_operation_share * steps.len() as f64;
    ((many || slow) && close && is_varied).then(|| occurrence(unit, &steps, saved, share))
}

fn occurrence(unit: Unit<'_>, steps: &[Step<'_>], saved: i64, share: f64) -> Occurrence {
    let later = steps.len() - 1;
    let independent = steps.iter().skip(1).filter(|step| step.independent).count();
    let sure = later <= 2 * independent && unit.is_whole();
    let blurred = unit.resource().language.as_deref() == Some("go")
        || steps.iter().any(|step| step.call.attempts().any(Attempt::is_streaming));
    let confidence = if sure { Confidence::High } else { Confidence::Medium };
    let certain = saved_ns(steps.iter().filter(|step| step.independent));
    let sum: i64 = steps.iter().map(|step| step.waited_ns).sum();
    let mut names: Vec<&str> = steps.iter().map(|step| step.operation.1).collect();
    names.sort_unstable();
    names.dedup();
    let mut not_visible = Vec::new();
    if independent < later {
        let unsure = later - independent;
        not_visible
            .push(format!("whether {unsure} of these calls needed an earlier answer: no arguments recorded"));
    }
    if !unit.is_whole() {
        not_visible.push("all that this request did: spans of it are missing".to_owned());
    }
    Occurrence {
        at: unit.owner(),
        variant: "serial",
        family: "serial",
        group: names.join(", "),
        headline: format!(
            "waits one after another for `{}`{}",
            names[..names.len().min(NAMED)].join("`, `"),
            if NAMED < names.len() { " and more" } else { "" }
        ),
        why: format!(
            "{} calls one after another took {} of {} ms; side by side {} (arguments show {} ms of the saving)",
            steps.len(),
            ms(sum),
            ms(unit.duration_ns()),
            ms(sum - saved),
            ms(certain)
        ),
        evidence: evidence(unit, steps),
        cost: Cost { time: Duration::from_nanos(saved as u64), calls: steps.len() as u32, ..Cost::default() },
        harm: Harm::Time { share },
        confidence: if blurred { confidence.step_down() } else { confidence },
        not_visible,
    }
}

fn evidence(unit: Unit<'_>, steps: &[Step<'_>]) -> Vec<Evidence> {
    let call = |(number, step): (usize, &Step<'_>)| {
        let of_loop = if 1 < step.rounds { format!(", slowest of {}", step.rounds) } else { String::new() };
        let known = if step.independent { ", all its data was known before" } else { "" };
        Evidence::new(step.call.at(), "call", format!("round {}{of_loop}{known}", number + 1))
    };
    let owner = std::iter::once(Evidence::new(unit.owner(), "unit", ""));
    owner.chain(steps.iter().enumerate().map(call).take(MOST_EVIDENCE)).collect()
}
