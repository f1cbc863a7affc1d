//! Writes of a trace by whom they went to, so that a read after one is not taken for the read before it.

use std::collections::BTreeMap;

use super::{Call, Effect, EffectClass, Role, Trace};

/// One write: its place among the trace's spans, parents before children, and the table it went to.
struct Write<'t> {
    position: usize,
    collection: Option<&'t str>,
}

/// Writes by callee, in the order in which the trace shows them: clocks of several hosts tell no better one.
pub struct Writes<'t>(BTreeMap<&'t str, Vec<Write<'t>>>);

impl<'t> Writes<'t> {
    /// All calls of a trace that may have changed something.
    pub fn of(trace: &'t Trace) -> Self {
        let mut by_callee: BTreeMap<&str, Vec<Write<'_>>> = BTreeMap::new();
        let may_change = |call: &Call<'_>| {
            call.class() != EffectClass::Safe
                && call.effect() != Effect::None
                && !call.facts().is_housekeeping()
        };
        for call in trace.calls().filter(may_change) {
            let Some(callee) = call.callee() else { continue };
            let position = trace.depth_first_position(call.at());
            let collection = collection(call);
            by_callee.entry(callee).or_default().push(Write { position, collection });
        }
        for writes in by_callee.values_mut() {
            writes.sort_unstable_by_key(|write| write.position);
        }
        Self(by_callee)
    }

    /// Something went to the callee of these calls between the first and the last of them; to another table of a
    /// database does not count.
    pub fn is_between(&self, calls: &[Call<'t>]) -> bool {
        let [first, .., last] = calls else { return false };
        let Some(writes) = first.callee().and_then(|callee| self.0.get(callee)) else { return false };
        let position = |call: &Call<'_>| call.trace().depth_first_position(call.at());
        let (from, to) = (position(first), position(last));
        let begun = writes.partition_point(|write| write.position <= from);
        let same = |write: &Write<'_>| {
            let (own, theirs) = (collection(*first), write.collection);
            own.is_none() || theirs.is_none() || own == theirs
        };
        writes[begun..].iter().take_while(|write| write.position < to).any(same)
    }
}

fn collection(call: Call<'_>) -> Option<&str> {
    call.facts().db.collection.as_deref().filter(|_| call.role() == Role::Db)
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::super::build::Build;
    use super::*;

    #[test]
    fn a_write_to_the_same_table_stands_between() {
        for (statement, table, expected) in [
            ("UPDATE users", "users", true),
            ("UPDATE orders", "orders", false),
            ("SELECT orders", "users", false),
        ] {
            let mut build = Build::default();
            let owner = build.span(0, "web", Kind::Server, "GET /", 0, 100_000);
            for (number, (text, table)) in
                [("SELECT users", "users"), (statement, table), ("SELECT users", "users")].iter().enumerate()
            {
                build.statement(owner, "web", text, number as i64 * 10_000, 5_000);
                build.last().facts.db.collection = Some((*table).into());
            }
            let trace = build.trace();
            let reads: Vec<Call<'_>> = trace.calls().step_by(2).collect();
            assert_eq!(Writes::of(&trace).is_between(&reads), expected, "{statement}");
        }
    }
}
