//! One finding with all that belongs to it.

use time::{Duration, OffsetDateTime};

use super::cursor::{instant, narrow};
use super::{Cursor, Failure, Parameters, Shown, Slice};
use crate::clock;
use crate::findings::Fingerprint;
use crate::findings::shape::Finding;
use crate::model::{SpanId, TraceId};
use crate::rules;
use crate::store::occurrences::{OccurrencePlace, Related, Sighting};
use crate::store::{ChangeRow, DecisionRow, HourRow};

/// A finding, its newest occurrences, and what its rule advises.
#[derive(Clone, Debug)]
pub struct Detail {
    /// The finding.
    pub finding: Finding,
    /// The rule's remedy, Markdown; `None` where the rule is gone from this version.
    pub remedy: Option<String>,
    /// Newest first; the first one is the example. Empty where its traces are no longer kept.
    pub recent: Vec<Sighting>,
    /// Other findings that the example's trace shows at the same place.
    pub related: Vec<Related>,
    /// What people decided, newest first.
    pub decisions: Vec<DecisionRow>,
    /// What changed, told or not, newest first.
    pub changes: Vec<ChangeRow>,
    /// The hours of the last week in which it was seen, oldest first.
    pub hours: Vec<HourRow>,
}

/// Newest entries of a finding's log that are shown.
const LOG: u32 = 100;

/// Of a finding's history, unless asked otherwise.
const WEEK: Duration = Duration::days(7);

/// An occurrence's name for lists.
/// A cursor belongs to one finding.
fn list_of(id: Fingerprint) -> String {
    format!("occurrences.{id}")
}

impl Shown {
    /// The finding that the text `id` names, with at most `recent` occurrences.
    pub async fn finding(&self, id: &str, recent: u32) -> Result<Option<Detail>, Failure> {
        let Ok(id) = id.parse::<Fingerprint>() else { return Ok(None) };
        let Some(finding) = self.store.finding(id, &self.config.server.public_url).await? else {
            return Ok(None);
        };
        let recent = self.store.occurrences_of(id, None, None, None, recent).await?;
        let example = recent.first().and_then(|sighting| sighting.occurrence.trace_id.parse().ok());
        let related = match example {
            Some(trace) => self.store.related_in(trace, id).await?,
            None => Vec::new(),
        };
        let remedy = rules::find(&finding.claim.rule).map(|rule| rule.section("Remedy"));
        let decisions = self.store.decisions(id, LOG).await?;
        let changes = self.store.changes(id, LOG).await?;
        let now = clock::now();
        let hours = self.store.hours_of(id, now - WEEK, now).await?;
        Ok(Some(Detail { finding, remedy, recent, related, decisions, changes, hours }))
    }

    /// The hours in which a finding was seen, oldest first; `None` where there is no such finding.
    pub async fn history(
        &self,
        id: &str,
        mut parameters: Parameters,
        now: OffsetDateTime,
    ) -> Result<Option<Vec<HourRow>>, Failure> {
        let since = parameters.instant("since", now)?.unwrap_or(now - WEEK);
        let until = parameters.instant("until", now)?.unwrap_or(now);
        parameters.finish()?;
        let Ok(id) = id.parse::<Fingerprint>() else { return Ok(None) };
        if self.store.finding(id, "").await?.is_none() {
            return Ok(None);
        }
        Ok(Some(self.store.hours_of(id, since, until).await?))
    }

    /// One page of a finding's occurrences, newest first; `None` where there is no such finding.
    pub async fn occurrences(
        &self,
        id: &str,
        mut parameters: Parameters,
        now: OffsetDateTime,
    ) -> Result<Option<Slice<Sighting>>, Failure> {
        let since = parameters.instant("since", now)?;
        let until = parameters.instant("until", now)?;
        let after = parameters.text("after")?;
        let limit = parameters.limit()?;
        parameters.finish()?;
        let Ok(id) = id.parse::<Fingerprint>() else { return Ok(None) };
        let after = after.map(|text| place(&text, id)).transpose()?;
        if self.store.finding(id, "").await?.is_none() {
            return Ok(None);
        }
        let found = self.store.occurrences_of(id, since, until, after, limit + 1).await?;
        Ok(Some(Slice::of(found, limit, cursor)))
    }
}

fn place(text: &str, id: Fingerprint) -> Result<OccurrencePlace, Failure> {
    let [seen_at, high, low, span] = Cursor::key_of(text, &list_of(id))?;
    Ok(OccurrencePlace {
        seen_at: instant(seen_at)?,
        trace: TraceId((u128::from(narrow::<u64>(high)?) << 64) | u128::from(narrow::<u64>(low)?)),
        span: SpanId(narrow(span)?),
    })
}

fn cursor(sighting: &Sighting) -> Cursor {
    let occurrence = &sighting.occurrence;
    let seen_at = occurrence.seen_at.map_or(0, OffsetDateTime::unix_timestamp_nanos);
    let trace = occurrence.trace_id.parse::<TraceId>().map_or(0, |id| id.0);
    let span = occurrence.span_id.parse::<SpanId>().map_or(0, |id| id.0);
    let (high, low) = ((trace >> 64) as u64, trace as u64);
    Cursor::new(list_of(sighting.finding), vec![seen_at, high.into(), low.into(), span.into()])
}
