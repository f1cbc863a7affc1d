//! A look counts once, and only while its claim stands.

use std::time::Duration;

use debunk::config::Suppression;
use debunk::findings::life::Gate;
use debunk::findings::{Call, Evidence, Fingerprint, Judged, Judgement, Summary, Unit};
use debunk::model::{Effect, EffectClass, Outcome, Role, SpanId, TraceId};
use debunk::rules::{Confidence, Cost, Fallacy, Severity};
use debunk::store::{Change, Claimed, Claims, Finished, NewDelivery, Policy, encode};

use super::{Writing, days, export, span};
use crate::support::database::Database;

const AT_ONCE: Claims = Claims {
    quiet: Duration::ZERO,
    max_wait: Duration::from_mins(5),
    lease: Duration::from_secs(30),
    limit: 100,
};

pub(super) const POLICY: Policy<'static> = Policy {
    min_confidence: Confidence::Medium,
    gate: Gate { high: 2, medium: 3 },
    within: Duration::from_hours(24),
    settle: Duration::from_millis(300),
    suppressions: &[],
};

/// A database with a writer, and looks at what it holds.
pub(super) struct Judging {
    pub(super) database: Database,
    writing: Writing,
}

impl Judging {
    pub(super) async fn start() -> Self {
        let database = Database::fresh().await;
        // Spans are an hour old, which just after midnight is another day.
        database.store.ensure_day(debunk::clock::now().date()).await.unwrap();
        let writing = Writing::start(&database);
        Self { database, writing }
    }

    /// Stores one span of each trace.
    pub(super) async fn store(&self, traces: &[u8], id: u8) {
        let spans = traces.iter().map(|trace| span(*trace, id, "x")).collect();
        self.writing.writer.write(encode(export(spans), &days())).await.unwrap();
    }

    async fn claim(&self) -> Vec<Claimed> {
        self.database.store.claim(&AT_ONCE).await.unwrap()
    }

    async fn finish(&self, claimed: &[Claimed], find: impl Fn(u8) -> Vec<Judged>) -> Vec<Finished> {
        self.finish_under(&POLICY, claimed, find).await
    }

    async fn finish_under(
        &self,
        policy: &Policy<'_>,
        claimed: &[Claimed],
        find: impl Fn(u8) -> Vec<Judged>,
    ) -> Vec<Finished> {
        let looks: Vec<(Claimed, Judgement)> =
            claimed.iter().map(|one| (one.clone(), judgement(one, find(number(one))))).collect();
        self.database.store.finish(&looks, policy, &tell).await.unwrap()
    }

    /// Claims what is due and finishes it.
    pub(super) async fn judge(&self, find: impl Fn(u8) -> Vec<Judged>) {
        let claimed = self.claim().await;
        assert!(!claimed.is_empty());
        let finished = self.finish(&claimed, find).await;
        assert!(finished.iter().all(|one| *one == Finished::Done), "{finished:?}");
    }

    /// The same where the settings suppress something.
    pub(super) async fn judge_but_for(&self, suppressions: &[Suppression], find: impl Fn(u8) -> Vec<Judged>) {
        let policy = Policy { suppressions, ..POLICY };
        let claimed = self.claim().await;
        assert_eq!(self.finish_under(&policy, &claimed, find).await, [Finished::Done]);
    }

    /// Puts every judged trace on the list again.
    pub(super) async fn again(&self) {
        let all = "insert into pending (trace_id, first_day, last_day) select trace_id, first_day, last_day from traces";
        sqlx::query(all).execute(&self.database.pool).await.unwrap();
    }

    pub(super) async fn text(&self, query: &'static str) -> Vec<String> {
        sqlx::query_scalar(query).fetch_all(&self.database.pool).await.unwrap()
    }

    pub(super) async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.database.pool).await.unwrap()
    }

    pub(super) async fn findings(&self) -> Vec<String> {
        self.text("select f::text from findings f order by fingerprint").await
    }

    pub(super) async fn status(&self) -> String {
        self.text("select status || ' ' || occurrences from findings").await.join(", ")
    }
}

pub(super) fn tell(change: &Change) -> Vec<NewDelivery> {
    let payload = format!(
        "{} {} example={}",
        change.event.id(),
        change.finding.occurrences,
        change.example.as_ref().map_or("none", |example| &example.why)
    );
    vec![NewDelivery { receiver: "ops".to_owned(), payload }]
}

fn number(claimed: &Claimed) -> u8 {
    claimed.trace_id.0 as u8
}

pub(super) fn found(fingerprint: u64, confidence: Confidence) -> Judged {
    Judged {
        fingerprint: Fingerprint(fingerprint),
        rule: "n_plus_one",
        fallacy: Fallacy::TransportCostIsZero,
        variant: "loop",
        environment: "production".to_owned(),
        service: "shop".to_owned(),
        operation: "GET /cart".to_owned(),
        callee: Some("db".to_owned()),
        headline: "one call per item".to_owned(),
        why: "6 calls".to_owned(),
        severity: Severity::High,
        confidence,
        cost: Cost { time: Duration::from_millis(40), calls: 5, ..Cost::default() },
        span_id: SpanId(7),
        version: None,
        evidence: vec![Evidence {
            span_id: SpanId(7).to_string(),
            role: "call".to_owned(),
            service: "shop".to_owned(),
            operation: "SELECT item".to_owned(),
            offset_ms: 0.5,
            duration_ms: 8.0,
            note: String::new(),
        }],
        not_visible: vec!["the statement's values".to_owned()],
        drawing: "|==|".to_owned(),
        absorbed_by: None,
    }
}

pub(super) fn judgement(claimed: &Claimed, occurrences: Vec<Judged>) -> Judgement {
    Judgement {
        trace_id: claimed.trace_id,
        summary: Summary {
            service: "shop".to_owned(),
            operation: "GET /cart".to_owned(),
            environment: "production".to_owned(),
            start_ns: 5,
            duration_ns: 60_000_000,
            spans: 7,
            services: 2,
            errors: 0,
            complete: true,
            defects: vec!["one oddity".to_owned(), "another".to_owned()],
        },
        units: vec![Unit {
            span_id: SpanId(1),
            environment: "production".to_owned(),
            service: "shop".to_owned(),
            instance: None,
            version: Some("1.2".to_owned()),
            operation: "GET /cart".to_owned(),
            kind: "server",
            root: true,
            orphan: false,
            duration_ns: 60_000_000,
            outcome: Outcome::Ok,
        }],
        calls: vec![Call {
            span_id: SpanId(7),
            unit_span_id: SpanId(1),
            environment: "production".to_owned(),
            caller: "shop".to_owned(),
            callee: "db".to_owned(),
            callee_instance: None,
            role: Role::Db,
            operation: "SELECT item".to_owned(),
            class: EffectClass::Safe,
            outcome: Outcome::Ok,
            effect: Effect::None,
            code: None,
            duration_ns: 8_000_000,
            server_duration_ns: None,
            attempts: 1,
        }],
        occurrences,
        unsettled: false,
        panicked: Vec::new(),
    }
}

fn medium(_: u8) -> Vec<Judged> {
    vec![found(1, Confidence::Medium)]
}

#[tokio::test]
async fn judging_thrice_leaves_every_finding_as_it_was() {
    let judging = Judging::start().await;
    judging.store(&[1, 2, 3, 4], 1).await;
    let find = |trace| {
        let sure = if trace == 2 { Confidence::Confirmed } else { Confidence::Medium };
        vec![found(1, sure), found(1 + u64::from(trace), Confidence::Medium), found(9, Confidence::High)]
    };
    judging.judge(find).await;
    let rows = "select f::text from findings f union all select h::text from finding_hours h \
                union all select o::text from occurrences o union all select d::text from deliveries d order by 1";
    let (findings, all) = (judging.findings().await, judging.text(rows).await);
    assert_eq!(findings.len(), 6);
    for _ in 0..2 {
        judging.again().await;
        judging.judge(find).await;
        assert_eq!(judging.findings().await, findings);
        assert_eq!(judging.text(rows).await, all);
    }
    assert_eq!(judging.count("select count(*) from traces").await, 4);
    assert_eq!(judging.count("select count(*) from units").await, 4);
    assert_eq!(judging.count("select count(*) from calls").await, 4);
}

#[tokio::test]
async fn a_span_that_arrives_during_the_look_voids_it() {
    let judging = Judging::start().await;
    judging.store(&[1, 2], 1).await;
    let claimed = judging.claim().await;
    judging.store(&[2], 2).await;
    let finished = judging.finish(&claimed, medium).await;
    assert_eq!(finished, [Finished::Done, Finished::Fenced]);
    assert_eq!(judging.count("select count(*) from occurrences").await, 1);
    assert_eq!(judging.count("select count(*) from pending").await, 1);
    let again = judging.claim().await;
    assert_eq!(again.iter().map(number).collect::<Vec<_>>(), [2]);
    assert_eq!(judging.finish(&again, medium).await, [Finished::Done]);
    assert_eq!(judging.status().await, "candidate 2");
}

#[tokio::test]
async fn a_look_that_was_lost_is_taken_over_after_its_lease() {
    let judging = Judging::start().await;
    judging.store(&[1], 1).await;
    let short = Claims { lease: Duration::from_millis(200), ..AT_ONCE };
    let lost = judging.database.store.claim(&short).await.unwrap();
    assert_eq!(lost.len(), 1);
    assert_eq!(judging.claim().await, []);
    tokio::time::sleep(Duration::from_millis(250)).await;
    let taken = judging.claim().await;
    assert_eq!(taken[0].attempts, 2);
    // The first one was only slow.
    assert_eq!(judging.finish(&lost, medium).await, [Finished::Fenced]);
    assert_eq!(judging.count("select count(*) from occurrences").await, 0);
    assert_eq!(judging.finish(&taken, medium).await, [Finished::Done]);
    assert_eq!(judging.finish(&taken, medium).await, [Finished::Fenced]);
    assert_eq!(judging.finish(&lost, medium).await, [Finished::Fenced]);
    assert_eq!(judging.status().await, "candidate 1");
}

#[tokio::test]
async fn a_late_span_replaces_the_look_and_takes_back_what_it_said() {
    let judging = Judging::start().await;
    judging.store(&[1, 2, 3], 1).await;
    judging.judge(medium).await;
    assert_eq!(judging.status().await, "open 3");
    judging.store(&[2], 2).await;
    let late = judging.claim().await;
    assert_eq!(late.iter().map(number).collect::<Vec<_>>(), [2]);
    assert_eq!(judging.finish(&late, |_| Vec::new()).await, [Finished::Done]);
    assert_eq!(judging.status().await, "candidate 2");
    assert_eq!(judging.count("select sum(occurrences)::bigint from finding_hours").await, 2);
    // And back again: another change, another delivery.
    judging.store(&[2], 3).await;
    judging.judge(medium).await;
    assert_eq!(judging.status().await, "open 3");
    let told =
        judging.text("select transition || ' ' || event || ' ' || payload from deliveries order by 1").await;
    assert_eq!(
        told,
        [
            "1 finding.opened finding.opened 3 example=6 calls",
            "2 finding.resolved finding.resolved 2 example=6 calls",
            "3 finding.opened finding.opened 3 example=6 calls",
        ]
    );
}

#[tokio::test]
async fn a_finding_that_lost_all_its_traces_stays_a_candidate_without_any() {
    let judging = Judging::start().await;
    judging.store(&[1], 1).await;
    judging.judge(|_| vec![found(1, Confidence::Confirmed)]).await;
    assert_eq!(judging.status().await, "open 1");
    judging.again().await;
    judging.judge(|_| Vec::new()).await;
    assert_eq!(judging.status().await, "candidate 0");
    assert_eq!(judging.count("select count(*) from finding_hours").await, 0);
    let told = judging.text("select payload from deliveries order by transition").await;
    assert_eq!(told[1], "finding.resolved 0 example=none");
}

#[tokio::test]
async fn gates_count_distinct_traces_by_confidence() {
    let judging = Judging::start().await;
    judging.store(&[1, 2], 1).await;
    let two_places = || {
        let other = Judged { span_id: SpanId(8), ..found(1, Confidence::Medium) };
        vec![found(1, Confidence::Medium), other, found(2, Confidence::High)]
    };
    judging.judge(|_| two_places()).await;
    let statuses =
        "select fingerprint || ' ' || status || ' ' || occurrences || ' ' || traces from findings order by 1";
    assert_eq!(judging.text(statuses).await, ["1 candidate 4 2", "2 open 2 2"]);
    judging.store(&[3], 1).await;
    judging.judge(|_| two_places()).await;
    assert_eq!(judging.text(statuses).await, ["1 open 6 3", "2 open 3 3"]);
}

#[tokio::test]
async fn low_and_absorbed_occurrences_are_kept_but_not_counted() {
    let judging = Judging::start().await;
    judging.store(&[1], 1).await;
    let absorbed = Judged { absorbed_by: Some(Fingerprint(3)), ..found(2, Confidence::Confirmed) };
    judging.judge(|_| vec![found(1, Confidence::Low), absorbed.clone(), found(3, Confidence::Medium)]).await;
    assert_eq!(judging.count("select count(*) from occurrences").await, 3);
    assert_eq!(judging.text("select fingerprint || ' ' || occurrences from findings").await, ["3 1"]);
    assert_eq!(judging.count("select occurrences::bigint from traces").await, 1);
}

#[tokio::test]
async fn an_unsettled_trace_is_looked_at_once_more() {
    let judging = Judging::start().await;
    judging.store(&[1], 1).await;
    let unsettled = |claimed: &[Claimed]| -> Vec<(Claimed, Judgement)> {
        let judgement = |one: &Claimed| Judgement { unsettled: true, ..judgement(one, Vec::new()) };
        claimed.iter().map(|one| (one.clone(), judgement(one))).collect()
    };
    let first = judging.claim().await;
    assert!(!first[0].settled);
    let finished = judging.database.store.finish(&unsettled(&first), &POLICY, &tell).await.unwrap();
    assert_eq!(finished, [Finished::Settling]);
    assert_eq!(judging.claim().await, []);
    tokio::time::sleep(POLICY.settle + Duration::from_millis(50)).await;
    let second = judging.claim().await;
    assert!(second[0].settled);
    let finished = judging.database.store.finish(&unsettled(&second), &POLICY, &tell).await.unwrap();
    assert_eq!(finished, [Finished::Done]);
    assert_eq!(judging.count("select count(*) from pending").await, 0);
}

#[tokio::test]
async fn a_trace_that_is_never_quiet_is_judged_all_the_same() {
    let judging = Judging::start().await;
    judging.store(&[1], 1).await;
    let restless = Claims { quiet: Duration::from_mins(1), max_wait: Duration::ZERO, ..AT_ONCE };
    let claimed = judging.database.store.claim(&restless).await.unwrap();
    assert!(claimed[0].overdue);
    judging.store(&[1], 2).await;
    assert_eq!(judging.finish(&claimed, medium).await, [Finished::Again]);
    assert_eq!(judging.status().await, "candidate 1");
    assert_eq!(judging.count("select count(*) from pending").await, 1);
}

#[tokio::test]
async fn each_look_at_new_spans_doubles_the_pause() {
    let judging = Judging::start().await;
    let patient = Claims { quiet: Duration::from_millis(400), ..AT_ONCE };
    judging.store(&[1], 1).await;
    assert_eq!(judging.database.store.claim(&patient).await.unwrap(), []);
    tokio::time::sleep(Duration::from_millis(450)).await;
    let first = judging.database.store.claim(&patient).await.unwrap();
    judging.finish(&first, medium).await;
    judging.store(&[1], 2).await;
    tokio::time::sleep(Duration::from_millis(450)).await;
    assert_eq!(judging.database.store.claim(&patient).await.unwrap(), []);
    tokio::time::sleep(Duration::from_millis(450)).await;
    let second = judging.database.store.claim(&patient).await.unwrap();
    assert_eq!(second.iter().map(|one| one.attempts).collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn a_late_span_of_another_day_finds_the_spans_of_the_first() {
    let judging = Judging::start().await;
    judging.store(&[1], 1).await;
    judging.judge(medium).await;
    let mut late = span(1, 2, "a day later by its clock");
    late.start_time_unix_nano -= 2 * 86_400 * 1_000_000_000;
    judging.writing.writer.write(encode(export(vec![late]), &days())).await.unwrap();
    let claimed = judging.claim().await;
    let loaded = judging.database.store.load(&[claimed[0].days()], 10).await.unwrap();
    assert_eq!(loaded[0].spans.len(), 2);
    assert_eq!(judging.finish(&claimed, medium).await, [Finished::Done]);
    assert_eq!(judging.count("select count(*) from occurrences").await, 1);
    assert_eq!(judging.count("select count(*) from traces").await, 1);
    assert_eq!(judging.status().await, "candidate 1");
}

#[tokio::test]
async fn replicas_that_finish_at_once_lose_no_count() {
    let judging = Judging::start().await;
    let traces: Vec<u8> = (1..=60).collect();
    judging.store(&traces, 1).await;
    let few = Claims { limit: 5, ..AT_ONCE };
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = judging.database.store.clone();
        tasks.spawn(async move {
            loop {
                let claimed = store.claim(&few).await.unwrap();
                if claimed.is_empty() {
                    return;
                }
                let find = |one: &Claimed| {
                    (0..3).map(|n| found(u64::from(number(one) + n) % 5, Confidence::Medium)).collect()
                };
                let looks: Vec<_> =
                    claimed.iter().map(|one| (one.clone(), judgement(one, find(one)))).collect();
                let finished = store.finish(&looks, &POLICY, &tell).await.unwrap();
                assert!(finished.iter().all(|one| *one == Finished::Done), "{finished:?}");
            }
        });
    }
    tasks.join_all().await;
    let rows = "select fingerprint || ' ' || status || ' ' || occurrences from findings order by 1";
    let expected: Vec<String> = (0..5).map(|n| format!("{n} open 36")).collect();
    assert_eq!(judging.text(rows).await, expected);
    assert_eq!(judging.count("select count(*) from deliveries").await, 5);
}

#[tokio::test]
async fn no_text_of_a_judgement_can_break_it() {
    let judging = Judging::start().await;
    judging.store(&[1], 1).await;
    let claimed = judging.claim().await;
    let evil = || "a\0b\u{202e}\\u0000'; drop table spans; --".to_owned();
    let mut finding = found(1, Confidence::Confirmed);
    finding.service = evil();
    finding.operation = evil();
    finding.callee = Some(evil());
    finding.headline = evil();
    finding.why = evil();
    finding.drawing = evil();
    finding.version = Some(evil());
    finding.not_visible = vec![evil()];
    finding.evidence[0].note = evil();
    let mut look = judgement(&claimed[0], vec![finding]);
    look.summary.defects = vec![evil()];
    look.units[0].operation = evil();
    look.calls[0].code = Some(evil());
    let finished =
        judging.database.store.finish(&[(claimed[0].clone(), look)], &POLICY, &tell).await.unwrap();
    assert_eq!(finished, [Finished::Done]);
    assert_eq!(judging.text("select why from occurrences").await, [evil().replace('\0', "\u{fffd}")]);
    assert_eq!(
        judging.text("select evidence->0->>'note' from occurrences").await,
        [evil().replace('\0', "\u{fffd}")]
    );
}

#[tokio::test]
async fn what_cannot_be_judged_is_given_up_unless_it_changed() {
    let judging = Judging::start().await;
    judging.store(&[1, 2], 1).await;
    let claimed = judging.claim().await;
    assert_eq!(judging.database.store.backlog(Duration::ZERO).await.unwrap().traces, 2);
    judging.store(&[2], 2).await;
    assert_eq!(judging.database.store.give_up(&claimed).await.unwrap(), 1);
    let left = judging.claim().await;
    assert_eq!(left[0].trace_id, TraceId::from_bytes(&[2; 16]).unwrap());
    assert_eq!(left[0].attempts, 1);
}
