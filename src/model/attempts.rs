//! From interactions to attempts: how often each was sent, and what its caller saw of it.

use std::collections::BTreeSet;

use super::attempt::{AttemptData, Piece};
use super::legs::Interaction;
use super::trace::Trace;
use super::{Attempt, Effect, Facts, Kind, Outcome, Role, SpanIdx, Verdict, callee};

/// Row for requests that never left.
const NEVER_SENT: u8 = 5;
/// Row for failures that say no more.
const UNRECOGNISED: u8 = 8;
/// Attempts that are told apart below one client span; nobody retries as often.
const MOST_ATTEMPTS: usize = 1024;

/// Turns interactions into attempts, by unit and start, and tells units which are theirs.
pub(super) fn gather(trace: &mut Trace, interactions: Vec<Interaction>) {
    let (callees, names) = callee::name(trace, &interactions);
    trace.callees = names;
    let mut attempts = Vec::with_capacity(interactions.len());
    for (interaction, callee) in interactions.into_iter().zip(callees) {
        let span = trace.span(interaction.span);
        let verdict = verdict(trace, &interaction);
        for part in split(trace, interaction) {
            attempts.push(AttemptData {
                at: part.at,
                span: part.span,
                call: 0,
                legs: part.legs,
                verdict: part.verdict.unwrap_or(verdict),
                servers: part.servers,
                lost_servers: Vec::new(),
                effect: Effect::Unknown,
                observed_none: false,
                aborted: false,
                gave_up: false,
                write: false,
                committed: false,
                class: span.facts.class,
                basis: span.facts.basis,
                callee,
                discovered: Vec::new(),
                piece: part.piece,
            });
        }
    }
    attempts.sort_by_key(|attempt| (trace.unit_of[attempt.at.at()], attempt.at));
    trace.attempts = attempts;
    assign(trace);
}

/// What the caller knows. An outer span that says nothing, or only that something failed, leaves the word to its
/// last leg.
fn verdict(trace: &Trace, interaction: &Interaction) -> Verdict {
    let span = trace.span(interaction.span);
    let mut verdict = span.facts.verdict;
    if verdict.outcome == Outcome::Unknown || verdict.row == UNRECOGNISED {
        let clear = |of_leg: &Verdict| {
            of_leg.failed() && of_leg.row != UNRECOGNISED
                || of_leg.outcome == Outcome::Ok && verdict.outcome == Outcome::Unknown
        };
        let legs = || interaction.legs.iter().rev().map(|leg| trace.span(*leg));
        // What failed and was tried again says nothing of how it ended.
        let last_start_ns = legs().map(|leg| leg.start_ns).max().unwrap_or(i64::MIN);
        let final_legs = legs().filter(|leg| last_start_ns < leg.end_ns() || leg.start_ns == last_start_ns);
        verdict = final_legs.map(|leg| leg.facts.verdict).find(clear).unwrap_or(verdict);
    }
    if verdict.row == NEVER_SENT && !interaction.servers.is_empty() {
        // Words of a deeper call's failure are quoted upwards: this one was sent, since it arrived.
        verdict = Verdict {
            outcome: Outcome::Error,
            effect: Effect::Unknown,
            row: UNRECOGNISED,
            never_sent: false,
            ..verdict
        };
    }
    verdict
}

/// One attempt of an interaction.
struct Part {
    at: SpanIdx,
    span: SpanIdx,
    legs: Vec<SpanIdx>,
    servers: Vec<SpanIdx>,
    /// Where it differs from the interaction's.
    verdict: Option<Verdict>,
    piece: Piece,
}

/// One part for each attempt that hides below one client span: counted legs, or servers that were asked the same.
fn split(trace: &Trace, interaction: Interaction) -> Vec<Part> {
    let counted: Vec<SpanIdx> = interaction
        .legs
        .iter()
        .copied()
        .filter(|leg| {
            let facts = &trace.span(*leg).facts;
            facts.ordinal.is_some() && !facts.rpc.transparent_retry
        })
        .collect();
    let distinct: BTreeSet<Option<u32>> = counted.iter().map(|leg| trace.span(*leg).facts.ordinal).collect();
    if (2..=MOST_ATTEMPTS).contains(&counted.len()) && distinct.len() == counted.len() {
        return by_leg(trace, &interaction, &counted);
    }
    if interaction.servers.len() <= MOST_ATTEMPTS && asked_the_same(trace, &interaction.servers) {
        return by_server(trace, &interaction);
    }
    let Interaction { span, legs, servers } = interaction;
    vec![Part { at: span, span, legs, servers, verdict: None, piece: Piece::Whole }]
}

fn by_leg(trace: &Trace, interaction: &Interaction, counted: &[SpanIdx]) -> Vec<Part> {
    let last = counted.len() - 1;
    let part = |(number, leg): (usize, &SpanIdx)| Part {
        at: *leg,
        span: interaction.span,
        legs: interaction.legs.iter().copied().filter(|other| trace.is_within(*other, *leg)).collect(),
        servers: interaction
            .servers
            .iter()
            .copied()
            .filter(|server| trace.is_within(*server, *leg))
            .collect(),
        verdict: (number < last).then(|| trace.span(*leg).facts.verdict),
        piece: Piece::Leg,
    };
    counted.iter().enumerate().map(part).collect()
}

fn by_server(trace: &Trace, interaction: &Interaction) -> Vec<Part> {
    let last = interaction.servers.len() - 1;
    let part = |(number, server): (usize, &SpanIdx)| Part {
        at: interaction.span,
        span: interaction.span,
        legs: interaction.legs.clone(),
        servers: vec![*server],
        verdict: (number < last).then(|| as_seen_by_caller(&trace.span(*server).facts)),
        piece: Piece::Server,
    };
    interaction.servers.iter().enumerate().map(part).collect()
}

/// One service was asked the same several times, and neither a redirect nor a challenge explains it (N4, N23).
fn asked_the_same(trace: &Trace, servers: &[SpanIdx]) -> bool {
    let [first, .., last] = servers else { return false };
    let first = trace.span(*first);
    servers.iter().all(|server| {
        let span = trace.span(*server);
        let facts = &span.facts;
        let explained = server != last && (facts.http.status.is_some_and(is_redirect_or_challenge));
        let mirrored = facts.host.as_deref().is_some_and(|host| host.contains("-shadow"));
        span.kind == Kind::Server
            && span.resource.service == first.resource.service
            && facts.operation == first.facts.operation
            && facts.role != Role::Messaging
            && !names_a_message(&span.name)
            && !facts.streaming
            && !explained
            && !mirrored
    }) && servers.windows(2).all(|pair| may_follow_as_retry(trace, pair[0], pair[1]))
}

/// After a failure, always. After a good answer only if its caller may not have waited for it: not if the next began
/// with it (two libraries at one server, calls side by side), nor if it came at once (a loop without spans).
fn may_follow_as_retry(trace: &Trace, earlier: SpanIdx, later: SpanIdx) -> bool {
    const SIDE_BY_SIDE_NS: i64 = 10_000_000;
    const AT_ONCE_NS: i64 = 50_000_000;
    let unit_end_ns = trace.unit_of(earlier).data().end_ns;
    let (earlier, later) = (trace.span(earlier), trace.span(later));
    if earlier.facts.verdict.failed() {
        return true;
    }
    let end_ns = if earlier.ends_with_its_caller() { unit_end_ns } else { earlier.end_ns() };
    let gap = later.start_ns.saturating_sub(end_ns);
    let from_start = later.start_ns.saturating_sub(earlier.start_ns);
    SIDE_BY_SIDE_NS <= from_start && !(0..AT_ONCE_NS).contains(&gap)
}

fn names_a_message(name: &str) -> bool {
    let first = name.split_whitespace().next().unwrap_or_default();
    ["send", "publish", "receive", "process", "consume"].iter().any(|word| first.eq_ignore_ascii_case(word))
}

/// Answers after which a client asks again although nothing failed.
pub(super) fn is_redirect_or_challenge(status: u16) -> bool {
    (100..200).contains(&status)
        || (300..400).contains(&status)
        || [401, 407, 417, 421, 425].contains(&status)
}

/// What a client that asked again had made of the server's answer. A good one never reached it.
fn as_seen_by_caller(server: &Facts) -> Verdict {
    let mut verdict = server.verdict;
    if !verdict.failed() {
        verdict.outcome = Outcome::Unknown;
        verdict.effect = Effect::Unknown;
        verdict.answered = false;
    }
    verdict
}

fn assign(trace: &mut Trace) {
    // Interactions were numbered before they were split; spans now learn the number of their first attempt.
    let mut first_attempt = vec![u32::MAX; trace.spans.len()];
    for (index, attempt) in trace.attempts.iter().enumerate().rev() {
        first_attempt[attempt.span.at()] = index as u32;
    }
    let outermost: Vec<SpanIdx> = std::mem::take(&mut trace.interactions);
    for above in trace.attempt_above.iter_mut().filter(|above| **above != u32::MAX) {
        *above = first_attempt[outermost[*above as usize].at()];
    }
    for index in 0..trace.attempts.len() as u32 {
        let attempt = &trace.attempts[index as usize];
        let unit = trace.unit_of[attempt.at.at()] as usize;
        for server in &attempt.servers {
            let answering = trace.unit_of[server.at()] as usize;
            trace.units[answering].caller = Some(index);
        }
        let range = &mut trace.units[unit].attempts;
        *range = if range.start == range.end { index..index + 1 } else { range.start..index + 1 };
    }
}

/// Lets the servers' side correct what callers could not know: a connection that broke while the server went on
/// was given up.
pub(super) fn settle(trace: &mut Trace) {
    for index in 0..trace.attempts.len() {
        let attempt = Attempt::new(trace, index as u32);
        let outlived = |unit: super::Unit<'_>| attempt.duration_ns() <= unit.effective_duration_ns();
        let gave_up = attempt.verdict().gave_up()
            || (attempt.is_reset() && attempt.server_unit().is_some_and(outlived));
        trace.attempts[index].gave_up = gave_up;
    }
}
