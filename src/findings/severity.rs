//! How bad an occurrence is: the one table for all rules, from what it costs and what kind of harm it does.

use std::time::Duration;

use crate::rules::{
    Crossed, Diverged, Duplicated, Exposed, HalfDone, Harm, Held, Loaded, Occurrence, Severity, Unresolved,
};

/// What softens a judgement: nobody waits, or nobody real does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Circumstances {
    /// The unit is batch work.
    pub(super) batch: bool,
    /// The trace's root calls itself a synthetic test.
    pub(super) synthetic_test: bool,
}

/// | harm | critical | high | medium | low |
/// |---|---|---|---|---|
/// | duplicated | confirmed, or a key per attempt | hedged, republished, or the first attempt's server seen | blind | harmless this time |
/// | diverged | not idempotent, and reported as failure | not idempotent, hidden from the user | only idempotent writes | the caller's caller had left |
/// | unresolved | | not idempotent | a message | idempotent, or made in passing |
/// | half done | not idempotent, elsewhere | otherwise | only own rows and messages | |
/// | masked | | all of it, or not idempotent | else | |
/// | failing | | requests fail with another's system | | |
/// | skewed | | ≥ 5 s | ≥ 1 s | less |
/// | exposed | credentials in the clear, a key to an account | in the clear or unverified to another host, other secrets | an obsolete protocol | only to be redirected, of a lesser environment, soon |
/// | crossed | writes to production | production otherwise | | other environments |
/// | volume | | ≥ 10 MiB, ≥ 10 000 rows | less | |
/// | held | | and something may change meanwhile | threads and connections | work for nobody, reading only |
/// | loaded | ninefold | several times, or without a pause | what cannot succeed | |
/// | churned | | ≥ 50 % of the time waited for | less | |
/// | time | ≥ 1 s and ≥ 50 % of the unit | ≥ 300 ms; calls per item: ≥ 50, or ≥ 50 ms and ≥ 50 % | ≥ 50 ms | less |
pub(super) fn severity(rule: &str, occurrence: &Occurrence, circumstances: Circumstances) -> Severity {
    let full = match occurrence.harm {
        Harm::Time { share } => time(rule, occurrence, share),
        Harm::Duplicated(how) => match how {
            Duplicated::Confirmed => Severity::Critical,
            Duplicated::Likely => Severity::High,
            Duplicated::Blind => Severity::Medium,
            Duplicated::Harmless => Severity::Low,
        },
        Harm::Diverged(how) => match how {
            Diverged::Reported => Severity::Critical,
            Diverged::Hidden => Severity::High,
            Diverged::Repeatable => Severity::Medium,
            Diverged::CallerLeft => Severity::Low,
        },
        Harm::Exposed(how) => match how {
            Exposed::Plain => Severity::High,
            Exposed::Account => Severity::Critical,
            Exposed::Obsolete => Severity::Medium,
            Exposed::Redirected | Exposed::Lesser => Severity::Low,
        },
        Harm::Unresolved(how) => match how {
            Unresolved::Adds => Severity::High,
            Unresolved::Published => Severity::Medium,
            Unresolved::Repeatable => Severity::Low,
        },
        Harm::HalfDone(how) => match how {
            HalfDone::Elsewhere => Severity::Critical,
            HalfDone::Partly => Severity::High,
            HalfDone::Own => Severity::Medium,
        },
        Harm::Masked { wholly: true } | Harm::Failing => Severity::High,
        Harm::Masked { wholly: false } => Severity::Medium,
        Harm::Skewed { by } if Duration::from_secs(5) <= by => Severity::High,
        Harm::Skewed { by } if Duration::from_secs(1) <= by => Severity::Medium,
        Harm::Skewed { .. } => Severity::Low,
        Harm::Crossed(how) => match how {
            Crossed::WritesProduction => Severity::Critical,
            Crossed::Production => Severity::High,
            Crossed::Others => Severity::Low,
        },
        Harm::Volume { large: most } | Harm::Churned { mostly: most } => {
            if most {
                Severity::High
            } else {
                Severity::Medium
            }
        }
        Harm::Held(how) => match how {
            Held::Hard => Severity::High,
            Held::Softly => Severity::Medium,
            Held::ForNobody | Held::Lightly => Severity::Low,
        },
        Harm::Loaded(how) => match how {
            Loaded::Ninefold => Severity::Critical,
            Loaded::Heavily => Severity::High,
            Loaded::Uselessly => Severity::Medium,
        },
    };
    let after_batch = if circumstances.batch { full.step_down() } else { full };
    if circumstances.synthetic_test { after_batch.step_down() } else { after_batch }
}

fn time(rule: &str, occurrence: &Occurrence, share: f64) -> Severity {
    // Calls that need not be; with the one that must be they are 50.
    const MANY_REPEATS: u32 = 49;
    let saved = occurrence.cost.time;
    let at_least = |millis| Duration::from_millis(millis) <= saved;
    let grows_with_data =
        rule == "n_plus_one" && (MANY_REPEATS <= occurrence.cost.calls || (at_least(50) && 0.5 <= share));
    if at_least(1000) && 0.5 <= share {
        Severity::Critical
    } else if at_least(300) || grows_with_data {
        Severity::High
    } else if at_least(50) {
        Severity::Medium
    } else {
        Severity::Low
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SpanIdx;
    use crate::rules::{Confidence, Cost};

    fn occurrence(harm: Harm, millis: u64, calls: u32) -> Occurrence {
        Occurrence {
            at: SpanIdx(0),
            variant: "x",
            family: "x",
            group: String::new(),
            headline: String::new(),
            why: String::new(),
            evidence: Vec::new(),
            cost: Cost { time: Duration::from_millis(millis), calls, ..Cost::default() },
            harm,
            confidence: Confidence::High,
            not_visible: Vec::new(),
        }
    }

    #[test]
    fn time_is_as_bad_as_it_is_long_for_whoever_waits() {
        let plain = Circumstances::default();
        for (millis, share, calls, chatty, per_item) in [
            (1000, 0.5, 5, Severity::Critical, Severity::Critical),
            (1000, 0.4, 5, Severity::High, Severity::High),
            (300, 0.1, 5, Severity::High, Severity::High),
            (60, 0.6, 5, Severity::Medium, Severity::High),
            (60, 0.4, 5, Severity::Medium, Severity::Medium),
            (10, 0.9, 5, Severity::Low, Severity::Low),
            (10, 0.1, 49, Severity::Low, Severity::High),
        ] {
            let occurrence = occurrence(Harm::Time { share }, millis, calls);
            assert_eq!(severity("chatty_sequential_calls", &occurrence, plain), chatty, "{millis} {share}");
            assert_eq!(severity("n_plus_one", &occurrence, plain), per_item, "{millis} {share} {calls}");
        }
    }

    #[test]
    fn what_nobody_knows_or_undoes_weighs_as_much_as_it_can_cost() {
        for (harm, expected) in [
            (Harm::Unresolved(Unresolved::Adds), Severity::High),
            (Harm::Unresolved(Unresolved::Repeatable), Severity::Low),
            (Harm::HalfDone(HalfDone::Elsewhere), Severity::Critical),
            (Harm::HalfDone(HalfDone::Own), Severity::Medium),
            (Harm::Masked { wholly: true }, Severity::High),
            (Harm::Masked { wholly: false }, Severity::Medium),
            (Harm::Skewed { by: Duration::from_secs(5) }, Severity::High),
            (Harm::Skewed { by: Duration::from_millis(4999) }, Severity::Medium),
            (Harm::Skewed { by: Duration::from_millis(350) }, Severity::Low),
            (Harm::Exposed(Exposed::Obsolete), Severity::Medium),
        ] {
            assert_eq!(
                severity("x", &occurrence(harm, 0, 0), Circumstances::default()),
                expected,
                "{harm:?}"
            );
        }
    }

    #[test]
    fn batch_work_and_synthetic_tests_weigh_less() {
        let twice = occurrence(Harm::Duplicated(Duplicated::Confirmed), 0, 1);
        let judged = |batch, synthetic_test| severity("r", &twice, Circumstances { batch, synthetic_test });
        assert_eq!(judged(false, false), Severity::Critical);
        assert_eq!(judged(true, false), Severity::High);
        assert_eq!(judged(true, true), Severity::Medium);
    }
}
