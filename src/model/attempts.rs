//! From interactions to attempts, and from attempts to calls (RULES A9).

use super::attempt::AttemptData;
use super::call::CallData;
use super::legs::Interaction;
use super::trace::Trace;
use super::{Attempt, Outcome, Verdict, callee};

/// Turns interactions into attempts and calls, and tells units which are theirs.
pub(super) fn gather(trace: &mut Trace, interactions: Vec<Interaction>) {
    let (callees, names) = callee::name(trace, &interactions);
    trace.callees = names;
    for (interaction, callee) in interactions.into_iter().zip(callees) {
        let verdict = verdict(trace, &interaction);
        let facts = &trace.span(interaction.span).facts;
        let (class, basis) = (facts.class, facts.basis);
        trace.attempts.push(AttemptData {
            span: interaction.span,
            call: 0,
            legs: interaction.legs,
            servers: interaction.servers,
            lost_servers: Vec::new(),
            effect: verdict.effect,
            observed_none: false,
            gave_up: verdict.gave_up(),
            verdict,
            class,
            basis,
            callee,
        });
    }
    number(trace);
}

/// What the caller knows. An outer span that says nothing, or only that something failed, leaves the word to its
/// last leg.
fn verdict(trace: &Trace, interaction: &Interaction) -> Verdict {
    let own = trace.span(interaction.span).facts.verdict;
    let vague = own.outcome == Outcome::Unknown || own.row == 8;
    let of_leg = interaction.legs.iter().rev().map(|leg| trace.span(*leg).facts.verdict);
    let clear = |verdict: &Verdict| {
        verdict.outcome != Outcome::Unknown
            && (verdict.outcome != Outcome::Ok || own.outcome == Outcome::Unknown)
    };
    if vague { of_leg.into_iter().find(clear).unwrap_or(own) } else { own }
}

fn number(trace: &mut Trace) {
    for index in 0..trace.attempts.len() as u32 {
        let attempt = Attempt::new(trace, index);
        let (unit, end_ns) = (attempt.unit().index(), attempt.end_ns());
        trace.calls.push(CallData {
            attempts: index..index + 1,
            repetition: None,
            hidden_retries: 0,
            end_ns,
        });
        trace.call_attempts.push(index);
        trace.attempts[index as usize].call = index;
        let data = &mut trace.units[unit];
        if data.calls.is_empty() {
            data.calls.start = index;
            data.attempts.start = index;
        }
        data.calls.end = index + 1;
        data.attempts.end = index + 1;
        for server in trace.attempts[index as usize].servers.clone() {
            let unit = trace.unit_of[server.at()] as usize;
            trace.units[unit].caller = Some(index);
        }
    }
}
