//! Transactions of a unit, as far as statements show where they begin and end.

use std::collections::BTreeMap;

use super::{Attempt, Call, EffectClass, Facts, Role, SpanIdx, Unit, words};

/// What a clock that counts whole milliseconds may be off.
const SLACK_NS: i64 = 1_000_000;
/// Ancestors within the unit that are looked at.
const MOST_ANCESTORS: usize = 64;

/// What a statement does to its connection's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStep {
    /// It opens one.
    Begins,
    /// It keeps what was written.
    Commits,
    /// It undoes what was written.
    RollsBack,
}

impl Facts {
    /// What it does to a transaction: as a statement, or as the call of a driver that is named after it.
    pub fn transaction_step(&self) -> Option<TransactionStep> {
        if self.role != Role::Db {
            return None;
        }
        let named = || self.operation.rsplit('.').next().unwrap_or_default();
        let word = self
            .db
            .operation
            .as_deref()
            .unwrap_or_else(|| if self.db.shape.is_none() { named() } else { "" });
        match word {
            // `BEGIN do_it(); END` is a block of its own.
            "BEGIN" if !self.template.contains('(') => Some(TransactionStep::Begins),
            "START" if self.template.to_ascii_uppercase().contains("TRANSACTION") => {
                Some(TransactionStep::Begins)
            }
            "begin_tx" | "begin" | "startTransaction" => Some(TransactionStep::Begins),
            "COMMIT" | "END" | "commit" => Some(TransactionStep::Commits),
            // To a savepoint: the transaction goes on.
            "ROLLBACK" | "rollback" if !self.template.contains(" TO ") => Some(TransactionStep::RollsBack),
            _ => None,
        }
    }

    /// It changes rows, or keeps others from changing them.
    fn holds_rows(&self) -> bool {
        let locks = || {
            words(&self.template).any(|word| matches!(word.to_ascii_uppercase().as_str(), "UPDATE" | "SHARE"))
        };
        !self.is_housekeeping() && (self.class != EffectClass::Safe || locks())
    }
}

/// One transaction of one database, from the statement that begins it to the one that ends it.
#[derive(Clone, Debug)]
pub struct Transaction<'t> {
    /// First and last are its bounds; in order of start.
    statements: Vec<Attempt<'t>>,
    /// Latest end of any statement up to each of them.
    ended_ns: Vec<i64>,
}

impl<'t> Unit<'t> {
    /// Transactions that began and ended here, in the order in which they ended. Where two of one database are open at
    /// once nobody can tell whose statements are whose, so that neither is among them.
    pub fn transactions(self) -> Vec<Transaction<'t>> {
        #[derive(Default)]
        struct Open<'t> {
            begun: usize,
            tangled: bool,
            statements: Vec<Attempt<'t>>,
        }
        let mut of_database: BTreeMap<Option<&str>, Open<'t>> = BTreeMap::new();
        let mut found = Vec::new();
        for statement in self.attempts().filter(|attempt| attempt.role() == Role::Db) {
            let step = statement.facts().transaction_step();
            if of_database.is_empty() && step != Some(TransactionStep::Begins) {
                continue;
            }
            let open = of_database.entry(statement.callee()).or_default();
            match step {
                Some(TransactionStep::Begins) if !statement.failed() => {
                    open.tangled |= 0 < open.begun;
                    open.begun += 1;
                }
                Some(TransactionStep::Commits | TransactionStep::RollsBack) if 0 < open.begun => {
                    open.begun -= 1;
                    if open.begun == 0 {
                        let Open { tangled, mut statements, .. } = std::mem::take(open);
                        statements.push(statement);
                        if !tangled {
                            found.push(Transaction::of(statements));
                        }
                        continue;
                    }
                }
                _ => {}
            }
            if 0 < open.begun {
                open.statements.push(statement);
            }
        }
        found
    }
}

impl<'t> Transaction<'t> {
    fn of(statements: Vec<Attempt<'t>>) -> Self {
        let latest = statements.iter().scan(i64::MIN, |latest, statement| {
            *latest = (*latest).max(statement.end_ns());
            Some(*latest)
        });
        Self { ended_ns: latest.collect(), statements }
    }

    /// The statement that began it.
    pub fn begin(&self) -> Attempt<'t> {
        self.statements[0]
    }

    /// The statement that ended it.
    pub fn end(&self) -> Attempt<'t> {
        self.statements[self.statements.len() - 1]
    }

    /// Nanoseconds between the two.
    pub fn window_ns(&self) -> i64 {
        self.end().start_ns().saturating_sub(self.begin().end_ns()).max(0)
    }

    /// Some statement had changed rows, or kept others from changing them, before then.
    pub fn holds_rows_at(&self, at_ns: i64) -> bool {
        let begun = self.statements.partition_point(|statement| statement.start_ns() < at_ns);
        self.statements[..begun].iter().any(|statement| statement.facts().holds_rows())
    }

    /// Some statement changes rows, or keeps others from changing them.
    pub fn holds_rows(&self) -> bool {
        self.statements.iter().any(|statement| statement.facts().holds_rows())
    }

    /// It was made between two statements, by what makes the statements: no statement ran beside it, or beside the
    /// branch of the unit in which it stands.
    pub fn encloses(&self, call: Call<'t>) -> bool {
        let trace = call.trace();
        let begin = self.begin();
        let between =
            begin.end_ns() - SLACK_NS <= call.start_ns() && call.end_ns() <= self.end().start_ns() + SLACK_NS;
        if !between || self.runs_beside(call.start_ns(), call.end_ns()) {
            return false;
        }
        let is_apart = |at: &SpanIdx| !trace.is_within(begin.at(), *at);
        let branch = std::iter::successors(Some(call.at()), |at| trace.parent(*at)).take(MOST_ANCESTORS);
        branch.take_while(is_apart).last().is_none_or(|at| {
            let span = trace.span(at);
            !self.runs_beside(span.start_ns, span.end_ns())
        })
    }

    /// Some statement of it ran between these times, by more than clocks may be off.
    fn runs_beside(&self, from_ns: i64, to_ns: i64) -> bool {
        let begun = self.statements.partition_point(|statement| statement.start_ns() < to_ns - SLACK_NS);
        begun.checked_sub(1).is_some_and(|last| from_ns + SLACK_NS < self.ended_ns[last])
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::Build;
    use super::super::{Kind, Trace};
    use super::*;

    /// Statements of one unit, 5 ms each, 10 ms apart, with a call of 100 ms where a step has no text.
    fn unit(steps: &[&str]) -> Trace {
        let mut build = Build::default();
        let owner = build.span(0, "shop", Kind::Server, "POST /transfer", 0, 1_000_000);
        let mut at = 0;
        for step in steps {
            match *step {
                "" => {
                    build.request(owner, "shop", "rates", "GET /rates", at, 100_000);
                    at += 110_000;
                }
                text => {
                    build.statement(owner, "shop", text, at, 5_000);
                    at += 10_000;
                }
            }
        }
        build.trace()
    }

    fn enclosed(trace: &Trace) -> Vec<bool> {
        let shop = trace.units().next().unwrap();
        let call = shop.calls().find(|call| call.role() == Role::Http).unwrap();
        shop.transactions().iter().map(|transaction| transaction.encloses(call)).collect()
    }

    #[test]
    fn a_transaction_encloses_what_happens_between_its_statements() {
        assert_eq!(enclosed(&unit(&["BEGIN", "UPDATE a", "", "COMMIT"])), [true]);
        assert_eq!(enclosed(&unit(&["BEGIN", "", "ROLLBACK"])), [true]);
        assert_eq!(enclosed(&unit(&["", "BEGIN", "UPDATE a", "COMMIT"])), [false]);
        assert_eq!(enclosed(&unit(&["BEGIN", "UPDATE a", "COMMIT", "", "BEGIN", "COMMIT"])), [false, false]);
        assert_eq!(enclosed(&unit(&["BEGIN", "", "UPDATE a"])), [false; 0]);
        // Two connections: whose COMMIT is it?
        assert_eq!(enclosed(&unit(&["BEGIN", "BEGIN", "", "COMMIT", "COMMIT"])), [false; 0]);
    }

    #[test]
    fn rows_are_held_from_the_first_write_on() {
        let trace = unit(&["BEGIN", "SELECT a", "UPDATE b", "COMMIT"]);
        let transaction = trace.units().next().unwrap().transactions().remove(0);
        let at = |number: usize| transaction.statements[number].start_ns();
        assert_eq!([1, 2, 3].map(|number| transaction.holds_rows_at(at(number))), [false, false, true]);
        assert_eq!(transaction.window_ns(), 25_000_000);
    }
}
