//! How it is known that a call changed something for good.

use super::{Attempt, Call, Effect, Outcome, Role, TransactionStep};

/// What shows that a change stays, whatever becomes of the request that asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Its server answered well and wrote: a transaction of its own.
    Written,
    /// A COMMIT followed.
    Committed,
    /// A broker took it.
    Published,
    /// Its server answered well, and nothing below would show what it wrote.
    Assumed,
}

impl Call<'_> {
    /// What shows that its change was made for good before then; the class of its effect is not asked.
    pub fn kept_before(self, ns: i64) -> Option<Kept> {
        let attempt = self.last();
        if self.outcome() != Outcome::Ok || ns < self.end_ns() {
            return None;
        }
        match self.role() {
            Role::Db => attempt.is_committed_before(ns).then_some(Kept::Committed),
            Role::Http | Role::Rpc | Role::Cloud | Role::Remote
                if attempt.is_sync() && !attempt.is_streaming() =>
            {
                let well = attempt.server_unit().is_none_or(|server| server.outcome() == Outcome::Ok);
                if !well || attempt.effect() != Effect::Applied {
                    None
                } else if attempt.lasting_writes().next().is_some() {
                    Some(Kept::Written)
                } else {
                    (!attempt.is_instrumented_below()).then_some(Kept::Assumed)
                }
            }
            _ => attempt.is_publish().then_some(Kept::Published),
        }
    }
}

impl<'t> Attempt<'t> {
    /// Writes below the servers it reached that outlive a cache.
    pub fn lasting_writes(self) -> impl Iterator<Item = Attempt<'t>> {
        self.writes().filter(|write| write.role() != Role::Cache)
    }

    fn is_committed_before(self, ns: i64) -> bool {
        let ends_it = |end: Attempt<'_>| {
            end.callee() == self.callee()
                && end.facts().transaction_step() == Some(TransactionStep::Commits)
                && self.end_ns() <= end.start_ns()
                && end.end_ns() <= ns
        };
        self.data().committed && self.unit().attempts().any(ends_it)
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::Build;
    use super::super::{EffectClass, Kind};
    use super::*;

    const SECOND_NS: i64 = 1_000_000_000;

    #[test]
    fn a_row_is_kept_once_it_is_committed() {
        let mut build = Build::default();
        let owner = build.span(0, "shop", Kind::Server, "POST /", 0, 2_000_000);
        for (text, at) in [("BEGIN", 0), ("INSERT orders", 10), ("COMMIT", 500)] {
            build.statement(owner, "shop", text, at * 1000, 1000);
        }
        let trace = build.trace();
        let insert = trace.calls().nth(1).unwrap();
        assert_eq!(insert.kept_before(SECOND_NS), Some(Kept::Committed));
        assert_eq!(insert.kept_before(SECOND_NS / 4), None);
    }

    #[test]
    fn what_a_server_wrote_is_kept_unless_it_is_a_cache() {
        let mut build = Build::default();
        let owner = build.span(0, "shop", Kind::Server, "POST /", 0, 2_000_000);
        let pay = build.request(owner, "shop", "payments", "POST /charges", 0, 100_000);
        let kept = |build: &Build| build.trace().calls().next().unwrap().kept_before(SECOND_NS);
        assert_eq!(kept(&build), Some(Kept::Assumed));
        let write = build.statement(pay + 1, "payments", "INSERT charges", 20_000, 1000);
        assert_eq!(kept(&build), Some(Kept::Written));
        build.at(write).facts.role = Role::Cache;
        build.at(write).facts.class = EffectClass::Idempotent;
        assert_eq!(kept(&build), None);
        build.failed(pay + 1, Outcome::Error, Effect::Unknown, 7, true);
        assert_eq!(kept(&build), None);
    }
}
