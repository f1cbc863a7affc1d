//! What people decide holds, is logged, and is told as long as nothing is muted.

use std::time::Duration;

use debunk::clock;
use debunk::config::Suppression;
use debunk::findings::Fingerprint;
use debunk::findings::decision::{Action, Decision, Reason};
use debunk::rules::Confidence;
use debunk::store::Decided;

use super::judge::{Judging, found, tell};

const STORY: &str = "select status || ' ' || handling || ' ' || reopened from findings";
const TOLD: &str = "select transition || ' ' || event from deliveries order by transition";
const LOG: &str = "select event || ' ' || reason from changes order by transition";
const DECIDED: &str = "select concat_ws(' ', action, reason, note, who) from decisions order by id";

async fn open(trace: u8) -> Judging {
    let judging = Judging::start().await;
    judging.store(&[trace], 1).await;
    judging.judge(|_| vec![found(1, Confidence::Confirmed)]).await;
    judging
}

fn wish(action: Action) -> Decision {
    Decision { action, reason: None, until: None, note: None }
}

/// Whether it holds; `false` where it does not apply.
async fn decide(judging: &Judging, decision: &Decision) -> bool {
    match judging.database.store.decide(Fingerprint(1), decision, Some("ann"), &tell).await.unwrap() {
        Decided::Done(_) => true,
        Decided::DoesNotApply(_) => false,
        Decided::Unknown => panic!("the finding is gone"),
    }
}

async fn seen_again(judging: &Judging, trace: u8) {
    judging.store(&[trace], 1).await;
    judging.judge(|_| vec![found(1, Confidence::Confirmed)]).await;
}

#[tokio::test]
async fn what_a_person_resolved_comes_back_with_new_traffic_and_is_new_again() {
    let judging = open(1).await;
    assert!(decide(&judging, &wish(Action::Acknowledge)).await);
    assert!(!decide(&judging, &wish(Action::Acknowledge)).await, "it is acknowledged already");
    assert!(decide(&judging, &Decision { note: Some("fixed".to_owned()), ..wish(Action::Resolve) }).await);
    assert!(!decide(&judging, &wish(Action::Resolve)).await, "it is resolved already");
    assert_eq!(judging.text(STORY).await, ["resolved acknowledged 0"]);
    judging.again().await;
    judging.judge(|_| vec![found(1, Confidence::Confirmed)]).await;
    assert_eq!(judging.text(STORY).await, ["resolved acknowledged 0"], "an old trace proves nothing new");
    seen_again(&judging, 2).await;
    assert_eq!(judging.text(STORY).await, ["open none 1"]);
    let told = ["1 finding.opened", "2 finding.acknowledged", "3 finding.resolved", "4 finding.reopened"];
    assert_eq!(judging.text(TOLD).await, told);
    let log = [
        "finding.opened gate",
        "finding.acknowledged person",
        "finding.resolved person",
        "finding.reopened recurred",
    ];
    assert_eq!(judging.text(LOG).await, log);
    assert_eq!(judging.text(DECIDED).await, ["acknowledge ann", "resolve fixed ann"]);
}

#[tokio::test]
async fn nobody_hears_of_what_is_muted_until_it_no_longer_is() {
    let judging = open(1).await;
    let until = clock::now() + Duration::from_hours(1);
    let mute = Decision { reason: Some(Reason::Accepted), until: Some(until), ..wish(Action::Mute) };
    assert!(decide(&judging, &mute).await);
    assert!(decide(&judging, &wish(Action::Resolve)).await);
    seen_again(&judging, 2).await;
    assert_eq!(judging.text(STORY).await, ["open muted 1"]);
    assert_eq!(judging.count("select occurrences from findings").await, 2, "it is counted");
    assert_eq!(judging.text(TOLD).await, ["1 finding.opened", "2 finding.muted"]);

    let store = &judging.database.store;
    assert_eq!(store.end_mutes(until - Duration::from_secs(1), &tell).await.unwrap(), 0);
    assert_eq!(store.end_mutes(until, &tell).await.unwrap(), 1);
    assert_eq!(store.end_mutes(until, &tell).await.unwrap(), 0);
    assert_eq!(judging.text(STORY).await, ["open none 1"]);
    let told = judging.text(TOLD).await;
    assert_eq!(told.last().map(String::as_str), Some("4 finding.opened"), "{told:?}");
    assert_eq!(judging.count("select count(*) from findings where muted_until is not null").await, 0);
}

#[tokio::test]
async fn what_is_muted_for_good_is_not_forgotten_and_its_log_goes_with_it() {
    let judging = open(1).await;
    assert!(decide(&judging, &wish(Action::Mute)).await);
    assert!(decide(&judging, &wish(Action::Resolve)).await);
    let kept = Duration::from_hours(24);
    let later = clock::now() + 900 * kept;
    let store = &judging.database.store;
    assert_eq!(store.end_mutes(later, &tell).await.unwrap(), 0);
    assert_eq!(store.forget_findings(later, kept).await.unwrap(), 0);
    assert!(decide(&judging, &wish(Action::Unmute)).await);
    assert_eq!(store.forget_findings(later, kept).await.unwrap(), 1);
    for count in [
        "select count(*) from decisions",
        "select count(*) from changes",
        "select count(*) from finding_hours",
    ] {
        assert_eq!(judging.count(count).await, 0, "{count}");
    }
}

#[tokio::test]
async fn what_a_person_reopened_is_not_quiet_at_once() {
    let judging = open(1).await;
    let day = Duration::from_hours(24);
    let serve = "insert into units (day, trace_id, span_id, received_at, duration_ns, root, orphan, kind, outcome, \
                 environment, service, operation) \
                 select current_date, gen_random_uuid(), n, now(), 1, true, false, 'server', 'ok', 'production', \
                 'shop', 'GET /cart' from generate_series(1, 20) n";
    sqlx::query(serve).execute(&judging.database.pool).await.unwrap();
    sqlx::query("update findings set last_seen = last_seen - interval '2 days', opened_at = opened_at - interval '2 days'")
        .execute(&judging.database.pool)
        .await
        .unwrap();
    let store = &judging.database.store;
    assert_eq!(store.resolve_quiet_findings(clock::now(), day, &tell).await.unwrap(), 1);
    assert!(decide(&judging, &wish(Action::Reopen)).await);
    assert_eq!(store.resolve_quiet_findings(clock::now(), day, &tell).await.unwrap(), 0);
    assert_eq!(judging.text(STORY).await, ["open none 1"]);
    assert_eq!(store.resolve_quiet_findings(clock::now() + day, day, &tell).await.unwrap(), 1);
}

#[tokio::test]
async fn two_decisions_at_once_are_both_logged_where_both_apply() {
    let judging = open(1).await;
    let mute = wish(Action::Mute);
    let (one, two) = tokio::join!(decide(&judging, &mute), decide(&judging, &mute));
    assert!(one && two);
    let acknowledge = wish(Action::Acknowledge);
    assert!(decide(&judging, &wish(Action::Unmute)).await);
    let (one, two) = tokio::join!(decide(&judging, &acknowledge), decide(&judging, &acknowledge));
    assert!(one != two, "the second finds what the first left");
    assert_eq!(judging.text(DECIDED).await.len(), 4);
}

fn suppression(service: &str, reason: &str) -> Suppression {
    Suppression { service: service.to_owned(), reason: reason.to_owned(), ..Suppression::default() }
}

#[tokio::test]
async fn what_the_settings_suppress_never_rings_and_is_there_again_without_them() {
    let suppressed = [suppression("other", "not this"), suppression("sh*", "goes in May")];
    let judging = Judging::start().await;
    let store = &judging.database.store;
    judging.store(&[1], 1).await;
    judging.judge_but_for(&suppressed, |_| vec![found(1, Confidence::Confirmed)]).await;
    assert_eq!(
        store.apply_suppressions(&suppressed, clock::now(), &tell).await.unwrap(),
        0,
        "it is done already"
    );
    assert_eq!(judging.text(STORY).await, ["open muted 0"]);
    assert_eq!(judging.text(DECIDED).await, ["mute accepted goes in May settings"]);
    assert!(judging.text(TOLD).await.is_empty());

    assert_eq!(store.apply_suppressions(&suppressed[..1], clock::now(), &tell).await.unwrap(), 1);
    assert_eq!(judging.text(STORY).await, ["open none 0"]);
    assert_eq!(judging.text(TOLD).await.len(), 1, "it is open, and nobody knew");
    // Whoever adds it again means it again.
    assert_eq!(store.apply_suppressions(&suppressed, clock::now(), &tell).await.unwrap(), 1);
    assert_eq!(judging.text(STORY).await, ["open muted 0"]);
}

#[tokio::test]
async fn a_suppression_mutes_what_is_open_once_and_people_know_better() {
    let judging = open(1).await;
    let store = &judging.database.store;
    let suppressed = [suppression("shop", "known")];
    assert_eq!(store.apply_suppressions(&suppressed, clock::now(), &tell).await.unwrap(), 1);
    assert!(decide(&judging, &wish(Action::Unmute)).await);
    assert_eq!(store.apply_suppressions(&suppressed, clock::now(), &tell).await.unwrap(), 0);
    assert!(decide(&judging, &wish(Action::Mute)).await);
    assert_eq!(store.apply_suppressions(&[], clock::now(), &tell).await.unwrap(), 0, "a person muted it");
    assert_eq!(judging.text(STORY).await, ["open muted 0"]);

    let longer = [Suppression { until: Some(clock::now().date()), ..suppressed[0].clone() }];
    assert!(decide(&judging, &wish(Action::Unmute)).await);
    assert_eq!(
        store.apply_suppressions(&longer, clock::now(), &tell).await.unwrap(),
        1,
        "it says something else now"
    );
    let ends =
        "select count(*) from findings where muted_until = (current_date + 1)::timestamp at time zone 'UTC'";
    assert_eq!(judging.count(ends).await, 1);
}
