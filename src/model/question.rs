//! Questions: requests that are equal as far as anybody can see, and answers that asking again does not change.

use std::collections::BTreeSet;

use super::{Arguments, Attempt, Call, EffectClass, Role, Unit, words};

/// Longest time between two requests of which one is the other's repetition.
const LONGEST_GAP_NS: i64 = 60_000_000_000;
/// What a clock that counts whole milliseconds may be off.
const SLACK_NS: i64 = 1_000_000;

/// What two requests must share to be one question.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question<'t> {
    callee: Option<&'t str>,
    role: Role,
    template: &'t str,
    arguments: Arguments<'t>,
}

/// A code that asking again does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalCode<'t> {
    /// Of HTTP.
    Status(u16),
    /// Of an RPC.
    Rpc(&'t str),
}

impl<'t> Call<'t> {
    /// It only asks, and all that it asks is visible.
    pub fn is_open_question(self) -> bool {
        let (facts, attempt) = (self.facts(), self.first());
        let is_of_kind = match facts.role {
            Role::Http => !attempt.may_have_body(),
            Role::Db | Role::Cache => !facts.is_housekeeping() && facts.db.batch < 2 && !facts.db.truncated,
            Role::Remote => true,
            _ => false,
        };
        is_of_kind
            && self.class() == EffectClass::Safe
            && self.is_sync()
            && self.callee().is_some()
            && attempt.arguments_visible()
            && !facts.self_defence
    }

    /// Whoever waits for a lock, for news, or for the next of something asks again on purpose.
    pub fn is_asked_on_purpose(self) -> bool {
        let facts = self.facts();
        self.first().is_streaming()
            || facts.takes_the_next()
            || facts.hides_operation()
            || facts.is_patient()
            || words(self.template()).any(is_of_lock)
    }

    /// What it asks.
    pub fn question(self) -> Question<'t> {
        let (callee, role, template) = (self.callee(), self.role(), self.template());
        Question { callee, role, template, arguments: self.first().arguments() }
    }
}

impl<'t> Attempt<'t> {
    /// Its answer, if that is one which asking again does not change. (A 401 asks for credentials.)
    pub fn final_code(self) -> Option<FinalCode<'t>> {
        const RPC: &[&str] =
            &["INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED", "UNIMPLEMENTED", "UNAUTHENTICATED"];
        match self.status() {
            Some(status @ (400 | 403 | 404 | 405 | 410 | 413 | 415 | 422)) => Some(FinalCode::Status(status)),
            Some(_) => None,
            None => self.rpc_code().filter(|code| RPC.contains(code)).map(FinalCode::Rpc),
        }
    }
}

impl<'t> Unit<'t> {
    /// Calls one after another, nothing in between, that ask the same and get the same final answer, in runs of this
    /// many or more. Where the answer did change, asking again was right.
    pub fn asked_in_vain(self, fewest: usize) -> Vec<Vec<Call<'t>>> {
        let mut runs: Vec<Vec<Call<'t>>> = Vec::new();
        let mut open = false;
        for call in self.calls() {
            let first = call.first();
            let asks = call.role() == Role::Http
                && first.final_code().is_some()
                && !call.is_retried()
                && call.is_open_question();
            match runs.last_mut() {
                Some(run) if open && asks && goes_on(run[run.len() - 1], call) => run.push(call),
                _ if asks => runs.push(vec![call]),
                _ => {}
            }
            open = asks;
        }
        runs.retain(|run| fewest <= run.len());
        if !runs.is_empty() {
            let answered: BTreeSet<Question<'t>> =
                self.calls().filter(|call| !call.failed()).map(Call::question).collect();
            runs.retain(|run| !run[0].is_asked_on_purpose() && !answered.contains(&run[0].question()));
        }
        runs
    }
}

/// Also `SELECT … FOR UPDATE`.
fn is_of_lock(word: &str) -> bool {
    ["lock", "locks", "lease", "mutex", "semaphore", "update", "share"]
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known))
}

fn goes_on(before: Call<'_>, next: Call<'_>) -> bool {
    let pause = next.start_ns().saturating_sub(before.end_ns());
    (-SLACK_NS..=LONGEST_GAP_NS).contains(&pause)
        && before.first().final_code() == next.first().final_code()
        && before.question() == next.question()
}

#[cfg(test)]
mod tests {
    use super::super::build::Build;
    use super::super::{Effect, Kind, Outcome};

    fn asked(answers: &[u16]) -> Vec<usize> {
        let mut build = Build::default();
        let owner = build.span(0, "web", Kind::Server, "GET /items/{}", 0, 1_000_000);
        for (number, answer) in answers.iter().enumerate() {
            let id = build.request(owner, "web", "stock", "GET /{}", number as i64 * 20_000, 10_000);
            let facts = &mut build.at(id).facts;
            facts.http.method = Some("GET".into());
            facts.http.path = Some("/88417".into());
            facts.http.status = Some(*answer);
            facts.arguments_visible = true;
            if 400 <= *answer {
                build.failed(id, Outcome::Error, Effect::None, 6, true);
            }
        }
        let trace = build.trace();
        trace.units().next().unwrap().asked_in_vain(3).iter().map(Vec::len).collect()
    }

    #[test]
    fn the_same_final_answer_again_and_again_is_in_vain() {
        assert_eq!(asked(&[404, 404, 404, 404]), [4]);
        assert_eq!(asked(&[404, 404]), [0; 0]);
        assert_eq!(asked(&[404, 404, 410, 410]), [0; 0]);
        assert_eq!(asked(&[404, 404, 404, 200]), [0; 0]);
        assert_eq!(asked(&[401, 401, 401]), [0; 0]);
    }
}
