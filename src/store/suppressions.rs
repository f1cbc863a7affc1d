//! What the settings suppress is muted as if a person had done it: it is counted, stands in the log with its reason, and
//! is there again when the settings no longer say so.
//!
//! Each `[[suppress]]` mutes a finding once. A person who unmutes it afterwards knows better, and is left alone.

use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;

use super::Store;
use super::decisions::decide_locked;
use super::error::StoreError;
use super::judged::{Tell, TryError};
use crate::clock;
use crate::config::Suppression;
use crate::findings::decision::{Action, Decision, Reason, SETTINGS};

/// A finding, and what the settings decided about it last.
struct Suppressible {
    fingerprint: i64,
    rule: String,
    service: String,
    operation: String,
    muted: bool,
    /// Nobody decided anything since.
    by_settings: bool,
    /// Of their last decision.
    action: Option<String>,
    note: Option<String>,
    until: Option<OffsetDateTime>,
}

impl Suppressible {
    /// What they have to decide now.
    fn decision(&self, suppressions: &[Suppression], now: OffsetDateTime) -> Option<Decision> {
        let place = [self.rule.as_str(), &self.service, &self.operation];
        let Some(wanted) = wanted(suppressions, place, now).map(mute) else {
            return (self.muted && self.by_settings).then(unmute);
        };
        let is_done = self.action.as_deref() == Some(Action::Mute.id())
            && (&self.note, self.until) == (&wanted.note, wanted.until);
        // What a person muted stays as the person said.
        (!is_done && (!self.muted || self.by_settings)).then_some(wanted)
    }
}

impl Store {
    /// Mutes findings that the settings suppress since, and unmutes those that they no longer do. Returns how many.
    pub async fn apply_suppressions(
        &self,
        suppressions: &[Suppression],
        now: OffsetDateTime,
        tell: Tell<'_>,
    ) -> Result<usize, StoreError> {
        let mut moved = 0;
        for one in self.suppressible(suppressions).await? {
            let Some(decision) = one.decision(suppressions, now) else { continue };
            let mut connection = self.pool().acquire().await?;
            let mut transaction = connection.begin().await?;
            // Where it does not apply any more, somebody else was faster.
            let decided = decide_locked(&mut transaction, one.fingerprint, &decision, Some(SETTINGS), tell);
            moved += usize::from(decided.await?.is_some_and(|decided| decided.is_ok()));
            transaction.commit().await?;
        }
        Ok(moved)
    }

    /// Everything that the settings could concern: all there is, where they suppress anything, else what they muted.
    async fn suppressible(&self, suppressions: &[Suppression]) -> Result<Vec<Suppressible>, sqlx::Error> {
        sqlx::query_as!(
            Suppressible,
            r#"
            select
                f.fingerprint, f.rule, f.service, f.operation, f.handling = 'muted' as "muted!",
                coalesce(newest.who = $2, false) as "by_settings!",
                own.action as "action?", own.note as "note?", own.until as "until?"
            from findings f
            left join lateral (
                select who
                from decisions
                where decisions.fingerprint = f.fingerprint
                order by decided_at desc, id desc
                limit 1
            ) newest on true
            left join lateral (
                select action, note, until
                from decisions
                where decisions.fingerprint = f.fingerprint and decisions.who = $2
                order by decided_at desc, id desc
                limit 1
            ) own on true
            where $1 or (f.handling = 'muted' and newest.who = $2)
            order by f.fingerprint
            "#,
            !suppressions.is_empty(),
            SETTINGS
        )
        .fetch_all(self.pool())
        .await
    }
}

/// Mutes a finding that is there since this transaction, where the settings suppress it.
pub(super) async fn suppress(
    connection: &mut PgConnection,
    fingerprint: i64,
    place: [&str; 3],
    suppressions: &[Suppression],
) -> Result<(), TryError> {
    let Some(wanted) = wanted(suppressions, place, clock::now()) else { return Ok(()) };
    // It is no more than a candidate, so there is nothing to tell.
    let mute = mute(wanted);
    decide_locked(connection, fingerprint, &mute, Some(SETTINGS), &|_| Vec::new()).await?;
    Ok(())
}

fn wanted<'a>(
    suppressions: &'a [Suppression],
    [rule, service, operation]: [&str; 3],
    now: OffsetDateTime,
) -> Option<&'a Suppression> {
    suppressions.iter().find(|one| one.covers(rule, service, operation, now))
}

fn mute(by: &Suppression) -> Decision {
    Decision {
        action: Action::Mute,
        reason: Some(Reason::Accepted),
        until: by.ends(),
        note: Some(by.reason.clone()),
    }
}

fn unmute() -> Decision {
    let note = Some("no longer suppressed".to_owned());
    Decision { action: Action::Unmute, reason: None, until: None, note }
}
