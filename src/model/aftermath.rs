//! What came after an attempt: at its server once the caller had left, and in the request that made it.
//!
//! Order on one host is told by its own clock; across hosts only by durations (RULES A3).

use std::collections::BTreeMap;

use super::{Attempt, Call, EffectClass, Outcome, Repetition, words};

/// How operations begin that undo another.
const UNDOING: &[&str] = &[
    "cancel",
    "void",
    "refund",
    "revers",
    "revert",
    "rollback",
    "undo",
    "releas",
    "unreserv",
    "delet",
    "remov",
    "abort",
    "compensat",
    "restock",
    "reject",
    "unbook",
    "unhold",
    "dealloc",
    "retract",
];

impl Attempt<'_> {
    /// A write below its server that began when the caller had stopped waiting. A server starts after its caller
    /// did, so what begins later than the caller's whole wait after the server's start came after the caller left.
    pub fn had_left_before(self, write: Attempt<'_>) -> bool {
        self.server_unit().is_some_and(|server| {
            let offset = write.start_ns().saturating_sub(server.span().start_ns);
            write.span().resource.clock_domain == server.resource().clock_domain
                && self.duration_ns() <= offset
        })
    }

    /// Later the unit that made it, or one that this unit worked for, undid it at the same callee or by a message:
    /// the operation says so, and where data is visible on both sides some of it is shared.
    pub fn is_undone(self) -> bool {
        let own: Vec<&str> = self.tokens().collect();
        let mut known = own.clone();
        let mut cause = Some(self);
        while let Some(inner) = cause {
            let unit = inner.unit();
            known.extend(unit.span().facts.tokens.iter().map(String::as_str));
            let undoes = |later: Call<'_>| {
                let mut about = later.first().tokens().peekable();
                let hidden = own.is_empty() || about.peek().is_none();
                (later.is_publish() || later.callee() == self.callee() || later.callee() == inner.callee())
                    && inner.end_ns() <= later.start_ns()
                    && !later.failed()
                    && later.class() != EffectClass::Safe
                    && later.is_undoing()
                    && (hidden || about.any(|token| known.contains(&token)))
            };
            if unit.calls().any(undoes) {
                return true;
            }
            cause = unit.caller();
        }
        false
    }

    /// Later the unit that made it asked the same callee, without changing anything, and was answered.
    pub fn is_looked_up(self) -> bool {
        self.unit().calls().any(|later| {
            later.callee() == self.callee()
                && self.end_ns() <= later.start_ns()
                && later.class() == EffectClass::Safe
                && !later.failed()
        })
    }
}

impl Attempt<'_> {
    /// The same operation, of whomever, was answered well later in the unit that made it: a retry, another address, or
    /// the next item of a loop.
    pub fn is_repeated_well(self) -> bool {
        self.unit().calls().any(|later| {
            later.at() != self.call().at()
                && later.operation() == self.operation()
                && self.start_ns() <= later.start_ns()
                && later.outcome() == Outcome::Ok
        })
    }

    /// It, or a call that it is part of the answer to, was sent again and then answered well.
    pub fn is_retried_well(self) -> bool {
        let mut cause = Some(self);
        while let Some(attempt) = cause {
            let call = attempt.call();
            if call.outcome() == Outcome::Ok && call.last().index() != attempt.index() {
                return true;
            }
            cause = attempt.unit().caller();
        }
        false
    }
}

impl<'t> Call<'t> {
    /// Its operation is named as one that undoes another.
    pub fn is_undoing(self) -> bool {
        words(self.operation()).any(is_undoing)
    }

    /// Done twice it is more than done once: so its operation says, or what its servers wrote. Where servers are
    /// seen to overwrite only, that is what it does.
    pub fn adds_up(self) -> bool {
        let mut writes = self.attempts().flat_map(Attempt::writes).map(Attempt::class).peekable();
        match self.class() {
            EffectClass::NonIdempotent if writes.peek().is_none() => true,
            EffectClass::NonIdempotent | EffectClass::Unknown => {
                writes.any(|class| class != EffectClass::Idempotent)
            }
            EffectClass::Safe | EffectClass::Idempotent => false,
        }
    }

    /// Sent again on purpose before the attempt before had ended, by the SDK's own count.
    pub fn is_hedged(self) -> bool {
        let mut pairs = self.attempts().zip(self.attempts().skip(1));
        let overlap = pairs.any(|(earlier, later)| later.start_ns() < earlier.end_ns());
        (self.repetition() == Some(Repetition::Explicit) && overlap) || 0 < self.facts().speculative
    }

    /// Writes that servers of several attempts made and kept, other than those that only overwrite; and the largest
    /// number of attempts that share one.
    pub fn written_twice(self) -> (Vec<Attempt<'t>>, usize) {
        type Kind<'t> = (Option<&'t str>, &'t str);
        let mut by_kind: BTreeMap<Kind<'t>, Vec<(usize, Attempt<'t>)>> = BTreeMap::new();
        for (number, attempt) in self.attempts().enumerate() {
            let well = attempt.server_unit().is_some_and(|unit| unit.outcome() == Outcome::Ok);
            for write in attempt.writes().filter(|write| write.class() != EffectClass::Idempotent) {
                if well || attempt.is_aborted() {
                    by_kind.entry((write.callee(), write.template())).or_default().push((number, write));
                }
            }
        }
        let (mut twice, mut times) = (Vec::new(), 0);
        for writes in by_kind.into_values() {
            let mut numbers: Vec<usize> = writes.iter().map(|(number, _)| *number).collect();
            numbers.dedup();
            if 1 < numbers.len() {
                times = times.max(numbers.len());
                twice.extend(writes.into_iter().map(|(_, write)| write));
            }
        }
        (twice, times)
    }
}

fn is_undoing(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    UNDOING.iter().any(|stem| word.starts_with(stem))
}

#[cfg(test)]
mod tests {
    use super::super::build::Build;
    use super::super::{Effect, Kind};
    use super::*;

    /// A reservation that was given up, and a later request of the same unit to the same callee.
    fn followed_by(later: &str, class: EffectClass, starts_ms: i64) -> Build {
        let mut build = Build::default();
        let owner = build.span(0, "web", Kind::Server, "POST /order", 0, 1_500_000);
        let client = build.request(owner, "web", "stock", "POST /reserve", 5_000, 1_000_000);
        build.failed(client, Outcome::Timeout, Effect::Unknown, 1, false);
        let after = build.request(owner, "web", "stock", later, starts_ms * 1_000, 50_000);
        build.at(after).facts.class = class;
        build
    }

    fn first(build: &Build) -> (bool, bool) {
        let trace = build.trace();
        let attempt = trace.calls().next().unwrap().first();
        (attempt.is_undone(), attempt.is_looked_up())
    }

    #[test]
    fn undoing_is_told_by_its_name_and_comes_after() {
        let class = EffectClass::NonIdempotent;
        for (later, starts_ms, undone) in [
            ("POST /release/{}", 1_100, true),
            ("DELETE /reservations/{}", 1_100, true),
            ("stock.Stock/CancelReservation", 1_100, true),
            ("POST /release/{}", 500, false),
            ("POST /reserve", 1_100, false),
            ("POST /avoidance", 1_100, false),
        ] {
            assert_eq!(first(&followed_by(later, class, starts_ms)).0, undone, "{later} at {starts_ms}");
        }
    }

    #[test]
    fn undoing_something_else_is_not_undoing_it() {
        let mut build = followed_by("POST /release/{}", EffectClass::NonIdempotent, 1_100);
        build.at(2).facts.tokens = vec!["88417".into()];
        build.at(4).facts.tokens = vec!["99999".into()];
        assert!(!first(&build).0);
        build.at(4).facts.tokens = vec!["88417".into()];
        assert!(first(&build).0);
    }

    #[test]
    fn whoever_asked_may_undo_it_where_it_asked() {
        let mut build = Build::default();
        let owner = build.span(0, "gateway", Kind::Server, "POST /order", 0, 1_500_000);
        let order = build.request(owner, "gateway", "orders", "POST /orders", 0, 1_000_000);
        let pay = build.request(order + 1, "orders", "payments", "POST /charges", 200_000, 100_000);
        build.at(pay).facts.class = EffectClass::NonIdempotent;
        let cancel = build.request(owner, "gateway", "orders", "DELETE /orders/{}", 1_100_000, 50_000);
        build.at(cancel).facts.class = EffectClass::Idempotent;
        let undone = |build: &Build| {
            let trace = build.trace();
            let paid = trace.calls().find(|call| call.callee() == Some("payments")).unwrap();
            paid.first().is_undone()
        };
        assert!(undone(&build));
        build.at(cancel).facts.operation = "PUT /orders/{}".into();
        assert!(!undone(&build));
    }

    #[test]
    fn what_came_after_may_have_been_the_same_again() {
        let again = |operation: &str| {
            let trace = followed_by(operation, EffectClass::NonIdempotent, 1_020).trace();
            let attempt = trace.calls().next().unwrap().first();
            (attempt.is_repeated_well(), attempt.is_retried_well())
        };
        assert_eq!(again("POST /reserve"), (true, false));
        assert_eq!(again("POST /release/{}"), (false, false));
        let mut build = followed_by("POST /reserve", EffectClass::NonIdempotent, 1_100);
        build.at(4).facts.ordinal = Some(1);
        let trace = build.trace();
        assert!(trace.calls().next().unwrap().first().is_retried_well());
    }

    #[test]
    fn looking_it_up_changes_nothing() {
        assert!(first(&followed_by("GET /reservations/{}", EffectClass::Safe, 1_100)).1);
        assert!(!first(&followed_by("GET /reservations/{}", EffectClass::Safe, 500)).1);
        assert!(!first(&followed_by("POST /reserve", EffectClass::NonIdempotent, 1_100)).1);
    }
}
